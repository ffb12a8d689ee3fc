//! A packed network.

use std::f64::consts::LOG2_E;
use std::sync::Arc;

use super::forward::CpuSession;
use super::kernels::Table;
use super::memory::Lanes;
use super::pack::{Format, Packed, PackedNorm, STEP, bf16, spread_columns, spread_rows};
use super::{Isa, Precision};
use crate::encoder::{Encoder, EncoderInfo, Session, TokenizeError, Tokens};
use crate::model::config::{Activation, Pooling, Task};
use crate::model::network::Block;
use crate::model::rope::Rope;
use crate::model::tokenizer::Tokenizer;
use crate::model::{Folder, Network};

/// A model on the CPU.
pub struct CpuEncoder {
    model: Arc<Model>,
    tokenizer: Tokenizer,
}

/// What sessions share.
pub(super) struct Model {
    pub(super) info: EncoderInfo,
    pub(super) isa: Isa,
    pub(super) precision: Precision,
    /// Of the blocks.
    pub(super) table: &'static Table,
    /// Of the heads, which are `f32`.
    pub(super) exact: &'static Table,
    pub(super) shape: Shape,
    pub(super) words: Words,
    pub(super) places: Vec<f32>,
    pub(super) embedding_norm: PackedNorm,
    pub(super) blocks: Vec<PackedBlock>,
    pub(super) final_norm: Option<PackedNorm>,
    pub(super) pooling: Pooling,
    pub(super) head: Option<PackedHead>,
    /// Cosines and sines of every position, for each base in use.
    pub(super) turns: Vec<Lanes>,
}

/// Widths, unpadded and padded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) vocabulary: usize,
    pub(super) heads: usize,
    /// Of one head.
    pub(super) head: usize,
    pub(super) padded_head: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) gated: bool,
    pub(super) pre_norm: bool,
}

/// The table of token vectors, in the width that the blocks' precision deserves.
pub(super) enum Words {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

pub(super) struct PackedBlock {
    pub(super) attention_norm: Option<PackedNorm>,
    pub(super) qkv: Packed,
    pub(super) output: Packed,
    pub(super) mlp_norm: PackedNorm,
    pub(super) up: Packed,
    pub(super) down: Packed,
    pub(super) reach: Option<usize>,
    /// Index in [`Model::turns`].
    pub(super) turns: Option<usize>,
}

pub(super) struct PackedHead {
    pub(super) task: Task,
    pub(super) pooling: Pooling,
    pub(super) dense: Option<(Packed, Activation)>,
    pub(super) norm: Option<PackedNorm>,
    pub(super) classifier: Packed,
    pub(super) labels: usize,
}

impl CpuEncoder {
    /// Packs a model for the best instruction set of this processor.
    #[must_use]
    pub fn new(folder: Folder, precision: Precision) -> Self {
        Self::with_isa(folder, precision, Isa::best()).expect("the best instruction set is available")
    }

    /// Packs a model for a given instruction set; `None` if this processor lacks it.
    #[must_use]
    pub fn with_isa(folder: Folder, precision: Precision, isa: Isa) -> Option<Self> {
        let (table, precision) = Table::for_isa(isa, precision)?;
        let (exact, _) = Table::for_isa(isa, Precision::F32)?;
        let Folder { network, tokenizer, pooling, info } = folder;
        let model = Model::pack(network, info, pooling, (table, exact), isa, precision);
        Some(Self { model: Arc::new(model), tokenizer })
    }

    /// What it computes in. Differs from what was asked where the processor cannot.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.model.precision
    }

    /// Numbers in the blocks' matrices: multiplications that every token costs, attention not counted.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let shape = &self.model.shape;
        let up = if shape.gated { 2 } else { 1 };
        let block = 4 * shape.hidden * shape.hidden + (up + 1) * shape.hidden * shape.inner;
        self.model.blocks.len() * block
    }

    /// The instruction set that it uses.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.model.isa
    }
}

impl Encoder for CpuEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.model.info
    }

    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        self.tokenizer.tokenize(text, max_tokens.min(self.model.info.max_tokens), out)
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(CpuSession::new(Arc::clone(&self.model)))
    }
}

impl Model {
    fn pack(
        network: Network,
        info: EncoderInfo,
        pooling: Pooling,
        (table, exact): (&'static Table, &'static Table),
        isa: Isa,
        precision: Precision,
    ) -> Self {
        let (pre_norm, gated) = (network.pre_norm(), network.gated());
        let Network { config, words, places, embedding_norm, blocks, final_norm, head } = network;
        let width = config.hidden / config.heads;
        let shape = Shape {
            hidden: config.hidden,
            vocabulary: config.vocabulary,
            heads: config.heads,
            head: width,
            padded_head: width.next_multiple_of(STEP),
            inner: config.intermediate.next_multiple_of(STEP),
            activation: config.activation,
            gated,
            pre_norm,
        };
        let mut ropes = Vec::new();
        let blocks: Vec<_> = blocks
            .into_iter()
            .map(|block| pack_block(block, &shape, config.intermediate, table.format, &mut ropes))
            .collect();
        let turns = ropes.iter().map(|rope| turns(rope, width / 2, config.positions)).collect();
        Self {
            isa,
            precision,
            table,
            exact,
            shape,
            words: match precision {
                Precision::F32 => Words::F32(words),
                _ => Words::Bf16(words.into_iter().map(bf16).collect()),
            },
            places,
            embedding_norm: PackedNorm::new(&embedding_norm),
            blocks,
            final_norm: final_norm.as_ref().map(PackedNorm::new),
            pooling,
            head: head.map(|head| PackedHead {
                task: head.task,
                pooling: head.pooling,
                dense: head.dense.map(|(dense, activation)| (Packed::new(&dense, Format::F32), activation)),
                norm: head.norm.as_ref().map(PackedNorm::new),
                labels: head.classifier.outputs,
                classifier: Packed::new(&head.classifier, Format::F32),
            }),
            turns,
            info,
        }
    }
}

fn pack_block(
    mut block: Block,
    shape: &Shape,
    intermediate: usize,
    format: Format,
    ropes: &mut Vec<Rope>,
) -> PackedBlock {
    // Scores are products divided by the root of the width; the softmax takes powers of two.
    let scale = (LOG2_E / (shape.head as f64).sqrt()) as f32;
    let queries = shape.heads * shape.head;
    block.qkv.weight[..queries * shape.hidden].iter_mut().for_each(|x| *x *= scale);
    if !block.qkv.bias.is_empty() {
        block.qkv.bias[..queries].iter_mut().for_each(|x| *x *= scale);
    }
    spread_rows(&mut block.qkv, shape.head, shape.padded_head);
    spread_columns(&mut block.output, shape.head, shape.padded_head);
    spread_rows(&mut block.up, intermediate, shape.inner);
    spread_columns(&mut block.down, intermediate, shape.inner);
    PackedBlock {
        attention_norm: block.attention_norm.as_ref().map(PackedNorm::new),
        qkv: Packed::new(&block.qkv, format),
        output: Packed::new(&block.output, format),
        mlp_norm: PackedNorm::new(&block.mlp_norm),
        up: Packed::new(&block.up, format),
        down: Packed::new(&block.down, format),
        reach: block.reach,
        turns: block.rope.map(|rope| {
            ropes.iter().position(|known| *known == rope).unwrap_or_else(|| {
                ropes.push(rope);
                ropes.len() - 1
            })
        }),
    }
}

/// For every position, `half` cosines and then `half` sines of the position times each pair's rate.
fn turns(rope: &Rope, half: usize, positions: usize) -> Lanes {
    let mut turns = Lanes::zeroed(positions * 2 * half);
    // Angles are computed in f32, as the networks were trained.
    let (rates, scale) = (rope.rates(half), rope.scale());
    for (position, row) in turns.floats_mut().chunks_exact_mut(2 * half).take(positions).enumerate() {
        let (cosines, sines) = row.split_at_mut(half);
        for (i, rate) in rates.iter().enumerate() {
            let angle = f64::from(position as f32 * rate);
            cosines[i] = (scale * angle.cos()) as f32;
            sines[i] = (scale * angle.sin()) as f32;
        }
    }
    turns
}
