//! `pintle sessions shadow`: another policy beside the one that served, over the flows on record.
//!
//! The other policy leads its own life: its session stays on the model that *it* chose, however the session really
//! went on. So a lock holds the shadow's model, a switch is a switch of the shadow, and a prefix is warm where the
//! shadow would have warmed it.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use pintle_control::journal::{self, Entry};
use pintle_routing::flow::FlowDocument;
use pintle_routing::flow::recorded::{Recorded, RecordedSession};
use pintle_routing::outcome::{Route, SessionPhase};
use pintle_routing::policy::Policy;
use pintle_routing::session::economics::CacheModel;
use pintle_routing::session::{Pricing, economics};
use pintle_routing::units::Tokens;
use serde::Serialize;

use super::route::load_policy;
use crate::cli::Shadow as Options;
use crate::wire;

/// Sessions that are followed at once; flows of further ones are left out and counted.
const MAX_SESSIONS: usize = 1_000_000;

pub(super) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let (config, policy) = load_policy(&options.policy)?;
    let dir = wire::state_dir(&config, options.state_dir.clone()).join("flows");
    if !dir.is_dir() {
        let message =
            format!("there is no flow journal in {}; --state-dir names another place", dir.display());
        return Err(message.into());
    }
    let mut shadow = Shadow::new(&policy);
    let mut differences = options.differences.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let mut failed = Ok(());
    journal::for_each(&dir, options.since.map(|since| since.0), |entry| {
        if let Entry::Flow(document) = entry
            && let Some(difference) = shadow.follow(&document)
            && let Some(out) = &mut differences
        {
            failed = serde_json::to_writer(&mut *out, &difference)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
        }
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    failed?;
    differences.as_mut().map_or(Ok(()), Write::flush)?;
    io::stdout().write_all(shadow.report(options.limit).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What one side did.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Side {
    switches: u32,
    /// Dollars.
    cost: f64,
}

/// A turn on which the two are not of one mind.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    flow: String,
    session: String,
    /// Turn of the session, counted from 0 where the journal begins.
    turn: u32,
    served: String,
    shadow: String,
    /// Dollars; none where usage or a price is missing.
    served_cost: Option<f64>,
    shadow_cost: Option<f64>,
    /// Why the shadow chose as it did.
    reason: String,
}

/// One session on both sides.
#[derive(Debug, Default)]
struct Followed {
    /// The session as the shadow would remember it.
    record: Option<RecordedSession>,
    turns: u32,
    differs: u32,
    refused: u32,
    served: Side,
    shadow: Side,
}

struct Shadow<'p> {
    policy: &'p Policy,
    sessions: HashMap<String, Followed>,
    /// Turns that one of the two policies has no price for.
    unpriced: u64,
    left_out: u64,
}

impl<'p> Shadow<'p> {
    fn new(policy: &'p Policy) -> Self {
        Self { policy, sessions: HashMap::new(), unpriced: 0, left_out: 0 }
    }

    /// Takes in a turn that was served and remembered; says if the shadow differs.
    fn follow(&mut self, document: &FlowDocument) -> Option<Difference> {
        let (inputs, served) = (document.inputs.as_ref()?, document.verdict.target.as_ref()?);
        let (key, _) = inputs.facts.session.as_ref().filter(|_| document.outcome.committed)?;
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(key) {
            self.left_out += 1;
            return None;
        }
        let followed = self.sessions.entry(key.clone()).or_default();
        // The journal may begin in the middle of a session: until then the two are one.
        let before = followed.record.take().or_else(|| inputs.session.clone());
        let was = inputs.session.as_ref().map_or("", |session| session.model.as_str());
        let recorded = Recorded {
            session: before.clone(),
            provider_owner: inputs.provider_owner.as_ref().map(|owner| match &before {
                Some(session) if owner == was => session.model.clone(),
                _ => owner.clone(),
            }),
            ..Recorded::clone(inputs)
        };
        let outcome = self.policy.replay(&recorded);
        let Some(route) = outcome.verdict.route() else {
            followed.refused += 1;
            followed.record = before;
            return None;
        };
        let chosen = self.policy.target_name(route.target);
        followed.turns += 1;
        followed.differs += u32::from(chosen != served);
        followed.served.switches += u32::from(!was.is_empty() && was != served);
        let stays = before.as_ref().is_some_and(|session| session.model == chosen);
        followed.shadow.switches += u32::from(before.as_ref().is_some_and(|s| !s.model.is_empty()) && !stays);

        let usage = document.usage.as_ref();
        let prompt = usage.map_or(0, |usage| usage.prompt.get()) as f64;
        let completion = usage.map_or(0, |usage| usage.completion.get()) as f64;
        let actual = usage.and_then(|usage| usage.cached).map(|cached| cached.get() as f64 / prompt.max(1.0));
        let guessed = |stays| share(&recorded, stays);
        let real = actual.unwrap_or_else(|| guessed(was == served)).min(1.0);
        // Where both stay, or both begin, on the same model, what the backend said of its cache holds for both.
        let same = chosen == served && stays == (was == served);
        let imagined = if same { real } else { guessed(stays) };
        let costs = match (price(self.policy, served), price(self.policy, chosen)) {
            (Some(a), Some(b)) if usage.is_some() => {
                let dollars =
                    |prices, cached| economics::token_cost(prices, prompt, cached, completion).total();
                Some((dollars(&a, real), dollars(&b, imagined)))
            }
            _ => None,
        };
        followed.served.cost += costs.map_or(0.0, |(served, _)| served);
        followed.shadow.cost += costs.map_or(0.0, |(_, shadow)| shadow);
        self.unpriced += u64::from(costs.is_none());
        followed.record = Some(remember(&recorded, before, chosen, self.policy, route, document, imagined));
        (chosen != served).then(|| Difference {
            flow: document.id.clone(),
            session: key.clone(),
            turn: followed.turns - 1,
            served: served.clone(),
            shadow: chosen.to_owned(),
            served_cost: costs.map(|(served, _)| served),
            shadow_cost: costs.map(|(_, shadow)| shadow),
            reason: route.reason.to_string(),
        })
    }

    fn report(&self, limit: usize) -> String {
        let mut sessions: Vec<(&String, &Followed)> =
            self.sessions.iter().filter(|(_, s)| s.turns > 0).collect();
        let saved = |s: &Followed| s.served.cost - s.shadow.cost;
        sessions.sort_by(|a, b| saved(b.1).abs().total_cmp(&saved(a.1).abs()).then(a.0.cmp(b.0)));
        let line = |name: &str, turns, differs, served: Side, shadow: Side| {
            format!(
                "{name:<34}{turns:>8}{differs:>9}{:>10}{:>8}{:>14.6}{:>14.6}\n",
                served.switches, shadow.switches, served.cost, shadow.cost
            )
        };
        let mut out = format!(
            "{:<34}{:>8}{:>9}{:>10}{:>8}{:>14}{:>14}\n",
            "session", "turns", "differ", "switches", "shadow", "cost $", "shadow $"
        );
        for (key, s) in sessions.iter().take(limit) {
            out.push_str(&line(key, u64::from(s.turns), u64::from(s.differs), s.served, s.shadow));
        }
        let add = |of: fn(&Followed) -> Side| {
            sessions.iter().fold(Side::default(), |sum, (_, s)| Side {
                switches: sum.switches + of(s).switches,
                cost: sum.cost + of(s).cost,
            })
        };
        let count = |of: fn(&Followed) -> u32| sessions.iter().map(|(_, s)| u64::from(of(s))).sum::<u64>();
        let name = format!("all {} sessions", sessions.len());
        out.push_str(&line(
            &name,
            count(|s| s.turns),
            count(|s| s.differs),
            add(|s| s.served),
            add(|s| s.shadow),
        ));
        let refused: u64 = self.sessions.values().map(|s| u64::from(s.refused)).sum();
        for (count, what) in [
            (refused, "turns that the other policy would not have routed"),
            (self.unpriced, "turns without usage or without a price"),
            (self.left_out, "turns of sessions beyond the bound"),
        ] {
            if count > 0 {
                out.push_str(&format!("{count} {what}\n"));
            }
        }
        out
    }
}

fn price(policy: &Policy, name: &str) -> Option<Pricing> {
    policy.models()[policy.target(name)?.model.index()].pricing
}

/// Expected cached share of a turn's prompt, where no backend was asked.
fn share(recorded: &Recorded, stays: bool) -> f64 {
    let tools = &recorded.facts.tools;
    let phase = if tools.last_is_result || tools.last_is_user_after_result {
        SessionPhase::ToolLoop
    } else if recorded.facts.provider_state.is_some() {
        SessionPhase::ProviderState
    } else {
        SessionPhase::UserTurn
    };
    let ratio = if recorded.bytes_per_token > 0.0 { recorded.bytes_per_token } else { 4.0 };
    CacheModel::default().share(phase, recorded.facts.history_bytes as f64 / ratio, false, !stays)
}

/// The session after the turn, as the shadow would remember it.
fn remember(
    recorded: &Recorded,
    before: Option<RecordedSession>,
    chosen: &str,
    policy: &Policy,
    route: &Route,
    document: &FlowDocument,
    cached_share: f64,
) -> RecordedSession {
    let known = before.as_ref().filter(|session| session.turns > 0);
    let moved = known.is_some_and(|session| session.model != chosen);
    let usage = document.usage.as_ref();
    let prompt = usage.map_or_else(Default::default, |usage| usage.prompt);
    let completion = usage.map_or_else(Default::default, |usage| usage.completion);
    let reported = usage.and_then(|usage| usage.cached).is_some();
    let cached = Tokens((prompt.get() as f64 * cached_share) as u64);
    let sum = |of: fn(&RecordedSession) -> u64, more: u64| Tokens(known.map_or(0, of).saturating_add(more));
    RecordedSession {
        model: chosen.to_owned(),
        decision: route.decision.map_or(String::new(), |decision| policy.decision_name(decision).to_owned()),
        turns: known.map_or(0, |s| s.turns).saturating_add(1),
        switches: known.map_or(0, |s| s.switches) + u32::from(moved),
        turns_on_model: if moved { 1 } else { known.map_or(0, |s| s.turns_on_model).saturating_add(1) },
        last_seen: recorded.now,
        open_tool_loop: document
            .outcome
            .finish_reason
            .as_deref()
            .is_some_and(|reason| reason.contains("tool")),
        provider_state: recorded.facts.provider_state.is_some(),
        last_prompt_tokens: prompt,
        last_cached_tokens: reported.then_some(cached),
        last_completion_tokens: completion,
        prompt_tokens: sum(|s| s.prompt_tokens.get(), prompt.get()),
        cached_tokens: sum(|s| s.cached_tokens.get(), if reported { cached.get() } else { 0 }),
        completion_tokens: sum(|s| s.completion_tokens.get(), completion.get()),
        demand: route.session_commit.demand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_config::Profile;
    use pintle_routing::facts::{Facts, SessionIdentity, SessionSnapshot, SessionSource, ToolFacts};
    use pintle_routing::flow::{Usage, UsageSource};
    use pintle_routing::live::LiveSignals;
    use pintle_routing::policy::{Inputs, Record};
    use pintle_routing::units::UnixMillis;

    /// Both models; whichever is named first serves.
    fn policy(first: &str, second: &str) -> Policy {
        let text = format!(
            r#"
version: v0.3
listeners: [{{name: h, address: 127.0.0.1, port: 8801}}]
providers:
  defaults: {{default_model: small}}
  models:
    - {{name: small, backend_refs: [{{name: a, endpoint: "127.0.0.1:1", protocol: http}}], pricing: {{prompt_per_1m: 1, completion_per_1m: 2, cached_input_per_1m: 0.5}}}}
    - {{name: large, backend_refs: [{{name: b, endpoint: "127.0.0.1:2", protocol: http}}], pricing: {{prompt_per_1m: 10, completion_per_1m: 20, cached_input_per_1m: 1}}}}
routing:
  modelCards: [{{name: small}}, {{name: large}}]
  signals: {{keywords: [{{name: never, operator: NOR, keywords: [never]}}]}}
  decisions: [{{name: all, priority: 1, rules: {{type: keyword, name: never}}, modelRefs: [{{model: {first}}}, {{model: {second}}}]}}]
"#
        );
        let loaded = pintle_config::load(text.as_bytes(), "test.yaml", Profile::Pintle);
        let config = loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.report));
        Policy::compile(&config, Profile::Pintle).expect("compiles")
    }

    /// A turn as `policy` serves it.
    fn turn(policy: &Policy, before: Option<&str>, is_result: bool) -> FlowDocument {
        let facts = Facts {
            session: Some(SessionIdentity { key: 7, source: SessionSource::XSessionId }),
            tools: ToolFacts { last_is_result: is_result, ..ToolFacts::default() },
            ..Facts::of_text("hello")
        };
        let session = before.map(|model| SessionSnapshot {
            model,
            decision: "all",
            turns: 1,
            switches: 0,
            turns_on_model: 1,
            last_seen: UnixMillis(1),
            open_tool_loop: false,
            provider_state: false,
            last_prompt_tokens: Tokens(1000),
            last_cached_tokens: None,
            last_completion_tokens: Tokens(100),
            prompt_tokens: Tokens(1000),
            cached_tokens: Tokens(0),
            completion_tokens: Tokens(100),
            demand: -1.0,
        });
        let live = LiveSignals::default();
        let inputs = Inputs {
            facts: &facts,
            session: session.as_ref(),
            provider_owner: None,
            now: UnixMillis(2),
            live: &live,
            foresight: None,
        };
        let outcome = policy.decide_with(&inputs);
        let mut document = FlowDocument { id: "01".into(), ..FlowDocument::default() };
        policy.describe(&inputs, &outcome, Record::Evidence, &mut document);
        document.outcome.committed = true;
        document.usage = Some(Usage {
            prompt: Tokens(1000),
            cached: Some(Tokens(500)),
            completion: Tokens(100),
            reasoning: None,
            source: UsageSource::Backend,
        });
        document
    }

    #[test]
    fn a_shadow_leads_its_own_life() {
        let (active, other) = (policy("small", "large"), policy("large", "small"));
        let mut shadow = Shadow::new(&other);
        let first = shadow.follow(&turn(&active, None, false)).expect("they differ");
        assert_eq!((first.served.as_str(), first.shadow.as_str(), first.turn), ("small", "large", 0));
        let served = (500.0 * 1.0 + 500.0 * 0.5 + 100.0 * 2.0) / 1e6;
        assert!((first.served_cost.unwrap() - served).abs() < 1e-12);
        // Nobody was asked how warm the other model would have been: a tenth, for a cold start without history.
        let shadowed = (900.0 * 10.0 + 100.0 * 1.0 + 100.0 * 20.0) / 1e6;
        assert!((first.shadow_cost.unwrap() - shadowed).abs() < 1e-12);
        // The tool loop holds the shadow's model and not the one that really served.
        let second = shadow.follow(&turn(&active, Some("small"), true)).expect("they differ");
        assert_eq!((second.served.as_str(), second.shadow.as_str(), second.turn), ("small", "large", 1));

        let followed = shadow.sessions.values().next().expect("one session");
        assert_eq!((followed.turns, followed.differs), (2, 2));
        assert_eq!((followed.served.switches, followed.shadow.switches), (0, 0));
        assert!(shadow.report(10).contains("all 1 sessions"));

        let mut same = Shadow::new(&active);
        assert_eq!(same.follow(&turn(&active, None, false)), None);
        assert_eq!(same.follow(&turn(&active, Some("small"), true)), None);
        let followed = same.sessions.values().next().expect("one session");
        assert!((followed.served.cost - followed.shadow.cost).abs() < 1e-15);
    }

    #[test]
    fn turns_that_left_nothing_behind_are_not_followed() {
        let active = policy("small", "large");
        let mut shadow = Shadow::new(&active);
        let mut failed = turn(&active, None, false);
        failed.outcome.committed = false;
        assert_eq!(shadow.follow(&failed), None);
        let mut bare = turn(&active, None, false);
        bare.inputs = None;
        assert_eq!(shadow.follow(&bare), None);
        assert!(shadow.sessions.is_empty());
    }
}
