//! Projections: values derived from signals.
//!
//! Partitions make rival signals exclusive, scores add signals up, mappings name bands of a score; each
//! band becomes a signal of its own, `projection:<name>`. Scores and mappings run in dependency order. An
//! unknown input makes a score an interval: a band is unknown only if the interval does not settle it.

use std::collections::HashMap;

use pintle_config::{Mapping as MappingConfig, Profile, Projections as Config, Score as ScoreConfig};
use smallvec::{SmallVec, smallvec};

use crate::evidence::{Evidence, Truth};
use crate::flow;
use crate::ids::SignalId;
use crate::interval::Interval;
use crate::signals::predicate::{Predicate, sigmoid};
use crate::signals::{CompileError, EvidenceTable, SignalDef, SignalKind, SignalNames, Used};

mod partition;
#[cfg(test)]
mod tests;

use partition::Partition;

/// Slope of `sigmoid_distance` where none is configured.
const DEFAULT_SLOPE: f64 = 12.0;

/// Values of knowledge base metrics by position in [`Projections::kb_metrics`]; `None` is unknown.
pub(crate) type KbMetrics = [Option<f64>];

#[derive(Debug)]
pub(crate) struct Projections {
    partitions: Vec<Partition>,
    scores: Vec<Score>,
    mappings: Vec<Mapping>,
    /// Scores and mappings, dependencies first.
    steps: Vec<Step>,
    /// Knowledge base and metric.
    kb_metrics: Vec<(String, String)>,
    /// The score that measures how demanding a turn is, for the session policy.
    demand: Option<usize>,
    profile: Profile,
}

/// Name of the score that the session policy reads as a turn's demand.
const DEMAND: &str = "demand";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Score(usize),
    Mapping(usize),
}

#[derive(Debug)]
struct Score {
    name: String,
    inputs: Vec<Input>,
}

#[derive(Debug)]
struct Input {
    label: String,
    weight: f64,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Binary {
        id: SignalId,
        hit: f64,
        miss: f64,
    },
    Confidence(SignalId),
    Raw(SignalId),
    Score(usize),
    KbMetric(usize),
    /// v0.3.0 evaluates roles after projections, so they never see one.
    Constant(f64),
}

#[derive(Debug)]
struct Mapping {
    name: String,
    source: usize,
    all_that_fit: bool,
    slope: f64,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    id: SignalId,
    name: String,
    bounds: Predicate,
}

impl Projections {
    pub(crate) fn compile(
        config: &Config,
        profile: Profile,
        names: &mut SignalNames,
        errors: &mut Vec<CompileError>,
    ) -> Self {
        let score_index: HashMap<&str, usize> =
            config.scores.iter().enumerate().map(|(at, score)| (score.name.as_str(), at)).collect();
        let mut outputs = HashMap::new();
        let mut mappings = Vec::new();
        for mapping in &config.mappings {
            let Some(source) = score_index.get(mapping.source.as_str()) else {
                errors.push(CompileError {
                    at: format!("routing.projections.mappings[{:?}].source", mapping.name),
                    what: format!("no score is called {:?}", mapping.source),
                });
                continue;
            };
            let compiled = compile_mapping(mapping, *source, names);
            outputs.extend(compiled.outputs.iter().map(|output| (output.id, mappings.len())));
            mappings.push(compiled);
        }
        let mut compiler = ScoreCompiler { profile, names, errors, score_index, kb_metrics: Vec::new() };
        let scores: Vec<Score> = config.scores.iter().map(|score| compiler.score(score)).collect();
        let kb_metrics = compiler.kb_metrics;
        let partitions =
            config.partitions.iter().filter_map(|p| Partition::compile(p, profile, names, errors)).collect();
        let mut order = Order {
            scores: &scores,
            mappings: &mappings,
            outputs: &outputs,
            state: HashMap::new(),
            steps: vec![],
        };
        let mut cycle = None;
        for at in 0..scores.len() {
            cycle = cycle.or(order.visit(Step::Score(at)).err());
        }
        for at in 0..mappings.len() {
            cycle = cycle.or(order.visit(Step::Mapping(at)).err());
        }
        let steps = order.steps;
        if let (Some(Step::Score(at)), Profile::Pintle) = (cycle, profile) {
            errors.push(CompileError {
                at: format!("routing.projections.scores[{:?}]", scores[at].name),
                what: "the score depends on itself".into(),
            });
        }
        let demand = scores.iter().position(|score| score.name == DEMAND);
        Self { partitions, scores, mappings, steps, kb_metrics, demand, profile }
    }

    /// Signals that a rule tree reaches through projections. `wanted` says whether an output is used.
    pub(crate) fn note_used(
        &self,
        mut wanted: impl FnMut(SignalId) -> bool,
        defs: &[SignalDef],
        used: &mut Used,
    ) {
        let mut pending: Vec<usize> = Vec::new();
        for mapping in &self.mappings {
            if mapping.outputs.iter().any(|output| wanted(output.id)) {
                pending.push(mapping.source);
            }
        }
        let mut seen = vec![false; self.scores.len()];
        while let Some(at) = pending.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            for input in &self.scores[at].inputs {
                match input.source {
                    Source::Binary { id, .. } | Source::Confidence(id) | Source::Raw(id) => {
                        used.insert(defs[id.index()].kind);
                        let emits = |m: &&Mapping| m.outputs.iter().any(|output| output.id == id);
                        pending.extend(self.mappings.iter().filter(emits).map(|m| m.source));
                    }
                    Source::Score(other) => pending.push(other),
                    Source::KbMetric(_) => used.insert(SignalKind::Kb),
                    Source::Constant(_) => {}
                }
            }
        }
        for partition in &self.partitions {
            partition.note_used(defs, used);
        }
    }

    /// Knowledge base metrics that scores read, in the order in which `apply` wants their values.
    pub(crate) fn kb_metrics(&self) -> &[(String, String)] {
        &self.kb_metrics
    }

    /// Makes rival signals exclusive; `record` receives what became of each partition.
    pub(crate) fn partition(
        &self,
        table: &mut EvidenceTable,
        defs: &[SignalDef],
        mut record: Option<&mut flow::Projections>,
    ) {
        for partition in &self.partitions {
            let result = partition.apply(table, self.profile, record.is_some().then_some(defs));
            if let (Some(record), Some(result)) = (record.as_deref_mut(), result) {
                record.partitions.push(result);
            }
        }
    }

    /// Whether there is anything to tell of how signals were derived.
    pub(crate) fn explain(&self) -> bool {
        !(self.partitions.is_empty() && self.steps.is_empty())
    }

    /// Whether a score measures demand.
    pub(crate) fn measures_demand(&self) -> bool {
        self.demand.is_some()
    }

    /// Computes scores and mappings; `record` receives each. Returns the score called `demand`, clamped to
    /// `[0,1]`, if there is one and it is known.
    pub(crate) fn score(
        &self,
        table: &mut EvidenceTable,
        kb_metrics: &KbMetrics,
        mut record: Option<&mut flow::Projections>,
    ) -> Option<f64> {
        let mut totals: SmallVec<[Interval; 16]> = smallvec![Interval::ZERO; self.scores.len()];
        for step in &self.steps {
            match *step {
                Step::Score(at) => {
                    let inputs = &self.scores[at].inputs;
                    let value = |input: &Input| input.source.value(table, &totals, kb_metrics);
                    let total = inputs
                        .iter()
                        .map(|input| value(input).times(input.weight))
                        .fold(Interval::ZERO, Interval::plus);
                    if let Some(record) = record.as_deref_mut() {
                        let inputs = inputs.iter().map(|input| flow::ScoreInputRecord {
                            input: input.label.clone(),
                            weight: input.weight,
                            value: value(input).known(),
                            contribution: value(input).times(input.weight).known().unwrap_or(0.0),
                        });
                        record.scores.push(flow::ScoreRecord {
                            name: self.scores[at].name.clone(),
                            inputs: inputs.collect(),
                            total: total.known(),
                        });
                    }
                    totals[at] = total;
                }
                Step::Mapping(at) => {
                    let mapping = &self.mappings[at];
                    let total = totals[mapping.source];
                    mapping.emit(total, table);
                    if let Some(record) = record.as_deref_mut() {
                        record.mappings.push(mapping.record(total, &self.scores[mapping.source].name, table));
                    }
                }
            }
        }
        Some(totals[self.demand?].known()?.clamp(0.0, 1.0))
    }
}

impl Source {
    fn value(self, table: &EvidenceTable, totals: &[Interval], kb_metrics: &KbMetrics) -> Interval {
        match self {
            Self::Binary { id, hit, miss } => match table[id.index()].truth {
                Truth::True => Interval::point(hit),
                Truth::False => Interval::point(miss),
                Truth::Unknown(_) => Interval::between(hit, miss),
            },
            Self::Confidence(id) => {
                let found = &table[id.index()];
                match found.truth {
                    Truth::True => Interval::point(found.confidence.filter(|c| *c > 0.0).unwrap_or(1.0)),
                    Truth::False => Interval::ZERO,
                    Truth::Unknown(_) => Interval::between(0.0, 1.0),
                }
            }
            Self::Raw(id) => match (table[id.index()].value, table[id.index()].truth) {
                (Some(value), _) => Interval::point(value),
                (None, Truth::Unknown(_)) => Interval::ANY,
                (None, _) => Interval::ZERO,
            },
            Self::Score(at) => totals[at],
            Self::KbMetric(at) => {
                kb_metrics.get(at).copied().flatten().map_or(Interval::ANY, Interval::point)
            }
            Self::Constant(value) => Interval::point(value),
        }
    }
}

impl Mapping {
    fn emit(&self, total: Interval, table: &mut EvidenceTable) {
        let mut open = Truth::True;
        for output in &self.outputs {
            let fits = total.satisfies(&output.bounds);
            let truth = match (open, fits) {
                (Truth::False, _) | (_, Truth::False) => Truth::False,
                (Truth::True, fits) => fits,
                (unknown, _) => unknown,
            };
            if !self.all_that_fit {
                open = match fits {
                    Truth::True => Truth::False,
                    Truth::Unknown(_) if open.is_true() => fits,
                    _ => open,
                };
            }
            table[output.id.index()] = Evidence {
                truth,
                confidence: truth.is_true().then(|| self.confidence(output, total)),
                value: total.known(),
            };
        }
    }

    /// From the smallest distance to the output's bounds; 1 when it has none.
    fn confidence(&self, output: &Output, total: Interval) -> f64 {
        distance(&output.bounds, total).map_or(1.0, |distance| sigmoid(self.slope, distance))
    }

    fn record(&self, total: Interval, source: &str, table: &EvidenceTable) -> flow::MappingRecord {
        let outputs = self.outputs.iter().map(|output| {
            let emitted = &table[output.id.index()];
            flow::MappingOutputRecord {
                name: output.name.clone(),
                truth: emitted.truth,
                boundary_distance: distance(&output.bounds, total).filter(|d| d.is_finite()),
                confidence: emitted.confidence,
            }
        });
        flow::MappingRecord {
            name: self.name.clone(),
            source: source.to_owned(),
            value: total.known(),
            outputs: outputs.collect(),
        }
    }
}

fn distance(bounds: &Predicate, total: Interval) -> Option<f64> {
    let at = |value| bounds.nearest_distance(value);
    Some(at(total.low)?.min(at(total.high)?))
}

fn compile_mapping(mapping: &MappingConfig, source: usize, names: &mut SignalNames) -> Mapping {
    let slope = mapping.calibration.as_ref().map_or(0.0, |calibration| calibration.slope);
    let outputs = mapping.outputs.iter().map(|output| Output {
        id: names.declare(SignalKind::Projection, &output.name),
        name: output.name.clone(),
        bounds: Predicate::bounds(output.gt, output.gte, output.lt, output.lte),
    });
    Mapping {
        name: mapping.name.clone(),
        source,
        all_that_fit: mapping.method == "multi_emit",
        slope: if slope == 0.0 { DEFAULT_SLOPE } else { slope },
        outputs: outputs.collect(),
    }
}

struct ScoreCompiler<'a> {
    profile: Profile,
    names: &'a mut SignalNames,
    errors: &'a mut Vec<CompileError>,
    score_index: HashMap<&'a str, usize>,
    kb_metrics: Vec<(String, String)>,
}

impl ScoreCompiler<'_> {
    fn score(&mut self, score: &ScoreConfig) -> Score {
        let mut inputs = Vec::with_capacity(score.inputs.len());
        for (at, input) in score.inputs.iter().enumerate() {
            match self.source(input) {
                Ok(source) => inputs.push(Input { label: label(input), weight: input.weight, source }),
                Err(what) => self.errors.push(CompileError {
                    at: format!("routing.projections.scores[{:?}].inputs[{at}]", score.name),
                    what,
                }),
            }
        }
        Score { name: score.name.clone(), inputs }
    }

    fn source(&mut self, input: &pintle_config::ScoreInput) -> Result<Source, String> {
        if input.kind == "kb_metric" {
            let key = (input.kb.clone(), input.metric.clone());
            let at = self.kb_metrics.iter().position(|known| *known == key).unwrap_or_else(|| {
                self.kb_metrics.push(key);
                self.kb_metrics.len() - 1
            });
            return Ok(Source::KbMetric(at));
        }
        let kind = SignalKind::parse(&input.kind).ok_or_else(|| format!("unknown type {:?}", input.kind))?;
        if kind == SignalKind::Projection {
            return if input.value_source == "confidence" {
                Ok(Source::Confidence(self.names.intern(kind, &input.name)))
            } else {
                let at = self.score_index.get(input.name.as_str());
                at.map(|at| Source::Score(*at)).ok_or_else(|| format!("no score is called {:?}", input.name))
            };
        }
        let hit = if input.r#match == 0.0 { 1.0 } else { input.r#match };
        if kind == SignalKind::Authz && self.profile == Profile::Compat {
            return Ok(Source::Constant(match input.value_source.as_str() {
                "confidence" | "raw" => 0.0,
                _ => input.miss,
            }));
        }
        let id = self.names.resolve(kind, &input.name);
        Ok(match input.value_source.as_str() {
            "" | "binary" => Source::Binary { id, hit, miss: input.miss },
            "confidence" => Source::Confidence(id),
            "raw" => Source::Raw(id),
            other => return Err(format!("unknown value_source {other:?}: use binary, confidence or raw")),
        })
    }
}

fn label(input: &pintle_config::ScoreInput) -> String {
    if input.kind == "kb_metric" {
        format!("kb_metric:{}:{}", input.kb, input.metric)
    } else {
        format!("{}:{}", input.kind, input.name)
    }
}

struct Order<'a> {
    scores: &'a [Score],
    mappings: &'a [Mapping],
    outputs: &'a HashMap<SignalId, usize>,
    /// False while a step's dependencies are being visited, true when it is done.
    state: HashMap<Step, bool>,
    steps: Vec<Step>,
}

impl Order<'_> {
    /// Appends a step behind everything it depends on. A cycle is broken where it closes and reported.
    fn visit(&mut self, step: Step) -> Result<(), Step> {
        match self.state.get(&step) {
            Some(true) => return Ok(()),
            Some(false) => return Err(step),
            None => self.state.insert(step, false),
        };
        let dependencies: Vec<Step> = match step {
            Step::Mapping(at) => vec![Step::Score(self.mappings[at].source)],
            Step::Score(at) => {
                let depends = |input: &Input| match input.source {
                    Source::Score(other) => Some(Step::Score(other)),
                    Source::Binary { id, .. } | Source::Confidence(id) | Source::Raw(id) => {
                        self.outputs.get(&id).map(|mapping| Step::Mapping(*mapping))
                    }
                    Source::KbMetric(_) | Source::Constant(_) => None,
                };
                self.scores[at].inputs.iter().filter_map(depends).collect()
            }
        };
        let mut cycle = Ok(());
        for dependency in dependencies {
            cycle = cycle.and(self.visit(dependency));
        }
        self.state.insert(step, true);
        self.steps.push(step);
        cycle.map_err(|_| step)
    }
}
