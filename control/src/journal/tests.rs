use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use pintle_routing::flow::FlowDocument;
use pintle_routing::flow_id::{FlowId, FlowIds};
use pintle_routing::policy::Policy;
use pintle_routing::units::UnixMillis;
use tempfile::TempDir;
use tokio::task::{LocalSet, spawn_local};

use super::packed::Packer;
use super::*;
use crate::testing::{policy, record};

const NOON: u64 = 1_795_262_400_000;

/// Runs the same test on every backend that this kernel allows.
fn on_each_backend<F: Future<Output = ()>>(test: impl Fn(Backend) -> F) {
    let plain = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    LocalSet::new().block_on(&plain, test(Backend::Blocking));
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(ring) => ring.block_on(test(Backend::IoUring)),
        Err(error) => println!("SKIP io_uring half: {error}"),
    }
}

fn options(dir: &TempDir) -> JournalOptions {
    JournalOptions {
        dir: dir.path().join("journal"),
        max_bytes: 64 * 1024,
        segment_bytes: 8 * 1024,
        queue: 64,
    }
}

fn flow(id: FlowId) -> Box<FlowRecord> {
    record(id, "Prove it.")
}

fn document(id: FlowId) -> FlowDocument {
    flow(id).document(policy().legend()).expect("its own legend")
}

fn ids(count: u64) -> Vec<FlowId> {
    let mut maker = FlowIds::new(2, 77);
    (0..count).map(|step| maker.next(UnixMillis(NOON + step))).collect()
}

/// A journal at work; `stop` closes it as a shutdown does.
struct Running {
    handle: JournalHandle,
    writer: tokio::task::JoinHandle<()>,
    report: OpenReport,
}

impl Running {
    fn start(options: &JournalOptions, backend: Backend) -> Running {
        let (handle, orders) = JournalHandle::new(options.queue);
        let (appender, report) = Appender::open(options, backend, None).expect("journal opens");
        let writer = Writer::new(handle.shared(), appender, options.segment_bytes, || UnixMillis(NOON));
        Running { handle, writer: spawn_local(writer.run(orders)), report }
    }

    async fn stop(self) {
        self.handle.stop().await;
        self.writer.await.expect("writer ends in order");
    }
}

fn flows(dir: &Path) -> u64 {
    let mut flows = 0;
    for_each(dir, None, |entry| {
        flows += u64::from(matches!(entry, Entry::Flow(_)));
        ControlFlow::Continue(())
    })
    .expect("readable");
    flows
}

/// Flows that the journal says it lost.
fn lost(dir: &Path) -> u64 {
    let mut lost = 0;
    for_each(dir, None, |entry| {
        lost += if let Entry::Lost(count) = entry { count } else { 0 };
        ControlFlow::Continue(())
    })
    .expect("readable");
    lost
}

fn disk_bytes(dir: &Path) -> u64 {
    segments::list(dir).expect("readable").iter().map(|segment| segment.bytes).sum()
}

#[test]
fn documents_are_found_while_running_and_after_the_end() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(30);
        for id in &ids {
            journal.handle.offer(flow(*id), policy()).expect("room");
        }
        journal.handle.flush().await;
        for id in &ids {
            assert_eq!(find(&options.dir, *id).expect("readable"), Some(document(*id)));
        }
        let missing = FlowIds::new(9, 9).next(UnixMillis(NOON));
        assert_eq!(find(&options.dir, missing).expect("readable"), None);
        journal.stop().await;
        assert_eq!(find(&options.dir, ids[0]).expect("readable"), Some(document(ids[0])));
        let newest = tail(&options.dir, 2).expect("readable");
        assert_eq!(newest, [document(ids[29]), document(ids[28])]);
    });
}

#[test]
fn shutdown_writes_what_is_queued() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = JournalOptions { max_bytes: 1 << 20, ..options(&dir) };
        let journal = Running::start(&options, backend);
        let ids = ids(64);
        for id in &ids {
            journal.handle.offer(flow(*id), policy()).expect("room");
        }
        let handle = journal.handle.clone();
        journal.stop().await;
        assert_eq!(tail(&options.dir, 1000).expect("readable").len(), ids.len());
        assert_eq!(handle.offer(flow(ids[0]), policy()), Err(Full), "a closed journal takes nothing");
        handle.flush().await;
    });
}

#[test]
fn the_bound_holds_and_the_oldest_go_first() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(600);
        for (step, id) in ids.iter().enumerate() {
            journal.handle.offer(flow(*id), policy()).expect("flushed in time");
            if step % 16 == 15 {
                journal.handle.flush().await;
                assert!(disk_bytes(&options.dir) <= options.max_bytes);
            }
        }
        journal.stop().await;
        let kept = segments::list(&options.dir).expect("readable");
        assert!(kept.iter().all(|segment| segment.bytes <= options.segment_bytes));
        assert!(kept.len() >= 7, "{} segments of at most 8 KiB in 64 KiB", kept.len());
        assert!(kept[0].number > 1, "the first segment is gone");
        assert_eq!(find(&options.dir, ids[0]).expect("readable"), None);
        assert_eq!(find(&options.dir, ids[599]).expect("readable"), Some(document(ids[599])));
        let survivors = tail(&options.dir, 1000).expect("readable");
        let expected = ids.iter().rev().take(survivors.len()).map(FlowId::to_string);
        assert!(survivors.iter().map(|document| document.id.clone()).eq(expected), "no gap among the newest");
    });
}

#[test]
fn a_torn_last_record_is_passed_over_and_then_removed() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let ids = ids(3);
        let journal = Running::start(&options, backend);
        journal.handle.offer(flow(ids[0]), policy()).expect("room");
        journal.stop().await;

        let segment = segments::list(&options.dir).expect("readable").remove(0).path;
        let mut whole = Vec::new();
        Packer::new().flow(&flow(ids[1]), policy().legend(), MAX_DOCUMENT_BYTES, &mut whole).expect("packs");
        let start = whole.windows(2).position(|bytes| bytes == [0xf1, 0x0a]).expect("a frame");
        let torn = &whole[start..9];
        let mut file = fs::OpenOptions::new().append(true).open(&segment).expect("segment");
        file.write_all(torn).expect("written");
        assert_eq!(find(&options.dir, ids[1]).expect("readable"), None);
        assert_eq!(tail(&options.dir, 9).expect("readable").len(), 1);

        let journal = Running::start(&options, backend);
        assert_eq!(journal.report.torn_bytes, torn.len() as u64);
        journal.handle.offer(flow(ids[2]), policy()).expect("room");
        journal.stop().await;
        assert_eq!(segments::list(&options.dir).expect("readable").len(), 1, "the segment is continued");
        assert_eq!(find(&options.dir, ids[0]).expect("readable"), Some(document(ids[0])));
        assert_eq!(find(&options.dir, ids[2]).expect("readable"), Some(document(ids[2])));
    });
}

#[test]
fn a_full_queue_loses_counts_and_notes_it() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = JournalOptions { queue: 4, ..options(&dir) };
        let (handle, orders) = JournalHandle::new(options.queue);
        let ids = ids(7);
        let taken = ids.iter().filter(|id| handle.offer(flow(**id), policy()).is_ok()).count();
        assert_eq!((taken, handle.queued(), handle.lost()), (4, 4, 3));
        let (appender, _) = Appender::open(&options, backend, None).expect("journal opens");
        let writer = Writer::new(handle.shared(), appender, options.segment_bytes, || UnixMillis(NOON));
        let writer = spawn_local(writer.run(orders));
        handle.flush().await;
        assert_eq!(lost(&options.dir), 3);
        assert_eq!(tail(&options.dir, 9).expect("readable").len(), 4, "a notice is no document");
        handle.stop().await;
        writer.await.expect("writer ends in order");
    });
}

#[test]
fn a_document_larger_than_the_limit_is_lost_alone() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(3);
        let mut huge = flow(ids[1]);
        huge.failure = Some("x".repeat(options.segment_bytes as usize));
        journal.handle.offer(flow(ids[0]), policy()).expect("room");
        journal.handle.offer(huge, policy()).expect("room");
        journal.handle.offer(flow(ids[2]), policy()).expect("room");
        let handle = journal.handle.clone();
        journal.stop().await;
        assert_eq!(handle.lost(), 1);
        assert_eq!(tail(&options.dir, 9).expect("readable").len(), 2);
    });
}

#[test]
fn a_flow_that_cannot_be_written_out_is_lost_alone() {
    struct Defect;
    impl HasPolicy for Defect {
        fn policy(&self) -> &Policy {
            panic!("a defect, on purpose")
        }
    }
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(2);
        journal.handle.offer(flow(ids[0]), policy()).expect("room");
        journal.handle.offer(flow(ids[0]), Arc::new(Defect)).expect("room");
        journal.handle.offer(flow(ids[1]), policy()).expect("room");
        let handle = journal.handle.clone();
        journal.stop().await;
        assert_eq!(handle.lost(), 1);
        assert_eq!(tail(&options.dir, 9).expect("readable").len(), 2);
    });
}

#[test]
fn a_fault_of_the_disk_loses_what_it_hits_and_no_more() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(2);
        // Where the first segment would be created, there is no directory any more.
        let moved = dir.path().join("moved");
        fs::rename(&options.dir, &moved).expect("renamed");
        journal.handle.offer(flow(ids[0]), policy()).expect("room");
        journal.handle.flush().await;
        assert_eq!(journal.handle.lost(), 1);
        fs::rename(&moved, &options.dir).expect("renamed back");
        journal.handle.offer(flow(ids[1]), policy()).expect("room");
        journal.handle.flush().await;
        assert_eq!(find(&options.dir, ids[1]).expect("readable"), Some(document(ids[1])));
        assert_eq!(lost(&options.dir), 1, "the loss is noted");
        journal.stop().await;
    });
}

#[test]
fn one_process_at_a_time_writes() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        assert!(matches!(Appender::open(&options, backend, None), Err(JournalError::Locked { .. })));
        journal.stop().await;
        assert!(Appender::open(&options, backend, None).is_ok());
    });
}

#[test]
fn bounds_that_cannot_work_are_refused() {
    let dir = TempDir::new().expect("temporary directory");
    let small = JournalOptions { segment_bytes: MIN_SEGMENT_BYTES - 1, ..options(&dir) };
    let tight = JournalOptions { max_bytes: 2 * 8 * 1024 - 1, ..options(&dir) };
    for options in [small, tight] {
        let error = Appender::open(&options, Backend::Blocking, None).err().expect("refused");
        assert!(matches!(error, JournalError::Bounds { .. }), "{error}");
    }
    assert!(!dir.path().join("journal").exists(), "nothing was created");
}

#[test]
fn listings_filter_and_go_on_where_they_stopped() {
    on_each_backend(async |backend| {
        let dir = TempDir::new().expect("temporary directory");
        let options = options(&dir);
        let journal = Running::start(&options, backend);
        let ids = ids(12);
        for (step, id) in ids.iter().enumerate() {
            let mut flow = record(*id, if step % 2 == 0 { "Prove it." } else { "Hello." });
            flow.request.session_key = format!("{:016x}", step % 3);
            journal.handle.offer(flow, policy()).expect("room");
        }
        journal.stop().await;
        let page = |filter: &Filter| -> Vec<String> {
            list(&options.dir, filter).expect("readable").into_iter().map(|flow| flow.id).collect()
        };
        let text = |steps: &[usize]| steps.iter().map(|step| ids[*step].to_string()).collect::<Vec<_>>();
        let hard = Filter { limit: 4, decision: Some("hard".to_owned()), ..Filter::default() };
        assert_eq!(page(&hard), text(&[10, 8, 6, 4]));
        assert_eq!(page(&Filter { before: Some(ids[4]), ..hard.clone() }), text(&[2, 0]));
        let both = Filter { session: Some("0000000000000002".to_owned()), ..hard };
        assert_eq!(page(&both), text(&[8, 2]));
        let model = |name: &str| Filter { limit: 99, model: Some(name.to_owned()), ..Filter::default() };
        assert_eq!(page(&model("large")), text(&[10, 8, 6, 4, 2, 0]));
        assert!(page(&model("larg")).is_empty(), "names match as a whole");
    });
}

#[test]
fn many_producers_lose_nothing_that_was_taken() {
    on_each_backend(async |backend| {
        const PRODUCERS: u16 = 4;
        const EACH: u64 = 400;
        let dir = TempDir::new().expect("temporary directory");
        let options =
            JournalOptions { max_bytes: 1 << 24, segment_bytes: 1 << 16, queue: 32, ..options(&dir) };
        let journal = Running::start(&options, backend);
        let taken = Arc::new(AtomicU64::new(0));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|worker| {
                let (handle, taken) = (journal.handle.clone(), Arc::clone(&taken));
                tokio::task::spawn_blocking(move || {
                    let mut maker = FlowIds::new(worker, 1);
                    for step in 0..EACH {
                        let id = maker.next(UnixMillis(NOON + step));
                        if handle.offer(flow(id), policy()).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.await.expect("producer ends in order");
        }
        let handle = journal.handle.clone();
        journal.stop().await;
        let taken = taken.load(Ordering::Relaxed);
        assert_eq!(taken + handle.lost(), u64::from(PRODUCERS) * EACH);
        assert_eq!(flows(&options.dir), taken);
    });
}
