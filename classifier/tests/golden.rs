//! Outputs of the CPU back end against those of PyTorch (transformers 5.23), written beside the checkpoints in
//! `golden/`: random weights, except MiniLM, whose weights are fetched (`scripts/setup.sh models`).

mod common;

use common::{Golden, TINY, encode, largest_difference};
use pintle_classifier::cpu::{CpuEncoder, Isa, Precision};
use pintle_classifier::encoder::{Encoder, OutputKind, Want};

const TOLERANCE: f32 = 1e-4;

#[test]
fn tiny_checkpoints_on_every_instruction_set() {
    for name in TINY {
        let golden = Golden::read(&format!("{name}/golden.safetensors"));
        let texts = golden.texts();
        let expected = golden.floats("logits");
        for isa in Isa::ALL {
            let Some(encoder) = CpuEncoder::with_isa(common::tiny(name), Precision::F32, isa) else {
                println!("SKIP {name}: this processor has no {isa}");
                continue;
            };
            let per_token = matches!(encoder.info().outputs[1].kind, OutputKind::Token { .. });
            let (got, expected) = if per_token {
                let out = encode(&encoder, &texts, Want::TOKEN).token_logits;
                (out, golden.without_padding("logits"))
            } else {
                (encode(&encoder, &texts, Want::SEQUENCE).logits, expected.clone())
            };
            let difference = largest_difference(&got, &expected);
            assert!(difference < TOLERANCE, "{name} on {isa}: {difference}");
        }
    }
}

/// `golden/yarn.py` made it: texts several times longer than those that the rotary positions say they are made for.
#[test]
fn yarn_from_end_to_end() {
    let golden = Golden::read("modernbert_yarn/golden.safetensors");
    let texts = golden.texts();
    for (config, output) in [("config.json", "per_kind"), ("config_both.json", "both")] {
        let expected = golden.floats(output);
        for isa in Isa::ALL {
            let folder = common::folder("modernbert_yarn", config);
            let Some(encoder) = CpuEncoder::with_isa(folder, Precision::F32, isa) else {
                println!("SKIP {config}: this processor has no {isa}");
                continue;
            };
            let got = encode(&encoder, &texts, Want::EMBEDDING).pooled;
            let difference = largest_difference(&got, &expected);
            assert!(difference < TOLERANCE, "{config} on {isa}: {difference}");
        }
        let plain = largest_difference(&expected, &golden.floats("plain"));
        assert!(plain > 100.0 * TOLERANCE, "without YaRN it is another answer: {plain}");
    }
}

#[test]
fn narrow_precisions_stay_near() {
    for name in TINY {
        let golden = Golden::read(&format!("{name}/golden.safetensors"));
        for (precision, least) in [(Precision::Bf16, 0.999), (Precision::Int8, 0.98)] {
            for isa in Isa::ALL {
                let Some(encoder) = CpuEncoder::with_isa(common::tiny(name), precision, isa) else {
                    println!("SKIP {name}: this processor has no {isa}");
                    continue;
                };
                let exact = CpuEncoder::with_isa(common::tiny(name), Precision::F32, isa).unwrap();
                let got = encode(&encoder, &golden.texts(), Want::EMBEDDING).pooled;
                let expected = encode(&exact, &golden.texts(), Want::EMBEDDING).pooled;
                for (got, expected) in got.chunks(64).zip(expected.chunks(64)) {
                    let cosine = common::cosine(got, expected);
                    assert!(cosine > least, "{name} as {precision} on {isa}: {cosine}");
                }
            }
        }
    }
}

#[test]
fn minilm() {
    let Some(folder) = common::minilm() else { return };
    let golden = Golden::read("minilm.safetensors");
    let encoder = CpuEncoder::new(folder, Precision::F32);
    let got = encode(&encoder, &golden.texts(), Want::EMBEDDING).pooled;
    let difference = largest_difference(&got, &golden.floats("emb"));
    assert!(difference < TOLERANCE, "{difference}");
    // Leaving early gives the mean of an inner state, which the golden file has too.
    let early = Want { layers: 3, dimensions: 64, ..Want::EMBEDDING };
    let got = encode(&encoder, &golden.texts(), early).pooled;
    let states = golden.without_padding("h3");
    let mut first = 0;
    for (row, ids) in golden.texts().iter().enumerate() {
        let states = &states[first * 384..(first + ids.len()) * 384];
        first += ids.len();
        let mut mean = vec![0.0; 64];
        for state in states.chunks(384) {
            mean.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
        }
        let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
        mean.iter_mut().for_each(|x| *x /= length);
        let difference = largest_difference(&got[row * 64..(row + 1) * 64], &mean);
        assert!(difference < TOLERANCE, "{difference}");
    }
}

#[test]
fn minilm_tokens_are_those_of_its_tokenizer() {
    let Some(folder) = common::minilm() else { return };
    let golden = Golden::read("minilm.safetensors");
    let encoder = CpuEncoder::new(folder, Precision::F32);
    let mut tokens = pintle_classifier::encoder::Tokens::default();
    let texts = ["What is the capital of France?", "Prove that sqrt(2) is irrational, step by step."];
    for (text, ids) in texts.iter().zip(golden.texts()) {
        encoder.tokenize(text, 512, &mut tokens).unwrap();
        assert_eq!(tokens.ids, ids);
        assert!(tokens.complete);
        for (start, end) in &tokens.offsets[1..tokens.len() - 1] {
            assert!(text.get(*start as usize..*end as usize).is_some_and(|piece| !piece.is_empty()));
        }
    }
}
