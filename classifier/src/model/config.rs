//! `config.json` in the spellings of transformers 4 and 5.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::LoadError;
use super::rope::{self, Rope};
use crate::encoder::Family;

const FILE: &str = "config.json";

/// Bounds of what is accepted; a file beyond them is hostile or not an encoder.
const MAX_HIDDEN: usize = 8192;
const MAX_LAYERS: usize = 128;
const MAX_HEADS: usize = 256;
const MAX_INTERMEDIATE: usize = 65_536;
const MAX_VOCABULARY: usize = 2_000_000;
pub(crate) const MAX_POSITIONS: usize = 1 << 17;
/// Most angles of rotary positions: positions times the width of a head.
const MAX_ANGLES: usize = 1 << 24;
/// Most labels of one head.
pub const MAX_LABELS: usize = 65_536;

/// What is applied between the two matrices of a block's perceptron, and in classification heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), by the error function.
    Gelu,
    /// The approximation of the former by tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x / (1 + exp(-x)).
    Silu,
    /// tanh(x).
    Tanh,
}

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    First,
    /// Their mean, special tokens included.
    Mean,
}

impl std::str::FromStr for Pooling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cls" => Ok(Self::First),
            "mean" => Ok(Self::Mean),
            _ => Err("cls or mean".to_owned()),
        }
    }
}

/// What stands on the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing: token vectors are pooled.
    Embedding,
    /// One set of logits per text.
    Sequence,
    /// One set of logits per token.
    Token,
}

/// Where rotary positions come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Of layers that look everywhere.
    pub global: Rope,
    /// Of layers that look at their neighbourhood.
    pub local: Rope,
}

/// What `config.json` says, checked and in one spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// [`Family::Bert`] or [`Family::ModernBert`].
    pub family: Family,
    /// Width of a token's vector.
    pub hidden: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the perceptron inside a block (of one half of it, where it is gated).
    pub intermediate: usize,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub positions: usize,
    /// Added to variances.
    pub epsilon: f32,
    /// Of a block's perceptron.
    pub activation: Activation,
    /// For every layer, how far it looks to either side; `None` is everywhere.
    pub reach: Vec<Option<usize>>,
    /// `None` where positions have vectors of their own.
    pub rotary: Option<Rotary>,
    /// What stands on the blocks.
    pub task: Task,
    /// Of classification by text in ModernBERT.
    pub classifier_pooling: Pooling,
    /// Of the classification head in ModernBERT.
    pub classifier_activation: Activation,
    /// By index; empty where the file has none.
    pub labels: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    layer_norm_eps: Option<f64>,
    norm_eps: Option<f64>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    local_attention: Option<i64>,
    global_attn_every_n_layers: Option<usize>,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<rope::Raw>,
    layer_types: Option<Vec<String>>,
    classifier_pooling: Option<String>,
    classifier_activation: Option<String>,
    id2label: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RopeParameters {
    full_attention: Option<rope::Raw>,
    sliding_attention: Option<rope::Raw>,
}

/// Reads `config.json`.
///
/// # Errors
///
/// [`LoadError::Malformed`] or [`LoadError::Unsupported`].
pub fn parse(bytes: &[u8]) -> Result<Config, LoadError> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| LoadError::malformed(FILE, error))?;
    let within = |name: &str, value: usize, limit: usize| {
        if (1..=limit).contains(&value) {
            Ok(value)
        } else {
            Err(LoadError::malformed(FILE, format!("{name} is {value}, outside 1 to {limit}")))
        }
    };
    let hidden = within("hidden_size", raw.hidden_size, MAX_HIDDEN)?;
    let layers = within("num_hidden_layers", raw.num_hidden_layers, MAX_LAYERS)?;
    let heads = within("num_attention_heads", raw.num_attention_heads, MAX_HEADS)?;
    if hidden % heads != 0 {
        return Err(LoadError::malformed(FILE, "num_attention_heads does not divide hidden_size"));
    }
    if raw.is_decoder == Some(true) {
        return Err(LoadError::unsupported(FILE, "a decoder"));
    }
    let mut config = Config {
        family: Family::Bert,
        hidden,
        heads,
        intermediate: within("intermediate_size", raw.intermediate_size, MAX_INTERMEDIATE)?,
        vocabulary: within("vocab_size", raw.vocab_size, MAX_VOCABULARY)?,
        positions: within("max_position_embeddings", raw.max_position_embeddings, MAX_POSITIONS)?,
        epsilon: epsilon(&raw)?,
        activation: activation(
            raw.hidden_activation.as_deref().or(raw.hidden_act.as_deref()).unwrap_or("gelu"),
        )?,
        reach: vec![None; layers],
        rotary: None,
        task: task(raw.architectures.as_deref().unwrap_or_default()),
        classifier_pooling: Pooling::First,
        classifier_activation: Activation::Gelu,
        labels: labels(raw.id2label.as_ref())?,
    };
    match raw.model_type.as_deref() {
        Some("bert") => {
            if let Some(kind) = raw.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
                return Err(LoadError::unsupported(FILE, format!("position_embedding_type {kind:?}")));
            }
        }
        Some("modernbert") => {
            config.family = Family::ModernBert;
            config.rotary = Some(rotary(&raw)?);
            config.reach = reach(&raw, layers)?;
            config.classifier_pooling = match raw.classifier_pooling.as_deref() {
                None | Some("cls") => Pooling::First,
                Some("mean") => Pooling::Mean,
                Some(other) => {
                    return Err(LoadError::unsupported(FILE, format!("classifier_pooling {other:?}")));
                }
            };
            config.classifier_activation =
                activation(raw.classifier_activation.as_deref().unwrap_or("gelu"))?;
            if config.positions * (hidden / heads) > MAX_ANGLES {
                return Err(LoadError::malformed(FILE, "too many positions for heads of this width"));
            }
            if (hidden / heads) % 2 != 0 {
                return Err(LoadError::malformed(FILE, "rotary positions need heads of even width"));
            }
        }
        other => return Err(LoadError::unsupported(FILE, format!("model_type {other:?}"))),
    }
    Ok(config)
}

fn epsilon(raw: &Raw) -> Result<f32, LoadError> {
    let default = if raw.model_type.as_deref() == Some("modernbert") { 1e-5 } else { 1e-12 };
    let value = raw.norm_eps.or(raw.layer_norm_eps).unwrap_or(default);
    if value.is_finite() && value > 0.0 && value < 1.0 {
        Ok(value as f32)
    } else {
        Err(LoadError::malformed(FILE, format!("a norm epsilon of {value}")))
    }
}

fn activation(name: &str) -> Result<Activation, LoadError> {
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(LoadError::unsupported(FILE, format!("activation {other:?}"))),
    }
}

/// By the name that transformers gives the class.
pub(crate) fn task(architectures: &[String]) -> Task {
    match architectures.first().map(String::as_str) {
        Some(name) if name.ends_with("ForSequenceClassification") => Task::Sequence,
        Some(name) if name.ends_with("ForTokenClassification") => Task::Token,
        _ => Task::Embedding,
    }
}

/// Transformers takes `rope_scaling`, where it is, for both kinds of layers.
fn rotary(raw: &Raw) -> Result<Rotary, LoadError> {
    let (own, positions) = (raw.rope_parameters.as_ref(), raw.max_position_embeddings);
    let rope = |own, theta| Rope::parse(own, raw.rope_scaling, theta, positions);
    Ok(Rotary {
        global: rope(own.and_then(|own| own.full_attention), raw.global_rope_theta.unwrap_or(160_000.0))?,
        local: rope(own.and_then(|own| own.sliding_attention), raw.local_rope_theta.unwrap_or(10_000.0))?,
    })
}

fn reach(raw: &Raw, layers: usize) -> Result<Vec<Option<usize>>, LoadError> {
    // The window counts both sides and the token itself; a side is its half, rounded down. Negative means everywhere.
    let side = match raw.local_attention.unwrap_or(128) {
        window if window < 0 => None,
        window => Some(usize::try_from(window / 2).unwrap_or(usize::MAX)),
    };
    if let Some(types) = &raw.layer_types {
        if types.len() != layers {
            return Err(LoadError::malformed(FILE, "layer_types does not list every layer"));
        }
        return types
            .iter()
            .map(|kind| match kind.as_str() {
                "full_attention" => Ok(None),
                "sliding_attention" => Ok(side),
                other => Err(LoadError::unsupported(FILE, format!("layer type {other:?}"))),
            })
            .collect();
    }
    let every = raw.global_attn_every_n_layers.unwrap_or(3);
    if every == 0 {
        return Err(LoadError::malformed(FILE, "global_attn_every_n_layers is 0"));
    }
    Ok((0..layers).map(|layer| if layer % every == 0 { None } else { side }).collect())
}

/// Labels by index from a map whose keys are the indexes.
pub(crate) fn labels(map: Option<&BTreeMap<String, String>>) -> Result<Vec<String>, LoadError> {
    let Some(map) = map else { return Ok(Vec::new()) };
    by_index(map.iter().map(|(index, label)| (index.parse().ok(), label.clone())), map.len())
        .map_err(|reason| LoadError::malformed(FILE, format!("id2label: {reason}")))
}

fn by_index(
    pairs: impl Iterator<Item = (Option<usize>, String)>,
    count: usize,
) -> Result<Vec<String>, &'static str> {
    if count > MAX_LABELS {
        return Err("too many labels");
    }
    let mut labels = vec![None; count];
    for (index, label) in pairs {
        let slot = index.and_then(|index| labels.get_mut(index)).ok_or("indexes are not 0, 1, 2 ...")?;
        if slot.replace(label).is_some() {
            return Err("an index occurs twice");
        }
    }
    labels.into_iter().collect::<Option<Vec<_>>>().ok_or("an index is missing")
}

/// Labels by index from a mapping file as v0.3 names them beside a model: an object with one of the members
/// `idx_to_category`, `idx_to_label`, `id_to_label`, `id2label` (index to name), or, without any, one of
/// `category_to_idx`, `label_to_idx`, `label_to_id`, `label2id` (name to index).
///
/// # Errors
///
/// [`LoadError::Malformed`] if there is no such member, or its indexes are not 0 to n-1.
pub fn parse_label_mapping(file: &str, bytes: &[u8]) -> Result<Vec<String>, LoadError> {
    let document: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(bytes).map_err(|error| LoadError::malformed(file, error))?;
    let fail = |reason: &str| LoadError::malformed(file, reason);
    for name in ["idx_to_category", "idx_to_label", "id_to_label", "id2label"] {
        if let Some(serde_json::Value::Object(map)) = document.get(name) {
            let pairs = map.iter().map(|(index, label)| {
                (index.parse().ok().filter(|_| label.is_string()), label.as_str().unwrap_or("").to_owned())
            });
            return by_index(pairs, map.len()).map_err(fail);
        }
    }
    for name in ["category_to_idx", "label_to_idx", "label_to_id", "label2id"] {
        if let Some(serde_json::Value::Object(map)) = document.get(name) {
            let pairs = map
                .iter()
                .map(|(label, index)| (index.as_u64().and_then(|i| usize::try_from(i).ok()), label.clone()));
            return by_index(pairs, map.len()).map_err(fail);
        }
    }
    Err(fail("no member that maps indexes to labels"))
}

#[cfg(test)]
mod tests;
