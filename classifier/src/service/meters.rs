//! What the service reports of itself.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use pintle_routing::evidence::Unknown;

pub(super) fn describe() {
    describe_histogram!(
        "pintle_classifier_queue_seconds",
        Unit::Seconds,
        "From a question to the moment a thread takes it up"
    );
    describe_histogram!(
        "pintle_classifier_inference_seconds",
        Unit::Seconds,
        "One call of a model, however many texts"
    );
    describe_histogram!("pintle_classifier_batch_texts", Unit::Count, "Texts of one call of a model");
    describe_counter!("pintle_classifier_cache_total", Unit::Count, "Texts that were looked up, by result");
    describe_counter!(
        "pintle_classifier_unknown_total",
        Unit::Count,
        "Questions without an answer, by reason"
    );
    describe_counter!("pintle_classifier_failures_total", Unit::Count, "Calls of a model that failed");
    describe_counter!(
        "pintle_classifier_failovers_total",
        Unit::Count,
        "Calls that another back end answered than the model's first"
    );
    pintle_hip::engine::describe();
}

pub(super) fn queued(waited: Duration) {
    histogram!("pintle_classifier_queue_seconds").record(waited.as_secs_f64());
}

pub(crate) fn inference(model: &str, backend: &'static str, texts: usize, took: Duration) {
    histogram!("pintle_classifier_inference_seconds", "model" => model.to_owned(), "backend" => backend)
        .record(took.as_secs_f64());
    histogram!("pintle_classifier_batch_texts", "model" => model.to_owned()).record(texts as f64);
}

pub(super) fn looked_up(model: &str, hits: u64, misses: u64) {
    let count = |result: &'static str, number: u64| {
        if number > 0 {
            counter!("pintle_classifier_cache_total", "model" => model.to_owned(), "result" => result)
                .increment(number);
        }
    };
    count("hit", hits);
    count("miss", misses);
}

pub(crate) fn failed(model: &str, backend: &'static str) {
    counter!("pintle_classifier_failures_total", "model" => model.to_owned(), "backend" => backend)
        .increment(1);
}

pub(super) fn passed_over(model: &str, backend: &'static str) {
    counter!("pintle_classifier_failovers_total", "model" => model.to_owned(), "backend" => backend)
        .increment(1);
}

pub(super) fn unknown(why: Unknown) {
    counter!("pintle_classifier_unknown_total", "reason" => why.as_str()).increment(1);
}

pub(super) fn refused() {
    unknown(Unknown::Overloaded);
}
