//! What holds for every text and every batch.

mod common;

use common::{TINY, tiny};
use pintle_classifier::cpu::{CpuEncoder, Isa, Precision};
use pintle_classifier::encoder::{Batch, EncodeError, Encoded, Encoder, TokenizeError, Tokens, Want};
use pintle_classifier::model::tokenizer::Tokenizer;
use proptest::prelude::*;

/// Everything that the encoder gives for these texts together.
fn together(encoder: &CpuEncoder, texts: &[Vec<u32>]) -> Encoded {
    let mut batch = Batch::default();
    for ids in texts {
        batch.push(ids).unwrap();
    }
    let want = Want {
        sequence: encoder.info().sequence_labels() > 0,
        token: encoder.info().token_labels() > 0,
        ..Want::EMBEDDING
    };
    let mut out = Encoded::default();
    encoder.session().encode(&batch, want, &mut out).unwrap();
    out
}

fn one_by_one(encoder: &CpuEncoder, texts: &[Vec<u32>]) -> Encoded {
    let mut sum = Encoded::default();
    for ids in texts {
        let out = together(encoder, std::slice::from_ref(ids));
        sum.pooled.extend(out.pooled);
        sum.logits.extend(out.logits);
        sum.token_logits.extend(out.token_logits);
    }
    sum
}

fn encoders() -> Vec<CpuEncoder> {
    let mut encoders = Vec::new();
    for name in ["bert_seq", "bert_tok", "modernbert_seq_mean", "modernbert_tok"] {
        for isa in Isa::ALL {
            for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
                encoders.extend(CpuEncoder::with_isa(tiny(name), precision, isa));
            }
        }
    }
    encoders
}

#[test]
fn a_text_means_the_same_in_any_company_and_order() {
    let encoders = encoders();
    let text = proptest::collection::vec(5u32..500, 1..128);
    let texts = proptest::collection::vec(text, 1..12);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(texts, any::<prop::sample::Index>()), |(texts, index)| {
        // One after another: cases are few, and all kernels shall see many.
        let encoder = &encoders[index.index(encoders.len())];
        let alone = one_by_one(encoder, &texts);
        // To the last bit: each row's sums are formed in the same order whatever stands beside it.
        prop_assert_eq!(&together(encoder, &texts), &alone);
        let mut backwards = texts.clone();
        backwards.reverse();
        let turned = together(encoder, &backwards);
        let width = encoder.info().dimensions();
        for (row, turned) in alone.pooled.chunks(width).rev().zip(turned.pooled.chunks(width)) {
            prop_assert_eq!(row, turned);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn embeddings_have_length_one_and_are_finite() {
    for encoder in encoders() {
        let texts = [vec![7u32; 3], (5..133).collect(), vec![499]];
        let out = together(&encoder, &texts);
        for row in out.pooled.chunks(encoder.info().dimensions()) {
            let length: f32 = row.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-4, "{length}");
        }
        assert!(out.logits.iter().chain(&out.token_logits).all(|x| x.is_finite()));
    }
}

#[test]
fn instruction_sets_agree() {
    let text = |length: u32| (0..length).map(|i| 5 + i * 37 % 490).collect();
    let texts: Vec<Vec<u32>> = [1, 2, 5, 16, 31, 64, 65, 127].into_iter().map(text).collect();
    for name in TINY {
        for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Int8, 0.02)] {
            let portable = CpuEncoder::with_isa(tiny(name), precision, Isa::Portable).unwrap();
            let expected = together(&portable, &texts).pooled;
            for isa in [Isa::Avx2, Isa::Avx512] {
                let Some(encoder) = CpuEncoder::with_isa(tiny(name), precision, isa) else {
                    println!("SKIP {name}: this processor has no {isa}");
                    continue;
                };
                let difference = common::largest_difference(&together(&encoder, &texts).pooled, &expected);
                assert!(difference < tolerance, "{name} as {precision} on {isa}: {difference}");
            }
        }
    }
}

#[test]
fn what_a_model_cannot_do_is_refused() {
    let encoder = CpuEncoder::new(tiny("bert_seq"), Precision::F32);
    let mut session = encoder.session();
    let mut out = Encoded::default();
    let mut batch = Batch::default();
    assert!(batch.push(&[]).is_err());
    batch.push(&[512]).unwrap();
    let beyond = session.encode(&batch, Want::EMBEDDING, &mut out);
    assert!(matches!(beyond, Err(EncodeError::Batch(_))));
    batch.clear();
    batch.push(&[5; 129]).unwrap();
    let long = session.encode(&batch, Want::EMBEDDING, &mut out);
    assert!(matches!(long, Err(EncodeError::Batch(_))));
    batch.clear();
    batch.push(&[5]).unwrap();
    for want in [
        Want::TOKEN,
        Want { layers: 4, ..Want::EMBEDDING },
        Want { layers: 2, ..Want::SEQUENCE },
        Want { dimensions: 65, ..Want::EMBEDDING },
    ] {
        assert!(matches!(session.encode(&batch, want, &mut out), Err(EncodeError::Want(_))), "{want:?}");
    }
    batch.clear();
    session.encode(&batch, Want::EMBEDDING, &mut out).unwrap();
    assert!(out.pooled.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_tokens(text in "\\PC{0,200}|(\\PC|[ab ,\\n\\u{0}]){0,2000}", max_tokens in 3usize..40) {
        let tokenizer = Tokenizer::parse(common::tokenizer().as_bytes()).unwrap();
        let mut tokens = Tokens::default();
        tokenizer.tokenize(&text, max_tokens, &mut tokens).unwrap();
        prop_assert!(tokens.len() <= max_tokens);
        prop_assert_eq!(tokens.len(), tokens.offsets.len());
        prop_assert_eq!((tokens.ids[0], *tokens.ids.last().unwrap()), (1, 2));
        let mut last = 0;
        for (start, end) in &tokens.offsets[1..tokens.len() - 1] {
            let (start, end) = (*start as usize, *end as usize);
            prop_assert!(last <= start && start <= end && text.get(start..end).is_some());
            last = start;
        }
    }

    #[test]
    fn a_cut_text_begins_as_the_whole_one(words in proptest::collection::vec("[abcde]{1,9}", 1..3000), max_tokens in 3usize..600) {
        let tokenizer = Tokenizer::parse(common::tokenizer().as_bytes()).unwrap();
        let text = words.join(" ");
        let (mut cut, mut whole) = (Tokens::default(), Tokens::default());
        tokenizer.tokenize(&text, max_tokens, &mut cut).unwrap();
        tokenizer.tokenize(&text, usize::MAX / 64, &mut whole).unwrap();
        prop_assert!(whole.complete);
        prop_assert_eq!(cut.complete, cut.len() == whole.len());
        prop_assert_eq!(&cut.ids[..cut.len() - 1], &whole.ids[..cut.len() - 1]);
        prop_assert_eq!(&cut.offsets[..cut.len() - 1], &whole.offsets[..cut.len() - 1]);
    }
}

#[test]
fn special_tokens_need_room() {
    let tokenizer = Tokenizer::parse(common::tokenizer().as_bytes()).unwrap();
    let mut tokens = Tokens::default();
    let error = tokenizer.tokenize("a", 2, &mut tokens).unwrap_err();
    assert!(matches!(error, TokenizeError::TooFew { special: 2, .. }));
    tokenizer.tokenize("", 3, &mut tokens).unwrap();
    assert_eq!(tokens.ids, [1, 2]);
    assert!(tokens.complete);
}
