//! How the matched decision's candidates compared.

use pintle_routing::flow::{CandidateRecord, FlowDocument};
use pintle_routing::session::{CandidateTrace, SessionProfile};
use pintle_routing::units::Usd;

use super::super::format::{clean, dollars, list};
use super::super::page::Page;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    let selection = &document.selection;
    if selection.candidates.is_empty() {
        return;
    }
    page.section("Models");
    let ran = if selection.method == selection.algorithm {
        String::new()
    } else {
        format!(" (scored by {})", clean(&selection.method))
    };
    let algorithm = format!("{}{ran}, confidence {:.4}", clean(&selection.algorithm), selection.confidence);
    page.pair("algorithm", &algorithm);
    page.pair("note", &clean(selection.note.as_deref().unwrap_or_default()));
    let base = selection.base_choice.as_deref().unwrap_or_default();
    let choice = selection.choice.as_deref().unwrap_or_default();
    if base != choice {
        page.pair("by score alone", &clean(base));
    }
    let traces = document.session.policy.as_ref();
    for (at, candidate) in selection.candidates.iter().enumerate() {
        let trace = traces.and_then(|policy| policy.candidates.get(at));
        write_candidate(page, candidate, candidate.target == choice);
        if let Some(trace) = trace.filter(|_| traces.is_some_and(|t| t.profile == SessionProfile::Pintle)) {
            write_prices(page, trace);
        }
    }
    let others: Vec<String> = selection.alternatives.iter().map(|name| clean(name).into_owned()).collect();
    page.pair("fallbacks", &list(&others));
}

fn write_candidate(page: &mut Page, candidate: &CandidateRecord, chosen: bool) {
    let name = clean(&candidate.target);
    let name = if chosen { page.bold(&name) } else { name.into_owned() };
    let scores = match candidate.adjusted_score {
        Some(adjusted) => format!("score {:.4}, after session policy {adjusted:.4}", candidate.base_score),
        None => format!("score {:.4}", candidate.base_score),
    };
    let scores = if candidate.eligible { scores } else { "ruled out".to_owned() };
    let mark = match (chosen, candidate.eligible) {
        (true, _) => page.good("→"),
        (false, true) => "·".to_owned(),
        (false, false) => page.bad("✗"),
    };
    let reason = clean(&candidate.reason);
    let reason = if reason.is_empty() { String::new() } else { page.dim(&format!(": {reason}")) };
    page.item(0, &mark, &format!("{name} {scores}{reason}"));
}

/// What the candidate would cost from this turn on; parts that are zero are left out.
fn write_prices(page: &mut Page, trace: &CandidateTrace) {
    if trace.total == Usd(0.0) {
        return;
    }
    let part = |amount: Usd, what: &str| match amount {
        Usd(0.0) => String::new(),
        amount => format!("{what} {}", dollars(amount)),
    };
    let rebuild = match trace.rebuild {
        Usd(0.0) => String::new(),
        amount => format!(" (of which {} to rebuild the cached prefix)", dollars(amount)),
    };
    let prompt = part(trace.prompt, "prompt");
    let prompt = if prompt.is_empty() { prompt } else { format!("{prompt}{rebuild}") };
    let parts = [
        prompt,
        part(trace.cached, "cached prompt"),
        part(trace.completion, "answer"),
        part(trace.shortfall, "below its tier"),
        part(trace.switch, "changing model"),
        part(trace.future, "turns to come"),
    ];
    page.item(1, "=", &page.dim(&format!("{} in all: {}", dollars(trace.total), list(&parts))));
}
