//! Builds the emulator's libamdhip64 for both wave sizes, and its CUDA driver, where there is a C++ compiler for it. `PINTLE_EMULATOR` names
//! a directory with libraries that are built already.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const COMPILERS: [&str; 3] = ["g++", "clang++-22", "clang++"];

#[expect(clippy::disallowed_methods, reason = "a build script's parameters are environment variables")]
fn main() {
    for sources in [".", "../include", "../kernels", "../rocm-shim/include/hip", "../cuda-shim"] {
        let files = std::fs::read_dir(sources).into_iter().flatten().flatten().map(|entry| entry.path());
        let foreign = |path: &PathBuf| {
            path.extension().is_some_and(|end| ["c", "cpp", "h", "sh"].iter().any(|own| end == *own))
        };
        for file in files.filter(foreign) {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    for variable in ["CXX", "PINTLE_EMULATOR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let var = |name| std::env::var_os(name);
    let built = match var("PINTLE_EMULATOR") {
        Some(built) => Ok(PathBuf::from(built)),
        None => {
            let into = PathBuf::from(var("OUT_DIR").expect("cargo sets it"));
            let x86 = var("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "x86_64");
            let compiler = var("CXX").map(|name| name.to_string_lossy().into_owned()).or_else(find);
            match compiler {
                _ if !x86 => Err("the emulator's fibers are written for x86-64".to_owned()),
                None => Err("there is no C++ compiler to build the emulator with".to_owned()),
                Some(compiler) => build(&compiler, &into).map(|()| into),
            }
        }
    };
    let (path, why) = built.map_or_else(|why| (PathBuf::new(), why), |path| (path, String::new()));
    println!("cargo::rustc-env=PINTLE_EMULATOR_PATH={}", path.display());
    println!("cargo::rustc-env=PINTLE_EMULATOR_WHY={why}");
}

fn find() -> Option<String> {
    let answers =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|done| done.status.success());
    COMPILERS.into_iter().find(answers).map(str::to_owned)
}

/// All at once.
fn build(compiler: &str, into: &Path) -> Result<(), String> {
    let start = |(script, target, matrices): (&str, &str, &str)| -> std::io::Result<Child> {
        Command::new(script).arg(into.join(target)).arg(matrices).env("CXX", compiler).spawn()
    };
    let libraries = [
        ("./build_hip.sh", "gfx942", "MFMA"),
        ("./build_hip.sh", "gfx1100", "WMMA11"),
        ("./build_cuda.sh", "sm_90", ""),
    ];
    let children: Vec<_> = libraries.into_iter().map(start).collect();
    for child in children {
        let status = child.and_then(|mut child| child.wait());
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Err(format!("{compiler} did not build the emulator ({status:?})"));
        }
    }
    Ok(())
}
