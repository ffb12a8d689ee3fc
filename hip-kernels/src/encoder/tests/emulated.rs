//! Plans executed by the emulated devices, through the engine.

use std::sync::Arc;

use pintle_hip_emulator::Target;

use super::*;
use crate::Size;
use crate::engine::{Engine, Options};
use crate::testing::gpu;

/// The emulator takes seconds where a GPU takes microseconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

#[test]
fn a_device_of_each_kind_computes_the_network() {
    for target in [Target::Sm90, Target::Gfx942] {
        let Some((_emulator, hip)) = gpu(target) else { continue };
        let options = Options { watchdog: PATIENCE, load_limit: PATIENCE, ..Options::default() };
        let engine = Engine::<EncoderProgram>::start(&hip, 0, options).unwrap();
        for (network, number) in [(Network::BERT_TEXTS, Number::F16), (Network::ROTARY_TOKENS, Number::Bf16)]
        {
            let spec = network.spec();
            let room = Size { sequences: 4, tokens: 128 };
            let model = Arc::new(EncoderModel::new(&spec, number, room).unwrap());
            let loaded = engine.load(model).unwrap();
            let texts = texts(&[5, 70, 1, 17]);
            let ids = texts.concat();
            let ends = texts.iter().scan(0, |end, text| {
                *end += text.len() as u32;
                Some(*end)
            });
            let wants = Wants { layers: spec.blocks.len() as u32, embedding: true, logits: true };
            let answer = loaded.run(EncoderJob::new(ids, ends.collect(), wants).unwrap()).unwrap();
            let mut logits = answer.logits.chunks(answer.logits.len() / rows(&spec, &texts));
            for (text, embedding) in texts.iter().zip(answer.embeddings.chunks(spec.hidden)) {
                let expected = reference::encode(&spec, text, spec.blocks.len());
                let cosine = cosine(embedding, &expected.embedding);
                assert!(cosine > 0.9995, "{network:?} {number} on {target:?}: {cosine}");
                let tolerance = if number == Number::F16 { 0.02 } else { 0.15 };
                for (expected, got) in expected.logits.iter().zip(&mut logits) {
                    for (expected, got) in expected.iter().zip(got) {
                        let error = (expected - f64::from(*got)).abs();
                        assert!(
                            error < tolerance,
                            "{network:?} {number} on {target:?}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// Rows of logits.
fn rows(spec: &EncoderSpec<'_>, texts: &[Vec<u32>]) -> usize {
    match &spec.head {
        Some(head) if head.per_token => texts.iter().map(Vec::len).sum(),
        _ => texts.len(),
    }
}
