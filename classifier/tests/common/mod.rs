//! Checkpoints and golden outputs.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use pintle_classifier::encoder::{Batch, Encoded, Encoder, Want};
use pintle_classifier::model::folder::{self, Files, Folder, Options};
use safetensors::SafeTensors;

/// Checkpoints with random weights under `golden/`.
pub(crate) const TINY: [&str; 5] =
    ["bert_seq", "bert_tok", "modernbert_seq_cls", "modernbert_seq_mean", "modernbert_tok"];

/// A tokenizer of a few letters, for checkpoints that were made without one.
pub(crate) fn tokenizer() -> &'static str {
    include_str!("../golden/tokenizer.json")
}

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn tiny(name: &str) -> Folder {
    folder(name, "config.json")
}

/// The same with another file as its configuration.
pub(crate) fn folder(name: &str, config: &str) -> Folder {
    let read = |file: &str| std::fs::read(path(name).join(file)).unwrap();
    let files = Files {
        config: &read(config),
        weights: &read("model.safetensors"),
        tokenizer: tokenizer().as_bytes(),
        pooling: None,
        modules: None,
    };
    folder::parse(files, Options { name: name.to_owned(), ..Options::default() }).unwrap()
}

/// The fetched MiniLM, or `None` and a line that says how to fetch it.
pub(crate) fn minilm() -> Option<Folder> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.models/minilm");
    if !folder.join("model.safetensors").exists() {
        println!("SKIP the weights of MiniLM are not here: run 'scripts/setup.sh models'");
        return None;
    }
    Some(folder::read(&folder, Options { name: "minilm".to_owned(), ..Options::default() }).unwrap())
}

/// A file of tensors with `input_ids`, `attention_mask` and outputs.
pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        Self(std::fs::read(path(name)).unwrap())
    }

    fn data(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.data(name).1.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.data(name).1.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    /// The ids of each text, without padding.
    pub(crate) fn texts(&self) -> Vec<Vec<u32>> {
        let width = self.data("input_ids").0[1];
        let (ids, mask) = (self.integers("input_ids"), self.integers("attention_mask"));
        let row = |row: usize| {
            let range = row * width..(row + 1) * width;
            let kept = ids[range.clone()].iter().zip(&mask[range]).filter(|(_, mask)| **mask == 1);
            kept.map(|(id, _)| u32::try_from(*id).unwrap()).collect()
        };
        (0..ids.len() / width).map(row).collect()
    }

    /// Rows of a `[texts, tokens, width]` tensor that are not padding.
    pub(crate) fn without_padding(&self, name: &str) -> Vec<f32> {
        let width = self.data(name).0[2];
        let rows = self.floats(name);
        let rows = rows.chunks(width).zip(self.integers("attention_mask"));
        rows.filter(|(_, mask)| *mask == 1).flat_map(|(row, _)| row.to_vec()).collect()
    }
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What a model makes of a batch of these.
pub(crate) fn encode(encoder: &dyn Encoder, texts: &[Vec<u32>], want: Want) -> Encoded {
    let mut batch = Batch::default();
    for ids in texts {
        batch.push(ids).unwrap();
    }
    let mut out = Encoded::default();
    encoder.session().encode(&batch, want, &mut out).unwrap();
    out
}
