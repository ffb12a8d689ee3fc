//! The wrappers, on the emulated GPU.
#![allow(unsafe_code, reason = "a launch")]

use pintle_hip_emulator::{Emulator, Target, codes};

use crate::abi::TopkArgs;
use crate::entry::EntryPoints;
use crate::error::{Class, Error, HipError, Unavailable};
use crate::testing::{Topk, TopkJob, TopkModel, gpu, source};
use crate::{Device, Grid, Hip, Lane, Module, Program, Source};

const MEMORY: u64 = 64 << 20;

/// From nothing to an answer and back, by every function of the library.
fn session(emulator: &Emulator) -> Result<(), Unavailable> {
    let hip = Hip::open(&source(emulator))?;
    let info = hip.describe(0)?;
    let run = || -> Result<(), Error> {
        Device::reset(&hip, &info)?;
        let device = Device::open(&hip, info.clone(), MEMORY)?;
        let model = TopkModel::default();
        let topk = Topk::load(&model, &device, &Module::load(&device)?)?;
        let lane = Lane::new(&device)?;
        let mut slot = topk.slot(&lane)?;
        for seed in 0..2 {
            let job = TopkJob::of_seed(&model, 3, seed);
            let jobs = [job];
            topk.enqueue(&mut slot, &lane, &jobs)?;
            lane.seal()?;
            while !lane.finished()? {}
            assert_eq!(topk.answers(&mut slot, &jobs)?, [jobs[0].expected(&model)]);
        }
        lane.wait()?;
        Ok(())
    };
    run().map_err(|error| match error {
        Error::Hip(error) => Unavailable::Hip(error),
        other => panic!("{other}"),
    })
}

#[test]
fn without_a_library_there_is_no_hip() {
    let nowhere = Source::File("/nowhere/libamdhip64.so".into());
    assert!(matches!(Hip::open(&nowhere), Err(Unavailable::NoLibrary(_))));
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let other = emulator.path().with_file_name("not-hip.so");
    std::fs::write(&other, "not a library").unwrap();
    assert!(matches!(Hip::open(&Source::File(other)), Err(Unavailable::NoLibrary(_))));
}

#[test]
fn a_library_without_hips_functions_is_refused_by_name() {
    let c = Source::File("libc.so.6".into());
    let Err(Unavailable::TooOld { library, why }) = Hip::open(&c) else { panic!("libc is not HIP") };
    assert!(library == "libc.so.6" && why.contains("hipInit"), "{library}: {why}");
}

#[test]
fn a_device_says_what_it_is() {
    for (target, architecture, wave) in [(Target::Gfx942, "gfx942", 64), (Target::Gfx1100, "gfx1100", 32)] {
        let Some((emulator, hip)) = gpu(target) else { return };
        emulator.memory(3 << 30);
        let info = hip.describe(0).unwrap();
        assert_eq!(info.architecture(), architecture);
        assert_eq!((info.wave, info.compute_units, info.memory), (wave, 4, 3 << 30));
        assert_eq!(info.name, format!("Pintle emulator (wave {wave})"));
        assert_eq!(hip.version(), "7.1");
        assert_eq!(hip.describe(1), Err(Unavailable::NoSuchDevice { index: 1, count: 1 }));
    }
}

#[test]
fn a_library_without_a_device_is_no_hip() {
    for call in ["hipInit", "hipGetDeviceCount"] {
        let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
        emulator.fail(call, 0, codes::NO_DEVICE);
        assert_eq!(Hip::open(&source(&emulator)).unwrap_err(), Unavailable::NoDevice);
    }
}

#[test]
fn errors_say_what_they_mean_for_the_device() {
    let of = |code| HipError { call: "hipMalloc", code, name: String::new() }.class();
    assert_eq!(of(codes::OUT_OF_MEMORY), Class::OutOfMemory);
    assert_eq!(of(codes::NOT_SUPPORTED), Class::NotSupported);
    assert_eq!(of(codes::LAUNCH_FAILURE), Class::DeviceFault);
    assert_eq!(of(codes::ILLEGAL_ADDRESS), Class::DeviceFault);
    assert_eq!(of(codes::INVALID_VALUE), Class::Other);
}

#[test]
fn more_memory_than_allowed_is_refused_before_the_device_is_asked() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), 3 * 4096).unwrap();
    let first = device.allocate::<f32>(1025).unwrap();
    assert_eq!(device.memory_used(), 2 * 4096);
    let asked = emulator.calls("hipMalloc");
    let refused = device.allocate::<u8>(4097).err();
    assert_eq!(refused, Some(Error::MemoryLimit { wanted: 8192, used: 8192, limit: 12288 }));
    assert!(device.allocate::<f32>(usize::MAX).is_err());
    assert_eq!(emulator.calls("hipMalloc"), asked);
    drop(first);
    assert_eq!(device.memory_used(), 0);
    emulator.memory(4096);
    let refused = device.allocate::<u8>(8192).err().unwrap();
    assert_eq!(refused.class(), Class::OutOfMemory);
    assert_eq!(refused.to_string(), "hipMalloc: hipErrorOutOfMemory (2)");
    assert_eq!(device.memory_used(), 0);
}

#[test]
fn one_thread_has_one_device_and_one_device_one_thread() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let info = hip.describe(0).unwrap();
    let device = Device::open(&hip, info.clone(), MEMORY).unwrap();
    assert_eq!(Device::open(&hip, info.clone(), MEMORY).err(), Some(Error::InUse(0)));
    assert_eq!(Device::reset(&hip, &info), Err(Error::InUse(0)));
    let elsewhere = std::thread::scope(|scope| {
        let open = || Device::open(&hip, info.clone(), MEMORY).err();
        scope.spawn(open).join().unwrap()
    });
    assert_eq!(elsewhere, Some(Error::InUse(0)));
    drop(device);
    assert_eq!(Device::reset(&hip, &info), Ok(()));
}

#[test]
fn copies_end_where_they_should_and_nowhere_else() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    let lane = Lane::new(&device).unwrap();
    let buffer = device.upload(&[1, 2, 3, 4, 5, 6]).unwrap();
    let (mut from, mut to) = (lane.staging(2).unwrap(), lane.staging(4).unwrap());
    from.write().copy_from_slice(&[70u32, 80]);
    lane.upload(&from, 2, &buffer, 3).unwrap();
    lane.download(&buffer, 2, 4, &mut to).unwrap();
    assert_eq!(lane.upload(&from, 2, &buffer, 5), Err(Error::Range { at: 5, count: 2, len: 6 }));
    assert_eq!(lane.upload(&from, 3, &buffer, 0), Err(Error::Range { at: 0, count: 3, len: 2 }));
    assert!(lane.download(&buffer, 7, 0, &mut to).is_err());
    lane.seal().unwrap();
    assert!(!lane.is_idle());
    while !lane.finished().unwrap() {}
    assert_eq!(to.read(), [3, 70, 80, 6]);
}

#[test]
fn staging_memory_is_out_of_reach_until_the_lane_is_idle() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    let lane = Lane::new(&device).unwrap();
    let buffer = device.upload(&[9u8; 16]).unwrap();
    let mut staged = lane.staging::<u8>(16).unwrap();
    lane.download(&buffer, 0, 8, &mut staged).unwrap();
    lane.seal().unwrap();
    lane.download(&buffer, 8, 8, &mut staged).unwrap();
    // The end that was marked says nothing of what was queued behind it.
    assert_eq!(lane.finished(), Ok(false));
    assert_eq!(lane.finished(), Ok(false));
    assert!(catch_unwind(AssertUnwindSafe(|| staged.read().len())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| staged.write().len())).is_err());
    lane.wait().unwrap();
    assert_eq!(staged.read()[..8], [9; 8]);
    let another = Lane::new(&device).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| another.upload(&staged, 1, &buffer, 0))).is_err());
}

#[test]
fn what_the_device_may_still_write_to_is_waited_for_before_it_is_given_back() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    let lane = Lane::new(&device).unwrap();
    let buffer = device.upload(&[9u8; 16]).unwrap();
    let mut staged = lane.staging::<u8>(16).unwrap();
    lane.download(&buffer, 0, 16, &mut staged).unwrap();
    assert_eq!(emulator.calls("hipStreamSynchronize"), 0);
    drop(staged);
    assert_eq!(emulator.calls("hipStreamSynchronize"), 1);
    assert!(lane.is_idle());
}

#[test]
fn a_graph_serves_every_count_that_its_grid_covers() {
    for target in [Target::Gfx942, Target::Gfx1100] {
        let Some((emulator, hip)) = gpu(target) else { return };
        let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
        let model = TopkModel { n: 40, k: 7, rows: 9, ..TopkModel::default() };
        let topk = Topk::load(&model, &device, &Module::load(&device).unwrap()).unwrap();
        let lane = Lane::new(&device).unwrap();
        let mut slot = topk.slot(&lane).unwrap();
        for rows in [9, 1, 5] {
            let jobs = [TopkJob::of_seed(&model, rows, rows as u32)];
            topk.enqueue(&mut slot, &lane, &jobs).unwrap();
            lane.wait().unwrap();
            assert_eq!(topk.answers(&mut slot, &jobs).unwrap(), [jobs[0].expected(&model)]);
        }
        assert_eq!(emulator.calls("hipGraphInstantiate"), 1);
        assert_eq!(emulator.calls("hipGraphLaunch"), 3);
    }
}

#[test]
fn a_capture_that_fails_leaves_the_lane_usable() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    let lane = Lane::new(&device).unwrap();
    let failed = lane.capture(|_| Err(Error::Program("no".to_owned())));
    assert_eq!(failed.err(), Some(Error::Program("no".to_owned())));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lane.capture(|_| panic!("no"))));
    assert!(panicked.is_err());
    assert!(lane.is_idle());
    let mut staged = lane.staging::<u32>(2).unwrap();
    lane.download(&device.upload(&[5, 6]).unwrap(), 0, 2, &mut staged).unwrap();
    lane.wait().unwrap();
    assert_eq!(staged.read(), [5, 6]);
}

#[test]
fn kernels_are_found_by_name_and_refuse_a_grid_without_blocks() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let device = Device::open(&hip, hip.describe(0).unwrap(), MEMORY).unwrap();
    let module = Module::load(&device).unwrap();
    let unknown = module.function("pk_nothing").err().unwrap();
    assert!(unknown.to_string().starts_with("hipModuleGetFunction: "), "{unknown}");
    let lane = Lane::new(&device).unwrap();
    let kernel = module.function("pk_topk").unwrap();
    // SAFETY: a launch without blocks is refused; its arguments are never read.
    let refused = unsafe { lane.launch(&kernel, Grid { x: 0, y: 1 }, &TopkArgs::default()) };
    assert_eq!(refused.unwrap_err().code, codes::INVALID_VALUE);
}

/// Calls that give something back. They fail unheard: there is nobody left to tell.
const GIVING_BACK: [&str; 7] = [
    "hipFree",
    "hipHostFree",
    "hipStreamDestroy",
    "hipEventDestroy",
    "hipModuleUnload",
    "hipGraphDestroy",
    "hipGraphExecDestroy",
];

#[test]
fn every_call_that_fails_is_told_and_leaves_nothing_behind() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    session(&emulator).unwrap();
    let counted: Vec<(&str, u64)> =
        EntryPoints::NAMES.iter().map(|name| (*name, emulator.calls(name))).collect();
    for (name, calls) in counted {
        assert!(calls > 0, "the session does not call {name}");
        for nth in 0..calls as u32 {
            for code in [codes::INVALID_VALUE, codes::OUT_OF_MEMORY, codes::LAUNCH_FAILURE] {
                emulator.reset();
                emulator.fail(name, nth, code);
                let told = session(&emulator);
                assert_eq!(emulator.alive(), 0, "call {nth} of {name} failed with {code}");
                match told {
                    Ok(()) if GIVING_BACK.contains(&name) => {}
                    // A reset goes on without: a dead device refuses this too.
                    Ok(()) if name == "hipSetDevice" && nth == 0 => {}
                    Err(Unavailable::Hip(error)) if error.call == name => assert_eq!(error.code, code),
                    // A launch's fault is found when it runs; a dead device refuses whatever comes next.
                    Err(Unavailable::Hip(error)) if code == codes::LAUNCH_FAILURE => {
                        assert_eq!(error.code, code)
                    }
                    other => panic!("call {nth} of {name} failed with {code}: {other:?}"),
                }
            }
        }
    }
}

mod cuda;
