//! Encoders on the emulated GPU against the same encoders in f32 on the CPU.

mod common;

use std::sync::Arc;

use common::{Golden, TINY, cosine};
use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{Batch, EncodeError, Encoded, Encoder, OutputKind, Want};
use pintle_classifier::gpu::{self, GpuEncoder, Gpus};
use pintle_config::{ClassifierHip, HipPrecision};
use pintle_hip::encoder::{BankSpec, Banks, Number};
use pintle_hip_emulator::{Emulator, Target, codes};

/// What the two back ends promise each other.
const LEAST_COSINE: f32 = 0.9995;

/// The emulator takes seconds where a GPU takes microseconds.
fn settings(emulator: &Emulator) -> ClassifierHip {
    ClassifierHip {
        library: emulator.path().display().to_string(),
        watchdog_ms: 120_000,
        load_ms: 120_000,
        retry_ms: 10,
        batch_tokens: 512,
        batch_texts: 16,
        ..ClassifierHip::default()
    }
}

struct Both {
    cpu: Arc<dyn Encoder>,
    gpu: GpuEncoder,
    number: Number,
}

fn load(name: &str, settings: &ClassifierHip, gpus: &Gpus) -> Both {
    let folder = common::tiny(name);
    let model = gpu::pack(&folder, settings).unwrap();
    let number = model.packed().number();
    let cpu: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(folder, Precision::F32));
    let gpu = GpuEncoder::new(cpu.clone(), model, gpus).unwrap();
    Both { cpu, gpu, number }
}

fn batch(texts: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::default();
    texts.iter().for_each(|ids| batch.push(ids).unwrap());
    batch
}

fn encode(encoder: &dyn Encoder, texts: &[Vec<u32>], want: Want) -> Encoded {
    let mut out = Encoded::default();
    encoder.session().encode(&batch(texts), want, &mut out).unwrap();
    out
}

/// The embedding, and the logits of whichever kind the model has.
fn everything(encoder: &dyn Encoder) -> Want {
    let heads = if encoder.info().token_labels() > 0 { Want::TOKEN } else { Want::SEQUENCE };
    Want::EMBEDDING.union(heads)
}

/// Asserts that both agree, and returns the lowest cosine.
fn agree(what: &str, both: &Both, texts: &[Vec<u32>]) -> f32 {
    let want = everything(&both.gpu);
    let (got, expected) = (encode(&both.gpu, texts, want), encode(&*both.cpu, texts, want));
    let labels = match &both.cpu.info().outputs[1].kind {
        OutputKind::Sequence { labels } | OutputKind::Token { labels } => labels.len(),
        OutputKind::Embedding { .. } => unreachable!("an embedding comes first"),
    };
    // Random weights leave labels that are as good as equal; these may change places.
    let tie = if both.number == Number::F16 { 5e-3 } else { 5e-2 };
    let best = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    for (got, expected) in [(&got.logits, &expected.logits), (&got.token_logits, &expected.token_logits)] {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.chunks(labels).zip(expected.chunks(labels)) {
            let (got_best, expected_best) = (best(got), best(expected));
            let near = expected[expected_best] - expected[got_best] < tie;
            assert!(got_best == expected_best || near, "{what}: {got:?} for {expected:?}");
        }
    }
    let width = both.cpu.info().dimensions();
    assert_eq!(got.pooled.len(), width * texts.len());
    let rows = got.pooled.chunks(width).zip(expected.pooled.chunks(width));
    let least = rows.map(|(got, expected)| cosine(got, expected)).fold(1.0, f32::min);
    assert!(least >= LEAST_COSINE, "{what}: cosine {least}");
    least
}

#[test]
fn every_tiny_checkpoint_agrees_with_the_cpu() {
    for target in [Target::Gfx942, Target::Gfx1100, Target::Sm90] {
        let Some(emulator) = Emulator::take(target) else { return };
        let settings = settings(&emulator);
        let gpus = Gpus::open(&settings).unwrap();
        for name in TINY {
            let texts = Golden::read(&format!("{name}/golden.safetensors")).texts();
            let auto = load(name, &settings, &gpus);
            let f16 = ClassifierHip { precision: HipPrecision::F16, ..settings.clone() };
            let f16 = (auto.number != Number::F16).then(|| load(name, &f16, &gpus));
            for both in std::iter::once(auto).chain(f16) {
                let least = agree(name, &both, &texts);
                println!("{name} {} on {target:?}: lowest cosine {least}", both.number);
            }
        }
    }
}

/// One checkpoint of each family on one device, for what depends on neither target nor precision.
fn each_family(test: impl Fn(&str, &Both, &Emulator, &Gpus)) {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let settings = ClassifierHip { precision: HipPrecision::F16, ..settings(&emulator) };
    let gpus = Gpus::open(&settings).unwrap();
    for name in ["bert_seq", "modernbert_tok"] {
        let both = load(name, &settings, &gpus);
        test(name, &both, &emulator, &gpus);
    }
}

fn texts(lengths: &[u32]) -> Vec<Vec<u32>> {
    let id = |at: u32| 3 + at.wrapping_mul(2_654_435_761) % 500;
    lengths
        .iter()
        .enumerate()
        .map(|(nth, length)| (0..*length).map(|at| id(at * 31 + nth as u32)).collect())
        .collect()
}

#[test]
fn company_and_order_do_not_matter_and_large_batches_are_split() {
    each_family(|name, both, _, gpus| {
        // Lengths around the tiles' edges; 21 texts are more than one batch of 16.
        let lengths: Vec<u32> = [1, 2, 16, 17, 63, 64, 65, 100].into_iter().chain(3..16).collect();
        let texts = texts(&lengths);
        agree(name, both, &texts);
        let batches = gpus.status()[0].batches;
        assert!(batches >= 2, "{batches} batches");
        let want = everything(&both.gpu);
        let together = encode(&both.gpu, &texts, want);
        let mut turned = texts.clone();
        turned.reverse();
        let reversed = encode(&both.gpu, &turned, want);
        let width = both.gpu.info().dimensions();
        // Up to rounding: a larger batch is multiplied in larger tiles, which add up in another order.
        let near = |got: &[f32], expected: &[f32], nth: usize| {
            let cosine = cosine(got, expected);
            assert!(cosine > 0.9999, "{name}: text {nth} of {} tokens: {cosine}", lengths[nth]);
        };
        for (nth, row) in together.pooled.chunks(width).enumerate() {
            near(&reversed.pooled[(texts.len() - 1 - nth) * width..][..width], row, nth);
        }
        for nth in [0, 6, 20] {
            let alone = encode(&both.gpu, &texts[nth..=nth], want);
            near(&alone.pooled, &together.pooled[nth * width..(nth + 1) * width], nth);
        }
    });
}

#[test]
fn fewer_layers_and_dimensions_are_those_of_the_cpu() {
    each_family(|name, both, _, _| {
        let texts = texts(&[9, 30]);
        let want = Want { layers: 2, dimensions: 24, ..Want::EMBEDDING };
        let (got, expected) = (encode(&both.gpu, &texts, want), encode(&*both.cpu, &texts, want));
        for (got, expected) in got.pooled.chunks(24).zip(expected.pooled.chunks(24)) {
            assert!(cosine(got, expected) >= LEAST_COSINE, "{name}");
            assert!((cosine(got, got) - 1.0).abs() < 1e-5);
            let length = got.iter().map(|x| x * x).sum::<f32>();
            assert!((length - 1.0).abs() < 1e-4, "{name}: length {length}");
        }
        // What the model cannot give is the caller's fault, not the device's.
        let beyond = Want { layers: 99, ..Want::EMBEDDING };
        let mut out = Encoded::default();
        let refused = both.gpu.session().encode(&batch(&texts), beyond, &mut out);
        assert!(matches!(refused, Err(EncodeError::Want(_))));
    });
}

/// `best_weight · max + (1 − best_weight) · mean(best top_m)` of the cosines with `side`, and the greatest.
fn score(side: &[Vec<f32>], vector: &[f32], top_m: usize, best_weight: f32) -> (f32, f32) {
    let mut cosines: Vec<f32> = side.iter().map(|prototype| cosine(prototype, vector)).collect();
    cosines.sort_by(|a, b| b.total_cmp(a));
    let Some(best) = cosines.first().copied() else { return (0.0, 0.0) };
    let top = &cosines[..top_m.min(cosines.len())];
    let mean = top.iter().sum::<f32>() / top.len() as f32;
    (best_weight * best + (1.0 - best_weight) * mean, best)
}

#[test]
fn prototypes_are_compared_in_the_pass_that_embeds() {
    each_family(|name, both, emulator, gpus| {
        let golden = Golden::read(&format!("{name}/golden.safetensors")).texts();
        let width = both.cpu.info().dimensions();
        let rows = |encoded: &Encoded| encoded.pooled.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let examples =
            rows(&encode(&*both.cpu, &texts(&[3, 5, 8, 13, 21, 34, 2, 4, 6, 9, 12]), Want::EMBEDDING));
        let sides =
            [(&examples[..5], &examples[5..8]), (&examples[8..], &[][..]), (&examples[..], &examples[..1])];
        let params = [(2, 0.75), (8, 0.5), (1, 1.0)];
        let specs: Vec<BankSpec<'_>> = sides
            .iter()
            .zip(params)
            .map(|((hard, easy), (top_m, best_weight))| BankSpec { hard, easy, top_m, best_weight })
            .collect();
        let banks = Arc::new(Banks::new(width, &specs).unwrap());
        let launches = emulator.calls("hipModuleLaunchKernel");
        let plain = encode(&both.gpu, &golden, Want::EMBEDDING);
        let without = emulator.calls("hipModuleLaunchKernel") - launches;
        let compare = |banks: &Arc<Banks>| {
            let mut out = Encoded::default();
            let mut session = both.gpu.session();
            session.encode_comparing(&batch(&golden), Want::EMBEDDING, banks, &mut out).unwrap();
            out
        };
        let compared = compare(&banks);
        let with = emulator.calls("hipModuleLaunchKernel") - launches - without;
        assert_eq!(with, without + 1, "one launch more");
        assert_eq!(compared.pooled, plain.pooled);
        assert_eq!(compared.scores.len(), golden.len() * banks.len());
        let on_cpu = rows(&encode(&*both.cpu, &golden, Want::EMBEDDING));
        let near = |got: f32, expected: f32, by: f32| {
            assert!((got - expected).abs() < by, "{name}: {got} for {expected}");
        };
        for (text, vector) in rows(&compared).iter().enumerate() {
            for (nth, ((hard, easy), (top_m, weight))) in sides.iter().zip(params).enumerate() {
                let got = compared.scores[text * banks.len() + nth];
                for (got, got_best, side) in
                    [(got.hard, got.hard_best, hard), (got.easy, got.easy_best, easy)]
                {
                    let (here, best) = score(side, vector, top_m, weight);
                    near(got, here, 1e-5);
                    near(got_best, best, 1e-5);
                    // From the text on, against the CPU in f32.
                    near(got, score(side, &on_cpu[text], top_m, weight).0, 5e-3);
                }
                near(got.margin, got.hard - got.easy, 1e-6);
            }
        }

        // Banks of another width are left to who asked, and so are those that there is no room for.
        let narrow = vec![vec![1.0, 0.0, 0.0, 0.0]];
        let other = BankSpec { hard: &narrow, easy: &[], top_m: 1, best_weight: 1.0 };
        assert!(compare(&Arc::new(Banks::new(4, &[other]).unwrap())).scores.is_empty());
        let large = vec![examples[0].clone(); 4096];
        let large = BankSpec { hard: &large, easy: &[], top_m: 1, best_weight: 1.0 };
        let large = Arc::new(Banks::new(width, &[large; 16]).unwrap());
        emulator.fail("hipMalloc", 0, codes::OUT_OF_MEMORY);
        let refused = compare(&large);
        assert_eq!((&refused.pooled, refused.scores.len()), (&plain.pooled, 0));
        let used = || gpus.status()[0].memory_used;
        let before = used();
        assert_eq!(compare(&large).scores.len(), golden.len() * 16, "there is room again");
        assert!(used() > before);
        drop(large);
        // What nobody has any more is forgotten with the next one that is asked for.
        let again = compare(&banks);
        assert_eq!(again.scores, compared.scores);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while used() > before + (1 << 20) {
            assert!(std::time::Instant::now() < deadline, "{} bytes, {before} before", used());
            std::thread::yield_now();
        }

        // A fault takes them off the device with everything else; they are there again with it.
        emulator.fail("hipGraphLaunch", 0, codes::LAUNCH_FAILURE);
        let mut out = Encoded::default();
        let failed = both.gpu.session().encode_comparing(&batch(&golden), Want::EMBEDDING, &banks, &mut out);
        assert!(matches!(failed, Err(EncodeError::Device(_))), "{name}: {failed:?}");
        let again = || {
            let mut out = Encoded::default();
            let done =
                both.gpu.session().encode_comparing(&batch(&golden), Want::EMBEDDING, &banks, &mut out);
            done.is_ok() && out.scores == compared.scores
        };
        while !again() {
            assert!(std::time::Instant::now() < deadline, "{name}: it does not come back");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_dead_device_says_so_and_answers_again() {
    each_family(|name, both, emulator, gpus| {
        let texts = texts(&[12]);
        let before = encode(&both.gpu, &texts, Want::EMBEDDING);
        for (call, code) in
            [("hipGraphLaunch", codes::LAUNCH_FAILURE), ("hipMemcpyAsync", codes::ILLEGAL_ADDRESS)]
        {
            emulator.fail(call, 0, code);
            let mut out = Encoded::default();
            let failed = both.gpu.session().encode(&batch(&texts), Want::EMBEDDING, &mut out);
            assert!(matches!(failed, Err(EncodeError::Device(_))), "{name} {call}: {failed:?}");
            let again = || {
                both.gpu.session().encode(&batch(&texts), Want::EMBEDDING, &mut Encoded::default()).is_ok()
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
            while !again() {
                assert!(std::time::Instant::now() < deadline, "{name}: it does not come back");
                std::thread::yield_now();
            }
            assert_eq!(encode(&both.gpu, &texts, Want::EMBEDDING), before, "{name} {call}");
        }
        assert!(gpus.status()[0].deaths >= 2);
    });
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_anything_is_allocated() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let settings = ClassifierHip { memory_bytes: 1 << 20, ..settings(&emulator) };
    let gpus = Gpus::open(&settings).unwrap();
    let folder = common::tiny("bert_seq");
    let model = gpu::pack(&folder, &settings).unwrap();
    let cpu: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(folder, Precision::F32));
    let before = emulator.calls("hipMalloc");
    let why = GpuEncoder::new(cpu, model, &gpus).err().unwrap();
    assert!(why.contains("more than the 1048576 of classifier.hip.memory_bytes"), "{why}");
    assert_eq!(emulator.calls("hipMalloc"), before);
}

#[test]
fn minilm_agrees_with_the_cpu() {
    let Some(folder) = common::minilm() else { return };
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let settings = settings(&emulator);
    let gpus = Gpus::open(&settings).unwrap();
    let model = gpu::pack(&folder, &settings).unwrap();
    let cpu: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(folder, Precision::F32));
    let gpu = GpuEncoder::new(cpu.clone(), model, &gpus).unwrap();
    let texts = Golden::read("minilm.safetensors").texts();
    let (got, expected) = (encode(&gpu, &texts, Want::EMBEDDING), encode(&*cpu, &texts, Want::EMBEDDING));
    let width = gpu.info().dimensions();
    for (got, expected) in got.pooled.chunks(width).zip(expected.pooled.chunks(width)) {
        let cosine = cosine(got, expected);
        println!("minilm: cosine {cosine}");
        assert!(cosine >= LEAST_COSINE);
    }
}
