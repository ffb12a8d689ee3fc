//! The router as it runs: [`pintle_routing::session::decide`] on requests made from a workload's turns, with the
//! session's record before it and habits beside it, as the data plane has them.

use pintle_routing::facts::{SessionSnapshot, ToolFacts};
use pintle_routing::session::economics::{Foresight, Habits, Kind, Seen, Track};
use pintle_routing::session::{
    Candidate, ProviderStateRef, SessionAction, SessionInput, SessionParams, SessionPhase, decide,
};
use pintle_routing::units::{Tokens, UnixMillis, Usd};

use super::workload::{Phase, Session, Turn, Workload};

const TURN_MS: u64 = 10_000;
/// As the router expects of a session's first answer.
const FIRST_COMPLETION: u64 = 512;
/// A decision name that changes with every new topic.
const DECISIONS: [&str; 2] = ["topic-a", "topic-b"];

/// What habits say before every turn. It depends on the turns that have arrived and not on the choices made for them,
/// so that one pass serves every shortfall price.
pub type Foresights = Vec<Vec<Foresight>>;

/// Foresees every turn, learning in order of arrival.
pub fn foresee(workload: &Workload) -> Foresights {
    let mut habits = Habits::default();
    let mut tracks = vec![Track::default(); workload.sessions.len()];
    let mut all: Foresights = vec![Vec::new(); workload.sessions.len()];
    for &(s, t) in &workload.order {
        let turn = &workload.sessions[s].turns[t];
        let phase = match turn.phase {
            Phase::ToolLoop => SessionPhase::ToolLoop,
            Phase::ProviderState => SessionPhase::ProviderState,
            Phase::UserTurn | Phase::TopicDrift => SessionPhase::UserTurn,
        };
        let lock = turn.phase.is_locked().then(|| Kind::of(phase, false));
        let kind = Kind::of(phase, turn.phase == Phase::TopicDrift && t > 0);
        let seen = Seen { kind, demand: Some(turn.demand as f32) };
        all[s].push(habits.foresee(tracks[s], t as u32, lock, t > 0));
        habits.learn(tracks[s], t as u32, seen);
        tracks[s] = tracks[s].push(seen);
    }
    all
}

/// The live policy at one shortfall price.
pub struct Live<'a> {
    workload: &'a Workload,
    params: SessionParams,
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Live<'a> {
    /// The policy; `shortfall_price` in dollars per turn.
    pub fn new(workload: &'a Workload, shortfall_price: f64) -> Self {
        let params = SessionParams {
            shortfall_price: Some(Usd(shortfall_price)),
            tier_thresholds: workload.tiers.clone(),
            ..SessionParams::default()
        };
        let candidates = workload
            .models
            .iter()
            .map(|model| Candidate {
                name: &model.name,
                base_score: 0.0,
                quality: Some(model.quality),
                pricing: Some(model.pricing()),
                context_window: None,
                available: true,
            })
            .collect();
        Self { workload, params, candidates }
    }

    /// Models and reasons of a whole session; `foresights` are those of its turns, empty for a router without habits.
    pub fn session(&self, session: &Session, foresights: &[Foresight]) -> Vec<(usize, &'static str)> {
        let mut record: Option<SessionSnapshot<'_>> = None;
        let mut now = UnixMillis(1);
        let mut topic = 0;
        let turns = session.turns.iter();
        turns
            .enumerate()
            .map(|(t, turn)| {
                let timeout = self.params.saar.idle_timeout_seconds.unsigned_abs() * 1000;
                now = UnixMillis(now.get() + TURN_MS + if turn.idle { timeout } else { 0 });
                topic ^= usize::from(turn.phase == Phase::TopicDrift);
                let request = self.request(turn, record, DECISIONS[topic], now);
                let verdict = decide(&self.params, &SessionInput { foresight: foresights.get(t), ..request });
                let model = verdict.index().unwrap_or(0);
                let reason = match verdict.action {
                    SessionAction::New => "new",
                    SessionAction::Stayed => "stay_is_cheaper",
                    SessionAction::Switched => "switch_is_cheaper",
                    SessionAction::Held if turn.phase == Phase::ToolLoop => "hard_lock=tool_loop",
                    SessionAction::Held => "hard_lock=provider_state",
                    SessionAction::Breached => "breached",
                };
                record = Some(self.commit(turn, record, model, DECISIONS[topic], now, verdict.demand));
                (model, reason)
            })
            .collect()
    }

    fn request<'r>(
        &'r self,
        turn: &Turn,
        snapshot: Option<SessionSnapshot<'r>>,
        decision: &'r str,
        now: UnixMillis,
    ) -> SessionInput<'r> {
        let last_is_result = turn.phase == Phase::ToolLoop;
        let used = u32::from(last_is_result);
        SessionInput {
            snapshot,
            tools: ToolFacts {
                definitions: 1,
                calls: used,
                results: used,
                last_is_result,
                ..ToolFacts::default()
            },
            provider_state: (turn.phase == Phase::ProviderState).then_some(ProviderStateRef { owner: None }),
            decision,
            category: "",
            candidates: &self.candidates,
            base_choice: self.workload.tier(turn.demand),
            demand: Some(turn.demand),
            prompt_tokens: Tokens(turn.prompt_tokens),
            history_tokens: Tokens(turn.history_tokens),
            expected_completion: Tokens(
                snapshot.map_or(FIRST_COMPLETION, |s| s.completion_tokens.get() / u64::from(s.turns.max(1))),
            ),
            foresight: None,
            now,
        }
    }

    fn commit(
        &self,
        turn: &Turn,
        before: Option<SessionSnapshot<'a>>,
        model: usize,
        decision: &'static str,
        now: UnixMillis,
        demand: f32,
    ) -> SessionSnapshot<'a> {
        let name: &'a str = &self.workload.models[model].name;
        let stayed = before.is_some_and(|s| s.model == name);
        let add = |sum: Option<Tokens>, tokens: u64| Tokens(sum.map_or(0, Tokens::get) + tokens);
        SessionSnapshot {
            model: name,
            decision,
            turns: before.map_or(0, |s| s.turns) + 1,
            switches: before.map_or(0, |s| s.switches + u32::from(!stayed)),
            turns_on_model: if stayed { before.map_or(0, |s| s.turns_on_model) + 1 } else { 1 },
            last_seen: now,
            open_tool_loop: false,
            provider_state: false,
            last_prompt_tokens: Tokens(turn.prompt_tokens),
            last_cached_tokens: None,
            last_completion_tokens: Tokens(turn.completion_tokens),
            prompt_tokens: add(before.map(|s| s.prompt_tokens), turn.prompt_tokens),
            cached_tokens: Tokens(0),
            completion_tokens: add(before.map(|s| s.completion_tokens), turn.completion_tokens),
            demand,
        }
    }
}
