//! Workloads as data: models, tiers, sessions of turns, and their JSON lines form.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use pintle_routing::session::Pricing;
use pintle_routing::units::UsdPerMillion;
use serde::{Deserialize, Serialize};

/// A model of a workload; prices in dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name, unique in its workload.
    pub name: String,
    /// Quality in [0,1]; only reported, never priced.
    pub quality: f64,
    /// Prompt tokens.
    pub prompt_per_1m: f64,
    /// Completion tokens.
    pub completion_per_1m: f64,
    /// Cached prompt tokens.
    pub cached_input_per_1m: f64,
}

impl Model {
    /// Prices as the router types them.
    pub fn pricing(&self) -> Pricing {
        Pricing {
            prompt: UsdPerMillion(self.prompt_per_1m),
            cached: UsdPerMillion(self.cached_input_per_1m),
            completion: UsdPerMillion(self.completion_per_1m),
        }
    }
}

/// Kind of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// An ordinary turn.
    UserTurn,
    /// Tool results go back: the model must not change.
    ToolLoop,
    /// State at the provider: the model must not change.
    ProviderState,
    /// A new topic.
    TopicDrift,
}

impl Phase {
    /// The model must not change on this turn.
    pub fn is_locked(self) -> bool {
        matches!(self, Self::ToolLoop | Self::ProviderState)
    }
}

/// One turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Kind.
    pub phase: Phase,
    /// The session was idle before this turn.
    pub idle: bool,
    /// What the turn asks for, in [0,1].
    pub demand: f64,
    /// Whole prompt.
    pub prompt_tokens: u64,
    /// Answer; a policy does not see it before it has decided.
    pub completion_tokens: u64,
    /// Part of the prompt that earlier turns sent.
    pub history_tokens: u64,
}

/// Turns of one session, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Name.
    pub id: String,
    /// Turns that sessions of its kind have, as the published policy is told; `None` if nothing is known.
    pub turn_prior: Option<f64>,
    /// Turns in order.
    pub turns: Vec<Turn>,
}

/// Models in tier order, thresholds between tiers, sessions, and the order in which their turns arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Cheapest tier first.
    pub models: Vec<Model>,
    /// Ascending; a turn's tier is the number of thresholds that its demand reaches.
    pub tiers: Vec<f64>,
    /// Sessions in order of their first turn.
    pub sessions: Vec<Session>,
    /// `(session, turn)` in order of arrival.
    pub order: Vec<(usize, usize)>,
}

impl Workload {
    /// A workload whose sessions run one after another.
    pub fn sequential(models: Vec<Model>, tiers: Vec<f64>, sessions: Vec<Session>) -> Self {
        let order = sessions
            .iter()
            .enumerate()
            .flat_map(|(s, session)| (0..session.turns.len()).map(move |t| (s, t)))
            .collect();
        Self { models, tiers, sessions, order }
    }

    /// Tier that a demand asks for, as an index into `models`.
    pub fn tier(&self, demand: f64) -> usize {
        tier(&self.tiers, demand).min(self.models.len() - 1)
    }

    /// Turns of all sessions.
    pub fn turns(&self) -> usize {
        self.order.len()
    }
}

/// Thresholds reached.
pub fn tier(thresholds: &[f64], demand: f64) -> usize {
    thresholds.iter().filter(|threshold| demand >= **threshold).count()
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    models: Vec<Model>,
    tiers: Vec<f64>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    session: Name,
    turn: u64,
    phase: Phase,
    #[serde(default)]
    idle: bool,
    demand: f64,
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    history_tokens: u64,
}

/// A session is named by a text or a number.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

/// What is wrong with a workload file.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no first line.
    #[error("the workload is empty: its first line must name models and tiers")]
    Empty,
    /// A line is not what it should be.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Models and tiers do not fit together.
    #[error("line 1: {0}")]
    Header(String),
    /// A demand or a turn number is out of range.
    #[error("line {line}: {why}")]
    Turn {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// Reads a workload.
///
/// # Errors
/// [`WorkloadError`], at the first line that does not fit.
pub fn read(reader: impl BufRead) -> Result<Workload, WorkloadError> {
    let mut lines = reader.lines().enumerate();
    let (_, first) = lines.next().ok_or(WorkloadError::Empty)?;
    let header: Header =
        serde_json::from_str(&first?).map_err(|source| WorkloadError::Line { line: 1, source })?;
    check_header(&header)?;
    let mut workload = Workload::sequential(header.models, header.tiers, Vec::new());
    let mut index: HashMap<String, usize> = HashMap::new();
    for (number, text) in lines {
        let (line, text) = (number + 1, text?);
        if text.trim().is_empty() {
            continue;
        }
        let row: Line = serde_json::from_str(&text).map_err(|source| WorkloadError::Line { line, source })?;
        if !(0.0..=1.0).contains(&row.demand) {
            let why = format!("demand {} is not in [0,1]", row.demand);
            return Err(WorkloadError::Turn { line, why });
        }
        let id = match row.session {
            Name::Text(text) => text,
            Name::Number(number) => number.to_string(),
        };
        let s = *index.entry(id).or_insert_with_key(|id| {
            workload.sessions.push(Session { id: id.clone(), turn_prior: None, turns: Vec::new() });
            workload.sessions.len() - 1
        });
        let turns = &mut workload.sessions[s].turns;
        if row.turn != turns.len() as u64 {
            let why = format!("turn {} of its session, but turn {} comes next", row.turn, turns.len());
            return Err(WorkloadError::Turn { line, why });
        }
        workload.order.push((s, turns.len()));
        turns.push(Turn {
            phase: row.phase,
            idle: row.idle,
            demand: row.demand,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            history_tokens: row.history_tokens.min(row.prompt_tokens),
        });
    }
    Ok(workload)
}

fn check_header(header: &Header) -> Result<(), WorkloadError> {
    let wrong = |why: String| Err(WorkloadError::Header(why));
    if header.models.is_empty() {
        return wrong("no model".to_owned());
    }
    if header.tiers.len() + 1 < header.models.len() {
        return wrong(format!("{} models need {} tiers", header.models.len(), header.models.len() - 1));
    }
    if header.tiers.windows(2).any(|pair| pair[0] > pair[1]) {
        return wrong("tiers do not ascend".to_owned());
    }
    let prices = |m: &Model| [m.prompt_per_1m, m.completion_per_1m, m.cached_input_per_1m];
    if header.models.iter().flat_map(prices).any(|price| !price.is_finite() || price < 0.0) {
        return wrong("a price is negative or not a number".to_owned());
    }
    Ok(())
}

/// Writes a workload so that [`read`] returns it, less the turn priors.
///
/// # Errors
/// As the writer reports them.
pub fn write(workload: &Workload, mut out: impl Write) -> io::Result<()> {
    let header = Header { models: workload.models.clone(), tiers: workload.tiers.clone() };
    writeln!(out, "{}", serde_json::to_string(&header)?)?;
    for &(s, t) in &workload.order {
        let turn = &workload.sessions[s].turns[t];
        let line = Line {
            session: Name::Text(workload.sessions[s].id.clone()),
            turn: t as u64,
            phase: turn.phase,
            idle: turn.idle,
            demand: turn.demand,
            prompt_tokens: turn.prompt_tokens,
            completion_tokens: turn.completion_tokens,
            history_tokens: turn.history_tokens,
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}
