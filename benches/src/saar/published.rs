//! The published benchmark: scenarios, turns and prices of
//! vllm-project/semantic-router v0.3.0, `bench/agentic_routing_experiment.py`.

use super::mt19937::PythonRandom;
use super::workload::{Model, Phase, Session, Turn, Workload};

/// One generator per seed and scenario.
pub const SEEDS: [u64; 5] = [20_260_530, 20_260_531, 20_260_532, 20_260_533, 20_260_534];
/// Sessions per seed and scenario.
pub const SESSIONS: usize = 40;
/// Turns per session.
pub const TURNS: usize = 18;
/// Demand from which a tier is asked for.
pub const TIERS: [f64; 2] = [0.55, 0.78];
const HISTORY_CAP: u64 = 64_000;
const PROMPT_BASE: u64 = 800;

/// Where idle boundaries fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// One draw per session: at the start, in the middle, or never.
    Single,
    /// Every quarter of a session, at least five turns apart.
    Frequent,
    /// Never.
    Rare,
}

/// Parameters of a workload shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Name.
    pub name: &'static str,
    /// Demand at the start.
    pub base: f64,
    /// Demand gained over the session.
    pub progress: f64,
    /// Demand added outside user turns.
    pub bonus: f64,
    /// Amplitude of a wave with a period of eight turns.
    pub wave: f64,
    /// Half width of uniform noise.
    pub noise: f64,
    /// Period and slots of tool loops.
    pub tool: (usize, &'static [usize]),
    /// Period and slots of provider state; period 0 for none.
    pub state: (usize, &'static [usize]),
    /// Period and slots of topic drift; period 0 for none.
    pub drift: (usize, &'static [usize]),
    /// Range of the history at the start, both ends included.
    pub history: (u32, u32),
    /// Idle boundaries.
    pub idle: Idle,
    /// Turns that the published policy is told to expect.
    pub prior: f64,
    /// Factor on the growth of the history.
    pub growth: f64,
}

const NEVER: (usize, &[usize]) = (0, &[]);

/// The six published scenarios.
pub const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "balanced",
        base: 0.42,
        progress: 0.28,
        bonus: 0.16,
        wave: 0.18,
        noise: 0.09,
        tool: (5, &[2, 3]),
        state: NEVER,
        drift: NEVER,
        history: (512, 2048),
        idle: Idle::Single,
        prior: 6.0,
        growth: 1.0,
    },
    Scenario {
        name: "tool-heavy",
        base: 0.55,
        progress: 0.22,
        bonus: 0.18,
        wave: 0.14,
        noise: 0.08,
        tool: (6, &[2, 3, 4]),
        state: NEVER,
        drift: NEVER,
        history: (1024, 3072),
        idle: Idle::Single,
        prior: 9.0,
        growth: 1.12,
    },
    Scenario {
        name: "frontier-heavy",
        base: 0.55,
        progress: 0.34,
        bonus: 0.20,
        wave: 0.17,
        noise: 0.07,
        tool: (5, &[2, 3]),
        state: NEVER,
        drift: NEVER,
        history: (1536, 4096),
        idle: Idle::Rare,
        prior: 10.0,
        growth: 1.20,
    },
    Scenario {
        name: "idle-heavy",
        base: 0.42,
        progress: 0.30,
        bonus: 0.14,
        wave: 0.16,
        noise: 0.10,
        tool: (5, &[2, 3]),
        state: NEVER,
        drift: NEVER,
        history: (512, 2048),
        idle: Idle::Frequent,
        prior: 4.0,
        growth: 1.0,
    },
    Scenario {
        name: "stateful-heavy",
        base: 0.58,
        progress: 0.30,
        bonus: 0.24,
        wave: 0.15,
        noise: 0.08,
        tool: (6, &[3, 4]),
        state: (5, &[1, 2]),
        drift: NEVER,
        history: (128, 1024),
        idle: Idle::Rare,
        prior: 3.0,
        growth: 0.95,
    },
    Scenario {
        name: "drift-heavy",
        base: 0.46,
        progress: 0.28,
        bonus: 0.26,
        wave: 0.12,
        noise: 0.08,
        tool: (6, &[3]),
        state: NEVER,
        drift: (6, &[1, 2]),
        history: (2048, 6144),
        idle: Idle::Rare,
        prior: 7.0,
        growth: 1.08,
    },
];

/// The three published models.
pub fn models() -> Vec<Model> {
    let model = |name: &str, quality, prompt_per_1m, completion_per_1m, cached_input_per_1m| Model {
        name: name.to_owned(),
        quality,
        prompt_per_1m,
        completion_per_1m,
        cached_input_per_1m,
    };
    vec![
        model("qwen3-8b", 0.64, 0.05, 0.10, 0.01),
        model("qwen3-32b", 0.78, 0.30, 0.60, 0.06),
        model("frontier-reasoner", 0.94, 8.00, 24.00, 1.20),
    ]
}

fn in_slot((period, slots): (usize, &[usize]), turn: usize) -> bool {
    period > 0 && slots.contains(&(turn % period))
}

impl Scenario {
    /// Kind of a turn: drift before provider state before tool loop.
    pub fn phase(&self, turn: usize) -> Phase {
        if in_slot(self.drift, turn) {
            Phase::TopicDrift
        } else if in_slot(self.state, turn) {
            Phase::ProviderState
        } else if in_slot(self.tool, turn) {
            Phase::ToolLoop
        } else {
            Phase::UserTurn
        }
    }

    fn demand(&self, turn: usize, turns: usize, noise: f64) -> f64 {
        let progress = turn as f64 / turns.saturating_sub(1).max(1) as f64;
        let bonus = if self.phase(turn) == Phase::UserTurn { 0.0 } else { self.bonus };
        let wave = self.wave * (turn as f64 * std::f64::consts::PI / 4.0).sin();
        (self.base + self.progress * progress + bonus + wave + noise).clamp(0.0, 1.0)
    }

    fn is_idle(&self, turn: usize, turns: usize, drawn: usize) -> bool {
        match self.idle {
            Idle::Single => turn == drawn,
            Idle::Frequent => turn > 0 && turn.is_multiple_of((turns / 4).max(5)),
            Idle::Rare => false,
        }
    }

    /// Sessions of one seed.
    pub fn sessions(&self, seed: u64, sessions: usize, turns: usize) -> Vec<Session> {
        let mut random = PythonRandom::new(seed);
        (0..sessions).map(|index| self.session(&mut random, seed, index, turns)).collect()
    }

    fn session(&self, random: &mut PythonRandom, seed: u64, index: usize, turns: usize) -> Session {
        let mut history = u64::from(random.randint(self.history.0, self.history.1));
        let drawn =
            if self.idle == Idle::Single { random.choice(&[0, turns / 2, turns + 1]) } else { turns + 1 };
        let rows = (0..turns)
            .map(|turn| {
                let noise = random.uniform(-self.noise, self.noise);
                let demand = self.demand(turn, turns, noise);
                let prompt_tokens = PROMPT_BASE + history;
                let completion_tokens = 220 + (180.0 * demand) as u64;
                let row = Turn {
                    phase: self.phase(turn),
                    idle: self.is_idle(turn, turns, drawn),
                    demand,
                    prompt_tokens,
                    completion_tokens,
                    history_tokens: history,
                };
                let grown = (prompt_tokens / 8 + completion_tokens) as f64 * self.growth;
                history = (history + grown as u64).min(HISTORY_CAP);
                row
            })
            .collect();
        Session { id: format!("{}-{seed}-{index:03}", self.name), turn_prior: Some(self.prior), turns: rows }
    }
}

/// The whole published workload: 6 scenarios, 5 seeds, 40 sessions, 18 turns.
pub fn workload() -> Workload {
    let sessions = SCENARIOS
        .iter()
        .flat_map(|scenario| SEEDS.iter().flat_map(|seed| scenario.sessions(*seed, SESSIONS, TURNS)))
        .collect();
    Workload::sequential(models(), TIERS.to_vec(), sessions)
}
