//! Timing a model on a GPU.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Want};
use pintle_classifier::gpu::{GpuEncoder, Gpus, pack};
use pintle_classifier::load::Loaded;
use pintle_classifier::model::Options;
use pintle_classifier::store::Store;
use pintle_config::ClassifierHip;

use super::least;
use crate::cli::{BatchShape, ModelBench};
use crate::output::print;

/// Texts and tokens of what is timed.
const SHAPES: [(usize, usize); 8] =
    [(1, 16), (1, 64), (1, 128), (1, 512), (8, 64), (64, 64), (64, 128), (256, 64)];

pub(super) fn bench(options: &ModelBench, store: &Store) -> Result<ExitCode, Box<dyn Error>> {
    let all = || SHAPES.map(|(texts, tokens)| BatchShape { texts, tokens }).to_vec();
    let shapes = if options.shapes.is_empty() { all() } else { options.shapes.clone() };
    let most = |of: fn(&BatchShape) -> usize| shapes.iter().map(of).max().unwrap_or(1);
    let settings = ClassifierHip {
        devices: vec![options.device],
        library: options.library.as_ref().map_or(String::new(), |path| path.display().to_string()),
        batch_tokens: u32::try_from(most(|shape| shape.texts * shape.tokens))?.max(64),
        batch_texts: u16::try_from(most(|shape| shape.texts))?,
        // Nobody else waits for this process, and slow is what it is to find out.
        watchdog_ms: 600_000,
        load_ms: 600_000,
        ..ClassifierHip::default()
    };
    let gpus = Gpus::open(&settings)?;
    let Loaded::Network(folder) = store.load(&options.name, Options::default())? else {
        return Err(format!("{} is a graph, which runs on the CPU only", options.name).into());
    };
    let model = pack(&folder, &settings)?;
    let number = model.packed().number();
    let cpu: Arc<dyn Encoder> = Arc::new(CpuEncoder::new(*folder, Precision::F32));
    let encoder = GpuEncoder::new(cpu, model, &gpus)?;
    for device in gpus.status() {
        print(&format!(
            "{} ({}), {number}, {:.1} MB of its memory taken; time of a batch, least and copies included:\n",
            device.name,
            device.isa,
            device.memory_used as f64 / 1e6
        ))?;
    }
    print(&format!("{:>7}{:>8}{:>12}{:>12}{:>12}\n", "texts", "tokens", "ms", "texts/s", "tokens/s"))?;
    let longest = encoder.info().max_tokens;
    for shape in shapes.iter().filter(|shape| shape.tokens <= longest) {
        print(&row(&encoder, *shape)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(encoder: &GpuEncoder, BatchShape { texts, tokens }: BatchShape) -> Result<String, Box<dyn Error>> {
    let mut session = encoder.session();
    let (mut batch, mut out) = (Batch::default(), Encoded::default());
    for _ in 0..texts {
        // Any id does: time does not depend on it.
        batch.push(&vec![1; tokens])?;
    }
    // The first pass records the graph.
    session.encode(&batch, Want::EMBEDDING, &mut out)?;
    let mut failed = None;
    let least = least(&mut || {
        if let Err(error) = session.encode(&batch, Want::EMBEDDING, &mut out) {
            failed = Some(error);
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let seconds = least.as_secs_f64();
    Ok(format!(
        "{texts:>7}{tokens:>8}{:>12.3}{:>12.0}{:>12.0}\n",
        seconds * 1e3,
        texts as f64 / seconds,
        (texts * tokens) as f64 / seconds
    ))
}
