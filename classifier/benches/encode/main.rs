//! Times encoders for a driver that alternates between engines (`onnxruntime/compare.py`).
//!
//! With the argument `roofline`, prints the bare matrix product beside a ModernBERT-base of random weights on one text
//! of 128 tokens, as billions of operations per CPU second, and their ratio. With a model folder as argument, takes
//! commands on standard input, one a line; answers on standard output, one a line:
//!
//! - `time PRECISION TEXTS TOKENS REPEATS`: CPU nanoseconds of this process for each pass, least and median.
//! - `embed PRECISION ID,ID,...`: the embedding, space separated.
//!
//! A folder with a graph (`model.onnx`) has the precision of the graph, which is called `f32` here.

mod roofline;

use std::io::{BufRead, Write};
use std::path::Path;

use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Session, Want};
use pintle_classifier::load::Loaded;
use pintle_classifier::model::folder::{self, Options};
use pintle_classifier::model::{ONNX_FILE, WEIGHTS_FILE};

fn main() {
    if std::env::args().any(|argument| argument == "roofline") {
        return roofline::print();
    }
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let Some(folder) = folder else {
        println!("SKIP no model folder is given; classifier/benches/onnxruntime/compare.sh gives one");
        return;
    };
    let folder = Path::new(&folder);
    let mut sessions: Sessions = if folder.join(ONNX_FILE).exists() && !folder.join(WEIGHTS_FILE).exists() {
        let graph = Loaded::read(folder, Options::default()).expect("the graph loads");
        vec![(Precision::F32, graph.into_encoder(Precision::F32).session())]
    } else {
        let load = |precision| {
            CpuEncoder::new(folder::read(folder, Options::default()).expect("the folder loads"), precision)
        };
        let encoders = [Precision::F32, Precision::Bf16, Precision::Int8].map(load);
        encoders.iter().map(|encoder| (encoder.precision(), encoder.session())).collect()
    };
    let mut out = Encoded::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<usize>().expect("a number");
        match words[0] {
            "time" => {
                let batch = batch(number(2), number(3));
                let session = find(&mut sessions, words[1]);
                session.encode(&batch, Want::EMBEDDING, &mut out).expect("a pass");
                let mut times: Vec<u64> = (0..number(4))
                    .map(|_| {
                        let start = cpu_time();
                        session.encode(&batch, Want::EMBEDDING, &mut out).expect("a pass");
                        cpu_time() - start
                    })
                    .collect();
                times.sort_unstable();
                println!("{} {}", times[0], times[times.len() / 2]);
            }
            "embed" => {
                let ids: Vec<u32> = words[2].split(',').map(|id| id.parse().expect("an id")).collect();
                let mut batch = Batch::default();
                batch.push(&ids).expect("a text");
                find(&mut sessions, words[1]).encode(&batch, Want::EMBEDDING, &mut out).expect("a pass");
                let row: Vec<String> = out.pooled.iter().map(f32::to_string).collect();
                println!("{}", row.join(" "));
            }
            other => panic!("no such command: {other}"),
        }
        std::io::stdout().flush().expect("standard output is open");
    }
}

type Sessions = Vec<(Precision, Box<dyn Session>)>;

fn find<'a>(sessions: &'a mut Sessions, precision: &str) -> &'a mut dyn Session {
    let precision: Precision = precision.parse().expect("a precision");
    let found = sessions.iter_mut().find(|(have, _)| *have == precision);
    found.expect("a precision that this processor has").1.as_mut()
}

/// Texts of the same length whose tokens are spread over the vocabulary.
fn batch(texts: usize, tokens: usize) -> Batch {
    let mut batch = Batch::default();
    for text in 0..texts {
        let id = |position: usize| match position {
            0 => 101,
            last if last == tokens - 1 => 102,
            _ => 1000 + ((text * tokens + position) * 7919 % 20_000) as u32,
        };
        batch.push(&(0..tokens).map(id).collect::<Vec<_>>()).expect("a bounded batch");
    }
    batch
}

/// Nanoseconds of CPU that this process has used.
fn cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64
}
