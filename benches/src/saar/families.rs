//! Workloads unlike the published ones: other prices, model sets, phases, demands and lengths.
//!
//! They exist to show where a policy that does well on the six published scenarios does not. Every family is
//! drawn from the same parts, so that each names only what is different about it.

use super::mt19937::PythonRandom;
use super::workload::{Model, Phase, Session, Turn, Workload};

/// How demand moves within a session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Demand {
    /// Level, slope over the session, amplitude and period of a wave, half width of noise.
    Wave { base: f64, slope: f64, wave: f64, period: f64, noise: f64 },
    /// Reflected random walk with this step.
    Walk { step: f64 },
    /// Quiet turns with bursts of a geometric length.
    Bursts { quiet: f64, loud: f64, start: f64, stop: f64, noise: f64 },
    /// Each session has its own constant level.
    Level { low: f64, high: f64, noise: f64 },
}

/// How locked turns come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Locks {
    /// Never.
    None,
    /// Slots of a cycle.
    Cycle { period: usize, slots: &'static [usize] },
    /// After a free turn with probability `start`, after a locked one with `stay`.
    Random { start: f64, stay: f64, state: f64 },
}

#[derive(Debug, Clone)]
struct Shape {
    sessions: usize,
    turns: (u32, u32),
    demand: Demand,
    bonus: f64,
    locks: Locks,
    drift: f64,
    idle: f64,
    history: (u32, u32),
    base_prompt: u64,
    completion: (u64, u64),
    growth: f64,
    cap: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            sessions: 200,
            turns: (18, 18),
            demand: Demand::Wave { base: 0.48, slope: 0.28, wave: 0.16, period: 8.0, noise: 0.08 },
            bonus: 0.18,
            locks: Locks::Cycle { period: 5, slots: &[2, 3] },
            drift: 0.0,
            idle: 0.0,
            history: (512, 4096),
            base_prompt: 800,
            completion: (220, 180),
            growth: 1.0,
            cap: 64_000,
        }
    }
}

impl Shape {
    fn sessions(&self, random: &mut PythonRandom, name: &str) -> Vec<Session> {
        (0..self.sessions).map(|i| self.session(random, format!("{name}-{i:04}"))).collect()
    }

    fn session(&self, random: &mut PythonRandom, id: String) -> Session {
        let turns = random.randint(self.turns.0, self.turns.1) as usize;
        let mut history = u64::from(random.randint(self.history.0, self.history.1));
        let mut state = random.random();
        let mut locked = false;
        let rows = (0..turns)
            .map(|t| {
                let phase = self.phase(random, t, locked);
                locked = phase.is_locked();
                let bonus = if phase == Phase::UserTurn { 0.0 } else { self.bonus };
                let level = self.level(random, &mut state, t, turns);
                let demand = (level + bonus).clamp(0.0, 1.0);
                let prompt_tokens = self.base_prompt + history;
                let completion_tokens = self.completion.0 + (self.completion.1 as f64 * demand) as u64;
                let turn = Turn {
                    phase,
                    idle: t > 0 && random.random() < self.idle,
                    demand,
                    prompt_tokens,
                    completion_tokens,
                    history_tokens: history,
                };
                let grown = (prompt_tokens / 8 + completion_tokens) as f64 * self.growth;
                history = (history + grown as u64).min(self.cap);
                turn
            })
            .collect();
        Session { id, turn_prior: Some(turns as f64 / 3.0), turns: rows }
    }

    fn phase(&self, random: &mut PythonRandom, turn: usize, locked: bool) -> Phase {
        if turn == 0 {
            return Phase::UserTurn;
        }
        let (held, state) = match self.locks {
            Locks::None => (false, 0.0),
            Locks::Cycle { period, slots } => (slots.contains(&(turn % period)), 0.0),
            Locks::Random { start, stay, state } => {
                (random.random() < if locked { stay } else { start }, state)
            }
        };
        if held {
            if state > 0.0 && random.random() < state { Phase::ProviderState } else { Phase::ToolLoop }
        } else if self.drift > 0.0 && random.random() < self.drift {
            Phase::TopicDrift
        } else {
            Phase::UserTurn
        }
    }

    fn level(&self, random: &mut PythonRandom, state: &mut f64, turn: usize, turns: usize) -> f64 {
        match self.demand {
            Demand::Wave { base, slope, wave, period, noise } => {
                let progress = turn as f64 / turns.saturating_sub(1).max(1) as f64;
                let angle = turn as f64 * std::f64::consts::TAU / period;
                base + slope * progress + wave * angle.sin() + random.uniform(-noise, noise)
            }
            Demand::Walk { step } => {
                let moved = *state + random.uniform(-step, step);
                *state = if moved < 0.0 {
                    -moved
                } else if moved > 1.0 {
                    2.0 - moved
                } else {
                    moved
                };
                *state
            }
            Demand::Bursts { quiet, loud, start, stop, noise } => {
                let loud_now = *state < 0.0;
                let change = random.random() < if loud_now { stop } else { start };
                *state = if loud_now == change { 1.0 } else { -1.0 };
                (if *state < 0.0 { loud } else { quiet }) + random.uniform(-noise, noise)
            }
            Demand::Level { low, high, noise } => low + (high - low) * *state + random.uniform(-noise, noise),
        }
    }
}

fn model(name: &str, quality: f64, prompt: f64, completion: f64, cached: f64) -> Model {
    Model {
        name: name.to_owned(),
        quality,
        prompt_per_1m: prompt,
        completion_per_1m: completion,
        cached_input_per_1m: cached,
    }
}

fn three(prompt: [f64; 3], completion_factor: f64, cached_share: f64) -> Vec<Model> {
    let one = |name, quality, p: f64| model(name, quality, p, p * completion_factor, p * cached_share);
    vec![one("small", 0.64, prompt[0]), one("mid", 0.78, prompt[1]), one("large", 0.94, prompt[2])]
}

fn ladder(n: usize, cheapest: f64, ratio: f64) -> (Vec<Model>, Vec<f64>) {
    let models = (0..n)
        .map(|i| {
            let price = cheapest * ratio.powi(i as i32);
            let quality = 0.60 + 0.35 * i as f64 / (n - 1) as f64;
            model(&format!("tier-{i}"), quality, price, price * 3.0, price * 0.2)
        })
        .collect();
    let tiers = (1..n).map(|i| 0.30 + 0.55 * i as f64 / n as f64).collect();
    (models, tiers)
}

const THREE_TIERS: [f64; 2] = [0.55, 0.78];

fn published_models() -> Vec<Model> {
    super::published::models()
}

/// A family of workloads.
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What is different about it.
    pub about: &'static str,
    build: fn(&mut PythonRandom) -> Workload,
}

impl Family {
    /// The workload of one seed.
    pub fn workload(&self, seed: u64) -> Workload {
        (self.build)(&mut PythonRandom::new(seed))
    }
}

fn plain(random: &mut PythonRandom, models: Vec<Model>, tiers: &[f64], shape: &Shape) -> Workload {
    Workload::sequential(models, tiers.to_vec(), shape.sessions(random, "s"))
}

fn published_prices(random: &mut PythonRandom, shape: &Shape) -> Workload {
    plain(random, published_models(), &THREE_TIERS, shape)
}

/// Lets sessions begin one after another and interleaves their turns at random.
fn interleave(random: &mut PythonRandom, mut workload: Workload, live: usize) -> Workload {
    let mut order = Vec::with_capacity(workload.order.len());
    let mut next = 0;
    let mut open: Vec<(usize, usize)> = Vec::new();
    loop {
        while open.len() < live && next < workload.sessions.len() {
            open.push((next, 0));
            next += 1;
        }
        if open.is_empty() {
            break;
        }
        let pick = random.below(open.len() as u32) as usize;
        let (s, t) = open[pick];
        order.push((s, t));
        if t + 1 < workload.sessions[s].turns.len() {
            open[pick].1 += 1;
        } else {
            open.swap_remove(pick);
        }
    }
    workload.order = order;
    workload
}

/// Sessions of all six published scenarios, shuffled.
fn mixed(random: &mut PythonRandom) -> Workload {
    let seed = u64::from(random.next_u32());
    let mut sessions: Vec<Session> =
        super::published::SCENARIOS.iter().flat_map(|s| s.sessions(seed, 40, 18)).collect();
    for i in (1..sessions.len()).rev() {
        sessions.swap(i, random.below(i as u32 + 1) as usize);
    }
    let all = Workload::sequential(published_models(), THREE_TIERS.to_vec(), sessions);
    interleave(random, all, 32)
}

/// Every family.
pub const FAMILIES: [Family; 18] = [
    Family {
        name: "prices-flat",
        about: "each tier costs twice the one below",
        build: |r| plain(r, three([1.0, 2.0, 4.0], 4.0, 0.25), &THREE_TIERS, &Shape::default()),
    },
    Family {
        name: "prices-steep",
        about: "the dearest tier costs a hundred times the one below",
        build: |r| plain(r, three([0.05, 0.15, 15.0], 5.0, 0.1), &THREE_TIERS, &Shape::default()),
    },
    Family {
        name: "cache-free",
        about: "cached tokens cost nothing",
        build: |r| plain(r, three([0.1, 0.6, 5.0], 4.0, 0.0), &THREE_TIERS, &Shape::default()),
    },
    Family {
        name: "cache-full-price",
        about: "cached tokens cost as much as computed ones",
        build: |r| plain(r, three([0.1, 0.6, 5.0], 4.0, 1.0), &THREE_TIERS, &Shape::default()),
    },
    Family {
        name: "two-models",
        about: "one threshold",
        build: |r| {
            let all = three([0.1, 0.5, 6.0], 4.0, 0.1);
            plain(r, vec![all[0].clone(), all[2].clone()], &[0.65], &Shape::default())
        },
    },
    Family {
        name: "four-models",
        about: "four tiers, each 4 times dearer",
        build: |r| {
            let (models, tiers) = ladder(4, 0.08, 4.0);
            plain(r, models, &tiers, &Shape::default())
        },
    },
    Family {
        name: "six-models",
        about: "six tiers, each 2.5 times dearer",
        build: |r| {
            let (models, tiers) = ladder(6, 0.08, 2.5);
            plain(r, models, &tiers, &Shape::default())
        },
    },
    Family {
        name: "bursts",
        about: "quiet sessions with bursts of high demand, locks at random",
        build: |r| {
            let demand = Demand::Bursts { quiet: 0.40, loud: 0.85, start: 0.15, stop: 0.30, noise: 0.08 };
            let locks = Locks::Random { start: 0.30, stay: 0.55, state: 0.0 };
            published_prices(r, &Shape { demand, locks, bonus: 0.05, ..Shape::default() })
        },
    },
    Family {
        name: "random-locks",
        about: "tool loops and provider state of geometric length",
        build: |r| {
            let locks = Locks::Random { start: 0.35, stay: 0.60, state: 0.25 };
            published_prices(r, &Shape { locks, ..Shape::default() })
        },
    },
    Family {
        name: "no-locks",
        about: "chat without tools",
        build: |r| {
            let demand = Demand::Wave { base: 0.5, slope: 0.2, wave: 0.15, period: 6.0, noise: 0.12 };
            published_prices(r, &Shape { locks: Locks::None, demand, ..Shape::default() })
        },
    },
    Family {
        name: "mostly-locked",
        about: "agents that call tools on four turns of five",
        build: |r| {
            let locks = Locks::Random { start: 0.80, stay: 0.82, state: 0.05 };
            published_prices(r, &Shape { locks, turns: (10, 40), ..Shape::default() })
        },
    },
    Family {
        name: "random-walk",
        about: "demand wanders",
        build: |r| {
            let locks = Locks::Random { start: 0.25, stay: 0.5, state: 0.1 };
            let demand = Demand::Walk { step: 0.15 };
            published_prices(r, &Shape { demand, locks, bonus: 0.0, ..Shape::default() })
        },
    },
    Family {
        name: "levels",
        about: "easy sessions and hard sessions",
        build: |r| {
            let demand = Demand::Level { low: 0.25, high: 0.95, noise: 0.10 };
            published_prices(r, &Shape { demand, bonus: 0.05, ..Shape::default() })
        },
    },
    Family {
        name: "falling",
        about: "sessions begin hard and end easy",
        build: |r| {
            let demand = Demand::Wave { base: 0.90, slope: -0.5, wave: 0.08, period: 5.0, noise: 0.08 };
            published_prices(r, &Shape { demand, bonus: 0.08, ..Shape::default() })
        },
    },
    Family {
        name: "drift-idle",
        about: "a new topic or a pause on every fourth free turn",
        build: |r| {
            let locks = Locks::Random { start: 0.3, stay: 0.5, state: 0.1 };
            published_prices(r, &Shape { locks, drift: 0.25, idle: 0.25, ..Shape::default() })
        },
    },
    Family {
        name: "long-200",
        about: "sessions of 200 turns",
        build: |r| {
            let locks = Locks::Cycle { period: 7, slots: &[2, 3, 4] };
            let demand = Demand::Wave { base: 0.50, slope: 0.15, wave: 0.20, period: 23.0, noise: 0.10 };
            let shape =
                Shape { sessions: 30, turns: (200, 200), demand, locks, growth: 0.15, ..Shape::default() };
            published_prices(r, &shape)
        },
    },
    Family {
        name: "short-4",
        about: "sessions of 4 turns",
        build: |r| {
            let locks = Locks::Random { start: 0.4, stay: 0.4, state: 0.0 };
            let demand = Demand::Level { low: 0.3, high: 0.9, noise: 0.15 };
            published_prices(r, &Shape { sessions: 900, turns: (4, 4), demand, locks, ..Shape::default() })
        },
    },
    Family { name: "mixed", about: "the six published scenarios shuffled and interleaved", build: mixed },
];
