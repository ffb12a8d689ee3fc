//! What the data plane counts. Handles are looked up once per policy, not per request.
//!
//! Names that v0.3 has are v0.3's, with its labels; the others begin with `pintle_`. `describe` registers
//! the help texts with whatever recorder the process installed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use pintle_routing::flow::Fault;
use pintle_routing::live::{Latency, ModelLive};
use pintle_routing::policy::Policy;

use crate::shared::Shared;
use crate::upstream::Wire;

/// Registers help texts and units.
pub fn describe() {
    describe_counter!("llm_model_requests_total", "Requests routed, by the model that served them");
    describe_counter!("llm_request_errors_total", "Failed requests, by model and reason");
    describe_counter!("llm_model_prompt_tokens_total", "Prompt tokens, cached ones included");
    describe_counter!("llm_model_completion_tokens_total", "Generated tokens");
    describe_gauge!("llm_model_cost_total", "What the tokens cost, by the configured price list");
    describe_counter!("llm_session_model_transitions_total", "Model changes inside a session");
    describe_counter!("llm_decision_match_total", "Requests that a decision took");
    describe_counter!("llm_routing_reason_codes_total", "What session policy did, by model");
    describe_histogram!("llm_model_ttft_seconds", Unit::Seconds, "From the request's end to the first byte");
    describe_histogram!(
        "llm_model_completion_latency_seconds",
        Unit::Seconds,
        "From first byte in to last byte out"
    );
    describe_histogram!("llm_model_tpot_seconds", Unit::Seconds, "Time per generated token");
    describe_histogram!("llm_model_routing_latency_seconds", Unit::Seconds, "Facts, signals and decision");
    describe_counter!("pintle_requests_total", "Requests ended, by status class and by whose fault it was");
    describe_counter!(
        "pintle_upstream_retries_total",
        "Attempts after a first one failed before the request was sent"
    );
    describe_counter!("pintle_looper_calls_total", "Calls of decisions that ask several models");
    describe_counter!("llm_model_feedback_total", "Pieces of feedback taken in");
    describe_counter!("pintle_upstream_failures_total", "Failed attempts, by backend and reason");
    describe_counter!(
        "pintle_upstream_tls_handshakes_total",
        "TLS handshakes with backends, by host and port, version and whether a session was resumed"
    );
    describe_counter!("pintle_session_lock_breaches_total", "Hard locks that could not be kept");
    describe_counter!(
        "pintle_session_not_stored_total",
        "Turns whose session found no room in session memory"
    );
    describe_counter!("pintle_flows_dropped_total", "Flow documents lost because the journal was behind");
    describe_gauge!("pintle_connections", "Client connections");
    describe_gauge!("pintle_in_flight", "Requests between their head and their answer's last byte");
    describe_gauge!("pintle_generation", "Configurations applied since the start");
    describe_gauge!("pintle_backend_up", "1 while a backend is believed to be up");
    describe_gauge!("pintle_backend_in_flight", "Requests at a backend");
    describe_gauge!("pintle_backend_srtt_seconds", Unit::Seconds, "Smoothed round-trip time, newest request");
    describe_gauge!("pintle_backend_min_rtt_seconds", Unit::Seconds, "Smallest round-trip time");
    describe_counter!("pintle_backend_retransmits_total", "Segments sent to a backend again, SYNs included");
    describe_counter!("pintle_backend_connects_total", "TCP connections to a backend established");
    describe_counter!("pintle_backend_connect_microseconds_total", "What that took, added up");
    describe_counter!(
        "pintle_backend_connect_failures_total",
        "TCP connections to a backend not established"
    );
    describe_counter!("pintle_panics_total", "Connections ended by a defect in this program");
}

/// Sets the gauges: what is going on now.
pub fn gauge(shared: &Shared) {
    gauge!("pintle_connections").set(shared.connections.load(Ordering::Relaxed) as f64);
    gauge!("pintle_in_flight").set(shared.in_flight.load(Ordering::Relaxed) as f64);
    let generation = shared.generation.load();
    gauge!("pintle_generation").set(generation.serial as f64);
    let now = crate::shared::now().get();
    for model in &generation.upstreams.models {
        for backend in &model.backends {
            let up = f64::from(u8::from(backend.health.is_up(now)));
            let labels = [("model", model.name.clone()), ("backend", backend.spec.name.clone())];
            gauge!("pintle_backend_up", &labels).set(up);
            gauge!("pintle_backend_in_flight", &labels).set(f64::from(backend.health.in_flight()));
            if generation.settings.tells_of_backends {
                tell(&backend.health.wire, &labels);
            }
        }
    }
}

/// What connections to a backend told.
fn tell(wire: &Wire, labels: &[(&'static str, String); 2]) {
    let seconds = |us: u32| f64::from(us) / 1e6;
    gauge!("pintle_backend_srtt_seconds", labels).set(seconds(wire.srtt_us()));
    gauge!("pintle_backend_min_rtt_seconds", labels).set(seconds(wire.min_rtt_us()));
    let (connects, connect_us) = wire.connects();
    for (name, count) in [
        ("pintle_backend_retransmits_total", wire.retransmits()),
        ("pintle_backend_connects_total", connects),
        ("pintle_backend_connect_microseconds_total", connect_us),
        ("pintle_backend_connect_failures_total", wire.failures()),
    ] {
        counter!(name, labels).absolute(count);
    }
}

/// Counters of one policy.
pub struct Meters {
    /// Indexed by the policy's model ids.
    pub models: Vec<ModelMeters>,
    decisions: Vec<Counter>,
    routing: Histogram,
    ended: [[Counter; 4]; 6],
    /// Retries.
    pub retries: Counter,
    /// Broken locks.
    pub breaches: Counter,
    /// Sessions without room.
    pub not_stored: Counter,
    /// Lost flows.
    pub flows_dropped: Counter,
}

/// Counters of one model.
pub struct ModelMeters {
    name: String,
    cost: Gauge,
    requests: Counter,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    ttft: Histogram,
    tpot: Histogram,
    completion: Histogram,
    /// What selectors read; kept across reloads.
    pub latency: Arc<LatencyWindow>,
}

const FAULTS: [&str; 4] = ["none", "client", "upstream", "pintle"];
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Meters {
    /// Looks up every handle. Latency windows of models that `earlier` knew are carried over.
    pub fn of(policy: &Policy, earlier: Option<&Meters>) -> Self {
        let models = policy
            .models()
            .iter()
            .map(|model| {
                let name = model.name.clone();
                let before = earlier.and_then(|meters| meters.models.iter().find(|known| known.name == name));
                ModelMeters {
                    name: name.clone(),
                    requests: counter!("llm_model_requests_total", "model" => name.clone()),
                    prompt_tokens: counter!("llm_model_prompt_tokens_total", "model" => name.clone()),
                    completion_tokens: counter!("llm_model_completion_tokens_total", "model" => name.clone()),
                    ttft: histogram!("llm_model_ttft_seconds", "model" => name.clone()),
                    tpot: histogram!("llm_model_tpot_seconds", "model" => name.clone()),
                    completion: histogram!("llm_model_completion_latency_seconds", "model" => name.clone()),
                    // A Prometheus counter in all but type: the facade's counters are whole numbers.
                    cost: gauge!("llm_model_cost_total", "model" => name.clone(), "currency" => "USD"),
                    latency: before.map(|known| known.latency.clone()).unwrap_or_default(),
                }
            })
            .collect();
        let decisions = policy
            .decision_names()
            .map(|name| counter!("llm_decision_match_total", "decision_name" => name.to_owned()))
            .collect();
        let ended = CLASSES.map(|class| {
            FAULTS.map(|fault| counter!("pintle_requests_total", "class" => class, "fault" => fault))
        });
        Self {
            models,
            decisions,
            routing: histogram!("llm_model_routing_latency_seconds"),
            ended,
            retries: counter!("pintle_upstream_retries_total"),
            breaches: counter!("pintle_session_lock_breaches_total"),
            not_stored: counter!("pintle_session_not_stored_total"),
            flows_dropped: counter!("pintle_flows_dropped_total"),
        }
    }

    /// A request ended.
    pub fn ended(&self, status: u16, fault: Fault) {
        let class = usize::from(status / 100);
        self.ended[if class < CLASSES.len() { class } else { 0 }][fault as usize].increment(1);
    }

    /// A request failed. Rare enough to look the series up.
    pub fn failed(&self, model: &str, reason: &'static str) {
        counter!("llm_request_errors_total", "model" => model.to_owned(), "reason" => reason).increment(1);
    }

    /// A request was routed in `seconds`, perhaps by a decision.
    pub fn routed(&self, seconds: f64, decision: Option<usize>) {
        self.routing.record(seconds);
        if let Some(counter) = decision.and_then(|index| self.decisions.get(index)) {
            counter.increment(1);
        }
    }
}

/// What one answered turn adds to its model's counters.
pub struct Turn {
    /// From the request's end to the first byte, in seconds.
    pub ttft: f64,
    /// From first byte in to last byte out, in seconds.
    pub total: f64,
    /// Tokens.
    pub prompt: u64,
    /// Tokens.
    pub completion: u64,
    /// Streamed: only then is the first byte the first token.
    pub streamed: bool,
}

impl ModelMeters {
    /// A request went to this model.
    pub fn requested(&self) {
        self.requests.increment(1);
    }

    /// A turn was answered with 2xx.
    pub fn answered(&self, turn: &Turn) {
        self.prompt_tokens.increment(turn.prompt);
        self.completion_tokens.increment(turn.completion);
        self.completion.record(turn.total);
        self.ttft.record(turn.ttft);
        if turn.streamed {
            self.latency.ttft.push(turn.ttft * 1e3);
            if turn.completion > 0 {
                let tpot = (turn.total - turn.ttft).max(0.0) / turn.completion as f64;
                self.tpot.record(tpot);
                self.latency.tpot.push(tpot * 1e3);
            }
        }
    }

    /// What a turn cost, in US dollars.
    pub fn cost(&self, usd: f64) {
        self.cost.increment(usd);
    }
}

/// Samples that a window holds.
const WINDOW: usize = 1024;

/// The last samples of one quantity, written by any worker without a lock.
///
/// A sample is one 32-bit store, so a reader sees whole samples, though not necessarily in order; the
/// percentiles made of them do not care.
pub struct Samples {
    ring: Box<[AtomicU32]>,
    next: AtomicUsize,
}

impl Default for Samples {
    fn default() -> Self {
        Self { ring: (0..WINDOW).map(|_| AtomicU32::new(0)).collect(), next: AtomicUsize::new(0) }
    }
}

impl Samples {
    /// Adds a sample.
    pub fn push(&self, value: f64) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % WINDOW;
        self.ring[at].store((value as f32).to_bits(), Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    fn distribution(&self) -> Option<Latency> {
        let count = self.count().min(WINDOW);
        let mut sorted: Vec<f64> = self.ring[..count]
            .iter()
            .map(|bits| f64::from(f32::from_bits(bits.load(Ordering::Relaxed))))
            .collect();
        sorted.sort_by(f64::total_cmp);
        Latency::of_sorted(&sorted)
    }
}

/// Latency of one model's streamed 2xx answers, in milliseconds.
///
/// Errors and unstreamed answers are left out: a model that fails fast is not a fast model, and the head
/// of an unstreamed answer comes with its last token.
#[derive(Default)]
pub struct LatencyWindow {
    ttft: Samples,
    tpot: Samples,
}

impl LatencyWindow {
    /// Brings `live` up to date if a sample came since `seen`, and returns the new mark.
    pub fn read(&self, seen: usize, live: &mut ModelLive) -> usize {
        let count = self.ttft.count();
        if count != seen {
            live.ttft = self.ttft.distribution();
            live.tpot = self.tpot.distribution();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_last_samples() {
        let window = LatencyWindow::default();
        for sample in 0..3000 {
            window.ttft.push(f64::from(sample));
        }
        let mut live = ModelLive::default();
        let mark = window.read(0, &mut live);
        assert_eq!(mark, 3000);
        let ttft = live.ttft.unwrap();
        assert_eq!(ttft.samples as usize, WINDOW);
        assert!(ttft.percentile(0.0) >= (3000 - WINDOW) as f64);
        assert!(live.tpot.is_none());
        live.ttft = None;
        window.read(mark, &mut live);
        assert!(live.ttft.is_none(), "nothing new, nothing sorted");
    }
}
