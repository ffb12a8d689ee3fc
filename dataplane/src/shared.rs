//! What all workers of a process share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use pintle_routing::experience::Experience;
use pintle_routing::flow::FlowRecord;
use pintle_routing::ids::{DecisionId, LoraId, ModelId, Target};
use pintle_routing::limits::{Buckets, Limits};
use pintle_routing::policy::{HasPolicy, Policy};
use pintle_routing::units::UnixMillis;
use pintle_sessions::{NameId, Store};

use crate::learned::Reading;
use crate::meters::Meters;
use crate::settings::{Settings, Startup};
use crate::upstream::Upstreams;

/// One generation of the configuration, immutable. A request ends under the one it began with.
pub struct Generation {
    /// Counts loads, from 1.
    pub serial: u64,
    /// What decides.
    pub policy: Policy,
    /// How often, and for how many tokens, models may be asked.
    pub limits: Limits,
    /// Bounds, deadlines, addresses.
    pub settings: Settings,
    /// Where models are served, indexed by the policy's model ids.
    pub upstreams: Upstreams,
    /// Counters, by model and decision of this policy.
    pub meters: Meters,
    /// Numbers of this policy's names in session memory.
    pub names: Interned,
    /// What is asked of the classifier; `None` if this policy needs nothing of it.
    pub reading: Option<Reading>,
}

impl HasPolicy for Generation {
    fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Numbers under which session memory knows this policy's names.
pub struct Interned {
    /// Per model: of the model, then of each adapter on it.
    targets: Vec<Vec<NameId>>,
    decisions: Vec<NameId>,
    backends: Vec<Vec<NameId>>,
}

impl Interned {
    /// Looks every name up, once per policy. A name that session memory has no room for is not remembered,
    /// which an operator is told.
    pub fn of(policy: &Policy, upstreams: &Upstreams, store: &Store) -> Self {
        let number = |name: &str| {
            store.intern(name).unwrap_or_else(|error| {
                tracing::error!(name, %error, "session memory cannot remember a name");
                NameId::NONE
            })
        };
        let targets = (0..policy.models().len() as u16)
            .map(|model| {
                let model = ModelId(model);
                let loras = 0..policy.models()[model.index()].loras.len() as u16;
                std::iter::once(Target::base(model))
                    .chain(loras.map(|lora| Target { model, lora: Some(LoraId(lora)) }))
                    .map(|target| number(policy.target_name(target)))
                    .collect()
            })
            .collect();
        Self {
            targets,
            decisions: policy.decision_names().map(number).collect(),
            backends: upstreams
                .models
                .iter()
                .map(|model| model.backends.iter().map(|backend| number(&backend.spec.name)).collect())
                .collect(),
        }
    }

    /// A target's number.
    pub fn target(&self, target: Target) -> NameId {
        self.targets[target.model.index()][target.lora.map_or(0, |lora| lora.index() + 1)]
    }

    /// A decision's number.
    pub fn decision(&self, decision: DecisionId) -> NameId {
        self.decisions[decision.index()]
    }

    /// The number of a model's backend, by its position.
    pub fn backend(&self, model: ModelId, index: usize) -> NameId {
        self.backends[model.index()][index]
    }
}

/// Takes finished flows off the data path. Must not wait.
pub trait FlowSink: Send + Sync {
    /// Hands over a flow and the configuration under which it was served; `false` if there was no room and it is lost
    /// (the sink counts that).
    fn offer(&self, flow: Box<FlowRecord>, generation: &Arc<Generation>) -> bool;
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Not everything is in its place yet.
    Starting = 0,
    /// Serving.
    Serving = 1,
    /// No new connections; requests in flight end.
    Draining = 2,
}

/// Everything that crosses threads.
pub struct Shared {
    /// The configuration in force.
    pub generation: ArcSwap<Generation>,
    /// Session memory.
    pub store: Arc<Store>,
    /// What was consumed of the limits; outlives the rules. Locked for the moment of a charge, and not at all
    /// without rules.
    pub buckets: Mutex<Buckets>,
    /// What feedback has taught; outlives the policy.
    pub experience: ArcSwap<Experience>,
    /// Where flows go.
    pub sink: Box<dyn FlowSink>,
    /// Fixed at start.
    pub startup: Startup,
    /// Client connections of all workers.
    pub connections: AtomicUsize,
    /// Bytes of request bodies that are held, in steps of [`Held::STEP`].
    pub buffered: AtomicUsize,
    /// Requests between their head and their last byte.
    pub in_flight: AtomicUsize,
    /// Workers that listen.
    pub listening: AtomicUsize,
    /// Workers that have ended.
    pub ended: AtomicUsize,
    /// Per worker, when its loop last turned (milliseconds since the Unix epoch).
    pub heartbeats: Vec<AtomicU64>,
    life: AtomicU8,
    retiring: AtomicBool,
    succeeded: AtomicBool,
}

/// A worker whose loop has not turned for this long is stuck.
const STALLED_MS: u64 = 10_000;

impl Shared {
    /// A data plane that has not started.
    pub fn new(
        generation: Generation,
        store: Arc<Store>,
        sink: Box<dyn FlowSink>,
        startup: Startup,
    ) -> Arc<Self> {
        let heartbeats = startup.workers.iter().map(|_| AtomicU64::new(now().get())).collect();
        Arc::new(Self {
            generation: ArcSwap::from_pointee(generation),
            store,
            buckets: Mutex::new(Buckets::new(Buckets::DEFAULT_CAPACITY)),
            experience: ArcSwap::default(),
            sink,
            startup,
            connections: AtomicUsize::new(0),
            buffered: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            listening: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            heartbeats,
            life: AtomicU8::new(Life::Starting as u8),
            retiring: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
        })
    }

    /// Where the process is in its life.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            0 => Life::Starting,
            1 => Life::Serving,
            _ => Life::Draining,
        }
    }

    /// Whether every worker listens.
    pub fn all_listen(&self) -> bool {
        self.listening.load(Ordering::Acquire) == self.startup.workers.len()
    }

    /// From now on the process serves, unless it has been told to end.
    pub fn serve(&self) {
        let (starting, serving) = (Life::Starting as u8, Life::Serving as u8);
        // Whatever else it is in by now stays.
        let _ = self.life.compare_exchange(starting, serving, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Workers that have not ended.
    pub fn running_workers(&self) -> usize {
        self.startup.workers.len() - self.ended.load(Ordering::Acquire)
    }

    /// A worker that is stuck, if there is one.
    pub fn stalled_worker(&self) -> Option<usize> {
        let now = now().get();
        self.heartbeats
            .iter()
            .position(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) > STALLED_MS)
            .filter(|_| self.life() == Life::Serving)
    }

    /// Starts draining because another process serves the same listeners now; workers notice within one tick.
    /// They leave what waits in the listeners' queues to it, and let idle clients send one more request.
    pub fn retire(&self) {
        self.succeeded.store(true, Ordering::Release);
        self.retiring.store(true, Ordering::Release);
        self.life.store(Life::Draining as u8, Ordering::Release);
    }

    /// Whether this process drains because another one has taken over.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire)
    }

    /// Whether another process has the listeners, for good.
    pub fn has_successor(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// Starts draining; workers notice within one tick. Ends the patience of [`Shared::retire`].
    pub fn drain(&self) {
        self.retiring.store(false, Ordering::Release);
        self.life.store(Life::Draining as u8, Ordering::Release);
    }

    /// Whether the policy in force knows a backend that can be tried.
    pub fn has_backend(&self, now: UnixMillis) -> bool {
        self.generation.load().upstreams.models.iter().any(|model| model.is_up(now.get()))
    }
}

/// One connection's part of [`Shared::buffered`].
///
/// Counted as bytes arrive, not as they are promised, so that a promise takes no room from others.
pub struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Held {
    /// Bodies are counted in steps of this many bytes; those under one step not at all, since the number of
    /// connections bounds them.
    pub const STEP: usize = 64 * 1024;

    /// Nothing held yet.
    pub fn none(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), bytes: 0 }
    }

    /// Counts a body that has grown to `bytes`; `false` if all bodies together would exceed `limit`.
    pub fn cover(&mut self, bytes: usize, limit: usize) -> bool {
        let wanted = bytes / Self::STEP * Self::STEP;
        let more = wanted.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let before = self.shared.buffered.fetch_add(more, Ordering::Relaxed);
        if before + more > limit {
            // Others must not be refused for what is not going to be held.
            self.shared.buffered.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes = wanted;
        true
    }

    /// The body is gone.
    pub fn release(&mut self) {
        if self.bytes > 0 {
            self.shared.buffered.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// The wall clock. The data plane and the control thread are the only readers of it.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
