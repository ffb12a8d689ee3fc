//! The CUDA shim over the emulated CUDA driver.

use std::process::Command;

use super::*;
use crate::Kernels;

fn emulated() -> Option<(Emulator, Hip)> {
    gpu(Target::Sm90)
}

#[test]
fn an_nvidia_gpu_looks_like_one_of_hip() {
    let Some((_emulator, hip)) = emulated() else { return };
    let info = hip.describe(0).unwrap();
    assert_eq!((info.isa.as_str(), info.wave, info.compute_units), ("sm_90", 32, 4));
    assert_eq!(hip.version(), "6.0");
    assert!(hip.describe(1).is_err());
}

#[test]
fn from_nothing_to_an_answer_and_back() {
    let Some((emulator, _)) = emulated() else { return };
    for _ in 0..2 {
        session(&emulator).unwrap();
    }
    // Each thread needs a current context of its own.
    std::thread::scope(|scope| scope.spawn(|| session(&emulator).unwrap()).join().unwrap());
}

/// The driver's errors arrive under their own names and mean what HIP's mean.
#[test]
fn errors_of_the_driver_are_told() {
    let Some((emulator, hip)) = emulated() else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    for (code, class, name) in [
        (codes::OUT_OF_MEMORY, Class::OutOfMemory, "hipErrorOutOfMemory"),
        (codes::NOT_SUPPORTED, Class::NotSupported, "hipErrorNotSupported"),
        (codes::INVALID_VALUE, Class::Other, "hipErrorInvalidValue"),
    ] {
        emulator.fail("hipMalloc", 0, code);
        let Err(Error::Hip(error)) = device.allocate::<u32>(4) else { panic!("{code} was asked for") };
        assert_eq!((error.call, error.code, error.class()), ("hipMalloc", code, class));
        assert_eq!(error.name, name);
    }
}

#[test]
fn a_dead_device_lives_again_after_a_reset() {
    let Some((emulator, hip)) = emulated() else { return };
    let info = hip.describe(0).unwrap();
    emulator.fail("hipModuleLaunchKernel", 0, codes::LAUNCH_FAILURE);
    assert!(
        matches!(session(&emulator), Err(Unavailable::Hip(error)) if error.class() == Class::DeviceFault)
    );
    assert!(Device::open(&hip, info.clone(), MEMORY).unwrap().allocate::<u32>(1).is_err());
    Device::reset(&hip, &info).unwrap();
    session(&emulator).unwrap();
}

/// What clang makes of the source without CUDA: text, which the driver compiles.
#[test]
fn ptx_is_taken_from_a_folder() {
    let Some((_emulator, hip)) = emulated() else { return };
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/hip.sh");
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(script).arg("ptx").arg("sm_90").arg(folder.path()).output().unwrap();
    if made.status.code() == Some(77) {
        println!("SKIP {}", String::from_utf8_lossy(&made.stdout).trim());
        return;
    }
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let hip = hip.with_kernels(Kernels::Folder(folder.path().to_owned()));
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    Module::load(&device).unwrap().function("pk_gemm_fat_bf16").unwrap();
    // As another processor's it is refused.
    let file = folder.path().join("sm_90.co");
    let other = std::fs::read_to_string(&file).unwrap().replace(".target sm_90", ".target sm_80");
    std::fs::write(&file, other).unwrap();
    assert!(matches!(Module::load(&device), Err(Error::Hip(error)) if error.class() == Class::NotSupported));
}
