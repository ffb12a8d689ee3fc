//! The fuzz targets' checks on their committed corpus, on the stable toolchain.

#[path = "../../fuzz/src/models.rs"]
mod models;

use std::path::Path;

use pintle_classifier::model::folder::{Files, Options, parse};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
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
fn texts() {
    let inputs = corpus("model_text");
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| models::model_text(input));
}
