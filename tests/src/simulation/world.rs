//! One run: the steps that are taken, and the checks on each decision.

use std::collections::HashMap;
use std::sync::OnceLock;

use pintle_dataplane::extract;
use pintle_dataplane::http::head::{Limits, RequestHead, parse_request};
use pintle_dataplane::json::{self, ScanLimits, Spans};
use pintle_dataplane::memory::{self, Committed, Heard, Served};
use pintle_routing::facts::{Dialect, SessionIdentity, ToolFacts};
use pintle_routing::ids::Target;
use pintle_routing::live::{LiveSignals, ModelLive};
use pintle_routing::outcome::{Refusal, Route, SessionAction, Verdict};
use pintle_routing::policy::{Inputs, Policy};
use pintle_routing::units::{Tokens, UnixMillis};
use pintle_sessions::{NameId, Options, Store};
use tempfile::TempDir;

use super::client::{Conversation, Request};
use super::oracle::{
    Due, Known, Oracle, PROVIDER_STATE_TTL_MS, Presence, SESSION_TTL_MS, TOOL_LOOP_TTL_MS, Turn, model,
};
use super::random::Random;
use super::setup::{MODELS, Setup};
use super::{Run, Sabotage, Tally, Violation};

const START_MS: u64 = 1_800_000_000_000;
const HOUR_MS: usize = 3_600_000;
/// Conversations that a session has at a time: one main line and one on the side.
const LINES: usize = 2;
/// Requests under way at most.
const MAX_FLIGHTS: usize = 12;
/// Every so many runs have hardly any room in memory, and many sessions.
const SCARCE_EVERY: u64 = 8;
/// They are longer by this factor, for memory to fill up.
const SCARCE_STEPS: usize = 3;

/// A request between its decision and the end of its answer.
struct Flight {
    line: usize,
    request: Request,
    /// What the client had taken when it asked.
    taken: u64,
    identity: SessionIdentity,
    tenant: Option<Vec<u8>>,
    setup: Setup,
    route: Route,
    committed: Option<Late>,
}

/// A turn in memory whose usage is still to come.
struct Late {
    turn: Turn,
    target: Target,
    before: Option<Known>,
    committed: Committed,
}

/// A simulated world.
pub struct World {
    run: Run,
    random: Random,
    folder: TempDir,
    store: Option<Store>,
    options: Options,
    scarce: bool,
    setup: Setup,
    up: u8,
    now: u64,
    lines: Vec<Conversation>,
    flights: Vec<Flight>,
    oracle: Oracle,
    call_numbers: HashMap<u128, u64>,
    turns: u64,
    tally: Tally,
    trace: Vec<String>,
    spans: Spans,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(run: Run) -> Self {
        let scarce = run.seed % SCARCE_EVERY == SCARCE_EVERY - 1;
        let folder = tempfile::Builder::new().prefix("pintle-sim-").tempdir().expect("a temporary folder");
        let capacity = if scarce { 1 } else { 4096 };
        let options = Options { capacity, pin_capacity: capacity, ttl_ms: SESSION_TTL_MS };
        let sessions = if scarce { 150 } else { 4 };
        let mut world = Self {
            run,
            random: Random::new(run.seed),
            folder,
            store: None,
            options,
            scarce,
            setup: Setup::number(6),
            up: 0b111,
            now: START_MS,
            lines: vec![Conversation::default(); sessions * LINES],
            flights: Vec::new(),
            oracle: Oracle::default(),
            call_numbers: HashMap::new(),
            turns: 0,
            tally: Tally::default(),
            trace: Vec::new(),
            spans: Spans::new(),
        };
        world.open();
        world
    }

    /// Takes every step.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn run(mut self) -> Result<Tally, Box<Violation>> {
        let steps = self.run.steps * if self.scarce { SCARCE_STEPS } else { 1 };
        for _ in 0..steps {
            if let Err(what) = self.step() {
                return Err(Box::new(Violation { run: self.run, what, trace: self.trace }));
            }
        }
        self.count_evictions();
        Ok(self.tally)
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += 1 + self.random.below(3_000) as u64;
        match self.random.below(100) {
            0..=44 => self.send(),
            45..=86 => self.finish(),
            87..=89 => {
                let mut setup = Setup::number(self.random.below(Setup::COUNT));
                if self.random.percent(50) {
                    setup.models = 0b111;
                }
                self.setup = setup;
                self.tally.reloads += 1;
                self.note(|world| format!("reload: {:?}", world.setup));
                Ok(())
            }
            90..=92 => {
                self.up = if self.random.percent(50) { 0b111 } else { self.random.below(8) as u8 };
                self.note(|world| format!("models up: {:03b}", world.up));
                Ok(())
            }
            // In a full table, locks have to pile up.
            93..=95 if !self.scarce || self.random.percent(5) => {
                self.turn_the_clock();
                Ok(())
            }
            96 => {
                self.crash();
                Ok(())
            }
            _ => {
                if self.scarce {
                    let over = self.store().sweep(self.now);
                    self.note(|_| format!("sweep: {over}"));
                }
                Ok(())
            }
        }
    }

    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        let line = format!("{:>4} {:>12} ms  {}", self.trace.len(), self.now - START_MS / 2, line(self));
        self.trace.push(line);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between steps")
    }

    fn open(&mut self) {
        let opened = Store::open(self.folder.path(), &self.options, self.now);
        let (mut store, report) = opened.expect("session memory opens");
        assert!(report.set_aside.is_none(), "{:?}", report.messages());
        if report.created {
            // Which records share a bucket follows from the file's secret, so that belongs to the seed too: an
            // empty memory takes it from an import.
            let mut export = Vec::new();
            store.export(&mut export).expect("an empty memory is exported");
            let mut head: serde_json::Value = serde_json::from_slice(&export).expect("one line");
            head["hash_key"] = format!("{:032x}", self.run.seed).into();
            store.import(format!("{head}\n").as_bytes(), self.now).expect("an empty memory is imported");
        }
        self.store = Some(store);
    }

    fn turn_the_clock(&mut self) {
        let by = match self.random.below(4) {
            0 => 30 * 24 * HOUR_MS,
            1 => 30 * HOUR_MS,
            _ => 2 * HOUR_MS,
        };
        let by = self.random.below(by) as u64;
        // What a full table forgot under a later clock would not come back under an earlier one.
        if !self.scarce && self.random.percent(50) {
            self.now = self.now.saturating_sub(by).max(START_MS / 2);
            self.note(|_| format!("the clock goes back by {by} ms"));
        } else {
            self.now += by;
            self.note(|_| format!("the clock goes on by {by} ms"));
        }
    }

    /// The process dies and begins again; requests under way get no answer.
    fn crash(&mut self) {
        self.count_evictions();
        self.store = None;
        if self.run.sabotage == Sabotage::LoseMemory {
            for file in std::fs::read_dir(self.folder.path()).expect("the folder can be read") {
                std::fs::remove_file(file.expect("an entry").path()).expect("a file can be removed");
            }
        }
        self.open();
        self.tally.failed += self.flights.len() as u64;
        self.tally.crashes += 1;
        self.flights.clear();
        self.note(|_| "crash".to_owned());
    }

    fn count_evictions(&mut self) {
        let stats = self.store().stats();
        self.tally.evicted += stats.sessions.evicted + stats.pins.evicted;
        self.tally.full += stats.sessions.full;
    }

    fn send(&mut self) -> Result<(), String> {
        if self.flights.len() >= MAX_FLIGHTS {
            return self.finish();
        }
        if !self.flights.is_empty() && self.random.percent(12) {
            let at = self.random.below(self.flights.len());
            let Flight { line, request, taken, .. } = &self.flights[at];
            return self.decide(*line, request.clone(), *taken, "again");
        }
        let line = self.random.below(self.lines.len());
        let request = self.lines[line].ask(line / LINES, &mut self.random);
        let taken = self.lines[line].taken;
        self.decide(line, request, taken, "ask")
    }

    /// Decides a request as the data plane does, and checks the decision.
    fn decide(&mut self, line: usize, request: Request, taken: u64, why: &str) -> Result<(), String> {
        let (wire, body) = (request.head(), request.body());
        let mut head = RequestHead::new();
        parse_request(wire.as_bytes(), &Limits::default(), &mut head).expect("a head").expect("a whole head");
        let mut spans = std::mem::take(&mut self.spans);
        let text = json::scan(body.as_bytes(), Dialect::OpenAiChat, &ScanLimits::default(), &mut spans)
            .expect("a body");
        let view = head.view(wire.as_bytes());
        let tenant = extract::tenant(view);
        let store = self.store.as_ref().expect("open between steps");
        let key = |tenant: &[u8], session: &[u8]| store.session_key(tenant, session);
        let options = extract::Options { session_header: "", trusted_identity: false, key: &key };
        let in_force = match self.run.sabotage {
            Sabotage::AlwaysRelease => {
                Setup { refuse_tool_loop: false, refuse_provider_state: false, ..self.setup }
            }
            _ => self.setup,
        };
        let policy = policy(in_force);
        let mut facts = extract::facts(view, text, &spans, policy.needs(), &options);
        let now = UnixMillis(self.now);
        let recalled = memory::recall(store, &mut facts, tenant, text, &spans, now);
        let identity = facts.session.expect("every request has a session");

        let known = self.oracle.session(identity.key, self.now);
        let wrong = compare(store, known, recalled.before.as_ref(), self.scarce, self.now);
        let session_key = identity.key.to_le_bytes();
        let pinned = |space: &[u8], id: &str| {
            !self.scarce || store.pinned(store.response_key(space, id.as_bytes()), self.now).is_some()
        };
        let presence = Presence {
            session: recalled.before.is_some(),
            call: &|id| pinned(&session_key, id),
            response: &|id| pinned(tenant, id),
        };
        let due = self.oracle.due(&request, identity.key, &presence, self.now);
        let forgotten = known.is_some() && recalled.before.is_none();

        if self.run.sabotage == Sabotage::OverlookResults {
            facts.tools = ToolFacts::default();
        }
        let live = live(policy, self.up);
        let inputs = Inputs {
            facts: &facts,
            session: recalled.snapshot.as_ref(),
            provider_owner: recalled.provider_owner,
            now,
            live: &live,
            foresight: None,
        };
        let verdict = policy.decide_with(&inputs).verdict;
        let tenant = facts.provider_state.is_some().then(|| tenant.to_vec());
        drop(facts);
        self.spans = spans;
        self.turns += 1;
        self.tally.turns += 1;
        if forgotten {
            self.oracle.forget(identity.key);
        }
        self.note(|_| {
            let verdict = match &verdict {
                Verdict::Route(route) => format!("{} {:?}", policy.target_name(route.target), route.action),
                Verdict::Refuse(refusal) => format!("{} {}", refusal.status, refusal.message),
                Verdict::Answer(_) => "answer".to_owned(),
            };
            format!("{why} line {line}: {request} -> {verdict}; due {due:?}")
        });
        wrong?;
        match verdict {
            Verdict::Answer(answer) => Err(format!("no decision answers by itself: {answer:?}")),
            Verdict::Refuse(refusal) => self.check_refusal(&request, due, &refusal),
            Verdict::Route(route) => {
                self.check_route(&request, due, &route)?;
                let setup = self.setup;
                let flight = Flight { line, request, taken, identity, tenant, setup, route, committed: None };
                self.flights.push(flight);
                Ok(())
            }
        }
    }

    const fn can_serve(&self, model: usize) -> bool {
        self.setup.models >> model & self.up >> model & 1 == 1
    }

    /// Whether the lock that is due may be released, and whether it may be refused.
    const fn on_missing(&self, due: Due) -> (bool, bool) {
        let Setup { refuse_tool_loop, refuse_provider_state, .. } = self.setup;
        let release = due.tool_loop && !refuse_tool_loop || due.provider_state && !refuse_provider_state;
        let refuse = due.tool_loop && refuse_tool_loop || due.provider_state && refuse_provider_state;
        (release, refuse)
    }

    fn check_refusal(
        &mut self,
        request: &Request,
        due: Option<Due>,
        refusal: &Refusal,
    ) -> Result<(), String> {
        if request.model != "auto" {
            let configured = self.setup.models >> model(request.model) & 1 == 1;
            return if configured { Err("a named model was refused".to_owned()) } else { Ok(()) };
        }
        let Some(due) = due else {
            // Models that are missing may be all that a decision has.
            let all = self.setup.models & !self.up == 0;
            let lock = refusal.code == "session_model_unavailable";
            return if all && !lock { Err(format!("refused without need: {refusal:?}")) } else { Ok(()) };
        };
        self.tally.refused += 1;
        if self.can_serve(due.model) {
            return Err(format!("{} could serve, but: {refusal:?}", MODELS[due.model]));
        }
        if refusal.status != 409 || refusal.code != "session_model_unavailable" {
            return Err(format!("not a lock's refusal: {refusal:?}"));
        }
        let others_up = self.setup.models & !self.up == 0;
        if others_up && !self.on_missing(due).1 {
            return Err(format!("refused against the configuration: {refusal:?}"));
        }
        Ok(())
    }

    fn check_route(&mut self, request: &Request, due: Option<Due>, route: &Route) -> Result<(), String> {
        let chosen = self.name(route.target);
        if request.model != "auto" {
            let named = route.action == SessionAction::Explicit && chosen == request.model;
            return if named { Ok(()) } else { Err(format!("the client named {}", request.model)) };
        }
        if route.switched {
            self.tally.switched += 1;
        }
        let Some(due) = due else { return Ok(()) };
        let wanted = MODELS[due.model];
        if self.can_serve(due.model) {
            self.tally.held += 1;
            if chosen != wanted {
                return Err(format!("due at {wanted}, sent to {chosen}"));
            }
            if !route.alternatives.is_empty() {
                return Err(format!("due at {wanted}, but if that fails: {:?}", route.alternatives));
            }
            return Ok(());
        }
        self.tally.released += 1;
        if !matches!(route.action, SessionAction::Released(_)) {
            return Err(format!("{wanted} is missing, and no breach is recorded: {:?}", route.action));
        }
        if !self.on_missing(due).0 {
            return Err(format!("{wanted} is missing, and the lock was released against the configuration"));
        }
        Ok(())
    }

    fn name(&self, target: Target) -> &'static str {
        MODELS[model(policy(self.setup).target_name(target))]
    }

    /// Some request under way comes to an end, or its usage arrives.
    fn finish(&mut self) -> Result<(), String> {
        if self.flights.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.flights.len());
        let mut flight = self.flights.swap_remove(at);
        self.notice_eviction(flight.identity.key)?;
        if let Some(late) = flight.committed.take() {
            self.amend(&flight, &late);
            return Ok(());
        }
        let target = match flight.route.alternatives.first() {
            Some(alternative) if self.random.percent(20) => *alternative,
            _ => flight.route.target,
        };
        if self.random.percent(12) {
            self.tally.failed += 1;
            self.note(|_| format!("line {} fails upstream", flight.line));
            if self.run.sabotage == Sabotage::CommitFailures {
                let turn = self.answer(&flight, target, 0);
                self.served(&flight, target).commit(self.store(), &heard(&turn, true), UnixMillis(self.now));
            }
            return Ok(());
        }
        let calls =
            if self.random.percent(if self.scarce { 85 } else { 55 }) { 1 + self.random.below(3) } else { 0 };
        let turn = self.answer(&flight, target, calls);
        let whole = self.random.percent(70);
        let before = self.oracle.session(turn.key, self.now);
        let served = self.served(&flight, target);
        let now = UnixMillis(self.now);
        let committed = served.commit(self.store(), &heard(&turn, whole), now);
        if committed.is_some() {
            self.oracle.remember(&turn, before, self.now);
        }
        if self.random.percent(2) {
            self.note(|_| format!("line {}: dies between record and pins", flight.line));
            self.crash();
            return Ok(());
        }
        if self.run.sabotage != Sabotage::ForgetPins {
            served.pin(self.store(), &heard(&turn, whole), now);
        }
        self.oracle.pin(&turn, self.now);
        if self.random.percent(2) {
            self.note(|_| format!("line {}: dies before the client hears", flight.line));
            self.crash();
            return Ok(());
        }
        let line = &mut self.lines[flight.line];
        let lost = self.random.percent(5);
        if lost {
            self.tally.failed += 1;
        } else if line.taken == flight.taken {
            line.take(&flight.request, turn.model, &turn.answer, &turn.calls);
        }
        self.note(|_| {
            let model = MODELS[turn.model];
            format!(
                "line {}: {model} answers {}, calls {:?}, lost {lost}",
                flight.line, turn.answer, turn.calls
            )
        });
        if let Some(committed) = committed.filter(|_| !whole) {
            flight.committed = Some(Late { turn, target, before, committed });
            self.flights.push(flight);
        }
        Ok(())
    }

    /// Takes notice of what a full table has forgotten since, which must not have been locked.
    fn notice_eviction(&mut self, key: u128) -> Result<(), String> {
        let (known, stored) = (self.oracle.session(key, self.now), self.store().get(key, self.now));
        compare(self.store(), known, stored.as_ref(), self.scarce, self.now)?;
        if stored.is_none() && known.is_some() {
            self.oracle.forget(key);
        }
        Ok(())
    }

    fn answer(&mut self, flight: &Flight, target: Target, calls: usize) -> Turn {
        self.turns += 1;
        let key = flight.identity.key;
        let next = self.call_numbers.entry(key).or_default();
        // Backends number their calls each from one; only within a session are they told apart.
        let calls = (0..calls).map(|_| {
            *next += 1;
            format!("call_{next}")
        });
        Turn {
            key,
            number: self.turns,
            model: model(policy(flight.setup).target_name(target)),
            stateful: flight.tenant.is_some(),
            answer: format!("answer-{}", self.turns),
            calls: calls.collect(),
        }
    }

    fn amend(&mut self, flight: &Flight, late: &Late) {
        let served = self.served(flight, late.target);
        let (heard, now) = (heard(&late.turn, true), UnixMillis(self.now));
        if self.run.sabotage != Sabotage::ForgetPins {
            served.pin(self.store(), &heard, now);
        }
        served.amend(self.store(), late.committed, &heard, now);
        self.oracle.pin(&late.turn, self.now);
        // A session that was forgotten meanwhile may find no room to come back.
        if self.store().get(late.turn.key, self.now).is_some() {
            self.oracle.amend(&late.turn, late.before, self.now);
        }
        self.note(|_| format!("line {}: usage of {} arrives", flight.line, late.turn.answer));
    }

    fn served<'a>(&self, flight: &'a Flight, target: Target) -> Served<'a> {
        let policy = policy(flight.setup);
        let number = |name: &str| self.store().intern(name).expect("room for a few names");
        let decision = flight.route.session_commit.decision;
        Served {
            session: flight.identity,
            stateful_tenant: flight.tenant.as_deref(),
            kept_tenant: flight.tenant.as_deref(),
            model: number(policy.target_name(target)),
            decision: decision.map_or(NameId::NONE, |decision| number(policy.decision_name(decision))),
            backend: number("backend-0"),
            estimated_prompt: Tokens(100),
            demand: flight.route.session_commit.demand,
            seen: flight.route.session_commit.seen,
            tool_loop_ttl_ms: TOOL_LOOP_TTL_MS,
            provider_state_ttl_ms: PROVIDER_STATE_TTL_MS,
        }
    }
}

/// Memory must hold exactly the turns that were served; a full table may have forgotten idle sessions.
fn compare(
    store: &Store,
    known: Option<Known>,
    stored: Option<&pintle_sessions::Record>,
    scarce: bool,
    now: u64,
) -> Result<(), String> {
    match (known, stored) {
        (None, None) => Ok(()),
        (Some(known), None) if scarce && !known.is_locked(now) => Ok(()),
        (Some(known), None) => Err(format!("a session is forgotten: {known:?}")),
        (None, Some(record)) => Err(format!("nobody told the router of {record:?}")),
        (Some(known), Some(record)) => {
            let model = store.name(record.model).unwrap_or_default();
            if (model, record.turns) == (MODELS[known.model], known.turns) {
                Ok(())
            } else {
                Err(format!("told {known:?}, remembered {model}: {record:?}"))
            }
        }
    }
}

fn heard(turn: &Turn, usage: bool) -> Heard<'_> {
    Heard {
        id: &turn.answer,
        tool_calls: !turn.calls.is_empty(),
        tool_call_ids: &turn.calls,
        prompt_tokens: usage.then_some(120),
        cached_tokens: usage.then_some(60),
        completion_tokens: 20,
    }
}

/// Compiled once for all runs of a process.
fn policy(setup: Setup) -> &'static Policy {
    static POLICIES: [OnceLock<Policy>; Setup::COUNT] = [const { OnceLock::new() }; Setup::COUNT];
    POLICIES[setup.index()].get_or_init(|| setup.policy())
}

fn live(policy: &Policy, up: u8) -> LiveSignals {
    let live = |name: &str| ModelLive { available: up >> model(name) & 1 == 1, ..ModelLive::default() };
    LiveSignals {
        models: policy.models().iter().map(|info| live(&info.name)).collect(),
        ..LiveSignals::default()
    }
}
