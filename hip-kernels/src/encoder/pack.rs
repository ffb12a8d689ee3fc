//! From `f32` weights to the block of memory that the kernels read.

use super::arena::{Arena, At};
use super::numbers::Number;
use super::spec::{
    Activation, BlockSpec, EncoderSpec, HeadSpec, Linear, Norm, PRODUCT_STEP, Pooling, Unsupported,
};

/// Rows of the gate and of what it multiplies alternate in groups of this many.
const GATE_GROUP: usize = 16;

/// A product's weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    /// `[n, k]`, narrowed.
    pub(super) weight: At,
    /// `[n]`.
    pub(super) bias: Option<At>,
    pub(super) n: u32,
    pub(super) k: u32,
}

/// A norm's parameters, `f32`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) gain: At,
    pub(super) bias: Option<At>,
    pub(super) epsilon: f32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) attention_norm: Option<Scale>,
    pub(super) qkv: Matrix,
    pub(super) output: Matrix,
    pub(super) mlp_norm: Scale,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
    /// 0 for all.
    pub(super) window: u32,
    pub(super) rope: Option<At>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) per_token: bool,
    pub(super) pooling: Pooling,
    pub(super) dense: Option<(Matrix, Activation)>,
    pub(super) norm: Option<Scale>,
    pub(super) classifier: Matrix,
}

/// A network whose weights have their places in a block of device memory.
#[derive(Debug)]
pub struct Packed {
    pub(super) number: Number,
    pub(super) hidden: u32,
    pub(super) heads: u32,
    /// Components of a head, padding included.
    pub(super) head: u32,
    /// Of the scores.
    pub(super) scale: f32,
    pub(super) gated: bool,
    pub(super) pre_norm: bool,
    pub(super) vocabulary: u32,
    pub(super) positions: u32,
    pub(super) words: At,
    pub(super) places: Option<At>,
    pub(super) embedding_norm: Scale,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Option<Scale>,
    pub(super) pooling: Pooling,
    pub(super) classify: Option<Head>,
    bytes: u64,
}

/// Bytes of device memory that the weights need.
///
/// # Errors
///
/// [`Unsupported`].
pub fn weights_bytes(spec: &EncoderSpec<'_>, number: Number) -> Result<u64, Unsupported> {
    spec.check()?;
    let mut arena = Arena::counting();
    arrange(spec, number, &mut arena);
    Ok(arena.len())
}

/// Narrows and arranges the weights: what is to be copied to the device, and where everything lies in it.
///
/// # Errors
///
/// [`Unsupported`].
///
/// # Panics
///
/// If a slice of the specification is not as long as its widths say.
pub fn pack(spec: &EncoderSpec<'_>, number: Number) -> Result<(Vec<u8>, Packed), Unsupported> {
    let mut arena = Arena::of_bytes(weights_bytes(spec, number)?);
    let packed = arrange(spec, number, &mut arena);
    Ok((arena.into_bytes(), packed))
}

impl Packed {
    /// Bytes of device memory that the weights take.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.bytes
    }

    /// Width of an embedding.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden as usize
    }

    /// Number of blocks.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Ids of tokens are below this.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary as usize
    }

    /// Labels of the head: per text, per token. One of them is 0.
    #[must_use]
    pub fn labels(&self) -> (usize, usize) {
        match &self.classify {
            None => (0, 0),
            Some(head) if head.per_token => (0, head.classifier.n as usize),
            Some(head) => (head.classifier.n as usize, 0),
        }
    }

    /// What weights and activations were narrowed to.
    #[must_use]
    pub fn number(&self) -> Number {
        self.number
    }
}

fn arrange(spec: &EncoderSpec<'_>, number: Number, arena: &mut Arena) -> Packed {
    let (hidden, head) = (spec.hidden, spec.padded_head());
    let mut writer = Writer { arena, number };
    let components = components(spec);
    let inner = spec.intermediate.next_multiple_of(PRODUCT_STEP);
    let mut tables: Vec<(f64, At)> = Vec::new();
    let words = writer.rows(spec.words, spec.vocabulary() * hidden);
    let places = (!spec.places.is_empty()).then(|| writer.rows(spec.places, spec.positions * hidden));
    let embedding_norm = writer.norm(spec.embedding_norm, hidden);
    let layers = spec
        .blocks
        .iter()
        .map(|block| {
            let rope = block.theta.map(|theta| match tables.iter().find(|known| known.0 == theta) {
                Some((_, at)) => *at,
                None => {
                    let at = writer.turns(theta, spec.head() / 2, spec.positions);
                    tables.push((theta, at));
                    at
                }
            });
            writer.block(spec, block, &components, inner, rope)
        })
        .collect();
    let final_norm = spec.final_norm.map(|norm| writer.norm(norm, hidden));
    let classify = spec.head.map(|head| writer.head(&head, hidden));
    let count = |n: usize| u32::try_from(n).expect("a model's widths are bounded by its file");
    Packed {
        number,
        hidden: count(hidden),
        heads: count(spec.heads),
        head: count(head),
        scale: 1.0 / (spec.head() as f32).sqrt(),
        gated: spec.gated,
        pre_norm: spec.pre_norm,
        vocabulary: count(spec.vocabulary()),
        positions: count(spec.positions),
        words,
        places,
        embedding_norm,
        layers,
        final_norm,
        pooling: spec.pooling,
        classify,
        bytes: arena.len(),
    }
}

/// Where each row or column of a packed matrix comes from; `None` is padding.
type Map = Vec<Option<usize>>;

/// The first `count`, then padding.
fn leading(count: usize, padded: usize) -> Map {
    (0..padded).map(|i| (i < count).then_some(i)).collect()
}

/// The components of all heads. A kernel turns component i of a head by the angle of i together with i + 32, so the
/// halves of a narrower head begin there.
fn components(spec: &EncoderSpec<'_>) -> Map {
    let (head, padded, half) = (spec.head(), spec.padded_head(), spec.head() / 2);
    let component = |i: usize| match spec.rotary() {
        false => (i < head).then_some(i),
        true if i < padded / 2 => (i < half).then_some(i),
        true => (i - padded / 2 < half).then_some(half + i - padded / 2),
    };
    (0..spec.heads).flat_map(|nth| (0..padded).map(move |i| component(i).map(|i| nth * head + i))).collect()
}

/// Three times the rows of all heads: queries, keys, values.
fn three(components: &Map, hidden: usize) -> Map {
    (0..3).flat_map(|part| components.iter().map(move |row| row.map(|row| part * hidden + row))).collect()
}

/// Rows of the gate and of what it multiplies, in alternating groups.
fn interleaved(inner: usize, padded: usize) -> Map {
    (0..2 * padded)
        .map(|row| {
            let (group, within) = (row / (2 * GATE_GROUP), row % (2 * GATE_GROUP));
            let (half, within) = (within / GATE_GROUP, within % GATE_GROUP);
            let source = group * GATE_GROUP + within;
            (source < inner).then_some(half * inner + source)
        })
        .collect()
}

struct Writer<'a> {
    arena: &'a mut Arena,
    number: Number,
}

impl Writer<'_> {
    fn block(
        &mut self,
        spec: &EncoderSpec<'_>,
        block: &BlockSpec<'_>,
        components: &Map,
        inner: usize,
        rope: Option<At>,
    ) -> Layer {
        let hidden = spec.hidden;
        let whole = leading(hidden, hidden);
        let up = if spec.gated {
            assert_eq!(block.up.outputs, 2 * spec.intermediate);
            interleaved(spec.intermediate, inner)
        } else {
            assert_eq!(block.up.outputs, spec.intermediate);
            leading(spec.intermediate, inner)
        };
        Layer {
            attention_norm: block.attention_norm.map(|norm| self.norm(norm, hidden)),
            qkv: self.matrix(&block.qkv, &three(components, hidden), &whole),
            output: self.matrix(&block.output, &whole, components),
            mlp_norm: self.norm(block.mlp_norm, hidden),
            up: self.matrix(&block.up, &up, &whole),
            down: self.matrix(&block.down, &whole, &leading(spec.intermediate, inner)),
            // 0 means everywhere to the kernels.
            window: block.reach.filter(|reach| *reach < spec.positions).map_or(0, |reach| reach as u32),
            rope,
        }
    }

    fn head(&mut self, head: &HeadSpec<'_>, hidden: usize) -> Head {
        let whole = leading(hidden, hidden);
        let labels = leading(head.classifier.outputs, head.classifier.outputs);
        Head {
            per_token: head.per_token,
            pooling: head.pooling,
            dense: head.dense.map(|(dense, activation)| (self.matrix(&dense, &whole, &whole), activation)),
            norm: head.norm.map(|norm| self.norm(norm, hidden)),
            classifier: self.matrix(&head.classifier, &labels, &whole),
        }
    }

    fn matrix(&mut self, linear: &Linear<'_>, rows: &Map, columns: &Map) -> Matrix {
        assert_eq!(linear.weight.len(), linear.outputs * linear.inputs);
        let number = self.number;
        let weight = self.arena.put(rows.len() * columns.len(), || {
            rows.iter().flat_map(|row| {
                columns.iter().map(move |column| {
                    let x = row
                        .zip(*column)
                        .map_or(0.0, |(row, column)| linear.weight[row * linear.inputs + column]);
                    number.narrow(x).to_le_bytes()
                })
            })
        });
        let bias = (!linear.bias.is_empty()).then(|| {
            assert_eq!(linear.bias.len(), linear.outputs);
            self.arena.put(rows.len(), || {
                rows.iter().map(|row| row.map_or(0.0, |row| linear.bias[row]).to_le_bytes())
            })
        });
        Matrix { weight, bias, n: rows.len() as u32, k: columns.len() as u32 }
    }

    fn norm(&mut self, norm: Norm<'_>, hidden: usize) -> Scale {
        let mut floats = |values: &[f32]| {
            assert_eq!(values.len(), hidden);
            self.arena.put(hidden, || values.iter().map(|x| x.to_le_bytes()))
        };
        Scale {
            gain: floats(norm.gain),
            bias: (!norm.bias.is_empty()).then(|| floats(norm.bias)),
            epsilon: norm.epsilon,
        }
    }

    /// A table of narrowed vectors.
    fn rows(&mut self, values: &[f32], count: usize) -> At {
        assert_eq!(values.len(), count);
        let number = self.number;
        self.arena.put(count, || values.iter().map(move |x| number.narrow(*x).to_le_bytes()))
    }

    /// For every position 32 cosines and 32 sines of `position / theta^(i / half)`; those past `half`, where heads
    /// have no components, do not turn.
    fn turns(&mut self, theta: f64, half: usize, positions: usize) -> At {
        // Angles are computed in f32, as the networks were trained.
        let rates: Vec<f32> = (0..32)
            .map(|i| if i < half { (1.0 / theta.powf(i as f64 / half as f64)) as f32 } else { 0.0 })
            .collect();
        self.arena.put(positions * 64, || {
            (0..positions).flat_map(move |position| {
                let rates = rates.clone();
                (0..64).map(move |i| {
                    let angle = f64::from(position as f32 * rates[i % 32]);
                    let turn = if i < 32 { angle.cos() } else { angle.sin() };
                    (turn as f32).to_le_bytes()
                })
            })
        })
    }
}
