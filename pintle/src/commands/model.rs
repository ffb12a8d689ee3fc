//! `pintle model`: what classifiers there are, getting them, checking them, timing them.

mod gpu;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pintle_classifier::cpu::{CpuEncoder, Isa, Precision, Roofline};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, EncoderInfo, OutputKind, Want};
use pintle_classifier::load::Loaded;
use pintle_classifier::model::{ONNX_FILE, Options, WEIGHTS_FILE};
use pintle_classifier::reader::Head;
use pintle_classifier::store::fetch::{Order, fetch};
use pintle_classifier::store::{Store, StoreError, catalogue};

use super::explain::PACKAGED_STATE;
use crate::cli::{FetchModel, ModelBench, ModelCommand, ModelsDir, OneModel};
use crate::environment;
use crate::output::print;

/// Below the directory of the gateway's state.
const MODELS: &str = "models";
/// Between two lines of progress where standard error is no terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Tokens of the texts that `bench` times.
const LENGTHS: [usize; 5] = [16, 64, 128, 256, 512];
/// `bench` repeats a pass for about this long.
const BENCH_TIME: Duration = Duration::from_millis(400);

pub(super) fn run(command: ModelCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        ModelCommand::List(dir) => list(&open(&dir)?),
        ModelCommand::Fetch(options) => match options.name.clone() {
            Some(name) => fetch_model(name, options),
            None => fetch_catalogue(&options.dir),
        },
        ModelCommand::Verify(OneModel { name, dir }) => verify(&open(&dir)?, name.as_deref()),
        ModelCommand::Rm(OneModel { name, dir }) => {
            let name = name.ok_or("which model? 'pintle model list' lists them")?;
            open(&dir)?.remove(&name)?;
            Ok(ExitCode::SUCCESS)
        }
        ModelCommand::Bench(options) => bench(&options),
    }
}

pub(super) fn open(dir: &ModelsDir) -> Result<Store, StoreError> {
    let state = || {
        let dir = dir.state_dir.clone().or_else(environment::state_directory);
        dir.unwrap_or_else(|| PathBuf::from(PACKAGED_STATE)).join(MODELS)
    };
    Store::open(dir.models_dir.clone().unwrap_or_else(state))
}

fn list(store: &Store) -> Result<ExitCode, Box<dyn Error>> {
    let mut text =
        format!("{:<24} {:<14} {:>10}  {:<14} {:<8} source\n", "name", "role", "size", "licence", "state");
    for (name, entry) in store.models() {
        // Sizes only: digests of gigabytes are `verify`'s work.
        let whole = entry.files.iter().all(|(file, pin)| {
            std::fs::metadata(store.folder(name).join(file)).is_ok_and(|found| found.len() == pin.bytes)
        });
        let state = if whole { "here" } else { "damaged" };
        let size = megabytes(entry.bytes());
        writeln!(
            text,
            "{name:<24} {:<14} {size:>10}  {:<14} {state:<8} {}",
            entry.role, entry.licence, entry.source
        )?;
        if !entry.notice.is_empty() {
            writeln!(text, "{:<24} {}", "", entry.notice)?;
        }
    }
    for known in catalogue::KNOWN.iter().filter(|known| store.entry(known.name).is_err()) {
        writeln!(
            text,
            "{:<24} {:<14} {:>10}  {:<14} {:<8} {}",
            known.name, known.role, "-", known.licence, "absent", known.source
        )?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is in the catalogue and not here yet.
fn fetch_catalogue(dir: &ModelsDir) -> Result<ExitCode, Box<dyn Error>> {
    for known in catalogue::KNOWN {
        if open(dir)?.entry(known.name).is_err() {
            let options = FetchModel { dir: dir.clone(), ..FetchModel::default() };
            fetch_model(known.name.to_owned(), options)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch_model(name: String, options: FetchModel) -> Result<ExitCode, Box<dyn Error>> {
    let known = catalogue::find(&name).filter(|_| options.from.is_none());
    let source = match (&options.from, known) {
        (Some(source), _) => source.clone(),
        (None, Some(known)) => known.source.parse()?,
        (None, None) => {
            return Err(format!(
                "{name:?} is not in the catalogue: say where it is with --from (hub:OWNER/NAME, a URL, a path)"
            )
            .into());
        }
    };
    let mut digests = BTreeMap::new();
    if let Some(known) = known {
        digests.extend(known.digests.iter().map(|(file, digest)| ((*file).to_owned(), (*digest).to_owned())));
    }
    if let Some(digest) = options.weights_sha256 {
        // Of these, one is kept.
        digests.insert(WEIGHTS_FILE.to_owned(), digest.clone());
        digests.insert(ONNX_FILE.to_owned(), digest);
    }
    let order = Order {
        role: options.role.or(known.map(|known| known.role.to_owned())).unwrap_or("embedding".to_owned()),
        licence: options
            .licence
            .or(known.map(|known| known.licence.to_owned()))
            .unwrap_or("unknown".to_owned()),
        archive: options.sha256.or(known.and_then(|known| known.archive.map(str::to_owned))),
        notice: known.map_or_else(String::new, |known| known.notice.to_owned()),
        folder: options.folder.or(known.and_then(|known| known.folder.map(str::to_owned))),
        weights: options.weights.or(known.and_then(|known| known.weights.map(str::to_owned))),
        pooling: options.pooling.or(known.and_then(|known| known.pooling)),
        heads: known.and_then(|known| known.heads),
        hub: options.hub,
        name,
        source,
        digests,
    };
    let mut store = open(&options.dir)?;
    let mut progress = Progress::new();
    let fetched = fetch(&mut store, &order, &mut |file, done, total| progress.show(file, done, total));
    progress.end();
    fetched?;
    // A model that does not load is of no use, and it is better to know now.
    let loaded = store.load(&order.name, Options::default())?;
    eprintln!("pintle: {}", described(loaded.info()));
    if let Some(heads) = store.heads(&order.name)? {
        let names = heads.names().map(Head::as_str).collect::<Vec<_>>().join(", ");
        eprintln!("pintle: with heads on its embedding for {names}");
    }
    if !order.notice.is_empty() {
        eprintln!("pintle: {}", order.notice);
    }
    if known.is_none() && order.digests.is_empty() && order.archive.is_none() {
        eprintln!("pintle: its files are pinned as they came; nothing said what they should be");
    }
    Ok(ExitCode::SUCCESS)
}

fn described(info: &EncoderInfo) -> String {
    let gives = info.outputs.iter().map(|output| match &output.kind {
        OutputKind::Embedding { dimensions } => format!("embeddings of {dimensions} dimensions"),
        OutputKind::Sequence { labels } => format!("{} labels per text", labels.len()),
        OutputKind::Token { labels } => format!("{} labels per token", labels.len()),
    });
    let gives = gives.collect::<Vec<_>>().join(" and ");
    format!("{} ({}) gives {gives}, for texts of up to {} tokens", info.name, info.family, info.max_tokens)
}

/// What arrives, on one line of a terminal, or a line now and then.
struct Progress {
    terminal: bool,
    shown: Option<Instant>,
    open: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: None, open: false }
    }

    fn show(&mut self, file: &str, done: u64, total: Option<u64>) {
        let every = if self.terminal { Duration::from_millis(100) } else { PROGRESS_EVERY };
        let whole = total == Some(done);
        if !whole && self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let share = total.filter(|total| *total > 0).map(|total| format!(" {:>3} %", done * 100 / total));
        let line = format!("{file}: {}{}", megabytes(done), share.unwrap_or_default());
        if self.terminal {
            // Carriage return and "erase to the end of the line".
            eprint!("\r{line}\x1b[K");
            self.open = true;
            drop(std::io::stderr().flush());
        } else {
            eprintln!("pintle: {line}");
        }
    }

    fn end(&mut self) {
        if self.open {
            eprintln!();
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn verify(store: &Store, name: Option<&str>) -> Result<ExitCode, Box<dyn Error>> {
    let names: Vec<&str> = match name {
        Some(name) => vec![name],
        None => store.models().map(|(name, _)| name).collect(),
    };
    let mut bad = 0;
    for name in &names {
        match store.verify(name) {
            Ok(()) => print(&format!("{name}: as pinned\n"))?,
            Err(error @ StoreError::Unknown(_)) => return Err(error.into()),
            Err(error) => {
                bad += 1;
                print(&format!("{name}: {error}\n"))?;
            }
        }
    }
    if names.is_empty() {
        print("no models\n")?;
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

fn bench(options: &ModelBench) -> Result<ExitCode, Box<dyn Error>> {
    let store = open(&options.dir)?;
    if options.backend == "hip" {
        return gpu::bench(options, &store);
    }
    print(&format!("one thread, {}, milliseconds a text (least), texts of so many tokens:\n", Isa::best()))?;
    let mut head = format!("{:<9}", "");
    LENGTHS.iter().for_each(|length| head.push_str(&format!("{length:>9}")));
    print(&format!("{head}   G operations/s, share of the bare matrix product\n"))?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        if options.precision.is_some_and(|wanted| wanted != precision) {
            continue;
        }
        let folder = match store.load(&options.name, Options::default())? {
            Loaded::Network(folder) => folder,
            graph => {
                print(&row(&*graph.into_encoder(precision), "onnx", None))?;
                break;
            }
        };
        let encoder = CpuEncoder::new(*folder, precision);
        if encoder.precision() != precision {
            print(&format!("{precision:<9} this processor has none\n"))?;
            continue;
        }
        let rate = Rate { parameters: encoder.parameters(), bare: Roofline::new(precision) };
        print(&row(&encoder, &precision.to_string(), Some(rate)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the speed of a network is measured by.
struct Rate {
    /// Multiplications per token.
    parameters: usize,
    bare: Option<Roofline>,
}

fn row(encoder: &dyn Encoder, how: &str, rate: Option<Rate>) -> String {
    let mut session = encoder.session();
    let (mut batch, mut out) = (Batch::default(), Encoded::default());
    let info = encoder.info();
    let want = match info.outputs[0].kind {
        OutputKind::Embedding { .. } => Want::EMBEDDING,
        OutputKind::Sequence { .. } => Want::SEQUENCE,
        OutputKind::Token { .. } => Want::TOKEN,
    };
    let mut line = format!("{how:<9}");
    let mut tokens_a_second = 0.0f64;
    for length in LENGTHS.into_iter().filter(|length| *length <= info.max_tokens) {
        batch.clear();
        // Any id does: time does not depend on it.
        batch.push(&vec![1; length]).expect("within a batch");
        let mut pass = || session.encode(&batch, want, &mut out).expect("ids and length are valid");
        pass();
        let least = least(&mut pass);
        write!(line, "{:>9.2}", least.as_secs_f64() * 1e3).expect("a string");
        tokens_a_second = tokens_a_second.max(length as f64 / least.as_secs_f64());
    }
    if let Some(Rate { parameters, bare }) = rate {
        let rate = 2.0 * parameters as f64 * tokens_a_second;
        let bare = bare.map(|mut bare| Roofline::OPERATIONS / least(&mut || bare.run()).as_secs_f64());
        let share = bare.map_or(String::new(), |bare| format!(", {:.0} %", 100.0 * rate / bare));
        write!(line, "   {:.0}{share}", rate / 1e9).expect("a string");
    }
    line.push('\n');
    line
}

fn least(work: &mut dyn FnMut()) -> Duration {
    let begun = Instant::now();
    let mut least = Duration::MAX;
    while begun.elapsed() < BENCH_TIME {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed());
    }
    least
}
