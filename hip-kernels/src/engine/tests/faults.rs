//! Devices that fail: batches that are refused, faults, hangs, calls that do not return.

use super::*;
use crate::entry::EntryPoints;

/// Soon enough for a test, late enough for a busy machine to run a kernel of eight rows.
const HASTY: Options = Options { watchdog: Duration::from_secs(3), ..OPTIONS };

const LONG: Duration = Duration::from_secs(90);

#[test]
fn a_batch_that_is_refused_fails_alone() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, Options { slots: 1, ..OPTIONS });
    for (call, code) in [
        // The graph is recorded with the first batch that gets so far.
        ("hipStreamBeginCapture", codes::NOT_SUPPORTED),
        ("hipGraphInstantiate", codes::OUT_OF_MEMORY),
        ("hipGraphLaunch", codes::INVALID_VALUE),
        ("hipMemcpyAsync", codes::INVALID_VALUE),
        ("hipEventQuery", codes::INVALID_VALUE),
    ] {
        emulator.fail(call, 0, code);
        let refused = ask(&loaded, 2, 0).unwrap_err();
        let Failure::Failed(Error::Hip(error)) = &refused else { panic!("{refused}") };
        assert_eq!((error.call, error.code), (call, code));
        until("what was queued of it is done", || engine.status().under_way == 0);
    }
    ask(&loaded, 2, 1).unwrap();
    let status = engine.status();
    assert_eq!((status.failed, status.deaths, status.is_up()), (5, 0, true));
}

#[test]
fn a_fault_fails_all_that_wait_and_the_device_comes_back() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, Options { retry_after: Duration::from_secs(3600), ..OPTIONS });
    ask(&loaded, 1, 0).unwrap();
    let mut pending = fill_slots(&emulator, &loaded, 2);
    pending.push(loaded.ask(TopkJob::of_seed(&MODEL, 1, 2)).unwrap());
    emulator.fail("hipEventQuery", 0, codes::ILLEGAL_ADDRESS);
    emulator.hang(false);
    for pending in pending {
        let failure = pending.wait().unwrap_err();
        match &failure {
            Failure::Failed(error) => assert_eq!(error.class(), Class::DeviceFault),
            Failure::Resting(why) => assert!(why.contains("hipErrorIllegalAddress"), "{why}"),
            other => panic!("{other}"),
        }
    }
    // At rest nobody waits.
    let refused = ask(&loaded, 1, 3).unwrap_err();
    assert!(refused.to_string().contains("rests after it failed"), "{refused}");
    assert!(matches!(engine.load(Arc::new(MODEL)), Err(Failure::Resting(_))));
    let status = engine.status();
    assert_eq!((status.deaths, status.failed), (1, 3));
    assert!(!status.is_up());
}

#[test]
fn rests_grow_until_a_batch_ends_well() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    // A launch's fault shows when the batch runs.
    emulator.fail("hipGraphLaunch", 0, codes::LAUNCH_FAILURE);
    emulator.fail("hipModuleLoadData", 0, codes::LAUNCH_FAILURE);
    let died = Instant::now();
    assert!(ask(&loaded, 1, 0).is_err());
    assert!(engine.wait_until_alive(LONG));
    // Once the fault, once the revival that failed: 1 ms and 2 ms.
    assert_eq!(engine.status().deaths, 2);
    assert!(died.elapsed() >= Duration::from_millis(3));
    ask(&loaded, 4, 1).unwrap();
}

#[test]
fn a_device_comes_back_with_the_models_that_still_fit() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, small) = start(&hip, OPTIONS);
    let large = engine.load(Arc::new(TopkModel { weights: 600_000, ..MODEL })).unwrap();
    ask(&large, 1, 0).unwrap();
    // Less memory leaves what is there. A fault takes it off.
    engine.follow(Options { memory_limit: 400_000, ..OPTIONS });
    emulator.fail("hipGraphLaunch", 0, codes::LAUNCH_FAILURE);
    assert!(ask(&small, 1, 1).is_err());
    assert!(engine.wait_until_alive(LONG));
    ask(&small, 2, 2).unwrap();
    let missing = ask(&large, 1, 3).unwrap_err();
    assert!(matches!(missing, Failure::Failed(Error::MemoryLimit { .. })), "{missing}");
    assert_eq!((engine.status().deaths, engine.status().models), (1, 1));
    // It is brought as soon as there is room.
    engine.follow(OPTIONS);
    until("both are there", || engine.status().models == 2);
    ask(&large, 3, 4).unwrap();
    engine.follow(Options { memory_limit: 650_000, ..OPTIONS });
    emulator.fail("hipGraphLaunch", 0, codes::LAUNCH_FAILURE);
    assert!(ask(&small, 1, 5).is_err());
    assert!(engine.wait_until_alive(LONG));
    assert!(ask(&large, 1, 6).is_err());
    drop(small);
    until("the other one has its room", || engine.status().memory_used > 600_000);
    ask(&large, 1, 7).unwrap();
}

#[test]
fn a_batch_that_does_not_end_is_given_up() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, HASTY);
    ask(&loaded, 1, 0).unwrap();
    emulator.hang(true);
    let asked = Instant::now();
    assert_eq!(ask(&loaded, 1, 1), Err(Failure::Hung(HASTY.watchdog)));
    assert!(asked.elapsed() >= HASTY.watchdog);
    // The thread waits for the device; who asks does not.
    let refused = Instant::now();
    assert!(matches!(ask(&loaded, 1, 2), Err(Failure::Resting(_))));
    assert!(refused.elapsed() < HASTY.watchdog);
    assert!(!engine.wait_until_alive(Duration::ZERO));
    emulator.hang(false);
    assert!(engine.wait_until_alive(LONG));
    ask(&loaded, 1, 3).unwrap();
    assert_eq!(engine.status().deaths, 1);
}

#[test]
fn a_call_that_does_not_return_is_noticed_by_who_waits() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let options = Options { load_limit: Duration::from_secs(4), ..HASTY };
    let (engine, loaded) = start(&hip, options);
    emulator.hang(true);
    // The upload of weights waits for the device, in the library.
    assert_eq!(engine.load(Arc::new(MODEL)).err(), Some(Failure::Hung(options.load_limit)));
    let refused = ask(&loaded, 1, 0).unwrap_err();
    assert!(refused.to_string().contains("does not return"), "{refused}");
    emulator.hang(false);
    until("the thread has noticed", || engine.status().deaths == 1);
    assert!(engine.wait_until_alive(LONG));
    ask(&loaded, 1, 1).unwrap();
    // The load came through after its asker had given up, and was taken back.
    until("one model is left", || engine.status().models == 1);
}

#[test]
fn an_engine_that_hangs_is_left_behind() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, HASTY);
    let pending = fill_slots(&emulator, &loaded, 1);
    drop((engine, loaded));
    for pending in pending {
        assert!(pending.wait().is_err());
    }
    emulator.hang(false);
    until("the thread that was left behind gives everything back", || emulator.alive() == 0);
}

#[test]
fn a_program_that_panics_costs_a_reset() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    let defect = TopkJob { panics: true, ..TopkJob::of_seed(&MODEL, 1, 0) };
    assert_eq!(loaded.run(defect), Err(Failure::Panicked));
    assert!(engine.wait_until_alive(LONG));
    ask(&loaded, 1, 1).unwrap();
    assert_eq!(engine.status().deaths, 1);
}

/// A life of an engine: whatever the library does, every question is answered rightly or refused, and in the end the
/// device serves again.
fn life(hip: &Hip) -> Result<(), Failure> {
    let engine = match Engine::<Topk>::start(hip, 0, OPTIONS) {
        Ok(engine) => engine,
        Err(StartError::Device(failure)) => return Err(failure),
        Err(StartError::Unavailable(error)) => return Err(Error::Program(error.to_string()).into()),
        Err(error) => panic!("{error}"),
    };
    let loaded = engine.load(Arc::new(MODEL));
    let told = loaded.and_then(|loaded| {
        let told = (0..3).map(|seed| ask(&loaded, 2, seed)).collect::<Result<Vec<()>, Failure>>();
        assert!(engine.wait_until_alive(LONG));
        // The failure may come as late as here.
        if ask(&loaded, 2, 8).is_err() {
            assert!(engine.wait_until_alive(LONG));
            ask(&loaded, 2, 9).expect("a fault is over when it is over");
        }
        told.map(|_| ())
    });
    assert!(engine.wait_until_alive(LONG));
    told
}

#[test]
fn an_engine_survives_every_call_that_fails() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    life(&hip).unwrap();
    let counted = EntryPoints::NAMES.iter().map(|name| (*name, emulator.calls(name)));
    let counted: Vec<(&str, u64)> = counted.filter(|(_, calls)| *calls > 0).collect();
    assert!(counted.len() > 25, "{counted:?}");
    for (name, calls) in counted {
        for nth in 0..calls.min(12) as u32 {
            for code in [codes::INVALID_VALUE, codes::OUT_OF_MEMORY, codes::LAUNCH_FAILURE] {
                emulator.reset();
                emulator.fail(name, nth, code);
                let told = life(&hip);
                assert_eq!(emulator.alive(), 0, "call {nth} of {name} failed with {code}: {told:?}");
            }
        }
    }
}
