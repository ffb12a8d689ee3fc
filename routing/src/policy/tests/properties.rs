//! What holds for every request: determinism, replay identity, independence of declaration order.

use proptest::prelude::*;

use super::*;
use crate::facts::{MessageCounts, SessionSnapshot, ToolFacts};

static ROTATED: LazyLock<[Policy; 2]> = LazyLock::new(|| [rotated(1), rotated(2)]);

static COMPILED_AGAIN: LazyLock<Policy> = LazyLock::new(|| rotated(0));

const WORDS: [&str; 12] = [
    "plan",
    "deadlock",
    "fix",
    "it",
    "Prove",
    "architecture",
    "hello",
    "?",
    "```",
    "café",
    "数据",
    "trade-off",
];

#[derive(Debug, Clone)]
struct Turn {
    text: String,
    user: u32,
    tools: ToolFacts,
    provider_state: bool,
    bytes: u64,
    model: Option<usize>,
    turns: u32,
    idle_ms: u64,
    down: Option<usize>,
    explicit: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    let text = prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..12).prop_map(|w| w.join(" "));
    let tools = (0u32..3, 0u32..3, any::<bool>(), any::<bool>(), 0u32..3).prop_map(
        |(calls, results, last_is_result, after, definitions)| ToolFacts {
            definitions,
            calls,
            results,
            unanswered: calls.saturating_sub(results),
            last_is_result,
            last_is_user_after_result: after && !last_is_result,
        },
    );
    (text, 1u32..9, tools, any::<bool>(), 0u64..900_000, prop::option::of(0usize..3), 1u32..9, 0u64..900_000)
        .prop_flat_map(|base| (Just(base), prop::option::of(0usize..3), prop::bool::weighted(0.1)))
        .prop_map(|((text, user, tools, state, bytes, model, turns, idle_ms), down, explicit)| Turn {
            text,
            user,
            tools,
            provider_state: state,
            bytes,
            model,
            turns,
            idle_ms,
            down,
            explicit,
        })
}

impl Turn {
    fn facts(&self, policy: &Policy) -> Facts<'_> {
        let mut request = facts(&self.text);
        request.messages = MessageCounts { user: self.user, ..MessageCounts::default() };
        request.tools = self.tools;
        request.envelope_bytes = self.bytes + self.text.len() as u64;
        request.history_bytes = self.bytes;
        if self.provider_state {
            request.provider_state = Some(ProviderState::Conversation("conv_1".into()));
        }
        if self.explicit {
            request.requested_model = policy.models()[0].name.clone().into();
        }
        request
    }

    fn session<'p>(&self, policy: &'p Policy) -> Option<SessionSnapshot<'p>> {
        let model = self.model?;
        Some(SessionSnapshot {
            turns: self.turns,
            turns_on_model: self.turns,
            last_seen: UnixMillis(NOW.get() - self.idle_ms),
            ..snapshot(&policy.models()[model].name, "agent_work")
        })
    }

    fn live(&self, policy: &Policy) -> LiveSignals {
        let of = |at| ModelLive { available: self.down != Some(at), ..ModelLive::default() };
        LiveSignals {
            models: (0..policy.models().len()).map(of).collect(),
            bytes_per_token: 3.7,
            ..LiveSignals::default()
        }
    }
}

fn with<R>(policy: &Policy, turn: &Turn, body: impl FnOnce(&Inputs<'_>) -> R) -> R {
    let (request, session, live) = (turn.facts(policy), turn.session(policy), turn.live(policy));
    body(&inputs(&request, session.as_ref(), &live))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_recorded_decision_can_be_taken_again(turn in turn(), keep_private in any::<bool>()) {
        let policy = agentic();
        with(policy, &turn, |given| {
            let outcome = policy.decide_with(given);
            let recorded = policy.recorded(given, &outcome, keep_private);
            let json = serde_json::to_string(&recorded).unwrap();
            let recorded: Recorded = serde_json::from_str(&json).unwrap();
            // Bit for bit, NaN included, which equality would not see.
            assert_eq!(format!("{:?}", policy.replay(&recorded)), format!("{outcome:?}"));
            assert_eq!(format!("{:?}", policy.decide_with(given)), format!("{outcome:?}"));
        });
    }

    #[test]
    fn threads_and_compilations_agree(turn in turn()) {
        let again = &COMPILED_AGAIN;
        let of = |policy: &Policy| with(policy, &turn, |given| format!("{:?}", policy.decide_with(given)));
        let expected = of(agentic());
        assert_eq!(of(again), expected, "compiled a second time");
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| of(agentic()))).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), expected);
            }
        });
    }

    #[test]
    fn a_hard_locked_session_never_moves_while_its_model_serves(turn in turn()) {
        let policy = agentic();
        with(policy, &turn, |given| {
            let outcome = policy.decide_with(given);
            let phase = Policy::phase(given);
            let (Some(session), Some(route)) = (given.session, outcome.verdict.route()) else { return };
            let locked = matches!(phase, SessionPhase::ToolLoop | SessionPhase::ProviderState);
            let model = policy.target(session.model).unwrap();
            if locked && !turn.explicit && given.live.available(model.model) {
                assert_eq!(route.target, model);
                assert!(route.action.is_hard_locked() && route.alternatives.is_empty() && !route.switched);
            }
        });
    }

    #[test]
    fn a_route_is_well_formed(turn in turn()) {
        let policy = agentic();
        with(policy, &turn, |given| {
            let outcome = policy.decide_with(given);
            let Some(route) = outcome.verdict.route() else { return };
            assert!((0.0..=1.0).contains(&route.confidence));
            assert!(!route.alternatives.contains(&route.target));
            assert!(route.alternatives.iter().all(|t| given.live.available(t.model)));
            for score in &outcome.trace.candidates {
                assert!((0.0..=1.0).contains(&score.score), "{score:?}");
            }
            if !turn.explicit {
                let action_moves = matches!(route.action, SessionAction::Switched(_) | SessionAction::Released(_));
                assert!(!route.switched || action_moves, "{:?}", route.action);
            }
        });
    }

    #[test]
    fn the_order_in_which_decisions_are_declared_does_not_matter(turn in turn(), rotate in 0usize..2) {
        let policy = agentic();
        let rotated = &ROTATED[rotate];
        with(policy, &turn, |given| {
            let name = |policy: &Policy, outcome: &Outcome| {
                let route = outcome.verdict.route().map(|r| policy.target_name(r.target).to_owned());
                (outcome.trace.chosen.map(|d| policy.decision_name(d).to_owned()), route)
            };
            assert_eq!(
                name(policy, &policy.decide_with(given)),
                name(rotated, &rotated.decide_with(given))
            );
        });
    }
}
