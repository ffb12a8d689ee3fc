//! What must hold for any files of a model, and for any text: a module to the fuzz targets and to the replay test.

#![allow(unreachable_pub)]

use pintle_classifier::encoder::{Batch, Encoded, Encoder, Tokens, Want};
use pintle_classifier::model::folder::{Files, Options, parse};
use pintle_classifier::model::tokenizer::Tokenizer;
use pintle_classifier::onnx::OnnxEncoder;

const TOKENIZER: &str = include_str!("../../classifier/tests/golden/tokenizer.json");

/// A configuration, of as many bytes as the first two say, and weights: an error, or a network whose every tensor has
/// the shape that the configuration says.
pub fn model_load(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (config, weights) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let files = Files { config, weights, tokenizer: TOKENIZER.as_bytes(), pooling: None, modules: None };
    let Ok(folder) = parse(files, Options::default()) else { return };
    let config = &folder.network.config;
    assert_eq!(folder.network.words.len(), config.vocabulary * config.hidden);
    assert_eq!(folder.network.blocks.len(), config.reach.len());
    for block in &folder.network.blocks {
        assert_eq!(block.qkv.weight.len(), 3 * config.hidden * config.hidden);
        assert_eq!(block.down.weight.len(), config.intermediate * config.hidden);
    }
}

/// What a graph is for, and the graph: an error, or an encoder that gives what it says or an error.
pub fn model_graph(data: &[u8]) {
    let Some((kind, graph)) = data.split_first() else { return };
    let (class, want) = match kind {
        0 => ("BertModel", Want::EMBEDDING),
        1 => ("BertForSequenceClassification", Want::SEQUENCE),
        _ => ("BertForTokenClassification", Want::TOKEN),
    };
    let config = format!(
        "{{\"model_type\": \"bert\", \"architectures\": [\"{class}\"], \"max_position_embeddings\": 16}}"
    );
    let tokenizer = TOKENIZER.as_bytes();
    let files = Files { config: config.as_bytes(), weights: graph, tokenizer, pooling: None, modules: None };
    let Ok(encoder) = OnnxEncoder::parse(files, Options::default()) else { return };
    let info = encoder.info();
    assert!((1..=16).contains(&info.max_tokens));
    let mut batch = Batch::default();
    batch.push(&vec![1; info.max_tokens]).expect("a text");
    batch.push(&[1]).expect("another");
    let mut out = Encoded::default();
    if encoder.session().encode(&batch, want, &mut out).is_err() {
        return;
    }
    let (rows, width, got) = match kind {
        0 => (batch.texts(), info.dimensions(), &out.pooled),
        1 => (batch.texts(), info.sequence_labels(), &out.logits),
        _ => (batch.tokens(), info.token_labels(), &out.token_logits),
    };
    assert_eq!(got.len(), rows * width);
    assert!(got.iter().all(|number| number.is_finite()));
}

/// A limit and a text: tokens within the limit whose offsets are characters' boundaries, in order.
pub fn model_text(data: &[u8]) {
    let Some((limit, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    thread_local! {
        static TOKENIZED: Tokenizer = Tokenizer::parse(TOKENIZER.as_bytes()).expect("the committed tokenizer");
    }
    let limit = 3 + usize::from(*limit);
    let mut tokens = Tokens::default();
    TOKENIZED.with(|tokenizer| tokenizer.tokenize(text, limit, &mut tokens)).expect("any text has tokens");
    assert!(tokens.len() <= limit && tokens.len() == tokens.offsets.len());
    let mut last = 0;
    for (start, end) in &tokens.offsets[1..tokens.len() - 1] {
        assert!(last <= *start && text.get(*start as usize..*end as usize).is_some());
        last = *start;
    }
}
