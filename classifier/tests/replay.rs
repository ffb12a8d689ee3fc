//! The fuzz targets' checks on their committed corpus, on the stable toolchain.
#![cfg(feature = "onnx")]

#[path = "../../fuzz/src/models.rs"]
mod models;

use std::path::Path;

use pintle_classifier::model::folder::{Files, Options, parse};
use pintle_classifier::onnx::OnnxEncoder;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Graphs that are run besides the seeds.
const MUTATIONS: u64 = 600;

/// A seed with some bytes changed, repeated, left out or taken from another.
fn mutated(seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..=below(3) {
        let at = below(bytes.len());
        match below(5) {
            0 | 1 => bytes[at] = below(256) as u8,
            2 => bytes[at] ^= 1 << below(8),
            3 => drop(bytes.drain(at..(at + below(40)).min(bytes.len()))),
            _ => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len());
                let part = &other[from..(from + below(80)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn files_of_models() {
    let inputs = corpus("model_load");
    inputs.iter().for_each(|input| models::model_load(input));
    // The seeds are whole models, so that the fuzzer starts behind the first checks.
    let whole = inputs.iter().filter(|input| {
        let (config, weights) = input[2..].split_at(usize::from(u16::from_le_bytes([input[0], input[1]])));
        let tokenizer = include_bytes!("golden/tokenizer.json");
        parse(Files { config, weights, tokenizer, pooling: None, modules: None }, Options::default()).is_ok()
    });
    assert!(whole.count() >= 2);
}

#[test]
fn graphs() {
    let inputs = corpus("model_graph");
    inputs.iter().for_each(|input| models::model_graph(input));
    for seed in 0..MUTATIONS {
        models::model_graph(&mutated(&inputs, seed));
    }
    let config = br#"{"architectures": ["BertModel"], "max_position_embeddings": 16}"#;
    let embeds = |input: &&Vec<u8>| {
        let tokenizer = include_bytes!("golden/tokenizer.json");
        let files = Files { config, weights: &input[1..], tokenizer, pooling: None, modules: None };
        input[0] == 0 && OnnxEncoder::parse(files, Options::default()).is_ok()
    };
    assert!(inputs.iter().filter(embeds).count() >= 3);
}

#[test]
fn texts() {
    let inputs = corpus("model_text");
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| models::model_text(input));
}
