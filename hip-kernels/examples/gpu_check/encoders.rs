//! Encoders of real size with weights that look random, through the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_hip::encoder::{
    BlockSpec, EncoderJob, EncoderModel, EncoderProgram, EncoderSpec, Linear, Norm, Number, Pooling, Wants,
};
use pintle_hip::engine::{Engine, Loaded, Options};
use pintle_hip::{Hip, Size};

use crate::numbers::Random;
use crate::{Extent, Report, Result, Row, Shape};

/// How long a measurement lasts.
const SPAN: Duration = Duration::from_millis(500);
const MOST_RUNS: usize = 2000;
/// Batches asked for at the same time when throughput is measured: as many as are under way, and as many that wait.
const IN_FLIGHT: usize = 6;
const POSITIONS: u32 = 512;

/// Patient enough for the emulator, and with room for the largest batches.
pub(crate) fn options() -> Options {
    let patience = Duration::from_secs(120);
    Options {
        memory_limit: 24 << 30,
        slots: 3,
        watchdog: patience,
        load_limit: patience,
        ..Options::default()
    }
}

/// Numbers that every layer shares; each layer's copy on the device is its own.
struct Weights {
    words: Vec<f32>,
    places: Vec<f32>,
    matrix: Vec<f32>,
    vector: Vec<f32>,
}

impl Weights {
    fn of(shape: &Shape) -> Self {
        let mut random = Random(11);
        let (hidden, inner) = (shape.hidden as usize, shape.inner as usize);
        let largest = hidden * (3 * hidden).max(2 * inner);
        // Small enough that 22 layers stay in the range of binary16.
        let scale = 2.0 / (hidden as f32).sqrt();
        let scaled = |values: Vec<f32>| values.into_iter().map(|x| x * scale).collect();
        Self {
            words: random.floats(shape.vocabulary as usize * hidden, 0.0),
            places: if shape.modern { Vec::new() } else { random.floats(POSITIONS as usize * hidden, 0.0) },
            matrix: scaled(random.floats(largest, 0.0)),
            vector: random.floats((3 * hidden).max(2 * inner), 1.0),
        }
    }

    fn spec(&self, shape: &Shape) -> EncoderSpec<'_> {
        let (hidden, inner, modern) = (shape.hidden as usize, shape.inner as usize, shape.modern);
        let norm = || Norm {
            gain: &self.vector[..hidden],
            bias: if modern { &[] } else { &self.matrix[..hidden] },
            epsilon: 1e-5,
        };
        let linear = |outputs: usize, inputs: usize| Linear {
            outputs,
            inputs,
            weight: &self.matrix[..outputs * inputs],
            bias: if modern { &[] } else { &self.matrix[..outputs] },
        };
        let block = |layer: u32| BlockSpec {
            attention_norm: (!modern || layer > 0).then(norm),
            qkv: linear(3 * hidden, hidden),
            output: linear(hidden, hidden),
            mlp_norm: norm(),
            up: linear(if modern { 2 * inner } else { inner }, hidden),
            down: linear(hidden, inner),
            reach: shape.local(layer).then_some(64),
            theta: modern.then_some(if shape.local(layer) { 10_000.0 } else { 160_000.0 }),
        };
        EncoderSpec {
            hidden,
            heads: shape.heads as usize,
            intermediate: inner,
            positions: POSITIONS as usize,
            gated: modern,
            pre_norm: modern,
            words: &self.words,
            places: &self.places,
            embedding_norm: norm(),
            blocks: (0..shape.layers).map(block).collect(),
            final_norm: modern.then(norm),
            pooling: Pooling::Mean,
            head: None,
        }
    }
}

/// Products and attention of a pass.
fn flops(shape: &Shape, lengths: &[u32]) -> f64 {
    let tokens: f64 = lengths.iter().map(|n| f64::from(*n)).sum();
    let (hidden, inner) = (f64::from(shape.hidden), f64::from(shape.inner));
    let gates = if shape.modern { 2.0 } else { 1.0 };
    let products = 2.0 * tokens * hidden * (4.0 * hidden + (gates + 1.0) * inner);
    let attention = |layer: u32| -> f64 {
        let reach = if shape.local(layer) { 129.0 } else { f64::INFINITY };
        lengths.iter().map(|n| 4.0 * f64::from(*n) * f64::from(*n).min(reach) * hidden).sum()
    };
    f64::from(shape.layers) * products + (0..shape.layers).map(attention).sum::<f64>()
}

pub(crate) fn run(hip: &Hip, extent: Extent, report: &mut Report) -> Result<()> {
    let engine = Engine::<EncoderProgram>::start(hip, 0, options())?;
    for shape in extent.shapes() {
        let weights = Weights::of(shape);
        let most = |of: fn(&(u32, u32)) -> u32| extent.batches().iter().map(of).max().unwrap_or(1) as usize;
        let room = Size { sequences: most(|batch| batch.0), tokens: most(|batch| batch.0 * batch.1) };
        let number = if shape.modern { Number::Bf16 } else { Number::F16 };
        let model = Arc::new(EncoderModel::new(&weights.spec(shape), number, room)?);
        let loaded = engine.load(model)?;
        for (batch, tokens) in extent.batches() {
            let lengths = vec![*tokens; *batch as usize];
            measure(&loaded, extent, shape, &lengths, (*batch, *tokens), report)?;
        }
        if extent == Extent::Full {
            // As requests are: of all lengths. Who pads computes 512 tokens of each.
            let lengths: Vec<u32> = (0..32).map(|nth| 16 * (nth + 1)).collect();
            measure(&loaded, extent, shape, &lengths, (32, 0), report)?;
        }
    }
    Ok(())
}

fn measure(
    loaded: &Loaded<EncoderProgram>,
    extent: Extent,
    shape: &Shape,
    lengths: &[u32],
    (batch, tokens): (u32, u32),
    report: &mut Report,
) -> Result<()> {
    let mut random = Random(u64::from(batch * 1000 + tokens));
    let ids: Vec<u32> = (0..lengths.iter().sum::<u32>()).map(|_| random.below(shape.vocabulary)).collect();
    let ends: Vec<u32> = lengths
        .iter()
        .scan(0, |end, length| {
            *end += length;
            Some(*end)
        })
        .collect();
    let wants = Wants { layers: shape.layers, embedding: true, logits: false };
    let job = EncoderJob::new(ids, ends, wants).ok_or("a text without tokens")?;
    // The first one records the graph.
    let first = loaded.run(job.clone())?;
    if first.embeddings.iter().any(|x| !x.is_finite()) {
        report.defects.push(format!("{} {batch} x {tokens}: an embedding is not finite", shape.name));
    }
    let (span, most) = if extent == Extent::Full { (SPAN, MOST_RUNS) } else { (Duration::ZERO, 2) };
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || (start.elapsed() < span && times.len() < most) {
        let asked = Instant::now();
        let again = loaded.run(job.clone())?;
        times.push(asked.elapsed().as_secs_f64());
        if again != first {
            report.defects.push(format!("{} {batch} x {tokens}: two runs differ", shape.name));
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let rounds = if extent == Extent::Full { times.len().max(IN_FLIGHT) } else { 2 };
    let mut pending = std::collections::VecDeque::new();
    let start = Instant::now();
    for _ in 0..rounds {
        if pending.len() == IN_FLIGHT {
            pending.pop_front().map(pintle_hip::engine::Pending::wait).transpose()?;
        }
        pending.push_back(loaded.ask(job.clone())?);
    }
    for rest in pending {
        rest.wait()?;
    }
    let rate = (rounds * lengths.len()) as f64 / start.elapsed().as_secs_f64();
    report.add(&Row {
        kind: "encoder",
        model: shape.name,
        what: if tokens == 0 { "mixed lengths" } else { "encoder" },
        batch,
        tokens,
        microseconds: median * 1e6,
        texts_per_second: rate,
        flops: flops(shape, lengths),
        note: if shape.modern { "bf16" } else { "f16" },
        ..Row::default()
    });
    Ok(())
}
