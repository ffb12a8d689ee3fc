//! `pintle config migrate`, `import`, `export` and `schema`.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pintle_config::import::{self, Source};
use pintle_config::migrate::{self, Migration};
use pintle_config::{Format, Keys, Profile};
use pintle_dataplane::http::chunked::Decoder;
use pintle_dataplane::http::head::{Limits, Method, ResponseFraming, ResponseHead, parse_response};

use super::check::read;
use crate::cli::{Export, Import, ImportKind, Migrate};
use crate::output::print;

/// Largest inventory that a server may answer with.
const MAX_ANSWER: usize = 16 << 20;
/// For each step of asking a server for its inventory.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn migrate(options: &Migrate) -> Result<ExitCode, Box<dyn Error>> {
    let (bytes, name) = read(&options.old)?;
    finish(migrate::migrate(&bytes, &name), &bytes, options.output.as_deref())
}

pub(super) fn import(options: &Import) -> Result<ExitCode, Box<dyn Error>> {
    let (source, bytes, name) = match options.from {
        ImportKind::Openai => {
            let base_url = options.source.trim_end_matches('/').to_owned();
            let bytes = get(&format!("{base_url}/models"))?;
            (Source::OpenAiModels { base_url: base_url.clone() }, bytes, base_url)
        }
        kind => {
            let (bytes, name) = read(Path::new(&options.source))?;
            let source = match kind {
                ImportKind::Litellm => Source::LiteLlm,
                ImportKind::Openclaw => Source::OpenClaw,
                ImportKind::ProductionStack => Source::ProductionStack,
                ImportKind::Kubernetes | ImportKind::Openai => Source::Kubernetes,
            };
            (source, bytes, name)
        }
    };
    finish(import::import(&source, &bytes, &name), &bytes, options.output.as_deref())
}

/// Writes the new document, tells what changed, and fails if nothing that loads came of it.
fn finish(migration: Migration, source: &[u8], output: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    for line in &migration.lines {
        eprintln!("{line}");
    }
    let shown = migration.output.as_deref().map_or(source, str::as_bytes);
    eprint!("{}", pintle_config::render(&migration.report, Format::Human, shown));
    let Some(document) = migration.output else { return Ok(ExitCode::from(1)) };
    match output {
        Some(path) => fs::write(path, &document).map_err(|error| format!("{}: {error}", path.display()))?,
        None => print(&document)?,
    }
    Ok(if migration.report.has_errors() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

pub(super) fn export(options: &Export) -> Result<ExitCode, Box<dyn Error>> {
    let (bytes, name) = read(&options.file)?;
    let loaded = pintle_config::load(&bytes, &name, Profile::Pintle);
    let Some(config) = loaded.config else {
        eprint!("{}", pintle_config::render(&loaded.report, Format::Human, &bytes));
        return Ok(ExitCode::from(1));
    };
    let keys = if options.with_keys { Keys::Written } else { Keys::Redacted };
    print(&pintle_config::export(&config, keys))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn schema() -> Result<ExitCode, Box<dyn Error>> {
    print(&format!("{}\n", serde_json::to_string_pretty(&pintle_config::json_schema())?))?;
    Ok(ExitCode::SUCCESS)
}

/// `GET` of a plain `http` URL: one request on a connection of its own.
fn get(url: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let rest = url.strip_prefix("http://").ok_or(
        "only http:// servers can be asked; save the answer of \
        GET /v1/models to a file for others",
    )?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let place = pintle_config::endpoint::split(authority, "http");
    let address = (place.host.as_str(), place.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| format!("{} has no address", place.host))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER as u64).read_to_end(&mut answer)?;
    let mut head = ResponseHead::new();
    let length = parse_response(&answer, Method::Get, &Limits::default(), &mut head)?
        .ok_or("the server closed the connection in the middle of its answer")?;
    if head.status() != 200 {
        return Err(format!("{url} answered with status {}", head.status()).into());
    }
    let body = &answer[length..];
    if head.framing() != ResponseFraming::Chunked {
        return Ok(body.to_vec());
    }
    let mut decoded = Vec::new();
    Decoder::new(MAX_ANSWER).feed(body, &mut decoded)?;
    Ok(decoded)
}
