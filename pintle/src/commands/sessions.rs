//! `pintle sessions`: session memory, of a gateway that runs or of one that does not.
//!
//! The file belongs to one process. While a gateway runs, its admin API lists, shows and releases sessions; what needs
//! the file itself (export, import, compact) has to wait until it has stopped.

use std::error::Error;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use pintle_control::SessionBook;
use pintle_dataplane::shared::now;
use pintle_sessions::{OpenError, Options, Store};
use serde_json::Value;

use super::admin_client;
use super::explain::PACKAGED_STATE;
use crate::cli::{Ls, OneSession, SessionsCommand, StateDir};
use crate::environment;
use crate::output::print;

pub(super) fn run(command: SessionsCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        SessionsCommand::Ls(Ls { state_dir, admin }) => {
            let sessions = match open_or_running(state_dir)? {
                Some(store) => serde_json::to_value(store.list(usize::MAX - 1, None, now().get()))?,
                None => running_sessions(&admin)?,
            };
            let mut out = BufWriter::new(io::stdout().lock());
            for view in sessions.as_array().into_iter().flatten() {
                writeln!(out, "{}", line(view))?;
            }
            out.flush()?;
        }
        SessionsCommand::Show(OneSession { key, state_dir, admin }) => {
            let view = match open_or_running(state_dir)? {
                Some(store) => {
                    let view = store.show(parse(&store, &key)?, now().get());
                    serde_json::to_value(view.ok_or("that session's time is over")?)?
                }
                None => admin_client::ask(&admin, "GET", &format!("/v1/sessions/{}", digits(&key)?))?,
            };
            print(&format!("{}\n", serde_json::to_string_pretty(&view)?))?;
        }
        SessionsCommand::Unpin(OneSession { key, state_dir, admin }) => match open_or_running(state_dir)? {
            Some(store) => {
                if !store.unpin(parse(&store, &key)?) {
                    return Err("no such session".into());
                }
                store.close()?;
            }
            None => {
                admin_client::ask(&admin, "DELETE", &format!("/v1/sessions/{}", digits(&key)?))?;
            }
        },
        SessionsCommand::Shadow(options) => return super::shadow::run(&options),
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

/// The store, or none if a gateway runs on it.
fn open_or_running(state_dir: Option<PathBuf>) -> Result<Option<Store>, Box<dyn Error>> {
    match open(state_dir) {
        Ok(store) => Ok(Some(store)),
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::InUse { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sessions that a running gateway saw last, as many as it lists at once.
fn running_sessions(admin: &str) -> Result<Value, Box<dyn Error>> {
    let most = pintle_control::book::MAX_SESSIONS_LISTED;
    let mut answer = admin_client::ask(admin, "GET", &format!("/v1/sessions?limit={most}"))?;
    let sessions = answer.get_mut("sessions").map(Value::take).unwrap_or_default();
    if sessions.as_array().is_some_and(|sessions| sessions.len() == most) {
        eprintln!("pintle: the gateway is running and lists the {most} sessions that it saw last");
    }
    Ok(sessions)
}

/// A key as a path can hold it.
fn digits(key: &str) -> Result<&str, Box<dyn Error>> {
    let key = key.trim();
    let wellformed = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if wellformed { Ok(key) } else { Err("a session key has hexadecimal digits only".into()) }
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

fn line(view: &Value) -> String {
    let number = |name: &str| view.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text = |name: &str, without| view.get(name).and_then(Value::as_str).unwrap_or(without);
    format!(
        "{}  {:<24} turns {:>4}  switches {:>3}  idle {:>8} s  {}",
        text("key", "?"),
        text("model", "?"),
        number("turns"),
        number("switches"),
        number("idle_ms") / 1000,
        text("lock", "-")
    )
}
