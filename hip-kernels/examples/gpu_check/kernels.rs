//! Each kernel of an encoder's layer on its own: time, and samples of its output against sums in `f64`.

use std::time::{Duration, Instant};

use pintle_hip::abi::{self, Address, AttentionArgs, EmbedArgs, GemmArgs, NormArgs, Tile};
use pintle_hip::encoder::Number;
use pintle_hip::{Device, DeviceBuffer, Grid, Hip, HipError, Lane, Module};

use crate::numbers::{Random, gelu, near, widen};
use crate::{Extent, Report, Result, Row, Shape};

const MEMORY: u64 = 24 << 30;
/// How long a measurement lasts, and how many there are; the median counts.
const SPAN: Duration = Duration::from_millis(20);
const SAMPLES: usize = 5;
/// Launches of one graph: what the host adds is divided by it.
const LAUNCHES: usize = 20;
const CHECKED: u32 = 48;
const EPSILON: f32 = 1e-5;
/// Edges of a product's blocks, rows and columns, by kernel.
const TILES: [(&str, u32, u32); 3] = [("fat", 128, 128), ("mid", 64, 64), ("skinny", 16, 32)];

struct Bench<'a> {
    device: &'a Device,
    module: &'a Module,
    lane: &'a Lane,
    extent: Extent,
    number: Number,
    shape: &'static Shape,
    /// Texts, and tokens of each.
    batch: (u32, u32),
    rows: DeviceBuffer<u32>,
    /// What expected numbers are multiplied by: 1, except to see whether a difference is told.
    skew: f64,
}

pub(crate) fn run(hip: &Hip, extent: Extent, report: &mut Report) -> Result<()> {
    run_with(hip, extent, report, 1.0)
}

pub(crate) fn run_with(hip: &Hip, extent: Extent, report: &mut Report, skew: f64) -> Result<()> {
    let device = Device::open(hip, hip.describe(0)?, MEMORY)?;
    let module = Module::load(&device)?;
    let lane = Lane::new(&device)?;
    for shape in extent.shapes() {
        let number = if shape.modern { Number::Bf16 } else { Number::F16 };
        for batch in extent.batches() {
            let rows = device.upload(&[batch.0 * batch.1])?;
            let (device, module, lane, batch) = (&device, &module, &lane, *batch);
            let bench = Bench { device, module, lane, extent, number, shape, batch, rows, skew };
            bench.all(report)?;
        }
    }
    Ok(())
}

/// A product of an encoder's layer.
struct Product {
    what: &'static str,
    n: u32,
    k: u32,
    activation: u32,
    residual: bool,
}

impl Bench<'_> {
    fn all(&self, report: &mut Report) -> Result<()> {
        let Shape { hidden, inner, modern, .. } = *self.shape;
        let up = if modern { (2 * inner, abi::GEGLU) } else { (inner, abi::GELU) };
        let product = |what, n, k, activation, residual| Product { what, n, k, activation, residual };
        for product in [
            product("qkv", 3 * hidden, hidden, abi::NONE, false),
            product("output", hidden, hidden, abi::NONE, true),
            product("up", up.0, hidden, up.1, false),
            product("down", hidden, inner, abi::NONE, true),
        ] {
            self.gemm(&product, report)?;
        }
        self.attention("attention", 0, report)?;
        if modern {
            self.attention("attention, window 64", 64, report)?;
        }
        self.norm(report)?;
        self.embed(report)
    }

    fn tokens(&self) -> u32 {
        self.batch.0 * self.batch.1
    }

    fn name(&self, kernel: &str) -> String {
        format!("pk_{kernel}_{}", self.number)
    }

    /// Microseconds of a launch, many of them in a graph.
    fn time(&self, launch: impl Fn(&Lane) -> std::result::Result<(), HipError>) -> Result<f64> {
        let full = self.extent == Extent::Full;
        let launches = if full { LAUNCHES } else { 1 };
        let graph = self.lane.capture(|lane| (0..launches).try_for_each(|_| Ok(launch(lane)?)))?;
        let replays = |count: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..count {
                self.lane.replay(&graph)?;
            }
            self.lane.wait()?;
            Ok(start.elapsed().as_secs_f64() / (count * launches) as f64)
        };
        let once = replays(1)?;
        if !full {
            return Ok(once * 1e6);
        }
        let warm = replays(3)?;
        let count = (SPAN.as_secs_f64() / (warm * launches as f64)).clamp(1.0, 10_000.0) as usize;
        let mut samples = (0..SAMPLES).map(|_| replays(count)).collect::<Result<Vec<_>>>()?;
        samples.sort_by(f64::total_cmp);
        Ok(samples[SAMPLES / 2] * 1e6)
    }

    fn read(&self, from: &DeviceBuffer<u16>) -> Result<Vec<u16>> {
        let mut staging = self.lane.staging::<u16>(from.len())?;
        self.lane.download(from, 0, from.len(), &mut staging)?;
        self.lane.wait()?;
        Ok(staging.read().to_vec())
    }

    fn row<'r>(&self, what: &'r str, microseconds: f64, flops: f64, bytes: f64, note: &'r str) -> Row<'r> {
        let (batch, tokens) = self.batch;
        let model = self.shape.name;
        Row { kind: "kernel", model, what, batch, tokens, microseconds, flops, bytes, note, ..Row::default() }
    }

    fn compare(&self, what: &str, at: u32, got: u16, expected: f64, report: &mut Report) {
        let (got, expected) = (widen(self.number, got), expected * self.skew);
        if !near(self.number, got, expected) {
            let (batch, tokens) = self.batch;
            let name = self.shape.name;
            report
                .defects
                .push(format!("{name} {batch} x {tokens} {what}, element {at}: {got} for {expected}"));
        }
    }

    fn gemm(&self, product: &Product, report: &mut Report) -> Result<()> {
        let Product { what, n, k, activation, residual } = *product;
        let (m, number) = (self.tokens(), self.number);
        let gated = activation == abi::GEGLU;
        let columns = if gated { n / 2 } else { n };
        let mut random = Random(u64::from(n) << 32 | u64::from(k));
        let (a, w) = (random.numbers(number, (m * k) as usize), random.numbers(number, (n * k) as usize));
        let bias = random.floats(n as usize, 0.0);
        let addend = random.numbers(number, (m * columns) as usize);
        let (on_a, on_w) = (self.device.upload(&a)?, self.device.upload(&w)?);
        let (on_bias, on_addend) = (self.device.upload(&bias)?, self.device.upload(&addend)?);
        let out = self.device.allocate::<u16>((m * columns) as usize)?;
        let args = GemmArgs {
            rows: self.rows.address(),
            a: on_a.address(),
            w: on_w.address(),
            bias: on_bias.address(),
            residual: if residual { on_addend.address() } else { Address::NULL },
            out: out.address(),
            n,
            k,
            activation,
            reserved: 0,
        };
        // As encoders choose: the largest blocks of which there is one for each processor.
        let units = self.device.info().compute_units;
        let enough = |(_, rows, wide): &&(_, u32, u32)| m.div_ceil(*rows) * n.div_ceil(*wide) >= units;
        let chosen = TILES.iter().find(enough).unwrap_or(&TILES[2]).0;
        let (mut time, mut fastest) = (0.0, ("", f64::INFINITY));
        for (tile, rows, wide) in TILES {
            let function = self.module.function(&self.name(&format!("gemm_{tile}")))?;
            let grid = Grid { x: n.div_ceil(wide), y: m.div_ceil(rows) };
            // SAFETY: the struct of this kernel; every buffer is as large as rows, n and k say and outlives the wait in
            // `time`.
            let taken = self.time(|lane| unsafe { lane.launch(&function, grid, &args) })?;
            if tile == chosen {
                time = taken;
            }
            if taken < fastest.1 {
                fastest = (tile, taken);
            }
            let result = self.read(&out)?;
            for _ in 0..CHECKED {
                let (i, j) = (random.below(m), random.below(columns));
                let sum = |of: u32| -> f64 {
                    let products = (0..k).map(|l| {
                        widen(number, a[(i * k + l) as usize]) * widen(number, w[(of * k + l) as usize])
                    });
                    products.sum::<f64>() + f64::from(bias[of as usize])
                };
                let mut expected = match activation {
                    abi::GEGLU => {
                        let gate = j / 16 * 32 + j % 16;
                        gelu(sum(gate)) * sum(gate + 16)
                    }
                    abi::GELU => gelu(sum(j)),
                    _ => sum(j),
                };
                let at = i * columns + j;
                if residual {
                    expected += widen(number, addend[at as usize]);
                }
                self.compare(&format!("{what} {tile}"), at, result[at as usize], expected, report);
            }
        }
        let [m, n, k, columns] = [m, n, k, columns].map(f64::from);
        let note = format!("{chosen}; fastest {} {:.2} us", fastest.0, fastest.1);
        let addends = if residual { 2.0 } else { 1.0 };
        let bytes = 2.0 * (m * k + n * k + addends * m * columns);
        report.add(&self.row(what, time, 2.0 * m * n * k, bytes, &note));
        Ok(())
    }

    fn attention(&self, what: &str, window: u32, report: &mut Report) -> Result<()> {
        let Shape { hidden, heads, modern, .. } = *self.shape;
        let (number, (texts, length)) = (self.number, self.batch);
        let d = hidden / heads;
        let mut random = Random(u64::from(texts) << 32 | u64::from(length));
        let qkv = random.numbers(number, (self.tokens() * 3 * hidden) as usize);
        let angle = |at: u32, pair: u32| -> f64 {
            f64::from(at) * 10_000f64.powf(-2.0 * f64::from(pair) / f64::from(d))
        };
        let rope: Vec<f32> = (0..length)
            .flat_map(|at| {
                let cosines = (0..d / 2).map(move |pair| angle(at, pair).cos() as f32);
                cosines.chain((0..d / 2).map(move |pair| angle(at, pair).sin() as f32))
            })
            .collect();
        let tiles: Vec<Tile> = (0..texts)
            .flat_map(|text| {
                let queries = (0..length).step_by(abi::QUERY_TILE as usize);
                queries.map(move |query| Tile { first: text * length, length, query, reserved: 0 })
            })
            .collect();
        let (on_qkv, on_rope, on_tiles) =
            (self.device.upload(&qkv)?, self.device.upload(&rope)?, self.device.upload(&tiles)?);
        let count = self.device.upload(&[tiles.len() as u32])?;
        let out = self.device.allocate::<u16>((self.tokens() * hidden) as usize)?;
        let scale = 1.0 / (d as f32).sqrt();
        let args = AttentionArgs {
            tile_count: count.address(),
            tiles: on_tiles.address(),
            qkv: on_qkv.address(),
            rope: if modern { on_rope.address() } else { Address::NULL },
            out: out.address(),
            heads,
            window,
            rope_limit: length,
            scale,
        };
        let function = self.module.function(&self.name(&format!("attention{d}")))?;
        let grid = Grid { x: tiles.len() as u32, y: heads };
        // SAFETY: the struct of this kernel; every buffer is as large as tiles, heads and the head's width say and
        // outlives the wait in `time`.
        let time = self.time(|lane| unsafe { lane.launch(&function, grid, &args) })?;
        let result = self.read(&out)?;
        // Part 0 are queries, 1 keys, 2 values.
        let part = |token: u32, part: u32, head: u32, at: u32| -> f64 {
            let value = |at: u32| widen(number, qkv[(((token * 3 + part) * heads + head) * d + at) as usize]);
            if !modern || part == 2 {
                return value(at);
            }
            let half = d / 2;
            let (sin, cos) = angle(token % length, at % half).sin_cos();
            if at < half {
                value(at) * cos - value(at + half) * sin
            } else {
                value(at) * cos + value(at - half) * sin
            }
        };
        for _ in 0..CHECKED / 4 {
            let (token, head, at) = (random.below(self.tokens()), random.below(heads), random.below(d));
            let (first, own) = (token - token % length, token % length);
            let seen: Vec<u32> =
                (0..length).filter(|other| window == 0 || own.abs_diff(*other) <= window).collect();
            let score = |other: &u32| -> f64 {
                let dot: f64 =
                    (0..d).map(|i| part(token, 0, head, i) * part(first + other, 1, head, i)).sum();
                dot * f64::from(scale)
            };
            let scores: Vec<f64> = seen.iter().map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let values = seen.iter().map(|other| part(first + other, 2, head, at));
            let sum: f64 = weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
            let element = (token * heads + head) * d + at;
            let expected = sum / weights.iter().sum::<f64>();
            self.compare(what, element, result[element as usize], expected, report);
        }
        let [texts, length, hidden] = [texts, length, hidden].map(f64::from);
        let reach = if window == 0 { length } else { length.min(f64::from(2 * window + 1)) };
        let (flops, bytes) = (4.0 * texts * length * reach * hidden, 2.0 * texts * length * hidden * 4.0);
        report.add(&self.row(what, time, flops, bytes, ""));
        Ok(())
    }

    fn norm(&self, report: &mut Report) -> Result<()> {
        let (hidden, number) = (self.shape.hidden, self.number);
        let count = (self.tokens() * hidden) as usize;
        let mut random = Random(3);
        let (x, residual) = (random.numbers(number, count), random.numbers(number, count));
        let gamma = random.floats(hidden as usize, 1.0);
        let (on_x, on_residual, on_gamma) =
            (self.device.upload(&x)?, self.device.upload(&residual)?, self.device.upload(&gamma)?);
        let out = self.device.allocate::<u16>(count)?;
        let args = NormArgs {
            rows: self.rows.address(),
            x: on_x.address(),
            residual: on_residual.address(),
            gamma: on_gamma.address(),
            beta: Address::NULL,
            sum: Address::NULL,
            out: out.address(),
            hidden,
            epsilon: EPSILON,
        };
        let function = self.module.function(&self.name("norm"))?;
        let grid = Grid { x: self.tokens().div_ceil(abi::WAVES), y: 1 };
        // SAFETY: the struct of this kernel; every buffer holds rows of this width and outlives the wait in `time`.
        let time = self.time(|lane| unsafe { lane.launch(&function, grid, &args) })?;
        let result = self.read(&out)?;
        let value = |at: u32| widen(number, x[at as usize]) + widen(number, residual[at as usize]);
        for _ in 0..CHECKED {
            let (token, at) = (random.below(self.tokens()), random.below(hidden));
            let row: Vec<f64> = (0..hidden).map(|i| value(token * hidden + i)).collect();
            let expected = normalized(&row, at) * f64::from(gamma[at as usize]);
            let element = token * hidden + at;
            self.compare("LayerNorm", element, result[element as usize], expected, report);
        }
        report.add(&self.row("LayerNorm", time, 0.0, 6.0 * count as f64, ""));
        Ok(())
    }

    fn embed(&self, report: &mut Report) -> Result<()> {
        let Shape { hidden, vocabulary, .. } = *self.shape;
        let number = self.number;
        let mut random = Random(4);
        let words = random.numbers(number, (vocabulary * hidden) as usize);
        let gamma = random.floats(hidden as usize, 1.0);
        let ids: Vec<i32> = (0..self.tokens()).map(|_| random.below(vocabulary) as i32).collect();
        let (on_words, on_gamma, on_ids) =
            (self.device.upload(&words)?, self.device.upload(&gamma)?, self.device.upload(&ids)?);
        let out = self.device.allocate::<u16>((self.tokens() * hidden) as usize)?;
        let args = EmbedArgs {
            rows: self.rows.address(),
            ids: on_ids.address(),
            positions: Address::NULL,
            types: Address::NULL,
            word: on_words.address(),
            position: Address::NULL,
            r#type: Address::NULL,
            gamma: on_gamma.address(),
            beta: Address::NULL,
            out: out.address(),
            hidden,
            vocabulary,
            position_limit: 0,
            type_limit: 0,
            epsilon: EPSILON,
            reserved: 0,
        };
        let function = self.module.function(&self.name("embed"))?;
        let grid = Grid { x: self.tokens().div_ceil(abi::WAVES), y: 1 };
        // SAFETY: the struct of this kernel; ids are below the vocabulary; every buffer is as large as tokens, vocabulary
        // and width say and outlives the wait in `time`.
        let time = self.time(|lane| unsafe { lane.launch(&function, grid, &args) })?;
        let result = self.read(&out)?;
        for _ in 0..CHECKED {
            let (token, at) = (random.below(self.tokens()), random.below(hidden));
            let first = ids[token as usize].unsigned_abs() * hidden;
            let row: Vec<f64> = (0..hidden).map(|i| widen(number, words[(first + i) as usize])).collect();
            let expected = normalized(&row, at) * f64::from(gamma[at as usize]);
            let element = token * hidden + at;
            self.compare("embedding", element, result[element as usize], expected, report);
        }
        let bytes = 4.0 * f64::from(self.tokens() * hidden);
        report.add(&self.row("embedding", time, 0.0, bytes, ""));
        Ok(())
    }
}

/// One component of a row with mean 0 and variance 1.
fn normalized(row: &[f64], at: u32) -> f64 {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (row[at as usize] - mean) / (variance + f64::from(EPSILON)).sqrt()
}
