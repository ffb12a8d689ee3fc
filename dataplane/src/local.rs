//! What the gateway answers by itself: lists, health, and requests that it does not know.

use std::sync::atomic::Ordering;

use pintle_routing::facts::Dialect;

use crate::failure::Failure;
use crate::http::head::{Method, Request};
use crate::json::text::quote_into;
use crate::settings::ListenerSettings;
use crate::shared::{Generation, Life, Shared, now};

/// What a path and method ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A turn for a model.
    Model(Dialect),
    /// `GET /v1/models`
    Models,
    /// `GET /health`: the process runs.
    Health,
    /// `GET /ready`: it serves, and knows a backend that can be tried.
    Ready,
    /// A known path with another method; the allowed ones.
    WrongMethod(&'static str),
    /// Anything else.
    Unknown,
}

pub(crate) fn route(path: &[u8], method: Method) -> Route {
    let reads = matches!(method, Method::Get | Method::Head);
    match path {
        b"/v1/chat/completions" if method == Method::Post => Route::Model(Dialect::OpenAiChat),
        b"/v1/responses" if method == Method::Post => Route::Model(Dialect::OpenAiResponses),
        b"/v1/messages" if method == Method::Post => Route::Model(Dialect::AnthropicMessages),
        b"/v1/chat/completions" | b"/v1/responses" | b"/v1/messages" => Route::WrongMethod("POST"),
        b"/v1/models" if reads => Route::Models,
        b"/health" | b"/healthz" if reads => Route::Health,
        b"/ready" | b"/readyz" if reads => Route::Ready,
        b"/v1/models" | b"/health" | b"/healthz" | b"/ready" | b"/readyz" => Route::WrongMethod("GET, HEAD"),
        _ => Route::Unknown,
    }
}

/// The API of a path at which models are asked.
pub fn model_api(path: &[u8]) -> Option<Dialect> {
    match route(path, Method::Post) {
        Route::Model(dialect) => Some(dialect),
        _ => None,
    }
}

/// The API of a path and of what lies below it, whether that is served or not: errors are worded in it.
pub fn dialect(path: &[u8]) -> Option<Dialect> {
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages].into_iter().find(|dialect| {
        let rest = path.strip_prefix(self::path(*dialect).as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// Where an API is served.
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "/v1/chat/completions",
        Dialect::OpenAiResponses => "/v1/responses",
        Dialect::AnthropicMessages => "/v1/messages",
    }
}

pub(crate) fn unknown_path(path: &str) -> Failure {
    // Shown to whoever sent it, as JSON text; the length is bounded for the sake of logs.
    let shown: String = path.chars().take(128).collect();
    Failure::client(404, "not_found", format!("There is no endpoint {shown}."))
}

pub(crate) fn wrong_method(method: &str, allow: &'static str) -> Failure {
    let shown: String = method.chars().take(32).collect();
    let mut failure =
        Failure::client(405, "method_not_allowed", format!("{shown} is not allowed here; use {allow}."));
    failure.allow = Some(allow);
    failure
}

/// Checks that the body is not compressed: it is read here, and nothing here unpacks it.
pub(crate) fn plain(request: Request<'_>) -> Result<(), Failure> {
    let coding = request.field("content-encoding").unwrap_or_default().trim_ascii();
    if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let message = "The body must not be compressed: send it as it is, without Content-Encoding.";
    Err(Failure::client(415, "unsupported_content_encoding", message))
}

/// Checks the client's key where the listener demands one.
pub(crate) fn authorize(listener: &ListenerSettings, request: Request<'_>) -> Result<(), Failure> {
    if listener.api_keys.is_empty() {
        return Ok(());
    }
    let presented = request
        .field("authorization")
        .and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
        })
        .or_else(|| request.field("x-api-key"))
        .unwrap_or_default();
    // Every key is compared to its end, so that time tells nothing about how much of it was right.
    let known = listener
        .api_keys
        .iter()
        .fold(false, |known, key| known | equal_in_constant_time(key.as_bytes(), presented));
    if known {
        return Ok(());
    }
    let mut failure = Failure::client(
        401,
        "invalid_api_key",
        if presented.is_empty() {
            "This gateway demands a key: send Authorization: Bearer <key>."
        } else {
            "The key is not known to this gateway."
        },
    );
    failure.kind = "authentication_error";
    Err(failure)
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Answers a request that needs no model.
pub(crate) fn answer(route: Route, shared: &Shared, generation: &Generation) -> (u16, Vec<u8>) {
    match route {
        Route::Models => (200, models(generation)),
        Route::Ready => {
            let (ready, why) = match shared.life() {
                Life::Starting => (false, "starting"),
                // The service is the other process's, and is as ready as before.
                Life::Draining if !shared.has_successor() => (false, "draining"),
                _ if !shared.has_backend(now()) => (false, "no backend is up"),
                _ => (true, "serving"),
            };
            let text = format!(
                "{{\"ready\":{ready},\"status\":\"{why}\",\"generation\":{},\"in_flight\":{}}}",
                generation.serial,
                shared.in_flight.load(Ordering::Relaxed)
            );
            (if ready { 200 } else { 503 }, text.into_bytes())
        }
        _ => (200, b"{\"status\":\"ok\"}".to_vec()),
    }
}

/// OpenAI's list of models.
fn models(generation: &Generation) -> Vec<u8> {
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    for (index, name) in generation.settings.listed_models.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"id\":");
        quote_into(name, &mut out);
        // A fixed time: the list says what can be asked for, not when it was made.
        out.extend_from_slice(b",\"object\":\"model\",\"created\":0,\"owned_by\":\"pintle\"}");
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        assert_eq!(route(b"/v1/chat/completions", Method::Post), Route::Model(Dialect::OpenAiChat));
        assert_eq!(route(b"/v1/chat/completions", Method::Get), Route::WrongMethod("POST"));
        assert_eq!(route(b"/v1/messages", Method::Post), Route::Model(Dialect::AnthropicMessages));
        assert_eq!(route(b"/v1/responses", Method::Post), Route::Model(Dialect::OpenAiResponses));
        assert_eq!(route(b"/v1/messages/count_tokens", Method::Post), Route::Unknown);
        assert_eq!(dialect(b"/v1/messages/count_tokens"), Some(Dialect::AnthropicMessages));
        assert_eq!(dialect(b"/v1/messagesx"), None);
        assert_eq!(route(b"/v1/models", Method::Head), Route::Models);
        assert_eq!(route(b"/v1/models/", Method::Get), Route::Unknown);
        assert_eq!(route(b"/ready", Method::Post), Route::WrongMethod("GET, HEAD"));
        assert_eq!(route(b"*", Method::Options), Route::Unknown);
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(equal_in_constant_time(b"abc", b"abc"));
        assert!(!equal_in_constant_time(b"abc", b"abd"));
        assert!(!equal_in_constant_time(b"abc", b"ab"));
    }
}
