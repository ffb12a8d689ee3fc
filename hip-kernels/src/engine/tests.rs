//! The engine, on the emulated GPU.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_hip_emulator::{Emulator, Target, codes};

use super::{Engine, Failure, Loaded, Options, StartError};
use crate::error::{Class, Error, Unavailable};
use crate::hip::Hip;
use crate::testing::{Topk, TopkJob, TopkModel, gpu, until};

mod faults;

const MODEL: TopkModel = TopkModel { n: 5, k: 2, rows: 8, weights: 10_000 };

/// Patient, since a machine may be busy and the kernels are interpreted; a rest is short.
const OPTIONS: Options = Options {
    memory_limit: 1 << 20,
    slots: 2,
    queue: 16,
    wait: Duration::ZERO,
    watchdog: Duration::from_secs(90),
    load_limit: Duration::from_secs(90),
    retry_after: Duration::from_millis(1),
};

fn start(hip: &Hip, options: Options) -> (Engine<Topk>, Loaded<Topk>) {
    let engine = Engine::start(hip, 0, options).expect("the device is there");
    let loaded = engine.load(Arc::new(MODEL)).expect("there is room");
    (engine, loaded)
}

/// Asks for `rows` rows and checks the answer.
fn ask(loaded: &Loaded<Topk>, rows: usize, seed: u32) -> Result<(), Failure> {
    let job = TopkJob::of_seed(&MODEL, rows, seed);
    let expected = job.expected(&MODEL);
    assert_eq!(loaded.run(job)?, expected);
    Ok(())
}

/// Lets a batch of one row hang in every slot.
fn fill_slots(emulator: &Emulator, loaded: &Loaded<Topk>, slots: usize) -> Vec<super::Pending<Topk>> {
    emulator.hang(true);
    let mut under_way = Vec::new();
    for slot in 0..slots {
        under_way.push(loaded.ask(TopkJob::of_seed(&MODEL, 1, slot as u32)).unwrap());
        until("the batch is under way", || loaded.engine().status().under_way == slot + 1);
    }
    under_way
}

#[test]
fn many_ask_and_each_gets_its_own_answer() {
    for target in [Target::Gfx942, Target::Gfx1100] {
        let Some((_emulator, hip)) = gpu(target) else { return };
        let (engine, loaded) = start(&hip, OPTIONS);
        std::thread::scope(|scope| {
            for asker in 0..6 {
                let loaded = &loaded;
                scope.spawn(move || {
                    for turn in 0..8 {
                        ask(loaded, 1 + (asker + turn) % MODEL.rows, (asker * 100 + turn) as u32).unwrap();
                    }
                });
            }
        });
        let status = engine.status();
        assert_eq!((status.questions, status.failed, status.deaths), (48, 0, 0));
        assert!(status.batches <= 48 && status.texts == status.tokens, "{status:?}");
    }
}

#[test]
fn what_waits_while_the_slots_are_busy_leaves_as_one_batch() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    let busy = fill_slots(&emulator, &loaded, 2);
    let jobs: Vec<TopkJob> = (0..4).map(|seed| TopkJob::of_seed(&MODEL, 2, seed)).collect();
    let waiting: Vec<_> = jobs.iter().map(|job| loaded.ask(job.clone()).unwrap()).collect();
    assert_eq!((engine.status().waiting, engine.status().batches), (4, 0));
    emulator.hang(false);
    for pending in busy {
        pending.wait().unwrap();
    }
    for (pending, job) in waiting.into_iter().zip(&jobs) {
        assert_eq!(pending.wait().unwrap(), job.expected(&MODEL));
    }
    let status = engine.status();
    assert_eq!((status.batches, status.questions, status.waiting), (3, 6, 0));
}

#[test]
fn a_batch_holds_what_fits_and_goes_together_and_leaves_nobody_behind() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, Options { slots: 1, ..OPTIONS });
    let other = engine.load(Arc::new(TopkModel { k: 1, ..MODEL })).unwrap();
    let busy = fill_slots(&emulator, &loaded, 1);
    // 6 + 2 rows fill a batch; 4 wait for the next, with which the other kind and the other model cannot go.
    let kinds = [(6, 0), (4, 0), (2, 0), (1, 1)];
    let jobs = kinds.map(|(rows, kind)| TopkJob { kind, ..TopkJob::of_seed(&MODEL, rows, rows as u32) });
    let mut waiting: Vec<_> = jobs.iter().map(|job| loaded.ask(job.clone()).unwrap()).collect();
    waiting.push(other.ask(jobs[0].clone()).unwrap());
    emulator.hang(false);
    let answers: Vec<_> = waiting.into_iter().map(|pending| pending.wait().unwrap()).collect();
    for (answer, job) in answers.iter().zip(&jobs) {
        assert_eq!(*answer, job.expected(&MODEL));
    }
    assert_eq!(answers[4], jobs[0].expected(&TopkModel { k: 1, ..MODEL }));
    busy.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    assert_eq!(engine.status().batches, 1 + 4);
}

#[test]
fn a_batch_that_is_not_full_waits_as_long_as_it_may() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let wait = Duration::from_millis(30);
    let (engine, loaded) = start(&hip, Options { wait, ..OPTIONS });
    let asked = Instant::now();
    ask(&loaded, 1, 0).unwrap();
    assert!(asked.elapsed() >= wait);
    drop((engine, loaded));

    let (engine, loaded) = start(&hip, Options { wait: Duration::from_secs(3600), ..OPTIONS });
    let halves = [4, 4].map(|rows| loaded.ask(TopkJob::of_seed(&MODEL, rows, 1)).unwrap());
    for half in halves {
        half.wait().unwrap();
    }
    assert_eq!(engine.status().batches, 1);
}

#[test]
fn more_than_the_queue_holds_is_refused_at_once() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, Options { queue: 2, slots: 1, ..OPTIONS });
    let mut pending = fill_slots(&emulator, &loaded, 1);
    for seed in 0..2 {
        pending.push(loaded.ask(TopkJob::of_seed(&MODEL, 1, seed)).unwrap());
    }
    assert_eq!(ask(&loaded, 1, 9), Err(Failure::Overloaded(2)));
    emulator.hang(false);
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    ask(&loaded, 1, 10).unwrap();
    assert_eq!(engine.status().questions, 4);
    let refused = ask(&loaded, 9, 0).unwrap_err();
    assert_eq!(refused.to_string(), "9 texts of 9 tokens; a batch holds 8 of 8");
}

#[test]
fn a_model_without_room_is_refused_and_the_others_stay() {
    let Some((_emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    let used = engine.status().memory_used;
    let large = Arc::new(TopkModel { weights: 2 << 20, ..MODEL });
    let refused = engine.load(large).err().unwrap();
    let Failure::Failed(Error::MemoryLimit { limit, .. }) = refused else { panic!("{refused}") };
    assert_eq!(limit, 1 << 20);
    // The weights fit, the slots do not: nothing of it stays.
    let hungry = Arc::new(TopkModel { rows: 1 << 14, ..MODEL });
    assert!(matches!(engine.load(hungry), Err(Failure::Failed(Error::MemoryLimit { .. }))));
    ask(&loaded, 3, 0).unwrap();
    let second = engine.load(Arc::new(TopkModel { k: 1, ..MODEL })).unwrap();
    until("two are counted", || engine.status().models == 2);
    assert_eq!(engine.status().memory_used, 2 * used);
    drop(second);
    until("the second model is off", || engine.status().memory_used == used && engine.status().models == 1);
    ask(&loaded, 3, 1).unwrap();
}

#[test]
fn a_model_is_taken_off_when_what_is_under_way_is_done() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    let pending = fill_slots(&emulator, &loaded, 2);
    let late = loaded.ask(TopkJob::of_seed(&MODEL, 1, 7)).unwrap();
    drop(loaded);
    emulator.hang(false);
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    // Whether it went before its model did is the thread's choice; an answer comes.
    let answer = late.wait();
    assert!(matches!(&answer, Err(Failure::Stopped) | Ok(_)), "{answer:?}");
    until("the model is off", || engine.status().memory_used == 0);
}

#[test]
fn the_last_handle_gives_the_device_back() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, OPTIONS);
    drop(engine);
    ask(&loaded, 1, 0).unwrap();
    assert_ne!(emulator.alive(), 0);
    drop(loaded);
    assert_eq!(emulator.alive(), 0);
}

#[test]
fn an_engine_starts_where_it_can_only() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let none = Engine::<Topk>::start(&hip, 1, OPTIONS).err().unwrap();
    assert!(
        matches!(none, StartError::Unavailable(Unavailable::NoSuchDevice { index: 1, count: 1 })),
        "{none}"
    );
    emulator.fail("hipModuleLoadData", 0, codes::OUT_OF_MEMORY);
    let full = Engine::<Topk>::start(&hip, 0, OPTIONS).err().unwrap();
    let StartError::Device(Failure::Failed(error)) = full else { panic!("{full}") };
    assert_eq!(error.class(), Class::OutOfMemory);
    let (_engine, _loaded) = start(&hip, OPTIONS);
    let second = Engine::<Topk>::start(&hip, 0, OPTIONS).err().unwrap();
    assert_eq!(second.to_string(), "the GPU failed: device 0 is in use");
}

#[test]
fn other_limits_hold_from_the_next_question_on() {
    let Some((emulator, hip)) = gpu(Target::Gfx942) else { return };
    let (engine, loaded) = start(&hip, Options { slots: 1, ..OPTIONS });
    let mut pending = fill_slots(&emulator, &loaded, 1);
    engine.follow(Options {
        queue: 1,
        slots: 4,
        memory_limit: 1,
        watchdog: Duration::from_secs(21),
        ..OPTIONS
    });
    pending.push(loaded.ask(TopkJob::of_seed(&MODEL, 1, 1)).unwrap());
    assert_eq!(ask(&loaded, 1, 2), Err(Failure::Overloaded(1)));
    emulator.hang(false);
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    // What is there stays; nothing is added.
    let full = engine.load(Arc::new(MODEL)).err().unwrap();
    assert!(matches!(full, Failure::Failed(Error::MemoryLimit { limit: 1, .. })), "{full}");
    ask(&loaded, 1, 3).unwrap();
    let status = engine.status();
    assert_eq!((status.memory_limit, status.queue, status.slots), (1, 1, 1));
}
