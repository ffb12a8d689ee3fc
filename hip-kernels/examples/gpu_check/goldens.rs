//! Small networks on the device against the same networks as they are defined, in `f64`.

use std::sync::Arc;

use pintle_hip::encoder::{EncoderJob, EncoderModel, EncoderProgram, Number, Wants};
use pintle_hip::engine::Engine;
use pintle_hip::{Hip, Size};

use crate::library::shared;
use crate::{Report, Result};

const LEAST_COSINE: f64 = 0.9995;
const LENGTHS: [usize; 7] = [1, 2, 17, 33, 63, 64, 80];

pub(crate) fn run(hip: &Hip, report: &mut Report) -> Result<()> {
    let engine = Engine::<EncoderProgram>::start(hip, 0, crate::encoders::options())?;
    let mut random = crate::numbers::Random(5);
    let mut text = |length: usize| -> Vec<u32> {
        (0..length).map(|_| random.below(shared::VOCABULARY as u32)).collect()
    };
    let texts: Vec<Vec<u32>> = LENGTHS.into_iter().map(&mut text).collect();
    let ends: Vec<u32> = texts
        .iter()
        .scan(0, |end, text| {
            *end += text.len() as u32;
            Some(*end)
        })
        .collect();
    for (nth, spec) in shared::all().iter().enumerate() {
        for number in [Number::F16, Number::Bf16] {
            let room = Size { sequences: 8, tokens: 512 };
            let loaded = engine.load(Arc::new(EncoderModel::new(spec, number, room)?))?;
            let wants = Wants { layers: spec.blocks.len() as u32, embedding: true, logits: false };
            let job = EncoderJob::new(texts.concat(), ends.clone(), wants).ok_or("texts without an end")?;
            let answer = loaded.run(job)?;
            for (text, got) in texts.iter().zip(answer.embeddings.chunks(spec.hidden)) {
                let expected = shared::embedding(spec, text);
                let cosine: f64 = got.iter().zip(&expected).map(|(a, b)| f64::from(*a) * b).sum();
                if cosine.is_nan() || cosine < LEAST_COSINE {
                    let length = text.len();
                    report.defects.push(format!("network {nth} {number}, {length} tokens: cosine {cosine}"));
                }
            }
        }
    }
    Ok(())
}
