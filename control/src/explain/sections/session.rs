//! What was remembered of the session, and what its policy made of it.

use pintle_routing::flow::FlowDocument;
use pintle_routing::flow::recorded::RecordedSession;
use pintle_routing::session::{SessionProfile, SessionTrace};
use pintle_routing::units::UnixMillis;

use super::super::format::{clean, count, dollars, list, millis, plural, tokens};
use super::super::page::Page;
use super::word;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    let session = &document.session;
    if session.before.is_none() && session.phase.is_none() && session.policy.is_none() {
        return;
    }
    page.section("Session");
    match &session.before {
        Some(before) => write_before(page, before, document.at),
        None => page.pair("before", "nothing was remembered of it"),
    }
    if let Some(phase) = &session.phase {
        page.pair("phase", &word(phase));
    }
    if let Some(action) = session.action {
        page.pair("action", &action.as_str().replace('_', " "));
    }
    if let Some(policy) = &session.policy {
        write_policy(page, policy);
    }
    if session.breach {
        page.pair("breach", &page.bad("a hard lock could not be kept"));
    }
    page.pair("because", &clean(&session.reason));
}

fn write_before(page: &mut Page, before: &RecordedSession, now: UnixMillis) {
    let decision = match before.decision.as_str() {
        "" => String::new(),
        decision => format!(" by {}", clean(decision)),
    };
    let served = format!(
        "{} (the last {} on it), {}, last seen {} ago",
        plural(u64::from(before.turns), "turn"),
        before.turns_on_model,
        match before.switches {
            1 => "1 switch".to_owned(),
            switches => format!("{switches} switches"),
        },
        millis(now.since(before.last_seen)),
    );
    page.pair("before", &format!("on {}{decision}: {served}", clean(&before.model)));
    let open =
        [(before.open_tool_loop, "a tool loop is open"), (before.provider_state, "state at the provider")];
    let open: Vec<String> = open.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned()).collect();
    page.pair("open", &list(&open));
    let cached = match before.last_cached_tokens {
        Some(cached) => format!("{} from the prefix cache", count(cached.get())),
        None => "prefix cache not reported".to_owned(),
    };
    let last = format!(
        "prompt of {} ({cached}), answer of {}",
        tokens(before.last_prompt_tokens),
        tokens(before.last_completion_tokens),
    );
    page.pair("last turn", &last);
}

fn write_policy(page: &mut Page, policy: &SessionTrace) {
    let lock = match &policy.lock {
        Some(lock) => page.bold(&word(lock)),
        None => "none".to_owned(),
    };
    page.pair("lock", &lock);
    if let Some(reset) = &policy.reset {
        let idle = policy.idle_ms.map_or(String::new(), |idle| format!(" (idle for {})", millis(idle)));
        page.pair("boundary", &format!("{}{idle}", word(reset)));
    }
    match policy.profile {
        SessionProfile::Pintle => {
            let estimates = [
                format!(
                    "demand {:.2} this turn, {:.2} over the session",
                    policy.turn_demand, policy.session_demand
                ),
                format!("{:.0} % of the prompt expected in the prefix cache", policy.warmth * 100.0),
                format!("{:.1} turns to come", policy.remaining_turns),
                format!("{} for a turn below its tier", dollars(policy.shortfall_price)),
            ];
            page.pair("estimates", &list(&estimates));
        }
        SessionProfile::Compat => write_saar(page, policy),
    }
}

/// The terms of v0.3.0's adjusted scores.
fn write_saar(page: &mut Page, policy: &SessionTrace) {
    let Some(saar) = &policy.saar else { return };
    page.pair("v0.3 reason", &clean(&saar.decision_reason));
    page.pair("v0.3 lock", &clean(&saar.hard_lock_reason));
    let missing: Vec<String> = saar.missing_signals.iter().map(|name| clean(name).into_owned()).collect();
    page.pair("missing", &list(&missing));
}
