//! `pintle route`: what would be decided about a request, read as the data plane reads it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use pintle_config::{Config, Format, Profile, ProfileSetting};
use pintle_control::explain::{self, Style};
use pintle_dataplane::extract;
use pintle_dataplane::http::head::{self, Field, RequestHead, parse_request};
use pintle_dataplane::json::{self, ScanLimits, Spans};
use pintle_dataplane::local;
use pintle_dataplane::settings::Settings;
use pintle_dataplane::shared::now;
use pintle_routing::facts::{Dialect, Facts};
use pintle_routing::flow::recorded::RecordedSession;
use pintle_routing::flow::{FlowDocument, Request, VerdictRecord};
use pintle_routing::learned::Learned;
use pintle_routing::live::LiveSignals;
use pintle_routing::policy::{Inputs, Policy, Record};
use pintle_routing::units::UnixMillis;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::check;
use crate::cli::Route;
use crate::meaning::Meaning;
use crate::wire;

/// Largest request or session file: the largest body that a configuration may allow, with room for headers.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A request as a file. The body stays as it is written: its bytes count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    /// Where it would be sent; says in which API it is written.
    #[serde(default = "chat_completions")]
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    body: Box<RawValue>,
    /// What is remembered of the session before this turn.
    #[serde(default)]
    session: Option<RecordedSession>,
}

fn chat_completions() -> String {
    local::path(Dialect::OpenAiChat).to_owned()
}

/// A field's value, or those of a field that is sent several times.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Values {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// What the client would be told instead of an answer.
struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

pub(super) fn run(options: &Route) -> Result<ExitCode, Box<dyn Error>> {
    let (config, policy) = load_policy(&options.config)?;
    let settings = wire::settings(&config);
    let mut request: RequestFile = parse(&options.request)?;
    let session: Option<RecordedSession> = match options.session.as_deref() {
        Some(file) => parse(file)?,
        None => request.session.take(),
    };
    let at = options.at.map_or_else(now, |at| at.0.at());
    let mut document = FlowDocument { at, policy_digest: policy.digest_hex(), ..FlowDocument::default() };
    let path = request.path.split_once('?').map_or(request.path.as_str(), |(path, _)| path);
    document.request = Request {
        method: "POST".to_owned(),
        path: path.to_owned(),
        dialect: local::dialect(path.as_bytes()),
        bytes: request.body.get().len() as u64,
        ..Request::default()
    };
    let meaning = Meaning::new(&options.config);
    let measure = |facts: &Facts<'_>| meaning.measure(&config, &policy, facts);
    let inputs =
        Given { policy: &policy, settings: &settings, measure: &measure, session: session.as_ref(), at };
    if let Err(refused) = decide(&inputs, &request, &mut document)? {
        document.verdict = VerdictRecord {
            kind: "refuse".to_owned(),
            status: Some(refused.status),
            code: Some(refused.code.to_owned()),
            reason: refused.message,
            ..VerdictRecord::default()
        };
    }
    if options.json {
        crate::output::print(&format!("{}\n", explain::explain_json(&document)?))?;
    } else {
        crate::output::print(&explain::explain_plan(&document, Style::for_stdout()))?;
    }
    let is_refused = document.verdict.kind == "refuse";
    Ok(if is_refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What the decision is taken from besides the request.
struct Given<'a> {
    policy: &'a Policy,
    settings: &'a Settings,
    measure: &'a dyn Fn(&Facts<'_>) -> io::Result<Option<Learned>>,
    session: Option<&'a RecordedSession>,
    at: UnixMillis,
}

/// Takes the steps of the live path, in its order.
fn decide(
    given: &Given<'_>,
    request: &RequestFile,
    document: &mut FlowDocument,
) -> Result<Result<(), Refused>, Box<dyn Error>> {
    let Given { policy, settings, measure, session, at } = *given;
    let body = request.body.get();
    let text = head_text(request)?;
    let limits = head::Limits {
        head_bytes: settings.limits.head_bytes,
        headers: settings.limits.headers,
        body_bytes: settings.limits.body_bytes as u64,
    };
    let mut head = RequestHead::new();
    match parse_request(&text, &limits, &mut head) {
        Ok(Some(_)) => {}
        Ok(None) => return Err("the headers do not make a complete request head".into()),
        Err(error) => {
            let (status, message) = (error.status(), error.to_string());
            return Ok(Err(Refused { status, code: "malformed_request", message }));
        }
    }
    let view = head.view(&text);
    let Some(dialect) = local::model_api(view.path()) else {
        let message = format!("There is no endpoint {} for models.", document.request.path);
        return Ok(Err(Refused { status: 404, code: "not_found", message }));
    };
    let mut spans = Spans::new();
    let scanned = json::scan(body.as_bytes(), dialect, &ScanLimits::default(), &mut spans);
    let body = match scanned {
        Ok(body) => body,
        Err(error) => {
            let (status, message) = (error.status(), error.to_string());
            return Ok(Err(Refused { status, code: "invalid_request_body", message }));
        }
    };
    // The key is made with a secret of the gateway's; what is decided does not depend on it.
    let extraction = extract::Options {
        session_header: &settings.session.header,
        trusted_identity: settings.trusted_identity,
        key: &|_, _| 0,
    };
    let facts = extract::facts(view, body, &spans, policy.needs(), &extraction);
    document.request.model = facts.requested_model.to_string();
    document.request.stream = facts.stream;
    document.request.session_source = facts.session.map(|session| session.source);
    if session.is_some() && facts.session.is_none() {
        return Err("the request names no session, so the gateway could not have remembered one".into());
    }
    let snapshot = session.map(RecordedSession::snapshot);
    let live = LiveSignals::default();
    let inputs = Inputs {
        facts: &facts,
        session: snapshot.as_ref(),
        provider_owner: None,
        now: at,
        live: &live,
        foresight: None,
    };
    let learned = measure(&facts)?;
    let outcome = policy.decide_measured(&inputs, learned.as_ref().unwrap_or(Learned::none()));
    policy.describe(&inputs, &outcome, Record::Nothing, document);
    Ok(Ok(()))
}

/// The head as a client would send it: its length is the body's, whatever the file says of framing.
fn head_text(request: &RequestFile) -> Result<Vec<u8>, String> {
    let length = request.body.get().len();
    if request.path.bytes().any(|byte| byte <= b' ') || !request.path.starts_with('/') {
        return Err(format!("path {:?} is no request target", request.path));
    }
    let mut text = format!("POST {} HTTP/1.1\r\ncontent-length: {length}\r\n", request.path).into_bytes();
    let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
    if !request.headers.keys().any(|name| is(name, "host")) {
        text.extend_from_slice(b"host: localhost\r\n");
    }
    for (name, values) in &request.headers {
        if is(name, "content-length") || is(name, "transfer-encoding") {
            continue;
        }
        for value in values.as_slice() {
            Field::new(name.as_bytes(), value.as_bytes())
                .map_err(|error| format!("header {name:?}: {error}"))?;
            text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    text.extend_from_slice(b"\r\n");
    Ok(text)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let (name, bytes) = if path == Path::new("-") {
        ("standard input".to_owned(), read(io::stdin()))
    } else {
        (path.display().to_string(), File::open(path).and_then(read))
    };
    let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 GiB"));
    }
    Ok(bytes)
}

/// The policy that a gateway with this file would serve by. Secrets are not resolved: nothing is sent.
pub(super) fn load_policy(path: &Path) -> Result<(Config, Policy), Box<dyn Error>> {
    let (bytes, name) = check::read(path)?;
    let loaded = pintle_config::load(&bytes, &name, Profile::Pintle);
    let Some(config) = loaded.config else {
        return Err(pintle_config::render(&loaded.report, Format::Human, &bytes).into());
    };
    let profile = match config.global.pintle.profile {
        ProfileSetting::Pintle => Profile::Pintle,
        ProfileSetting::Compat => Profile::Compat,
    };
    let policy = crate::pretrained::policy(&config, profile).map_err(|errors| {
        errors.iter().map(|error| format!("{name}: {error}")).collect::<Vec<_>>().join("\n")
    })?;
    Ok((config, policy))
}
