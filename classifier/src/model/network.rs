//! A network as plain numbers, before any back end packs it.

use super::LoadError;
use super::config::{Activation, Config, Pooling, Task};
use super::rope::Rope;
use super::weights::Weights;
use crate::encoder::Family;

/// `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Rows of `weight`.
    pub outputs: usize,
    /// Columns of `weight`.
    pub inputs: usize,
    /// Row by row.
    pub weight: Vec<f32>,
    /// One per output, or empty.
    pub bias: Vec<f32>,
}

/// Layer normalisation: `(x - mean) / sqrt(variance + epsilon) * gain + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// One per component.
    pub gain: Vec<f32>,
    /// One per component, or empty.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// One transformer block.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Pre-norm networks: before attention, `None` for the identity. Post-norm networks: after attention and its
    /// residual.
    pub attention_norm: Option<Norm>,
    /// Queries, keys and values of all heads, one after another: `[3 * hidden, hidden]`.
    pub qkv: Linear,
    /// From heads back to the hidden width.
    pub output: Linear,
    /// Pre-norm: before the perceptron. Post-norm: after it and its residual.
    pub mlp_norm: Norm,
    /// `[intermediate, hidden]`; gated: `[2 * intermediate, hidden]`, the activated half first.
    pub up: Linear,
    /// `[hidden, intermediate]`.
    pub down: Linear,
    /// How many tokens to either side attention looks; `None` is all.
    pub reach: Option<usize>,
    /// Rotary positions, in rotary networks.
    pub rope: Option<Rope>,
}

/// How classification logits come from token vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Per text or per token.
    pub task: Task,
    /// Which token vector a text is classified by.
    pub pooling: Pooling,
    /// Applied first, with its activation. BERT's pooler, or ModernBERT's prediction head.
    pub dense: Option<(Linear, Activation)>,
    /// After `dense`.
    pub norm: Option<Norm>,
    /// `[labels, hidden]`.
    pub classifier: Linear,
}

/// A whole encoder. All shapes agree with [`Config`].
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// What it was read from.
    pub config: Config,
    /// `[vocabulary, hidden]`.
    pub words: Vec<f32>,
    /// Added to the words, by position: `[positions, hidden]`, the only token type folded in; empty in rotary networks.
    pub places: Vec<f32>,
    /// Over the sum.
    pub embedding_norm: Norm,
    /// In order.
    pub blocks: Vec<Block>,
    /// After the last block, and after the block at which a pass is left early.
    pub final_norm: Option<Norm>,
    /// `None` for [`Task::Embedding`].
    pub head: Option<Head>,
}

impl Network {
    /// Whether norms come before what they normalise for. Otherwise they come after the residual.
    #[must_use]
    pub fn pre_norm(&self) -> bool {
        self.config.family == Family::ModernBert
    }

    /// Whether the perceptron multiplies its activated half by its other half.
    #[must_use]
    pub fn gated(&self) -> bool {
        self.config.family == Family::ModernBert
    }

    /// Reads `model.safetensors`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a tensor is missing, of another shape than the configuration says, or not finite.
    pub fn parse(config: Config, safetensors: &[u8]) -> Result<Self, LoadError> {
        let weights = Weights::parse(safetensors, config.epsilon)?;
        match config.family {
            Family::ModernBert => modern_bert(config, weights),
            _ => bert(config, weights),
        }
    }
}

fn bert(config: Config, weights: Weights<'_>) -> Result<Network, LoadError> {
    let weights = weights.below(&["", "bert."], "embeddings.word_embeddings.weight")?;
    let (hidden, inner) = (config.hidden, config.intermediate);
    let mut places = weights.tensor("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
    let types = weights.tensor("embeddings.token_type_embeddings.weight", &[2, hidden])?;
    for place in places.chunks_exact_mut(hidden) {
        place.iter_mut().zip(&types).for_each(|(x, t)| *x += t);
    }
    let block = |layer: usize| {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        let part = |name: &str| weights.linear(&at(name), hidden, hidden);
        let mut qkv = part("attention.self.query")?;
        qkv.bias.resize(hidden, 0.0);
        for name in ["attention.self.key", "attention.self.value"] {
            let next = part(name)?;
            qkv.weight.extend(next.weight);
            qkv.bias.extend(next.bias);
            qkv.outputs += hidden;
            qkv.bias.resize(qkv.outputs, 0.0);
        }
        Ok(Block {
            attention_norm: Some(weights.norm(&at("attention.output.LayerNorm"), hidden)?),
            qkv,
            output: part("attention.output.dense")?,
            mlp_norm: weights.norm(&at("output.LayerNorm"), hidden)?,
            up: weights.linear(&at("intermediate.dense"), inner, hidden)?,
            down: weights.linear(&at("output.dense"), hidden, inner)?,
            reach: None,
            rope: None,
        })
    };
    let head = match labels(&config, &weights)? {
        0 => None,
        labels => Some(Head {
            task: config.task,
            pooling: Pooling::First,
            dense: match config.task {
                Task::Sequence => Some((weights.linear("pooler.dense", hidden, hidden)?, Activation::Tanh)),
                _ => None,
            },
            norm: None,
            classifier: weights.head_linear("classifier", labels, hidden)?,
        }),
    };
    Ok(Network {
        words: weights.tensor("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?,
        places,
        embedding_norm: weights.norm("embeddings.LayerNorm", hidden)?,
        blocks: (0..config.reach.len()).map(block).collect::<Result<_, LoadError>>()?,
        final_norm: None,
        head,
        config,
    })
}

fn modern_bert(config: Config, weights: Weights<'_>) -> Result<Network, LoadError> {
    let weights = weights.below(&["model.", ""], "embeddings.tok_embeddings.weight")?;
    let (hidden, inner) = (config.hidden, config.intermediate);
    let block = |layer: usize| {
        let at = |name: &str| format!("layers.{layer}.{name}");
        let reach = config.reach[layer];
        let rope = config.rotary.map(|rotary| if reach.is_none() { rotary.global } else { rotary.local });
        Ok(Block {
            attention_norm: match layer {
                0 => None,
                _ => Some(weights.norm(&at("attn_norm"), hidden)?),
            },
            qkv: weights.linear(&at("attn.Wqkv"), 3 * hidden, hidden)?,
            output: weights.linear(&at("attn.Wo"), hidden, hidden)?,
            mlp_norm: weights.norm(&at("mlp_norm"), hidden)?,
            up: weights.linear(&at("mlp.Wi"), 2 * inner, hidden)?,
            down: weights.linear(&at("mlp.Wo"), hidden, inner)?,
            reach,
            rope,
        })
    };
    let head = match labels(&config, &weights)? {
        0 => None,
        labels => Some(Head {
            task: config.task,
            pooling: config.classifier_pooling,
            dense: Some((weights.head_linear("head.dense", hidden, hidden)?, config.classifier_activation)),
            norm: Some(weights.head_norm("head.norm", hidden)?),
            classifier: weights.head_linear("classifier", labels, hidden)?,
        }),
    };
    Ok(Network {
        words: weights.tensor("embeddings.tok_embeddings.weight", &[config.vocabulary, hidden])?,
        places: Vec::new(),
        embedding_norm: weights.norm("embeddings.norm", hidden)?,
        blocks: (0..config.reach.len()).map(block).collect::<Result<_, LoadError>>()?,
        final_norm: Some(weights.norm("final_norm", hidden)?),
        head,
        config,
    })
}

/// Number of labels that the classifier has; 0 without one.
fn labels(config: &Config, weights: &Weights<'_>) -> Result<usize, LoadError> {
    if config.task == Task::Embedding {
        return Ok(0);
    }
    let missing = || LoadError::malformed("model.safetensors", "no tensor classifier.weight");
    let rows = weights.rows("classifier.weight").filter(|rows| *rows > 0).ok_or_else(missing)?;
    if rows > super::config::MAX_LABELS {
        return Err(LoadError::malformed("model.safetensors", "too many labels"));
    }
    if rows != config.labels.len() {
        let reason = format!("{} labels for a classifier of {rows}", config.labels.len());
        return Err(LoadError::malformed("config.json", reason));
    }
    Ok(rows)
}
