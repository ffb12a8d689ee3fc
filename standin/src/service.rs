//! From one HTTP request to one HTTP response.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::{self, Answer};
use crate::dialect::{self, Event, Reply, Usage, chat, messages, responses};
use crate::directives::Directives;
use crate::faults::{self, Fault};
use crate::options::{Options, Pace};
use crate::prefix::PrefixCache;
use crate::script::{InFlight, Script};
use crate::stats::{BODY_KEPT, Ledger, Seen};
use crate::turn::{Dialect, Turn};

/// Bodies above this many bytes are answered with 413.
const BODY_LIMIT: usize = 64 << 20;

const MODEL_HEADER: HeaderName = HeaderName::from_static("x-stand-in-model");
const DIGEST_HEADER: HeaderName = HeaderName::from_static("x-stand-in-body-xxh3");

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) pace: RwLock<Pace>,
    pub(crate) ledger: Arc<Ledger>,
    slug: String,
    prefixes: Mutex<PrefixCache>,
    calls: AtomicU64,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            pace: RwLock::new(Pace::from(&options)),
            ledger: Arc::new(Ledger::new(&options.model)),
            slug: dialect::slug(&options.model),
            prefixes: Mutex::new(PrefixCache::new(options.prefix_cache)),
            calls: AtomicU64::new(1),
            options,
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        *self.pace.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal: status, machine-readable code, message.
#[derive(Debug)]
struct Refusal(StatusCode, &'static str, String);

/// Answers one request; an error breaks the connection.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Script>> {
    let start = Instant::now();
    let path = request.uri().path();
    let dialect = match path {
        "/v1/chat/completions" => Some(Dialect::Chat),
        "/v1/messages" => Some(Dialect::Messages),
        "/v1/responses" => Some(Dialect::Responses),
        _ => None,
    };
    match (request.method().clone(), dialect, path) {
        (Method::POST, Some(dialect), _) => model_request(&shared, dialect, request, start).await,
        (Method::GET, _, "/v1/models") => Ok(json_response(StatusCode::OK, &models(&shared))),
        (Method::GET, _, "/health") => Ok(json_response(StatusCode::OK, &json!({ "status": "ok" }))),
        (Method::GET, _, "/stand-in/stats") => {
            Ok(json_response(StatusCode::OK, &serde_json::to_value(shared.ledger.stats())?))
        }
        (Method::GET, _, "/stand-in/requests") => {
            Ok(json_response(StatusCode::OK, &serde_json::to_value(shared.ledger.seen())?))
        }
        (_, Some(_), _) | (_, _, "/v1/models" | "/health" | "/stand-in/stats" | "/stand-in/requests") => {
            let refusal =
                Refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "wrong verb".to_owned());
            Ok(refuse(dialect, &refusal))
        }
        _ => Ok(refuse(None, &Refusal(StatusCode::NOT_FOUND, "not_found", "no such path".to_owned()))),
    }
}

fn models(shared: &Shared) -> Value {
    let model =
        json!({ "id": shared.options.model, "object": "model", "created": 0, "owned_by": "stand-in" });
    json!({ "object": "list", "data": [model] })
}

async fn model_request(
    shared: &Arc<Shared>,
    dialect: Dialect,
    request: Request<Incoming>,
    start: Instant,
) -> io::Result<Response<Script>> {
    let mut in_flight = InFlight::start(&shared.ledger);
    let number = shared.ledger.with(|s| {
        s.requests += 1;
        s.requests
    });
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let limit = format!("the body exceeds {BODY_LIMIT} bytes");
            in_flight.finish();
            return Ok(refuse(Some(dialect), &Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", limit)));
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let digest = format!("{:016x}", xxh3_64(&body));
    let turn = Turn::parse(dialect, &body);
    shared.ledger.remember(Seen {
        number,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect(),
        body_bytes: body.len() as u64,
        body: String::from_utf8_lossy(&body[..body.len().min(BODY_KEPT)]).into_owned(),
        body_xxh3: digest.clone(),
        model: turn.as_ref().map(|t| t.model.clone()).unwrap_or_default(),
    });
    let turn = turn.map_err(|why| Refusal(StatusCode::BAD_REQUEST, "invalid_request", why));
    let mut response = match turn.and_then(|turn| admit(shared, turn)) {
        Ok(turn) => respond(shared, dialect, &turn, number, start, in_flight).await?,
        Err(refusal) => {
            in_flight.finish();
            shared.ledger.with(|s| s.refused += 1);
            refuse(Some(dialect), &refusal)
        }
    };
    let headers = response.headers_mut();
    headers.insert(DIGEST_HEADER, HeaderValue::from_str(&digest).map_err(io::Error::other)?);
    headers.insert(MODEL_HEADER, HeaderValue::from_str(&shared.slug).map_err(io::Error::other)?);
    Ok(response)
}

/// Checks that this model is asked, and for nothing that another model began.
fn admit(shared: &Shared, turn: Turn) -> Result<Turn, Refusal> {
    if turn.model != shared.options.model && !shared.options.any_model {
        let why = format!("The model `{}` does not exist.", turn.model);
        return Err(Refusal(StatusCode::NOT_FOUND, "model_not_found", why));
    }
    let foreign = |id: &&str, prefixes: &[&str]| {
        dialect::issuer(id, prefixes).is_some_and(|issuer| issuer != shared.slug)
    };
    let result = turn.open_results().find(|id| foreign(id, &["call", "toolu"]));
    let previous = turn.previous_response.as_deref().filter(|id| foreign(id, &["resp"]));
    if let Some(id) = result.or(previous) {
        shared.ledger.with(|s| s.violations += 1);
        let why = format!("`{id}` was issued by another model than `{}`.", shared.options.model);
        return Err(Refusal(StatusCode::CONFLICT, "foreign_id", why));
    }
    Ok(turn)
}

async fn respond(
    shared: &Shared,
    dialect: Dialect,
    turn: &Turn,
    number: u64,
    start: Instant,
    mut in_flight: InFlight,
) -> io::Result<Response<Script>> {
    let mut pace = shared.pace();
    let asked = Directives::parse(turn.last_user_text());
    pace.first_token_ms = asked.delay_ms.unwrap_or(pace.first_token_ms);
    pace.tokens_per_second = asked.rate.map_or(pace.tokens_per_second, f64::from);
    let first_token = Duration::from_millis(pace.first_token_ms);
    let fault = faults::asked(&asked).or_else(|| faults::drawn(shared.options.seed, number, pace.error_rate));
    if fault.is_some() {
        shared.ledger.with(|s| s.faults += 1);
    }
    match fault {
        Some(Fault::Reset) => {
            in_flight.finish();
            return Err(io::Error::other("reset on purpose"));
        }
        Some(Fault::Status(status)) => {
            tokio::time::sleep_until(start + first_token).await;
            in_flight.finish();
            let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
            return Ok(refuse(
                Some(dialect),
                &Refusal(status, "stand_in_fault", "failed as told to".to_owned()),
            ));
        }
        Some(Fault::Cut) | None => {}
    }
    let answer = answer::decide(&shared.options.model, shared.options.seed, turn, &asked, pace.answer_tokens);
    let usage = account(shared, turn, &answer);
    let reply = Reply {
        model: &turn.model,
        slug: &shared.slug,
        number,
        first_call: shared.calls.fetch_add(answer.calls.len() as u64, Ordering::Relaxed),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()),
        answer: &answer,
        usage,
        include_usage: turn.include_usage,
        logprob: shared.options.logprob.filter(|_| turn.logprobs),
    };
    let due = |tokens: u64| match pace.tokens_per_second {
        rate if rate > 0.0 => first_token + Duration::from_secs_f64(tokens.saturating_sub(1) as f64 / rate),
        _ => first_token,
    };
    let mut response = if turn.stream {
        // The head and the opening event go with the first token: time to first byte is time to first token.
        tokio::time::sleep_until(start + first_token).await;
        let events = match dialect {
            Dialect::Chat => chat::events(&reply),
            Dialect::Messages => messages::events(&reply),
            Dialect::Responses => responses::events(&reply),
        };
        stream(events, Script::new(start, Some(in_flight)), due)
    } else {
        tokio::time::sleep_until(start + due(usage.completion)).await;
        let json = match dialect {
            Dialect::Chat => chat::whole(&reply),
            Dialect::Messages => messages::whole(&reply),
            Dialect::Responses => responses::whole(&reply),
        };
        whole(StatusCode::OK, &json, Some(in_flight))
    };
    if fault == Some(Fault::Cut) {
        response.body_mut().cut_in_half();
    }
    Ok(response)
}

fn account(shared: &Shared, turn: &Turn, answer: &Answer) -> Usage {
    let parts = turn.parts();
    let cached = shared.prefixes.lock().unwrap_or_else(PoisonError::into_inner).admit(&parts);
    let usage = Usage { prompt: parts.iter().map(|(_, t)| t).sum(), cached, completion: answer.tokens() };
    shared.ledger.with(|s| {
        s.prompt_tokens += usage.prompt;
        s.cached_tokens += usage.cached;
        s.completion_tokens += usage.completion;
        s.tool_calls += answer.calls.len() as u64;
    });
    usage
}

fn stream(events: Vec<Event>, mut script: Script, due: impl Fn(u64) -> Duration) -> Response<Script> {
    for event in events {
        script.push(due(event.tokens), Bytes::from(event.bytes));
    }
    let mut response = Response::new(script);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn json_response(status: StatusCode, json: &Value) -> Response<Script> {
    whole(status, json, None)
}

fn whole(status: StatusCode, json: &Value, in_flight: Option<InFlight>) -> Response<Script> {
    let mut response = Response::new(Script::whole(json.to_string(), in_flight));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(dialect: Option<Dialect>, refusal: &Refusal) -> Response<Script> {
    let Refusal(status, code, message) = refusal;
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let json = if dialect == Some(Dialect::Messages) {
        let kind = if status.is_server_error() { "api_error" } else { kind };
        json!({ "type": "error", "error": { "type": kind, "message": message } })
    } else {
        json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
    };
    json_response(*status, &json)
}
