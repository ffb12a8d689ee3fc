//! `pintle sessions`: session memory of a gateway that is not running.
//!
//! The file belongs to one process. While a gateway runs, its admin API lists, shows and releases sessions.

use std::error::Error;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use pintle_control::{SessionBook, SessionView};
use pintle_dataplane::shared::now;
use pintle_sessions::{Options, Store};

use super::explain::PACKAGED_STATE;
use crate::cli::{OneSession, SessionsCommand, StateDir};
use crate::environment;
use crate::output::print;

pub(super) fn run(command: SessionsCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        SessionsCommand::Ls(StateDir { state_dir }) => {
            let store = open(state_dir)?;
            let mut out = BufWriter::new(io::stdout().lock());
            for view in store.list(usize::MAX - 1, None, now().get()) {
                writeln!(out, "{}", line(&view))?;
            }
            out.flush()?;
        }
        SessionsCommand::Show(OneSession { key, state_dir }) => {
            let store = open(state_dir)?;
            let view = store.show(parse(&store, &key)?, now().get()).ok_or("that session's time is over")?;
            print(&format!("{}\n", serde_json::to_string_pretty(&view)?))?;
        }
        SessionsCommand::Unpin(OneSession { key, state_dir }) => {
            let store = open(state_dir)?;
            if !store.unpin(parse(&store, &key)?) {
                return Err("no such session".into());
            }
            store.close()?;
        }
        SessionsCommand::Export(StateDir { state_dir }) => {
            let store = open(state_dir)?;
            let lines = store.export(BufWriter::new(io::stdout().lock()))?;
            eprintln!("pintle: {lines} lines");
        }
        SessionsCommand::Import(StateDir { state_dir }) => {
            let mut store = open(state_dir)?;
            let imported = store.import(BufReader::new(io::stdin().lock()), now().get())?;
            eprintln!("pintle: {imported:?}");
            store.close()?;
        }
        SessionsCommand::Compact(StateDir { state_dir }) => {
            let mut store = open(state_dir)?;
            let rebuilt = store.compact(now().get())?;
            store.close()?;
            eprintln!("pintle: {rebuilt:?}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(state_dir: Option<PathBuf>) -> Result<Store, Box<dyn Error>> {
    let dir =
        state_dir.or_else(environment::state_directory).unwrap_or_else(|| PathBuf::from(PACKAGED_STATE));
    let options = Options::of_existing(&dir)?.ok_or_else(|| {
        format!("there is no session memory in {} that this version can use", dir.display())
    })?;
    Ok(Store::open(&dir, &options, now().get())?.0)
}

/// A key, or the beginning of one that is long enough and known only once.
fn parse(store: &Store, text: &str) -> Result<u128, Box<dyn Error>> {
    let text = text.trim();
    let digits = text.len();
    if !(pintle_control::book::MIN_KEY_DIGITS..=pintle_control::book::KEY_DIGITS).contains(&digits) {
        return Err("a session key has 32 hexadecimal digits; the first 16 are enough".into());
    }
    let prefix = u128::from_str_radix(text, 16)?;
    match store.resolve(prefix, digits)[..] {
        [] => Err("no such session".into()),
        [key] => Ok(key),
        _ => Err("more than one session begins so; give more digits".into()),
    }
}

fn line(view: &SessionView) -> String {
    format!(
        "{}  {:<24} turns {:>4}  switches {:>3}  idle {:>8} s  {}",
        view.key,
        view.model,
        view.turns,
        view.switches,
        view.idle_ms / 1000,
        view.lock.unwrap_or("-")
    )
}
