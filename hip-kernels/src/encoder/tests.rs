//! Plans, executed by the letter of the kernels' contract, against networks computed as they are defined.

mod device;
mod emulated;
mod networks;
mod reference;

use device::Device;
use networks::Network;

use super::*;

const LIMIT: Bucket = Bucket { tokens: 256, texts: 16 };

/// What a batch gives: embeddings, and logits by text or by token.
fn run(
    spec: &EncoderSpec<'_>,
    number: Number,
    texts: &[Vec<u32>],
    (bucket, layers, units): (Bucket, usize, u32),
) -> (Vec<f32>, Vec<f32>) {
    let (weights, packed) = pack(spec, number).unwrap();
    assert_eq!(weights.len() as u64, weights_bytes(spec, number).unwrap());
    let wants = Wants {
        layers: layers as u32,
        embedding: true,
        logits: spec.head.is_some() && layers == spec.blocks.len(),
    };
    let mut device = Device::new(number);
    // Another model's weights lie before these.
    device.reserve(4096);
    let regions = Regions {
        weights: device.reserve(weights.len() as u64),
        input: device.reserve(packed.input_bytes(bucket)),
        work: device.reserve(packed.work_bytes(bucket)),
        output: device.reserve(packed.output_bytes(bucket, wants)),
    };
    device.slice(regions.weights, weights.len() as u64).copy_from_slice(&weights);
    let input = device.slice(regions.input, packed.input_bytes(bucket));
    packed.write_input(bucket, texts.iter().map(Vec::as_slice), input);
    for launch in packed.plan(bucket, wants, &regions, units) {
        device.run(&launch);
    }
    let output = device.slice(regions.output, packed.output_bytes(bucket, wants)).to_vec();
    let (mut embeddings, mut logits) = (Vec::new(), Vec::new());
    packed.read_embeddings((bucket, wants), &output, 0..texts.len(), &mut embeddings);
    if wants.logits {
        let tokens = texts.iter().map(Vec::len).sum();
        let rows = if packed.labels().1 > 0 { tokens } else { texts.len() };
        packed.read_logits((bucket, wants), &output, 0..rows, &mut logits);
    }
    (embeddings, logits)
}

fn texts(lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut state = 7u32;
    let mut id = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % networks::VOCABULARY as u32
    };
    lengths.iter().map(|length| (0..*length).map(|_| id()).collect()).collect()
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    dot / squares(&mut a.iter().map(|x| f64::from(*x))) / squares(&mut b.iter().copied())
}

#[test]
fn a_plan_computes_the_network() {
    let texts = texts(&[5, 70, 1, 17]);
    let bucket = Bucket::containing(93, 4, LIMIT).unwrap();
    for (network, number) in Network::ALL.into_iter().zip([Number::F16, Number::Bf16].into_iter().cycle()) {
        let spec = network.spec();
        let (embeddings, logits) = run(&spec, number, &texts, (bucket, spec.blocks.len(), 4));
        let mut logits = logits.into_iter();
        for (text, embedding) in texts.iter().zip(embeddings.chunks(spec.hidden)) {
            let expected = reference::encode(&spec, text, spec.blocks.len());
            let cosine = cosine(embedding, &expected.embedding);
            assert!(cosine > 0.9995, "{network:?} {number}: {cosine}");
            for expected in expected.logits.iter().flatten() {
                let got = f64::from(logits.next().expect("as many logits as the reference has"));
                assert!((got - expected).abs() < 0.05, "{network:?} {number}: {got} for {expected}");
            }
        }
        assert_eq!(logits.next(), None);
    }
}

#[test]
fn company_order_room_and_tiles_do_not_matter() {
    let texts = texts(&[9, 33, 2]);
    for network in [Network::BERT_TEXTS, Network::ROTARY_TOKENS] {
        let spec = network.spec();
        let layers = spec.blocks.len();
        let small = Bucket::containing(44, 3, LIMIT).unwrap();
        assert!(small < LIMIT);
        let (together, labels) = run(&spec, Number::F16, &texts, (small, layers, 1));
        for units in [6, 1000] {
            assert_eq!(
                run(&spec, Number::F16, &texts, (LIMIT, layers, units)),
                (together.clone(), labels.clone())
            );
        }
        let mut turned = texts.clone();
        turned.reverse();
        let (reversed, _) = run(&spec, Number::F16, &turned, (small, layers, 1));
        for (nth, text) in texts.iter().enumerate() {
            let row = |rows: &[f32], nth: usize| rows[nth * spec.hidden..][..spec.hidden].to_vec();
            let (alone, _) = run(&spec, Number::F16, std::slice::from_ref(text), (small, layers, 1));
            assert_eq!(row(&together, nth), alone);
            assert_eq!(row(&together, nth), row(&reversed, texts.len() - 1 - nth));
        }
    }
}

#[test]
fn a_pass_may_be_left_early() {
    let texts = texts(&[6, 11]);
    let bucket = Bucket::containing(17, 2, LIMIT).unwrap();
    for network in [Network::BERT_TEXTS, Network::ROTARY_TOKENS] {
        let spec = network.spec();
        let (early, logits) = run(&spec, Number::F16, &texts, (bucket, 1, 4));
        assert!(logits.is_empty());
        let (whole, _) = run(&spec, Number::F16, &texts, (bucket, spec.blocks.len(), 4));
        assert_ne!(early, whole);
        for (text, embedding) in texts.iter().zip(early.chunks(spec.hidden)) {
            let cosine = cosine(embedding, &reference::encode(&spec, text, 1).embedding);
            assert!(cosine > 0.9999, "{network:?}: {cosine}");
        }
    }
}

#[test]
fn what_no_kernel_takes_is_refused() {
    let spec = Network::ROTARY_TOKENS.spec();
    let refused = |spec: EncoderSpec<'_>| pack(&spec, Number::F16).err().unwrap().to_string();
    assert!(refused(EncoderSpec { heads: 0, ..spec.clone() }).contains("0 heads"));
    assert!(
        refused(EncoderSpec { heads: 1, hidden: 96, ..spec.clone() }).contains("1 heads of a vector of 96")
    );
    assert!(refused(EncoderSpec { hidden: 1056, ..spec.clone() }).contains("1056 components"));
    assert!(refused(EncoderSpec { hidden: 40, ..spec.clone() }).contains("40 components"));
    let mut blocks = spec.blocks.clone();
    blocks[0].reach = Some(0);
    assert!(refused(EncoderSpec { blocks, ..spec.clone() }).contains("itself alone"));
    let mut head = spec.head.unwrap();
    head.classifier.outputs = 257;
    assert!(refused(EncoderSpec { head: Some(head), ..spec.clone() }).contains("257 labels"));
}

#[test]
fn buckets_grow_to_their_limit() {
    let limit = Bucket { tokens: 1000, texts: 100 };
    let of =
        |tokens, texts| Bucket::containing(tokens, texts, limit).map(|bucket| (bucket.tokens, bucket.texts));
    assert_eq!(of(1, 1), Some((64, 8)));
    assert_eq!(of(65, 9), Some((128, 64)));
    assert_eq!(of(513, 65), Some((1000, 100)));
    assert_eq!(of(1001, 1), None);
    assert_eq!(of(1, 101), None);
    // As many tiles as the worst texts have: 36 of one token, then 28 of 65 tokens in two each.
    assert!(Bucket { tokens: 36 + 28 * 65, texts: 64 }.tiles() >= 36 + 2 * 28);
    assert_eq!(Bucket { tokens: 64, texts: 100 }.tiles(), 64);
}

#[test]
fn texts_beyond_the_bucket_are_a_defect_of_the_caller() {
    let (_, packed) = pack(&Network::BERT_TEXTS.spec(), Number::F16).unwrap();
    let bucket = Bucket { tokens: 64, texts: 8 };
    for lengths in [&[65][..], &[0], &[1; 9], &[60, 5]] {
        let mut input = vec![0; packed.input_bytes(bucket) as usize];
        let texts = texts(lengths);
        let write = || packed.write_input(bucket, texts.iter().map(Vec::as_slice), &mut input);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err(), "{lengths:?}");
    }
}
