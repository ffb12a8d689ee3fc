//! Files that are damaged or made to do harm: an error, or a model that can be used; never a panic, never more memory
//! than the file itself deserves.

mod common;

use common::{path, tiny};
use pintle_classifier::cpu::{CpuEncoder, Isa, Precision};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Want};
use pintle_classifier::model::folder::{self, Files, Options};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

/// Loads, and if that works, encodes.
fn load(config: &[u8], weights: &[u8], tokenizer: &[u8], side: Option<&[u8]>) {
    let files = Files { config, weights, tokenizer, pooling: side, modules: side };
    let Ok(folder) = folder::parse(files, Options::default()) else { return };
    let encoder = CpuEncoder::with_isa(folder, Precision::Int8, Isa::Portable).unwrap();
    let mut batch = Batch::default();
    batch.push(&[1, 5, 6, 2]).unwrap();
    // Refused if these ids are beyond its vocabulary.
    let _ = encoder.session().encode(&batch, Want::EMBEDDING, &mut Encoded::default());
}

/// Bytes changed, cut or repeated in one place.
fn damage(original: &[u8], place: prop::sample::Index, bytes: &[u8], cut: bool) -> Vec<u8> {
    let at = place.index(original.len());
    let mut damaged = original[..at].to_vec();
    damaged.extend_from_slice(bytes);
    if !cut {
        damaged.extend_from_slice(original.get(at + bytes.len()..).unwrap_or_default());
    }
    damaged
}

#[test]
fn damaged_files() {
    let read = |file: &str| std::fs::read(path("bert_tok").join(file)).unwrap();
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    // The part of the weights that says what they are.
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let change =
        (0..3, any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..6), any::<bool>());
    let result = runner(150).run(&change, |(file, place, bytes, cut)| {
        let tokenizer = common::tokenizer().as_bytes();
        match file {
            0 => load(&damage(&config, place, &bytes, cut), &weights, tokenizer, None),
            1 => {
                let mut damaged = damage(&weights[..header], place, &bytes, cut);
                damaged.extend_from_slice(&weights[header..]);
                load(&config, &damaged, tokenizer, None);
            }
            _ => load(&config, &weights, &damage(tokenizer, place, &bytes, cut), Some(&bytes)),
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_configuration_with_other_numbers() {
    let read = |file: &str| std::fs::read(path("modernbert_tok").join(file)).unwrap();
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let numbers: Vec<String> =
        config.as_object().unwrap().iter().filter(|(_, v)| v.is_number()).map(|(k, _)| k.clone()).collect();
    let value = prop_oneof![
        Just(0i64),
        Just(-1),
        Just(1),
        Just(63),
        Just(1 << 17),
        Just(i64::from(u32::MAX)),
        Just(i64::MAX),
        Just(i64::MIN)
    ];
    let result = runner(100).run(&(prop::sample::select(numbers), value), |(name, value)| {
        let mut changed = config.clone();
        changed[&name] = value.into();
        load(changed.to_string().as_bytes(), &weights, common::tokenizer().as_bytes(), None);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn what_fits_is_loaded() {
    // The counterpart: were everything refused, the tests above would say nothing.
    for name in common::TINY {
        assert!(tiny(name).network.head.is_some());
    }
}
