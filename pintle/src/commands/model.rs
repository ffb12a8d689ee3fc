//! `pintle model`: what classifiers there are, getting them, checking them, timing them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pintle_classifier::cpu::{CpuEncoder, Isa, Precision, Roofline};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Want};
use pintle_classifier::model::Options;
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
        ModelCommand::Fetch(options) => fetch_model(options),
        ModelCommand::Verify(OneModel { name, dir }) => verify(&open(&dir)?, name.as_deref()),
        ModelCommand::Rm(OneModel { name, dir }) => {
            let name = name.ok_or("which model? 'pintle model list' lists them")?;
            open(&dir)?.remove(&name)?;
            Ok(ExitCode::SUCCESS)
        }
        ModelCommand::Bench(options) => bench(&options),
    }
}

fn open(dir: &ModelsDir) -> Result<Store, StoreError> {
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

fn fetch_model(options: FetchModel) -> Result<ExitCode, Box<dyn Error>> {
    let known = catalogue::find(&options.name).filter(|_| options.from.is_none());
    let source = match (&options.from, known) {
        (Some(source), _) => source.clone(),
        (None, Some(known)) => known.source.parse()?,
        (None, None) => {
            return Err(format!(
                "{:?} is not in the catalogue: say where it is with --from (hub:OWNER/NAME, a URL, a path)",
                options.name
            )
            .into());
        }
    };
    let mut digests = BTreeMap::new();
    if let Some(known) = known {
        digests.extend(known.digests.iter().map(|(file, digest)| ((*file).to_owned(), (*digest).to_owned())));
    }
    if let Some(digest) = options.weights_sha256 {
        digests.insert("model.safetensors".to_owned(), digest);
    }
    let order = Order {
        role: options.role.or(known.map(|known| known.role.to_owned())).unwrap_or("embedding".to_owned()),
        licence: options
            .licence
            .or(known.map(|known| known.licence.to_owned()))
            .unwrap_or("unknown".to_owned()),
        archive: options.sha256.or(known.and_then(|known| known.archive.map(str::to_owned))),
        hub: options.hub,
        name: options.name,
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
    let info = loaded.info;
    eprintln!(
        "pintle: {} is a {} of {} layers and {} dimensions, for texts of up to {} tokens",
        info.name, info.family, info.layers, info.hidden, info.max_tokens
    );
    if known.is_none() && order.digests.is_empty() && order.archive.is_none() {
        eprintln!("pintle: its files are pinned as they came; nothing said what they should be");
    }
    Ok(ExitCode::SUCCESS)
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
    print(&format!("one thread, {}, milliseconds a text (least), texts of so many tokens:\n", Isa::best()))?;
    let mut head = format!("{:<9}", "");
    LENGTHS.iter().for_each(|length| head.push_str(&format!("{length:>9}")));
    print(&format!("{head}   G operations/s, share of the bare matrix product\n"))?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        if options.precision.is_some_and(|wanted| wanted != precision) {
            continue;
        }
        let encoder = CpuEncoder::new(store.load(&options.name, Options::default())?, precision);
        if encoder.precision() != precision {
            print(&format!("{precision:<9} this processor has none\n"))?;
            continue;
        }
        print(&row(&encoder, precision))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(encoder: &CpuEncoder, precision: Precision) -> String {
    let mut session = encoder.session();
    let (mut batch, mut out) = (Batch::default(), Encoded::default());
    let mut line = format!("{precision:<9}");
    let mut rate = 0.0f64;
    for length in LENGTHS.into_iter().filter(|length| *length <= encoder.info().max_tokens) {
        batch.clear();
        // Any id does: time does not depend on it.
        batch.push(&vec![1; length]).expect("within a batch");
        let mut pass =
            || session.encode(&batch, Want::EMBEDDING, &mut out).expect("ids and length are valid");
        pass();
        let least = least(&mut pass);
        write!(line, "{:>9.2}", least.as_secs_f64() * 1e3).expect("a string");
        rate = rate.max(2.0 * encoder.parameters() as f64 * length as f64 / least.as_secs_f64());
    }
    let bare = Roofline::new(precision)
        .map(|mut bare| Roofline::OPERATIONS / least(&mut || bare.run()).as_secs_f64());
    let share = bare.map_or(String::new(), |bare| format!(", {:.0} %", 100.0 * rate / bare));
    writeln!(line, "   {:.0}{share}", rate / 1e9).expect("a string");
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
