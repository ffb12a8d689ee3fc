use pintle_classifier::cpu::{CpuEncoder, Precision, Roofline};
use pintle_classifier::encoder::{
    Batch, Encoded, Encoder, EncoderInfo, Family, OutputInfo, OutputKind, Want,
};
use pintle_classifier::model::Folder;
use pintle_classifier::model::config::{self, Pooling};
use pintle_classifier::model::network::{Block, Linear, Network, Norm};
use pintle_classifier::model::rope::Rope;
use pintle_classifier::model::tokenizer::Tokenizer;

use crate::cpu_time;

const CONFIG: &str = r#"{"model_type": "modernbert", "hidden_size": 768, "num_hidden_layers": 22,
    "num_attention_heads": 12, "intermediate_size": 1152, "vocab_size": 1024, "max_position_embeddings": 8192,
    "norm_eps": 1e-5, "local_attention": 128, "global_attn_every_n_layers": 3}"#;
const TOKENS: usize = 128;
const ROUNDS: usize = 9;

pub(crate) fn print() {
    println!("ModernBERT-base, random weights, 1 x {TOKENS} tokens, one thread; least CPU time of {ROUNDS}");
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let Some(mut bare) = Roofline::new(precision) else {
            println!("SKIP {precision}: this processor has none");
            continue;
        };
        let encoder = CpuEncoder::new(folder(), precision);
        let (mut session, mut out, mut batch) = (encoder.session(), Encoded::default(), Batch::default());
        batch.push(&(0..TOKENS as u32).map(|i| 5 + i * 7 % 1000).collect::<Vec<_>>()).expect("a text");
        session.encode(&batch, Want::EMBEDDING, &mut out).expect("a pass");
        let (mut product, mut pass) = (u64::MAX, u64::MAX);
        for _ in 0..ROUNDS {
            for _ in 0..20 {
                product = product.min(timed(|| bare.run()));
            }
            pass = pass.min(timed(|| session.encode(&batch, Want::EMBEDDING, &mut out).expect("a pass")));
        }
        let bare = Roofline::OPERATIONS / product as f64;
        let whole = operations() / pass as f64;
        println!(
            "{precision:>5}: matrix product {bare:.0} G/s, whole pass {whole:.0} G/s ({:.1} ms), ratio {:.2}",
            pass as f64 / 1e6,
            whole / bare
        );
    }
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = cpu_time();
    work();
    cpu_time() - start
}

/// Of the matrices alone: attention, norms and activations count as overhead.
fn operations() -> f64 {
    let config = config::parse(CONFIG.as_bytes()).expect("the configuration is valid");
    let (hidden, inner) = (config.hidden, config.intermediate);
    let block = 3 * hidden * hidden + hidden * hidden + 2 * inner * hidden + inner * hidden;
    2.0 * (TOKENS * config.reach.len() * block) as f64
}

fn folder() -> Folder {
    let config = config::parse(CONFIG.as_bytes()).expect("the configuration is valid");
    let mut state = 1u64;
    let mut random = |count: usize, size: f32| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * size
        };
        (0..count).map(|_| next()).collect()
    };
    let (hidden, inner) = (config.hidden, config.intermediate);
    let norm = || Norm { gain: vec![1.0; hidden], bias: Vec::new(), epsilon: config.epsilon };
    let words = random(config.vocabulary * hidden, 1.0);
    let mut linear = |outputs: usize, inputs: usize| Linear {
        outputs,
        inputs,
        weight: random(outputs * inputs, 0.04),
        bias: Vec::new(),
    };
    let blocks = config.reach.iter().enumerate().map(|(layer, reach)| Block {
        attention_norm: (layer > 0).then(norm),
        qkv: linear(3 * hidden, hidden),
        output: linear(hidden, hidden),
        mlp_norm: norm(),
        up: linear(2 * inner, hidden),
        down: linear(hidden, inner),
        reach: *reach,
        rope: Some(Rope { theta: if reach.is_none() { 160_000.0 } else { 10_000.0 }, yarn: None }),
    });
    let network = Network {
        blocks: blocks.collect(),
        words,
        places: Vec::new(),
        embedding_norm: norm(),
        final_norm: Some(norm()),
        head: None,
        config: config.clone(),
    };
    let info = EncoderInfo {
        name: "modernbert-base-random".to_owned(),
        digest: [0; 32],
        family: Family::ModernBert,
        hidden,
        layers: network.blocks.len(),
        max_tokens: config.positions,
        outputs: vec![OutputInfo {
            name: "embedding".to_owned(),
            kind: OutputKind::Embedding { dimensions: hidden },
        }],
    };
    let tokenizer = Tokenizer::parse(include_bytes!("../../tests/golden/tokenizer.json"));
    Folder { network, tokenizer: tokenizer.expect("the tokenizer is valid"), pooling: Pooling::Mean, info }
}
