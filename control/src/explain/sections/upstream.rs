//! What the backends did, what it cost, how long it took, how it ended.

use pintle_routing::flow::{Attempt, Fault, FlowDocument, UsageSource};
use pintle_routing::units::Micros;

use super::super::format::{clean, count, dollars, list, micros, tokens};
use super::super::page::Page;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    if !document.upstream.is_empty() {
        page.section("Backends");
        for (at, attempt) in document.upstream.iter().enumerate() {
            write_attempt(page, at + 1, attempt);
        }
    }
    if let Some(looped) = &document.looper {
        let choices: Vec<String> = looped.choices.iter().map(|id| (id + 1).to_string()).collect();
        let answer = if choices.is_empty() { "none".to_owned() } else { choices.join(", ") };
        page.pair("algorithm", &format!("{}, {} calls", clean(&looped.algorithm), looped.calls));
        page.pair("answer", &format!("of call {answer}. {}", clean(&looped.reason)));
    }
    write_usage(page, document);
    write_timings(page, document);
    write_ending(page, document);
}

fn write_attempt(page: &mut Page, number: usize, attempt: &Attempt) {
    let connected = match attempt.connect_us {
        Micros(0) => "pooled connection".to_owned(),
        took => format!("connected in {}", micros(took)),
    };
    let status = attempt.status.map_or(String::new(), |status| format!("answered {status}"));
    let error = match &attempt.error {
        Some(error) => page.bad(&format!("{}{}", clean(error), blame(attempt.fault))),
        None => String::new(),
    };
    let connected =
        if attempt.status.is_none() && attempt.connect_us == Micros(0) { String::new() } else { connected };
    let text = format!(
        "{} at {} ({}): {}",
        clean(&attempt.model),
        clean(&attempt.backend),
        clean(&attempt.address),
        list(&[connected, status, error]),
    );
    page.item(0, &format!("{number}."), &text);
    if let Some(call) = &attempt.sub_call {
        let sure = call.confidence.map_or(String::new(), |sure| format!("confidence {sure:.2}"));
        let used = call.usage.as_ref().map_or(String::new(), |usage| {
            format!("{} in, {} out", tokens(usage.prompt), tokens(usage.completion))
        });
        let cost = call.cost_usd.map_or(String::new(), dollars);
        page.item(
            1,
            "-",
            &format!("call {} ({}): {}", call.id + 1, clean(&call.ask), list(&[sure, used, cost])),
        );
    }
    for edit in &attempt.edits {
        page.item(1, "-", &clean(edit));
    }
}

fn blame(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "",
        Fault::Client => " (the client's fault)",
        Fault::Upstream => " (the backend's fault)",
        Fault::Pintle => " (Pintle's fault)",
    }
}

fn write_usage(page: &mut Page, document: &FlowDocument) {
    let Some(usage) = &document.usage else { return };
    page.section("Usage");
    let cached = match usage.cached {
        Some(cached) => format!("{} of them from the prefix cache", count(cached.get())),
        None => "prefix cache not reported".to_owned(),
    };
    page.pair("prompt", &format!("{}, {cached}", tokens(usage.prompt)));
    page.pair("answer", &tokens(usage.completion));
    let source = match usage.source {
        UsageSource::Backend => "reported by the backend",
        UsageSource::Estimate => "estimated from bytes",
    };
    page.pair("source", source);
    page.pair("cost", &document.cost_usd.map_or("the model has no prices".to_owned(), dollars));
}

fn write_timings(page: &mut Page, document: &FlowDocument) {
    page.section("Time");
    let timings = &document.timings;
    page.pair("routing", &micros(timings.routing_us));
    if let Some(waited) = timings.classifier_us {
        page.pair("classifier", &micros(waited));
    }
    page.pair("first byte", &timings.first_byte_us.map_or(String::new(), micros));
    page.pair("in all", &micros(timings.total_us));
}

fn write_ending(page: &mut Page, document: &FlowDocument) {
    let ending = &document.outcome;
    page.section("End");
    let status = match ending.fault {
        Fault::None => ending.status.to_string(),
        fault => page.bad(&format!("{}{}", ending.status, blame(fault))),
    };
    page.pair("status", &status);
    page.pair("error", &clean(ending.error.as_deref().unwrap_or_default()));
    page.pair("finish", &clean(ending.finish_reason.as_deref().unwrap_or_default()));
    let memory = if ending.committed { "the turn is remembered" } else { "the turn is not remembered" };
    page.pair("session memory", memory);
}
