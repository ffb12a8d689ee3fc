//! Says where the objects lie that are embedded: `ebpf/prebuilt`, or the directory that `PINTLE_EBPF_OBJECTS` names.

use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "a build script's parameters are environment variables")]
fn main() {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let prebuilt = || PathBuf::from(own).join("../prebuilt");
    let objects = std::env::var_os("PINTLE_EBPF_OBJECTS").map_or_else(prebuilt, PathBuf::from);
    println!("cargo::rustc-env=PINTLE_EBPF_OBJECTS={}", objects.display());
    println!("cargo::rerun-if-env-changed=PINTLE_EBPF_OBJECTS");
    println!("cargo::rerun-if-changed={}", objects.display());
}
