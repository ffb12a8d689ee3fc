//! Deflates the kernels' machine code to a third before it is embedded.

use std::fs::File;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::DeflateEncoder;

#[expect(clippy::disallowed_methods, reason = "a build script's parameters are environment variables")]
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=prebuilt");
    let into = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for entry in std::fs::read_dir("prebuilt")? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "co") {
            continue;
        }
        let deflated = into.join(path.with_extension("co.deflate").file_name().expect("a file of a folder"));
        let mut encoder = DeflateEncoder::new(File::create(deflated)?, Compression::best());
        std::io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?;
    }
    Ok(())
}
