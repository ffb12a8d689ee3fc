//! The title, and the answer in one or two sentences.

use pintle_routing::flow::{Fault, FlowDocument};

use super::format::{clean, dollars, micros, time};
use super::page::Page;

/// Status of requests whose client left before the answer.
const CLIENT_LEFT: u16 = 499;

pub(super) fn write(page: &mut Page, document: &FlowDocument) {
    page.title(&format!("Flow {} · {} · worker {}", clean(&document.id), time(document.at), document.worker));
    page.paragraph(&answer(document));
}

pub(super) fn write_plan(page: &mut Page, document: &FlowDocument) {
    page.title(&format!("Dry run · {} · nothing was sent", time(document.at)));
    let verdict = &document.verdict;
    let text = match (verdict.kind.as_str(), &verdict.target) {
        ("route", Some(target)) => format!("{} would be asked.{}", clean(target), sentence(&verdict.reason)),
        _ => answer(document),
    };
    page.paragraph(&text);
}

fn answer(document: &FlowDocument) -> String {
    let verdict = &document.verdict;
    let reason = sentence(if verdict.reason.is_empty() { &document.session.reason } else { &verdict.reason });
    match verdict.kind.as_str() {
        "route" => format!("{}{}{}", routed(document), reason, costs(document)),
        "answer" => {
            let decision = verdict.decision.as_deref().unwrap_or("the matched decision");
            format!("Answered from the configuration of {}; no model was asked.{reason}", clean(decision))
        }
        "refuse" => {
            let status = verdict.status.unwrap_or(document.outcome.status);
            let code = verdict.code.as_deref().map_or(String::new(), |code| format!(" ({})", clean(code)));
            format!("Refused with {status}{code}; no model was asked.{reason}")
        }
        _ => {
            format!("The request ended with {} before a decision was taken.{reason}", document.outcome.status)
        }
    }
}

fn routed(document: &FlowDocument) -> String {
    let target = clean(document.verdict.target.as_deref().unwrap_or("an unnamed model")).into_owned();
    let status = document.outcome.status;
    match (document.outcome.fault, status) {
        (Fault::None, _) => format!("{target} answered."),
        (Fault::Client, CLIENT_LEFT) => {
            format!("{target} was asked, but the client left before the answer was complete.")
        }
        (Fault::Client, _) => {
            format!("{target} was asked, and answered that the request is at fault ({status}).")
        }
        (Fault::Upstream, _) => {
            format!("{target} was chosen, but its backends failed; the client got {status}.")
        }
        (Fault::Pintle, _) => format!("{target} was chosen, but Pintle failed; the client got {status}."),
    }
}

/// ` Reason.`, or nothing.
fn sentence(reason: &str) -> String {
    let reason = clean(reason.trim());
    let mut letters = reason.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    format!(" {}{}{end}", first.to_uppercase(), letters.as_str())
}

fn costs(document: &FlowDocument) -> String {
    let took = micros(document.timings.total_us);
    match document.cost_usd {
        Some(cost) => format!(" It cost {} and took {took}.", dollars(cost)),
        None => format!(" It took {took}."),
    }
}
