//! Heads on embeddings that this repository ships, against the answers of the code that trained them
//! (`training/encoder_heads.py`): on the embeddings that training saw, and from the text on, with the encoders
//! (`scripts/setup.sh models` fetches them).

mod common;

use std::path::Path;
use std::sync::Arc;

use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{
    Batch, EncodeError, Encoded, Encoder, EncoderInfo, Family, OutputInfo, OutputKind, Session,
    TokenizeError, Tokens, Want,
};
use pintle_classifier::heads::{HeadedEncoder, Heads};
#[cfg(feature = "onnx")]
use pintle_classifier::load::Loaded;
use pintle_classifier::reader::{EncoderModel, Head, TextModel, TextReading, Wanted, WindowPolicy};
use pintle_classifier::store::catalogue;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    embedding: Vec<f32>,
    probabilities: std::collections::BTreeMap<String, Vec<f32>>,
}

fn cases(encoder: &str) -> Vec<Case> {
    let bytes = std::fs::read(common::path("heads.json")).unwrap();
    let mut all: std::collections::BTreeMap<String, Vec<Case>> = serde_json::from_slice(&bytes).unwrap();
    all.remove(encoder).unwrap()
}

fn shipped(encoder: &str) -> Arc<Heads> {
    let known = catalogue::find(encoder).unwrap();
    Arc::new(Heads::parse(known.heads.unwrap()).unwrap())
}

/// Gives one embedding for every text.
struct Fixed(EncoderInfo, Vec<f32>);

impl Encoder for Fixed {
    fn info(&self) -> &EncoderInfo {
        &self.0
    }

    fn tokenize(&self, _: &str, _: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        *out = Tokens { ids: vec![0], offsets: vec![(0, 1)], complete: true };
        Ok(())
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(FixedSession(self.1.clone()))
    }
}

struct FixedSession(Vec<f32>);

impl Session for FixedSession {
    fn encode(&mut self, batch: &Batch, _: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        out.clear();
        (0..batch.texts()).for_each(|_| out.pooled.extend_from_slice(&self.0));
        Ok(())
    }
}

fn fixed(embedding: &[f32]) -> Arc<dyn Encoder> {
    let kind = OutputKind::Embedding { dimensions: embedding.len() };
    let info = EncoderInfo {
        name: "fixed".to_owned(),
        digest: [0; 32],
        family: Family::Static,
        hidden: embedding.len(),
        layers: 0,
        max_tokens: 1,
        outputs: vec![OutputInfo { name: "embedding".to_owned(), kind }],
    };
    Arc::new(Fixed(info, embedding.to_vec()))
}

/// Everything that an encoder with the shipped heads tells of a text.
fn read(encoder: Arc<dyn Encoder>, heads: &Arc<Heads>, text: &str) -> TextReading {
    let headed: Arc<dyn Encoder> = Arc::new(HeadedEncoder::new(encoder, heads.clone()).unwrap());
    let model = EncoderModel::new(headed, "cpu", None, WindowPolicy::default(), 0, 0).unwrap();
    let wanted = heads.names().fold(Wanted::EMBEDDING, |wanted, head| wanted.and(Wanted::head(head)));
    let mut out = Vec::new();
    model.session().read(&[text], wanted, &mut out).unwrap();
    out.remove(0)
}

/// Largest difference of any probability.
fn difference(case: &Case, reading: &TextReading, heads: &Heads) -> f32 {
    assert_eq!(heads.names().count(), case.probabilities.len());
    let of = |head: Head| {
        let (got, expected) = (&reading.probabilities[head as usize], &case.probabilities[head.as_str()]);
        common::largest_difference(got, expected)
    };
    heads.names().map(of).fold(0.0, f32::max)
}

#[test]
fn they_answer_as_in_training() {
    for encoder in ["minilm", "bge-small"] {
        let heads = shipped(encoder);
        for case in cases(encoder) {
            let reading = read(fixed(&case.embedding), &heads, &case.text);
            let difference = difference(&case, &reading, &heads);
            assert!(difference < 1e-3, "{encoder}: {:?} differs by {difference}", case.text);
        }
    }
}

#[test]
fn from_the_text_on_minilm() {
    let Some(folder) = common::minilm() else { return };
    let encoder: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(folder, Precision::F32));
    let heads = shipped("minilm");
    for case in cases("minilm") {
        let reading = read(encoder.clone(), &heads, &case.text);
        assert!(common::largest_difference(&reading.embedding, &case.embedding) < 1e-3, "{:?}", case.text);
        let difference = difference(&case, &reading, &heads);
        assert!(difference < 5e-3, "{:?} differs by {difference}", case.text);
    }
}

/// The graph quantises as it goes, and two runtimes round to other integers where they differ by the last bit.
#[cfg(feature = "onnx")]
#[test]
fn from_the_text_on_bge_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.models/bge-small");
    if !folder.join("model.onnx").exists() {
        println!("SKIP bge-small is not here: run 'scripts/setup.sh models'");
        return;
    }
    let options = pintle_classifier::model::Options {
        pooling: Some(pintle_classifier::model::config::Pooling::First),
        ..Default::default()
    };
    let encoder = Loaded::read(&folder, options).unwrap().into_encoder(Precision::F32);
    let heads = shipped("bge-small");
    for case in cases("bge-small").into_iter().take(12) {
        let reading = read(encoder.clone(), &heads, &case.text);
        let cosine = common::cosine(&reading.embedding, &case.embedding);
        let difference = difference(&case, &reading, &heads);
        assert!(cosine > 0.98 && difference < 0.15, "{:?}: cosine {cosine}, by {difference}", case.text);
    }
}
