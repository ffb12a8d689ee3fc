//! Metrics as Prometheus reads them.
//!
//! Whoever measures uses the `metrics` facade and describes its own names; this module is where they
//! become text. Histograms get fixed buckets by their name, so that they can be added up over nodes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The names that the control thread itself measures under; docs/metrics.md lists every name.
pub mod names {
    /// Counter: flow documents written.
    pub const JOURNAL_DOCUMENTS: &str = "pintle_journal_documents_total";
    /// Counter: bytes written to segments.
    pub const JOURNAL_BYTES: &str = "pintle_journal_bytes_total";
    /// Counter, label `reason` (`queue_full`, `unwritable`, `write_failed`): flow documents lost.
    pub const JOURNAL_DROPPED: &str = "pintle_journal_dropped_total";
    /// Gauge: bytes in all segments.
    pub const JOURNAL_DISK_BYTES: &str = "pintle_journal_disk_bytes";
    /// Gauge: segment files.
    pub const JOURNAL_SEGMENTS: &str = "pintle_journal_segments";
    /// Gauge: flow documents waiting to be written.
    pub const JOURNAL_QUEUED: &str = "pintle_journal_queued";
    /// Counter, label `result` (`applied`, `unchanged`, `refused`): reloads of the configuration.
    pub const RELOADS: &str = "pintle_reloads_total";
    /// Gauge: when the running configuration was last applied, in seconds since the Unix epoch.
    pub const LAST_RELOAD: &str = "pintle_last_reload_timestamp_seconds";
    /// Gauge, labels `table` (`sessions`, `responses`), `state` (`occupied`, `free`): slots of session memory.
    pub const SESSION_SLOTS: &str = "pintle_session_slots";
    /// Gauge, label `table`: records that session memory was asked to hold.
    pub const SESSION_CAPACITY: &str = "pintle_session_capacity";
    /// Counter, labels `table`, `event`: what happened to records of session memory, other than being
    /// written.
    pub const SESSION_EVENTS: &str = "pintle_session_events_total";
    /// Gauge, label `version`: 1.
    pub const BUILD_INFO: &str = "pintle_build_info";
    /// Gauge: when the process started, in seconds since the Unix epoch.
    pub const START_TIME: &str = "process_start_time_seconds";
}

/// Buckets in seconds for what takes microseconds: routing and signals.
const ROUTING_SECONDS: &[f64] =
    &[1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5];

/// Buckets in seconds for what a model takes: first tokens and whole answers.
const MODEL_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Buckets in seconds for a batch on a GPU.
const GPU_SECONDS: &[f64] = &[1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.0, 10.0];

/// Buckets in seconds for the time of one output token.
const TOKEN_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];

/// Buckets for counts of tokens.
const TOKENS: &[f64] =
    &[64.0, 256.0, 1024.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0, 262_144.0, 1_048_576.0];

/// Buckets in bytes.
const BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 33_554_432.0];

/// Buckets of histograms whose name has this ending.
const BY_ENDING: &[(&str, &[f64])] =
    &[("_seconds", MODEL_SECONDS), ("_tokens", TOKENS), ("_tokens_per_request", TOKENS), ("_bytes", BYTES)];

/// Buckets of histograms for which the ending is not enough; a whole name goes before an ending.
const BY_NAME: &[(&str, &[f64])] = &[
    ("llm_model_routing_latency_seconds", ROUTING_SECONDS),
    ("llm_signal_extraction_latency_seconds", ROUTING_SECONDS),
    ("llm_decision_evaluation_latency_seconds", ROUTING_SECONDS),
    ("llm_model_tpot_seconds", TOKEN_SECONDS),
    ("pintle_routing_seconds", ROUTING_SECONDS),
    ("pintle_upstream_connect_seconds", ROUTING_SECONDS),
    ("pintle_gpu_batch_seconds", GPU_SECONDS),
];

/// How often histograms are drained of raw samples, so that memory does not wait for a scrape.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The metrics of this process.
#[derive(Clone)]
pub struct Exposition {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exposition")
    }
}

/// Why metrics cannot be collected.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub struct ExpositionError(#[from] BuildError);

impl Exposition {
    /// Makes this process collect metrics; later calls return the same collection. Handles made from the
    /// `metrics` facade before the first call measure nothing, so call it before workers start.
    ///
    /// # Errors
    /// If something else has installed a recorder.
    pub fn install() -> Result<Exposition, ExpositionError> {
        static INSTALLED: Mutex<Option<Exposition>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exposition) = &*installed {
            return Ok(exposition.clone());
        }
        let exposition = Exposition { handle: builder()?.install_recorder()? };
        describe();
        Ok(installed.insert(exposition).clone())
    }

    /// Every metric in the text format, version 0.0.4.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves raw histogram samples into buckets; call every [`UPKEEP_EVERY`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let endings = BY_ENDING.iter().map(|(end, buckets)| (Matcher::Suffix((*end).to_owned()), *buckets));
    let names = BY_NAME.iter().map(|(name, buckets)| (Matcher::Full((*name).to_owned()), *buckets));
    endings.chain(names).try_fold(PrometheusBuilder::new(), |builder, (matcher, buckets)| {
        builder.set_buckets_for_metric(matcher, buckets)
    })
}

fn describe() {
    use metrics::{Unit, describe_counter as counter, describe_gauge as gauge};
    counter!(names::JOURNAL_DOCUMENTS, "Flow documents written to the journal");
    counter!(names::JOURNAL_BYTES, Unit::Bytes, "Bytes written to the journal");
    counter!(names::JOURNAL_DROPPED, "Flow documents lost, by reason");
    gauge!(names::JOURNAL_DISK_BYTES, Unit::Bytes, "Bytes in all journal segments");
    gauge!(names::JOURNAL_SEGMENTS, "Journal segment files");
    gauge!(names::JOURNAL_QUEUED, "Flow documents waiting to be written");
    gauge!(names::SESSION_SLOTS, "Slots of session memory, by table and state");
    gauge!(names::SESSION_CAPACITY, "Records that session memory was asked to hold");
    counter!(names::SESSION_EVENTS, "What happened to records of session memory");
    counter!(names::RELOADS, "Reloads of the configuration, by result");
    gauge!(names::LAST_RELOAD, "When the running configuration was applied");
    gauge!(names::BUILD_INFO, "Always 1; the version is a label");
    gauge!(names::START_TIME, "When the process started");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_count(text: &str, metric: &str) -> usize {
        text.lines().filter(|line| line.starts_with(&format!("{metric}_bucket"))).count()
    }

    #[test]
    fn histograms_get_their_buckets_by_name_first_then_by_ending() {
        let recorder = builder().expect("buckets are valid").build_recorder();
        let exposition = Exposition { handle: recorder.handle() };
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("llm_model_routing_latency_seconds").record(3e-6);
            metrics::histogram!("pintle_routing_seconds").record(3e-6);
            metrics::histogram!("llm_model_ttft_seconds", "model" => "a").record(0.3);
            metrics::histogram!("llm_model_tpot_seconds", "model" => "a").record(0.02);
            metrics::histogram!("llm_prompt_tokens_per_request", "model" => "a").record(900.0);
            metrics::counter!(names::RELOADS, "result" => "applied").increment(2);
        });
        exposition.upkeep();
        let text = exposition.render();
        let with_infinity = |buckets: &[f64]| buckets.len() + 1;
        for (metric, buckets) in [
            ("llm_model_routing_latency_seconds", ROUTING_SECONDS),
            ("pintle_routing_seconds", ROUTING_SECONDS),
            ("llm_model_ttft_seconds", MODEL_SECONDS),
            ("llm_model_tpot_seconds", TOKEN_SECONDS),
            ("llm_prompt_tokens_per_request", TOKENS),
        ] {
            assert_eq!(bucket_count(&text, metric), with_infinity(buckets), "{metric}\n{text}");
        }
        assert!(text.contains("pintle_reloads_total{result=\"applied\"} 2"), "{text}");
    }

    #[test]
    fn installing_twice_gives_the_same_collection() {
        let first = Exposition::install().expect("first");
        let second = Exposition::install().expect("second");
        metrics::counter!("twice_total").increment(1);
        assert!(first.render().contains("twice_total 1"));
        assert!(second.render().contains("twice_total 1"));
    }

    #[test]
    fn buckets_rise() {
        for (end, buckets) in BY_ENDING.iter().chain(BY_NAME) {
            assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]), "{end}");
        }
    }
}
