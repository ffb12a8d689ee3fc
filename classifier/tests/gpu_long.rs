//! 400 texts on the emulated GPU and on the CPU in `f32`: cosine at least 0.9995, the same labels. Minutes for kernels
//! that are emulated, so `make hip-long` runs it; `gpu.rs` has the short tests.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TINY, cosine};
use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, OutputKind, Tokens, Want};
use pintle_classifier::gpu::{self, GpuEncoder, Gpus};
use pintle_classifier::model::Folder;
use pintle_config::ClassifierHip;
use pintle_hip_emulator::{Emulator, Target};

/// What the two back ends promise each other.
const LEAST_COSINE: f32 = 0.9995;
const TEXTS: usize = 400;
/// Of one call.
const BATCH: usize = 16;
/// MiniLM takes seconds a text: as many as fit into this.
const MINILM_TIME: Duration = Duration::from_secs(240);
/// Longer texts are cut.
const TOKENS: usize = 48;

/// Lines that somebody might ask, from the data that heads are trained with; every fifth is three in one.
fn texts() -> Vec<String> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("training/data");
    let files = ["domain-questions.txt", "complexity.txt", "feedback.txt"];
    let read = |file: &str| std::fs::read_to_string(data.join(file)).unwrap();
    let lines: Vec<String> = files
        .iter()
        .flat_map(|file| read(file).lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.is_empty() && !line.starts_with(['[', '#']))
        .collect();
    let text = |at: usize| {
        let parts = if at.is_multiple_of(5) { 3 } else { 1 };
        (0..parts).map(|more| lines[(at * 7 + more) % lines.len()].as_str()).collect::<Vec<_>>().join(" ")
    };
    (0..TEXTS).map(text).collect()
}

/// What was seen of one model.
struct Seen {
    texts: usize,
    least: f32,
    labels: usize,
    /// The CPU's logits of the two labels that changed places, at most so far apart.
    ties: Vec<f32>,
    took: Duration,
}

fn compare(name: &str, folder: Folder, emulator: &Emulator, within: Duration) -> Seen {
    let settings = ClassifierHip {
        library: emulator.path().display().to_string(),
        watchdog_ms: 600_000,
        load_ms: 600_000,
        batch_tokens: 1024,
        batch_texts: BATCH as u16,
        ..ClassifierHip::default()
    };
    let gpus = Gpus::open(&settings).unwrap();
    let model = gpu::pack(&folder, &settings).unwrap();
    let cpu: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(folder, Precision::F32));
    let gpu = GpuEncoder::new(cpu.clone(), model, &gpus).unwrap();
    let info = cpu.info();
    let labels = info.outputs.iter().find_map(|output| match &output.kind {
        OutputKind::Sequence { labels } | OutputKind::Token { labels } => Some(labels.len()),
        OutputKind::Embedding { .. } => None,
    });
    let heads = match labels {
        None => Want::default(),
        Some(_) if info.token_labels() > 0 => Want::TOKEN,
        Some(_) => Want::SEQUENCE,
    };
    let (want, width) = (Want::EMBEDDING.union(heads), info.dimensions());
    let mut seen = Seen { texts: 0, least: 1.0, labels: 0, ties: Vec::new(), took: Duration::ZERO };
    let (mut got, mut expected, mut tokens) = (Encoded::default(), Encoded::default(), Tokens::default());
    let (mut on_gpu, mut on_cpu) = (gpu.session(), cpu.session());
    let started = Instant::now();
    for texts in texts().chunks(BATCH) {
        if started.elapsed() > within {
            break;
        }
        let mut batch = Batch::default();
        for text in texts {
            cpu.tokenize(text, TOKENS, &mut tokens).unwrap();
            batch.push(&tokens.ids).unwrap();
        }
        on_gpu.encode(&batch, want, &mut got).unwrap();
        on_cpu.encode(&batch, want, &mut expected).unwrap();
        assert_eq!(got.pooled.len(), width * texts.len());
        let rows = got.pooled.chunks(width).zip(expected.pooled.chunks(width));
        seen.least = rows.map(|(got, expected)| cosine(got, expected)).fold(seen.least, f32::min);
        let logits = [(&got.logits, &expected.logits), (&got.token_logits, &expected.token_logits)];
        for (got, expected) in logits {
            assert_eq!(got.len(), expected.len());
            let width = labels.unwrap_or(1);
            for (got, expected) in got.chunks(width).zip(expected.chunks(width)) {
                let best = |row: &[f32]| (0..width).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
                let (ours, theirs) = (best(got), best(expected));
                seen.labels += 1;
                if ours != theirs {
                    seen.ties.push(expected[theirs] - expected[ours]);
                }
            }
        }
        seen.texts += texts.len();
    }
    seen.took = started.elapsed();
    let Seen { texts, least, labels, ties, took } = &seen;
    let widest = ties.iter().copied().fold(0.0, f32::max);
    let differ = ties.len();
    let number = if name.starts_with("modern") { "bf16" } else { "f16" };
    println!(
        "{name} ({number}): {texts} texts in {:.0} s, lowest cosine {least:.6}; of {labels} labels {differ} differ, \
         by {widest:.4} at most",
        took.as_secs_f64()
    );
    seen
}

#[test]
#[ignore = "takes minutes: make hip-long"]
fn four_hundred_texts_mean_the_same_on_both() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    for name in TINY {
        let seen = compare(name, common::tiny(name), &emulator, Duration::MAX);
        assert_eq!(seen.texts, TEXTS);
        assert!(seen.least >= LEAST_COSINE, "{name}: {}", seen.least);
        // These weights are random, so that some labels are as good as equal: those may change places, no other.
        let near = if name.starts_with("modern") { 5e-2 } else { 5e-3 };
        assert!(seen.ties.iter().all(|apart| *apart < near), "{name}: {:?}", seen.ties);
        assert!(seen.ties.len() * 50 <= seen.labels, "{name}: {} of {}", seen.ties.len(), seen.labels);
    }
}

#[test]
#[ignore = "takes minutes: make hip-long"]
fn as_many_texts_as_time_allows_mean_the_same_to_minilm() {
    let Some(folder) = common::minilm() else { return };
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let seen = compare("minilm", folder, &emulator, MINILM_TIME);
    assert!(seen.texts >= BATCH);
    assert!(seen.least >= LEAST_COSINE, "{}", seen.least);
}
