//! A network computed as it is defined, in `f64`, without padding, packing or plan.

use super::super::spec::{Activation, BlockSpec, EncoderSpec, Linear, Norm, Pooling};

type Rows = Vec<Vec<f64>>;

/// What a text gives.
pub(super) struct Answer {
    pub(super) embedding: Vec<f64>,
    /// One row for the text, or for each token.
    pub(super) logits: Rows,
}

pub(super) fn encode(spec: &EncoderSpec<'_>, ids: &[u32], layers: usize) -> Answer {
    let table = |values: &[f32], row: usize| -> Vec<f64> {
        values[row * spec.hidden..][..spec.hidden].iter().map(|x| f64::from(*x)).collect()
    };
    let mut x: Rows = ids.iter().map(|id| table(spec.words, *id as usize)).collect();
    if !spec.places.is_empty() {
        x.iter_mut().enumerate().for_each(|(at, row)| add(row, &table(spec.places, at)));
    }
    norm_rows(&mut x, &spec.embedding_norm);
    for block in &spec.blocks[..layers] {
        x = pass(spec, block, x);
    }
    if let Some(norm) = &spec.final_norm {
        norm_rows(&mut x, norm);
    }
    let mut embedding = pooled(&x, spec.pooling);
    normalise(&mut embedding);
    let logits = spec.head.map_or(Vec::new(), |head| {
        let mut rows = if head.per_token { x } else { vec![pooled(&x, head.pooling)] };
        if let Some((dense, activation)) = &head.dense {
            rows = apply(dense, &rows);
            rows.iter_mut().flatten().for_each(|x| {
                *x = match activation {
                    Activation::Gelu => gelu(*x),
                    Activation::Tanh => x.tanh(),
                };
            });
        }
        head.norm.iter().for_each(|norm| norm_rows(&mut rows, norm));
        apply(&head.classifier, &rows)
    });
    Answer { embedding, logits }
}

fn pass(spec: &EncoderSpec<'_>, block: &BlockSpec<'_>, mut x: Rows) -> Rows {
    let normed = |x: &Rows, norm: Option<&Norm<'_>>| {
        let mut rows = x.clone();
        norm.filter(|_| spec.pre_norm).iter().for_each(|norm| norm_rows(&mut rows, norm));
        rows
    };
    let mixed = attend(spec, block, &apply(&block.qkv, &normed(&x, block.attention_norm.as_ref())));
    sum(&mut x, &apply(&block.output, &mixed));
    if !spec.pre_norm {
        block.attention_norm.iter().for_each(|norm| norm_rows(&mut x, norm));
    }
    let mut inner = apply(&block.up, &normed(&x, Some(&block.mlp_norm)));
    for row in &mut inner {
        let half = spec.intermediate;
        let gated = |i: usize| gelu(row[i]) * if spec.gated { row[half + i] } else { 1.0 };
        *row = (0..half).map(gated).collect();
    }
    sum(&mut x, &apply(&block.down, &inner));
    if !spec.pre_norm {
        norm_rows(&mut x, &block.mlp_norm);
    }
    x
}

fn attend(spec: &EncoderSpec<'_>, block: &BlockSpec<'_>, qkv: &Rows) -> Rows {
    let (hidden, d) = (spec.hidden, spec.hidden / spec.heads);
    let mut out = vec![vec![0.0; hidden]; qkv.len()];
    for head in 0..spec.heads {
        let part = |token: usize, part: usize| &qkv[token][part * hidden + head * d..][..d];
        let turned = |token: usize, which: usize| {
            let x = part(token, which);
            let Some(theta) = block.theta else { return x.to_vec() };
            let turn = |i: usize| {
                let half = d / 2;
                let angle = token as f64 / theta.powf((i % half) as f64 / half as f64);
                let partner = if i < half { -x[i + half] } else { x[i - half] };
                x[i] * angle.cos() + partner * angle.sin()
            };
            (0..d).map(turn).collect()
        };
        let keys: Rows = (0..qkv.len()).map(|k| turned(k, 1)).collect();
        for (q, out) in out.iter_mut().enumerate() {
            let seen: Vec<usize> =
                (0..qkv.len()).filter(|k| block.reach.is_none_or(|reach| q.abs_diff(*k) <= reach)).collect();
            let asking = turned(q, 0);
            let weights: Vec<f64> =
                seen.iter().map(|k| (dot(&asking, &keys[*k]) / (d as f64).sqrt()).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (k, weight) in seen.iter().zip(weights) {
                let to = out[head * d..][..d].iter_mut();
                to.zip(part(*k, 2)).for_each(|(sum, v)| *sum += weight / total * v);
            }
        }
    }
    out
}

fn apply(linear: &Linear<'_>, rows: &Rows) -> Rows {
    let output = |row: &Vec<f64>, n: usize| {
        let weights = &linear.weight[n * linear.inputs..][..linear.inputs];
        let bias = linear.bias.get(n).copied().unwrap_or(0.0);
        row.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum::<f64>() + f64::from(bias)
    };
    rows.iter().map(|row| (0..linear.outputs).map(|n| output(row, n)).collect()).collect()
}

fn norm_rows(rows: &mut Rows, norm: &Norm<'_>) {
    for row in rows {
        *row = layer_norm(row, f64::from(norm.epsilon));
        for (i, x) in row.iter_mut().enumerate() {
            *x = *x * f64::from(norm.gain[i]) + f64::from(norm.bias.get(i).copied().unwrap_or(0.0));
        }
    }
}

fn pooled(rows: &Rows, pooling: Pooling) -> Vec<f64> {
    let used = if pooling == Pooling::First { 1 } else { rows.len() };
    (0..rows[0].len()).map(|i| rows[..used].iter().map(|row| row[i]).sum::<f64>() / used as f64).collect()
}

fn sum(rows: &mut Rows, more: &Rows) {
    rows.iter_mut().zip(more).for_each(|(row, more)| add(row, more));
}

fn add(row: &mut [f64], more: &[f64]) {
    row.iter_mut().zip(more).for_each(|(x, y)| *x += y);
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Without gain and bias.
pub(super) fn layer_norm(row: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
    row.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect()
}

pub(super) fn normalise(vector: &mut [f64]) {
    let length = dot(vector, vector).sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
}

/// x Φ(x); the error function as its Maclaurin series, which is exact enough below 5.
pub(super) fn gelu(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.max(0.0);
    }
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut erf) = (z, z);
    for n in 1..70 {
        term *= -z * z / f64::from(n);
        erf += term / f64::from(2 * n + 1);
    }
    x * 0.5 * (1.0 + erf * std::f64::consts::FRAC_2_SQRT_PI)
}
