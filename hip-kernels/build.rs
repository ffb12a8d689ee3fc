//! Deflates what is embedded: the kernels' machine code, to a third, and their source, which hipRTC takes as one file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Result, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Included for the emulator only.
const FOREIGN: &str = "pk_emu";

#[expect(clippy::disallowed_methods, reason = "a build script's parameters are environment variables")]
fn main() -> Result<()> {
    for read in ["prebuilt", "kernels", "include"] {
        println!("cargo::rerun-if-changed={read}");
    }
    let into = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for entry in std::fs::read_dir("prebuilt")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "co") {
            let name = path.with_extension("co.deflate");
            deflate(&std::fs::read(&path)?, &into.join(name.file_name().expect("a file of a folder")))?;
        }
    }
    let mut source = String::new();
    inline(Path::new("kernels/pintle.hip"), &mut BTreeSet::new(), &mut source)?;
    deflate(source.as_bytes(), &into.join("kernels.hip.deflate"))
}

fn deflate(bytes: &[u8], into: &Path) -> Result<()> {
    let mut encoder = DeflateEncoder::new(File::create(into)?, Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()?.flush()
}

/// Appends a file with its own headers in the place of their includes, each of them once.
fn inline(file: &Path, seen: &mut BTreeSet<PathBuf>, source: &mut String) -> Result<()> {
    if !seen.insert(file.canonicalize()?) {
        return Ok(());
    }
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    source.push_str(&format!("#line 1 \"{name}\"\n"));
    for (at, line) in std::fs::read_to_string(file)?.lines().enumerate() {
        let header = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"'));
        match header {
            Some(header) if !header.starts_with(FOREIGN) => {
                inline(&file.with_file_name(header), seen, source)?;
                source.push_str(&format!("#line {} \"{name}\"\n", at + 2));
            }
            // A header is here once anyway, and a compiler warns of the pragma in a main file.
            _ if header.is_some() || line == "#pragma once" => source.push('\n'),
            _ => {
                source.push_str(line);
                source.push('\n');
            }
        }
    }
    Ok(())
}
