//! ONNX graphs: small ones, exported from the checkpoints in `golden/` (`benches/onnxruntime/export.py`), against
//! PyTorch's outputs; bge-small and Rampart against onnxruntime's (`scripts/setup.sh models` fetches them); files that
//! are damaged.
#![cfg(feature = "onnx")]

mod common;

use std::path::Path;

use common::{Golden, encode, largest_difference, path};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Family, Tokens, Want};
use pintle_classifier::load::Loaded;
use pintle_classifier::model::config::Pooling;
use pintle_classifier::model::folder::{Files, Options};
use pintle_classifier::model::{LoadError, ONNX_FILE};
use pintle_classifier::onnx::OnnxEncoder;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Without any head in its configuration, `embedding`.
fn parse(name: &str, graph: &[u8], embedding: bool, options: Options) -> Result<OnnxEncoder, LoadError> {
    let mut config = std::fs::read(path(name).join("config.json")).unwrap();
    if embedding {
        let mut json: serde_json::Value = serde_json::from_slice(&config).unwrap();
        json["architectures"] = serde_json::json!(["BertModel"]);
        config = json.to_string().into_bytes();
    }
    let tokenizer = common::tokenizer().as_bytes();
    let files = Files { config: &config, weights: graph, tokenizer, pooling: None, modules: None };
    match Loaded::parse(files, ONNX_FILE, options)? {
        Loaded::Graph(encoder) => Ok(*encoder),
        Loaded::Network(_) => panic!("a graph is no network"),
    }
}

fn graph(name: &str) -> Vec<u8> {
    std::fs::read(path("onnx").join(format!("{name}.onnx"))).unwrap()
}

fn tiny(name: &str, embedding: bool, options: Options) -> OnnxEncoder {
    parse(name, &graph(name), embedding, options).unwrap()
}

#[test]
fn logits_are_pytorchs() {
    let golden = Golden::read("bert_seq/golden.safetensors");
    let encoder = tiny("bert_seq", false, Options::default());
    assert_eq!((encoder.info().family, encoder.info().sequence_labels()), (Family::Onnx, 14));
    let got = encode(&encoder, &golden.texts(), Want::SEQUENCE).logits;
    assert!(largest_difference(&got, &golden.floats("logits")) < 1e-4);

    let golden = Golden::read("bert_tok/golden.safetensors");
    let encoder = tiny("bert_tok", false, Options::default());
    assert_eq!((encoder.info().token_labels(), encoder.info().max_tokens), (9, 128));
    let got = encode(&encoder, &golden.texts(), Want::TOKEN).token_logits;
    assert!(largest_difference(&got, &golden.without_padding("logits")) < 1e-4);
}

#[test]
fn embeddings_are_pooled_as_said() {
    let golden = Golden::read("bert_seq/golden.safetensors");
    let (texts, states) = (golden.texts(), golden.without_padding("hidden_3"));
    for pooling in [Pooling::First, Pooling::Mean] {
        let encoder = tiny("bert_seq", true, Options { pooling: Some(pooling), ..Options::default() });
        let got = encode(&encoder, &texts, Want { dimensions: 48, ..Want::EMBEDDING }).pooled;
        let mut at = 0;
        for (got, ids) in got.chunks(48).zip(&texts) {
            let rows: Vec<&[f32]> = states[at * 64..(at + ids.len()) * 64].chunks(64).collect();
            at += ids.len();
            let count = if pooling == Pooling::First { 1 } else { rows.len() };
            let sum = |axis: usize| rows[..count].iter().map(|row| row[axis]).sum::<f32>();
            let expected: Vec<f32> = (0..48).map(sum).collect();
            let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            let expected: Vec<f32> = expected.iter().map(|x| x / norm).collect();
            assert!(largest_difference(got, &expected) < 1e-4, "{pooling:?}");
        }
    }
}

#[test]
fn company_changes_nothing() {
    let encoder = tiny("bert_tok", false, Options::default());
    let texts = Golden::read("bert_tok/golden.safetensors").texts();
    let together = encode(&encoder, &texts, Want::TOKEN).token_logits;
    let apart: Vec<f32> = texts
        .iter()
        .flat_map(|text| encode(&encoder, std::slice::from_ref(text), Want::TOKEN).token_logits)
        .collect();
    assert_eq!(together, apart);
}

#[test]
fn what_does_not_fit_is_refused_not_run() {
    let encoder = tiny("bert_seq", false, Options::default());
    let mut session = encoder.session();
    let mut batch = Batch::default();
    batch.push(&[1, 512, 2]).unwrap();
    assert!(
        session.encode(&batch, Want::SEQUENCE, &mut Encoded::default()).is_err(),
        "beyond the vocabulary"
    );
    batch.clear();
    batch.push(&[1; 129]).unwrap();
    assert!(session.encode(&batch, Want::SEQUENCE, &mut Encoded::default()).is_err(), "too long");
    batch.clear();
    batch.push(&[1, 2]).unwrap();
    assert!(session.encode(&batch, Want::EMBEDDING, &mut Encoded::default()).is_err(), "it gives none");
    let labels = Some(vec!["a".to_owned(), "b".to_owned()]);
    let refused = parse("bert_seq", &graph("bert_seq"), false, Options { labels, ..Options::default() });
    assert!(refused.err().unwrap().to_string().contains("14 logits for 2 labels"));
    let refused = parse("bert_tok", &graph("bert_seq"), false, Options::default());
    assert!(refused.is_err(), "a graph that is another model's than the configuration's");
}

#[test]
fn damaged_graphs_are_errors_or_models() {
    let whole = graph("bert_tok");
    let texts = Golden::read("bert_tok/golden.safetensors").texts();
    let change = (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..8), any::<bool>());
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let damaged = |at: usize, bytes: &[u8], cut: bool| {
        let mut damaged = whole[..at].to_vec();
        damaged.extend_from_slice(bytes);
        if !cut {
            damaged.extend_from_slice(whole.get(at + bytes.len()..).unwrap_or_default());
        }
        let Ok(encoder) = parse("bert_tok", &damaged, false, Options::default()) else { return };
        let mut batch = Batch::default();
        batch.push(&texts[0]).unwrap();
        // Whatever it says by now; numbers that are not finite are an error.
        let _ = encoder.session().encode(&batch, Want::TOKEN, &mut Encoded::default());
    };
    // The graph lies before its weights; half of the changes go there.
    let graph_part = whole.len() / 20;
    // The same changes every time: sizes that a graph computes are not bounded before it runs.
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(&change, |(place, bytes, cut)| {
            damaged(place.index(graph_part), &bytes, false);
            damaged(place.index(whole.len()), &bytes, cut);
            Ok(())
        })
        .unwrap();
}

/// A fetched model, or `None` and a line that says how to fetch it.
fn fetched(name: &str, options: Options) -> Option<Loaded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.models").join(name);
    if !folder.join(ONNX_FILE).exists() {
        println!("SKIP {name} is not here: run 'scripts/setup.sh models'");
        return None;
    }
    Some(Loaded::read(&folder, options).unwrap())
}

#[test]
fn bge_small() {
    let options = Options { pooling: Some(Pooling::First), ..Options::default() };
    let Some(Loaded::Graph(encoder)) = fetched("bge-small", options) else { return };
    let golden = Golden::read("onnx/bge_small.safetensors");
    let (got, expected) = (encode(&*encoder, &golden.texts(), Want::EMBEDDING).pooled, golden.floats("emb"));
    for (got, expected) in got.chunks(384).zip(expected.chunks(384)) {
        // Both quantise as they go, and where they differ by the last bit of a float they round to other integers.
        let cosine = common::cosine(got, expected);
        assert!(cosine > 0.99, "{cosine}");
    }
}

#[test]
fn rampart() {
    let Some(Loaded::Graph(encoder)) = fetched("rampart", Options::default()) else { return };
    assert_eq!(encoder.info().token_labels(), 35);
    let golden = Golden::read("onnx/rampart.safetensors");
    let got = encode(&*encoder, &golden.texts(), Want::TOKEN).token_logits;
    let difference = largest_difference(&got, &golden.without_padding("logits"));
    assert!(difference < 1e-3, "{difference}");
    let mut tokens = Tokens::default();
    encoder.tokenize("hello", 128, &mut tokens).unwrap();
    assert_eq!(Some(&tokens.ids), golden.texts().last());
}
