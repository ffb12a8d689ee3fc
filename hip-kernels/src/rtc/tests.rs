//! hipRTC as the emulator plays it, and the source that it is given.

use std::process::Command;

use pintle_hip_emulator::{Emulator, Target};
use sha2::{Digest, Sha256};

use super::*;
use crate::error::Error;
use crate::testing::{Topk, TopkJob, TopkModel, source};
use crate::{Device, Hip, Kernels, Lane, Module, Program as _};

const MEMORY: u64 = 64 << 20;
/// Nothing is built in for it, and the emulated gfx1100 is one.
const ELSEWHERE: &str = "gfx1150";

/// With `hip-rs` the HIP library is linked, and nothing is known of what lies beside it.
fn emulator() -> Option<Emulator> {
    if cfg!(feature = "hip-rs") { None } else { Emulator::take(Target::Gfx1100) }
}

/// Loads the kernels and lets one of them answer.
fn answer(hip: &Hip) -> Result<(), Error> {
    let info = hip.describe(0).unwrap();
    let device = Device::open(hip, info, MEMORY)?;
    let model = TopkModel::default();
    let topk = Topk::load(&model, &device, &Module::load(&device)?)?;
    let lane = Lane::new(&device)?;
    let mut slot = topk.slot(&lane)?;
    let jobs = [TopkJob::of_seed(&model, 3, 7)];
    topk.enqueue(&mut slot, &lane, &jobs)?;
    lane.seal()?;
    while !lane.finished()? {}
    assert_eq!(topk.answers(&mut slot, &jobs)?, [jobs[0].expected(&model)]);
    Ok(())
}

#[test]
fn a_device_without_built_in_code_gets_compiled_code_once() {
    let Some(emulator) = emulator() else { return };
    let compiler = emulator.compiler();
    let before = compiler.compilations();
    emulator.isa(ELSEWHERE);
    let hip = Hip::open(&source(&emulator)).unwrap();
    answer(&hip).unwrap();
    assert_eq!(compiler.compilations(), before + 1);
    answer(&hip).unwrap();
    assert_eq!((compiler.compilations(), compiler.alive()), (before + 1, 0));
}

#[test]
fn built_in_code_is_used_unless_another_is_asked_for() {
    let Some(emulator) = emulator() else { return };
    let compiler = emulator.compiler();
    let before = compiler.compilations();
    let hip = Hip::open(&source(&emulator)).unwrap();
    answer(&hip).unwrap();
    assert_eq!(compiler.compilations(), before);
    answer(&hip.with_kernels(Kernels::Compiled)).unwrap();
    assert_eq!(compiler.compilations(), before + 1);
}

#[test]
fn code_comes_from_a_folder_if_asked_for() {
    let Some(emulator) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let hip = Hip::open(&source(&emulator)).unwrap().with_kernels(Kernels::Folder(folder.path().to_owned()));
    let error = answer(&hip).unwrap_err().to_string();
    assert!(error.contains("gfx1100.co"), "{error}");
    std::fs::write(folder.path().join("gfx1100.co"), crate::images::find("gfx1100").unwrap()).unwrap();
    answer(&hip).unwrap();
}

#[test]
fn what_the_compiler_says_is_told() {
    let Some(emulator) = emulator() else { return };
    emulator.isa("gfx1030");
    let hip = Hip::open(&source(&emulator)).unwrap();
    let Err(Error::NotCompiled { arch, known, why }) = answer(&hip) else { panic!("it knows no gfx1030") };
    assert_eq!(arch, "gfx1030");
    assert!(known.contains("gfx90a, gfx942"), "{known}");
    assert!(why.contains("HIPRTC_ERROR_COMPILATION (6)") && why.contains("no matrix instructions"), "{why}");
}

#[test]
fn every_call_that_fails_is_told_and_leaves_nothing_behind() {
    let Some(emulator) = emulator() else { return };
    let compiler = emulator.compiler();
    emulator.isa(ELSEWHERE);
    for call in ["hiprtcCreateProgram", "hiprtcCompileProgram", "hiprtcGetCodeSize", "hiprtcGetCode"] {
        let hip = Hip::open(&source(&emulator)).unwrap();
        compiler.fail(call, 1);
        let Err(Error::NotCompiled { why, .. }) = answer(&hip) else { panic!("{call} failed") };
        assert!(why.starts_with(&format!("{call}: HIPRTC_ERROR_OUT_OF_MEMORY (1)")), "{why}");
        assert_eq!(compiler.alive(), 0, "after {call}");
        // What failed once is tried again.
        answer(&hip).unwrap();
    }
    // Without a log there still is an error.
    emulator.isa("gfx1030");
    for call in ["hiprtcGetProgramLogSize", "hiprtcGetProgramLog"] {
        compiler.fail(call, 4);
        let why = compile(Some(emulator.path()), "gfx1030").unwrap_err();
        assert_eq!(why, "hiprtcCompileProgram: HIPRTC_ERROR_COMPILATION (6); ");
    }
    assert_eq!(compiler.alive(), 0);
}

#[test]
fn without_the_library_nothing_is_compiled() {
    let nowhere = Path::new("/nowhere/libamdhip64.so");
    let why = compile(Some(nowhere), "gfx1150").unwrap_err();
    assert!(why.starts_with("no libhiprtc: ") && why.contains("/nowhere/libhiprtc.so.7"), "{why}");
    assert_eq!(places(None).len(), 6);
    assert_eq!(places(Some(Path::new("libamdhip64.so.6"))), places(None));
    // A library, but another one.
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("libamdhip64.so");
    let Ok(libc) = std::fs::canonicalize("/lib/x86_64-linux-gnu/libc.so.6") else {
        println!("SKIP no C library to take for another");
        return;
    };
    std::os::unix::fs::symlink(libc, folder.path().join("libhiprtc.so.6")).unwrap();
    let why = compile(Some(&here), "gfx1150").unwrap_err();
    assert!(why.contains("hiprtcCreateProgram"), "{why}");
}

/// The one file that hipRTC is given makes the machine code that is built in.
#[test]
fn the_source_is_the_one_that_the_built_in_code_comes_from() {
    let version = |tool: &str| {
        let output = Command::new(tool).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    };
    let committed = include_str!("../../prebuilt/BUILDINFO").lines().next();
    if version("clang-22").as_deref() != committed || version("ld.lld-22").is_none() {
        println!("SKIP the compiler of the built-in code is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (hip, code) = (folder.path().join("pintle.hip"), folder.path().join("code"));
    let mut source = Vec::new();
    DeflateDecoder::new(SOURCE).read_to_end(&mut source).unwrap();
    std::fs::write(&hip, source).unwrap();
    for architecture in ["gfx90a", "gfx1201"] {
        let options =
            "-x hip --cuda-device-only --no-gpu-bundle-output -nogpuinc -nogpulib -O3 -std=c++17 -fno-ident";
        let compiled = Command::new("clang-22")
            .args(options.split(' '))
            .args(["-fuse-cuid=none", &format!("--offload-arch={architecture}"), "-o"])
            .args([&code, &hip])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let stripped = Command::new("llvm-strip-22").arg("--strip-all").arg(&code).status().unwrap();
        assert!(stripped.success());
        let made = std::fs::read(&code).unwrap();
        let built_in = crate::images::find(architecture).unwrap();
        assert_eq!(Sha256::digest(made), Sha256::digest(built_in), "{architecture}");
    }
}

/// A real library: ROCm's, or Debian's of ROCm 5. What it makes is left for the interpreter to run.
#[test]
#[ignore = "needs hipRTC: scripts/hip.sh hiprtc"]
fn a_real_library_compiles_the_kernels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/hiprtc");
    let library = folder.join("libamdhip64.so");
    let code = compile(Some(&library), "gfx90a").unwrap();
    assert_eq!(code[..4], *b"\x7fELF");
    let why = compile(Some(&library), "gfx1030").unwrap_err();
    assert!(why.contains("HIPRTC_ERROR_COMPILATION") && why.contains("no matrix instructions"), "{why}");
    std::fs::create_dir_all(folder.join("code")).unwrap();
    std::fs::write(folder.join("code/gfx90a.co"), code).unwrap();
}

/// NVRTC behind the CUDA shim.
#[test]
#[ignore = "needs NVRTC: scripts/hip.sh cuda, after scripts/hip.sh nvidia"]
fn nvrtc_compiles_the_kernels() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/shim/libamdhip64.so");
    let code = compile(Some(&library), "sm_90").unwrap();
    // ELF for CUDA's machine.
    assert_eq!((&code[..4], code[18]), (b"\x7fELF".as_slice(), 190));
    assert!(code.windows(16).any(|part| part == b"pk_gemm_fat_bf16"));
    let why = compile(Some(&library), "sm_1").unwrap_err();
    assert!(why.contains("hiprtcCompileProgram: NVRTC_ERROR_"), "{why}");
}
