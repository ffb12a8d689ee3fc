//! What an engine tells of itself: in status reports and in metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};
use serde::Serialize;

/// A device and what it does, for status reports.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Status {
    /// Its number, as HIP counts.
    pub device: u32,
    /// What its maker calls it; empty if it could not be opened.
    pub name: String,
    /// Its instruction set, with features.
    pub isa: String,
    /// Why it is not used now; empty if it is.
    pub resting: String,
    /// Models on it.
    pub models: usize,
    /// Bytes of its memory that are taken.
    pub memory_used: u64,
    /// Bytes of its memory that may be taken.
    pub memory_limit: u64,
    /// Questions that wait now.
    pub waiting: usize,
    /// Questions that may wait.
    pub queue: usize,
    /// Batches under way now.
    pub under_way: usize,
    /// Batches that may be under way.
    pub slots: usize,
    /// Batches that ended well.
    pub batches: u64,
    /// Questions answered.
    pub questions: u64,
    /// Texts in them.
    pub texts: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Texts per second, in the mean since it was opened.
    pub texts_per_second: f64,
    /// Questions that it failed, those that waited when it died included.
    pub failed: u64,
    /// How often it died, or could not be brought back after a rest.
    pub deaths: u64,
}

impl Status {
    /// Of a device that cannot be used.
    #[must_use]
    pub fn refused(device: u32, why: &str) -> Self {
        Self { device, resting: why.to_owned(), ..Self::default() }
    }

    /// Whether it is asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.resting.is_empty()
    }

    /// Sets the gauges.
    pub fn publish(&self) {
        let device = self.device.to_string();
        for (name, value) in [
            ("pintle_gpu_up", f64::from(u8::from(self.is_up()))),
            ("pintle_gpu_models", self.models as f64),
            ("pintle_gpu_memory_used_bytes", self.memory_used as f64),
            ("pintle_gpu_memory_limit_bytes", self.memory_limit as f64),
            ("pintle_gpu_queue", self.waiting as f64),
            ("pintle_gpu_queue_limit", self.queue as f64),
            ("pintle_gpu_batches_under_way", self.under_way as f64),
            ("pintle_gpu_slots", self.slots as f64),
        ] {
            gauge!(name, "device" => device.clone()).set(value);
        }
    }
}

/// Tells the metrics recorder what everything is. Once, when there is one.
pub fn describe() {
    describe_gauge!("pintle_gpu_up", "1 while a GPU is asked, 0 while it rests or is not used any more");
    describe_gauge!("pintle_gpu_models", "Models on a GPU");
    describe_gauge!("pintle_gpu_memory_used_bytes", Unit::Bytes, "Memory of a GPU that is taken");
    describe_gauge!("pintle_gpu_memory_limit_bytes", Unit::Bytes, "Memory of a GPU that may be taken");
    describe_gauge!("pintle_gpu_queue", "Calls that wait for a GPU");
    describe_gauge!("pintle_gpu_queue_limit", "Calls that may wait for a GPU");
    describe_gauge!("pintle_gpu_batches_under_way", "Batches under way on a GPU");
    describe_gauge!("pintle_gpu_slots", "Batches that may be under way on a GPU");
    describe_counter!("pintle_gpu_batches_total", "Batches that ended well");
    describe_counter!("pintle_gpu_texts_total", "Texts in them");
    describe_counter!("pintle_gpu_tokens_total", "Tokens in them");
    describe_counter!("pintle_gpu_failures_total", "Calls that a GPU took and failed");
    describe_counter!("pintle_gpu_faults_total", "How often a GPU died, or could not be brought back");
    describe_counter!(FAILOVERS, "Calls that another GPU or the CPU was left to answer");
    describe_histogram!("pintle_gpu_batch_seconds", Unit::Seconds, "A batch, from packing to its answers");
}

const FAILOVERS: &str = "pintle_gpu_failovers_total";

/// What has happened since the engine's start; its metrics outlive it.
pub(super) struct Counters {
    pub(super) models: AtomicUsize,
    pub(super) under_way: AtomicUsize,
    pub(super) memory_used: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) questions: AtomicU64,
    pub(super) texts: AtomicU64,
    pub(super) tokens: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) deaths: AtomicU64,
    meters: Meters,
}

struct Meters {
    batches: Counter,
    texts: Counter,
    tokens: Counter,
    failures: Counter,
    faults: Counter,
    failovers: Counter,
    seconds: Histogram,
}

/// A batch that ended well.
pub(super) struct Ended {
    pub(super) questions: usize,
    pub(super) texts: usize,
    pub(super) tokens: usize,
    pub(super) took: Duration,
}

impl Counters {
    pub(super) fn of(device: u32) -> Self {
        let device = device.to_string();
        let of = |name: &'static str| counter!(name, "device" => device.clone());
        Self {
            models: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            memory_used: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            texts: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
            meters: Meters {
                batches: of("pintle_gpu_batches_total"),
                texts: of("pintle_gpu_texts_total"),
                tokens: of("pintle_gpu_tokens_total"),
                failures: of("pintle_gpu_failures_total"),
                faults: of("pintle_gpu_faults_total"),
                failovers: of(FAILOVERS),
                seconds: histogram!("pintle_gpu_batch_seconds", "device" => device.clone()),
            },
        }
    }

    pub(super) fn ended(&self, batch: &Ended) {
        let add = |count: &AtomicU64, meter: &Counter, more: usize| {
            count.fetch_add(more as u64, Ordering::Relaxed);
            meter.increment(more as u64);
        };
        add(&self.batches, &self.meters.batches, 1);
        add(&self.texts, &self.meters.texts, batch.texts);
        add(&self.tokens, &self.meters.tokens, batch.tokens);
        self.questions.fetch_add(batch.questions as u64, Ordering::Relaxed);
        self.meters.seconds.record(batch.took.as_secs_f64());
    }

    /// So many questions failed.
    pub(super) fn failed(&self, questions: usize) {
        self.failed.fetch_add(questions as u64, Ordering::Relaxed);
        self.meters.failures.increment(questions as u64);
    }

    pub(super) fn died(&self) {
        self.deaths.fetch_add(1, Ordering::Relaxed);
        self.meters.faults.increment(1);
    }

    /// A call is left to somebody else.
    pub(super) fn passed_over(&self) {
        self.meters.failovers.increment(1);
    }
}
