//! A network as its owner has it.

use crate::abi;

/// `y = W x + b`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// Rows of `weight`.
    pub outputs: usize,
    /// Columns of `weight`.
    pub inputs: usize,
    /// Row by row.
    pub weight: &'a [f32],
    /// One per output, or empty.
    pub bias: &'a [f32],
}

/// Layer normalisation: `(x - mean) / sqrt(variance + epsilon) * gain + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// One per component.
    pub gain: &'a [f32],
    /// One per component, or empty.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// What stands between two products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), by the error function.
    Gelu,
    /// tanh(x).
    Tanh,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    First,
    /// Their mean.
    Mean,
}

/// One transformer block.
#[derive(Debug, Clone, Copy)]
pub struct BlockSpec<'a> {
    /// Pre-norm networks: before attention, `None` for the identity. Post-norm networks: after attention and its
    /// residual.
    pub attention_norm: Option<Norm<'a>>,
    /// Queries, keys and values of all heads: `[3 * hidden, hidden]`.
    pub qkv: Linear<'a>,
    /// From heads back to the hidden width.
    pub output: Linear<'a>,
    /// Pre-norm: before the perceptron. Post-norm: after it and its residual.
    pub mlp_norm: Norm<'a>,
    /// `[intermediate, hidden]`; gated: `[2 * intermediate, hidden]`, the activated half first.
    pub up: Linear<'a>,
    /// `[hidden, intermediate]`.
    pub down: Linear<'a>,
    /// How many tokens to either side attention looks; `None` is all.
    pub reach: Option<usize>,
    /// Base of the rotary angles, in rotary networks.
    pub theta: Option<f64>,
}

/// How logits come from the vectors of tokens.
#[derive(Debug, Clone, Copy)]
pub struct HeadSpec<'a> {
    /// One row of logits per token; else one per text.
    pub per_token: bool,
    /// Which vector a text is classified by.
    pub pooling: Pooling,
    /// Applied first.
    pub dense: Option<(Linear<'a>, Activation)>,
    /// After `dense`.
    pub norm: Option<Norm<'a>>,
    /// `[labels, hidden]`.
    pub classifier: Linear<'a>,
}

/// A whole encoder, borrowed. The lengths of all slices agree with the widths that are named; [`super::pack`] panics
/// where they do not.
#[derive(Debug, Clone)]
pub struct EncoderSpec<'a> {
    /// Width of a token's vector.
    pub hidden: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the perceptron inside a block (of one half of it, where it is gated).
    pub intermediate: usize,
    /// Longest text in tokens.
    pub positions: usize,
    /// The perceptron multiplies gelu of its first half by its second half; else it is gelu of the whole.
    pub gated: bool,
    /// Norms come before what they normalise for; else after the residual.
    pub pre_norm: bool,
    /// `[vocabulary, hidden]`.
    pub words: &'a [f32],
    /// Added to the words, by position: `[positions, hidden]`; or empty.
    pub places: &'a [f32],
    /// Over the sum.
    pub embedding_norm: Norm<'a>,
    /// In order; at least one.
    pub blocks: Vec<BlockSpec<'a>>,
    /// After the last block, and after the one at which a pass is left early.
    pub final_norm: Option<Norm<'a>>,
    /// Of the embedding.
    pub pooling: Pooling,
    /// On the last block.
    pub head: Option<HeadSpec<'a>>,
}

const MAX_HIDDEN: usize = abi::MAX_HIDDEN as usize;
const MAX_LABELS: usize = abi::MAX_CLASSES as usize;
/// Inner widths of products are multiples of this.
pub(super) const PRODUCT_STEP: usize = abi::GEMM_K as usize;
/// Widest head that there is a kernel for.
const MAX_HEAD: usize = 64;

/// A network that the kernels cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kernel for {0}")]
pub struct Unsupported(pub String);

impl EncoderSpec<'_> {
    /// Whether there are kernels for this network.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] with what they lack.
    pub fn check(&self) -> Result<(), Unsupported> {
        let lacks = |what: String| Err(Unsupported(what));
        if self.hidden == 0 || self.hidden > MAX_HIDDEN || !self.hidden.is_multiple_of(PRODUCT_STEP) {
            return lacks(format!(
                "vectors of {} components: a multiple of {PRODUCT_STEP}, {MAX_HIDDEN} at most",
                self.hidden
            ));
        }
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) || self.head() > MAX_HEAD {
            return lacks(format!("{} heads of a vector of {}", self.heads, self.hidden));
        }
        if self.rotary() && !self.head().is_multiple_of(2) {
            return lacks(format!("rotary heads of {} components", self.head()));
        }
        if self.blocks.is_empty() {
            return lacks("a network without blocks".to_owned());
        }
        if self.blocks.iter().any(|block| block.reach == Some(0)) {
            return lacks("attention of each token to itself alone".to_owned());
        }
        let labels = self.head.map_or(0, |head| head.classifier.outputs);
        if labels > MAX_LABELS {
            return lacks(format!("{labels} labels, more than {MAX_LABELS}"));
        }
        Ok(())
    }

    /// Components of a head.
    pub(super) fn head(&self) -> usize {
        self.hidden / self.heads
    }

    pub(super) fn rotary(&self) -> bool {
        self.blocks.iter().any(|block| block.theta.is_some())
    }

    /// Components of a head as a kernel takes it.
    pub(super) fn padded_head(&self) -> usize {
        if self.rotary() || self.head() > 32 { 64 } else { 32 }
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.words.len() / self.hidden
    }
}
