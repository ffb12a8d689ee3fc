//! What must hold for any bytes: a crate to the fuzz targets, a module to the replay test on the stable toolchain.

#![allow(unreachable_pub)]

use pintle_dataplane::extract::{self, Options};
use pintle_dataplane::http::chunked::{ChunkError, Decoder, Tracker};
use pintle_dataplane::http::head::{
    BodyFraming, ClientResponse, Credentials, Limits, Method, RequestHead, ResponseHead, UpstreamRequest,
    Version, parse_request, parse_response, write_client_response, write_upstream_request,
};
use pintle_dataplane::http::sse::Splitter;
use pintle_dataplane::json::patch::Patch;
use pintle_dataplane::json::text::quote_into;
use pintle_dataplane::json::usage::Summary;
use pintle_dataplane::json::{ScanErrorKind, ScanLimits, Spans, scan};
use pintle_routing::facts::{Dialect, Needs};
use serde_json::value::RawValue;

const DIALECTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses];
const NEW_MODEL: &str = "a\"new\\model";

/// The first byte as a step of 1 to 64, and the rest.
fn step(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(first, rest)| (usize::from(first % 64) + 1, rest))
}

/// Heads of requests and responses.
pub fn http_head(data: &[u8]) {
    let Some((step, wire)) = step(data) else { return };
    let limits = Limits { head_bytes: 4096, headers: 20, body_bytes: 1 << 20 };

    let mut head = RequestHead::new();
    let at_once = parse_request(wire, &limits, &mut head);
    let mut pieced = RequestHead::new();
    let piecewise = piece_by_piece(wire, step, |part| parse_request(part, &limits, &mut pieced));
    match (at_once, piecewise) {
        (Ok(one), Ok(two)) => assert_eq!(one, two),
        (Ok(_), Err(error)) => panic!("only in pieces: {error}"),
        // A head is looked at again when it is complete or has doubled, so a refusal may come later.
        (Err(_), Ok(two)) => assert_eq!(two, None),
        (Err(_), Err(_)) => {}
    }
    if let Ok(Some(len)) = at_once {
        assert!(len <= wire.len() && len <= limits.head_bytes);
        let request = head.view(wire);
        assert!(request.fields().len() <= limits.headers);
        assert!(!request.path().is_empty());
        let upstream = UpstreamRequest {
            target: request.path_and_query(),
            host: b"upstream",
            content_length: Some(3),
            credentials: Credentials::Remove,
            set: &[],
            add: &[],
            remove: &[],
        };
        let mut out = Vec::new();
        write_upstream_request(&mut out, request, &upstream).expect("a parsed target can be written");
        let mut again = RequestHead::new();
        let roomy = Limits { head_bytes: 8192, headers: 30, ..limits };
        assert_eq!(parse_request(&out, &roomy, &mut again), Ok(Some(out.len())));
        assert_eq!(again.framing(), BodyFraming::Length(3));
        assert!(again.view(&out).field("authorization").is_none());
    }

    let mut head = ResponseHead::new();
    if let Ok(Some(len)) = parse_response(wire, Method::Post, &limits, &mut head) {
        assert!(len <= wire.len());
        let response = head.view(wire);
        let client = ClientResponse {
            framing: head.framing(),
            version: Version::Http11,
            keep_alive: true,
            set: &[],
            remove: &[],
        };
        let mut out = Vec::new();
        write_client_response(&mut out, response, &client);
        let mut again = ResponseHead::new();
        let roomy = Limits { head_bytes: 8192, headers: 30, ..limits };
        assert_eq!(parse_response(&out, Method::Post, &roomy, &mut again), Ok(Some(out.len())));
        assert_eq!((again.status(), again.framing()), (head.status(), head.framing()));
    }
}

/// Grows a prefix of `wire` until `parse` says something other than "incomplete".
fn piece_by_piece<E>(
    wire: &[u8],
    step: usize,
    mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
) -> Result<Option<usize>, E> {
    let mut end = 0;
    while end < wire.len() {
        end = (end + step).min(wire.len());
        if let Some(len) = parse(&wire[..end])? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

/// Chunked bodies.
pub fn chunked(data: &[u8]) {
    let Some((step, wire)) = step(data) else { return };
    let decode = |step: usize| -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let (mut decoder, mut body, mut used) = (Decoder::new(1000), Vec::new(), 0);
        for piece in wire.chunks(step) {
            used += decoder.feed(piece, &mut body)?;
        }
        Ok((body, used, decoder.is_done()))
    };
    let at_once = decode(wire.len().max(1));
    assert_eq!(at_once, decode(step));
    let Ok((body, used, done)) = at_once else { return };
    assert!(body.len() <= 1000 && used <= wire.len());

    let (mut tracker, mut followed) = (Tracker::new(), Vec::new());
    for piece in wire[..used].chunks(step) {
        let mut at = 0;
        while let Some(run) = tracker.next_payload(piece, &mut at).expect("the decoder read it") {
            followed.extend_from_slice(&piece[run]);
        }
        assert_eq!(at, piece.len());
    }
    assert_eq!((followed, tracker.is_done()), (body, done));
}

/// Request bodies, against serde_json where both judge the same thing.
pub fn json_scan(data: &[u8]) {
    // A raw value is checked for its grammar and UTF-8, but no string is decoded and no number read.
    let valid = std::str::from_utf8(data).is_ok() && serde_json::from_slice::<&RawValue>(data).is_ok();
    let mut spans = Spans::new();
    for dialect in DIALECTS {
        match scan(data, dialect, &ScanLimits::default(), &mut spans) {
            Ok(body) => {
                assert!(valid, "accepted, but serde_json refuses it");
                patching(data, dialect, &spans);
                if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
                    assert_eq!(value["model"].as_str(), Some(spans.model.decode(body).as_ref()));
                }
                for string in spans.parts.iter().filter_map(|part| part.string) {
                    if string.span().of(data).starts_with(b"\"") {
                        assert_eq!(string.decode(body).len(), string.decoded_len(body));
                    }
                }
            }
            Err(error) => {
                assert!(error.offset <= data.len() && error.line >= 1 && error.column >= 1);
                let grammar = matches!(
                    error.kind,
                    ScanErrorKind::Unexpected { .. }
                        | ScanErrorKind::UnexpectedEnd { .. }
                        | ScanErrorKind::ControlCharacter
                        | ScanErrorKind::Escape
                        | ScanErrorKind::UnicodeEscape
                        | ScanErrorKind::Trailing
                        | ScanErrorKind::Utf8
                );
                assert!(!(grammar && valid), "refused ({error}), but serde_json accepts it");
            }
        }
    }
}

fn patching(body: &[u8], dialect: Dialect, spans: &Spans) {
    let model = spans.model.span();
    let mut patch = Patch::new();
    patch.replace(model, |out| quote_into(NEW_MODEL, out));
    let length = patch.settle(body.len()).expect("a scanned span lies in its body");
    let patched = patch.slices(body).collect::<Vec<_>>().concat();
    assert_eq!(patched.len(), length);
    assert_eq!(&patched[..model.start as usize], &body[..model.start as usize]);
    assert!(patched.ends_with(&body[model.end as usize..]));
    let mut again = Spans::new();
    let text =
        scan(&patched, dialect, &ScanLimits::default(), &mut again).expect("a patched body is still valid");
    assert_eq!(again.model.decode(text), NEW_MODEL);
    assert_eq!(again.messages.len(), spans.messages.len());
}

/// Event streams, and the summary of what they hold.
pub fn sse(data: &[u8]) {
    const LIMIT: usize = 64;
    let Some((step, stream)) = step(data) else { return };
    let split = |step: usize| {
        let (mut splitter, mut events) = (Splitter::new(LIMIT), Vec::new());
        for piece in stream.chunks(step) {
            splitter.feed(piece, |data| events.push(data.to_vec()));
        }
        splitter.finish(|data| events.push(data.to_vec()));
        (events, splitter.passed_over())
    };
    let (events, passed_over) = split(stream.len().max(1));
    assert_eq!((&events, passed_over), (&split(step).0, split(step).1));

    let mut summary = Summary::new();
    for event in &events {
        assert!(event.len() <= LIMIT);
        summary.read_event(event);
    }
    summary.read_body(stream);
}

/// Facts about any request: a head, and behind it any body.
pub fn facts(data: &[u8]) {
    let (mut head, mut spans) = (RequestHead::new(), Spans::new());
    let Ok(Some(len)) = parse_request(data, &Limits::default(), &mut head) else { return };
    let (request, body) = (head.view(data), &data[len..]);
    let key = |tenant: &[u8], session: &[u8]| (tenant.len() as u128) << 64 | session.len() as u128;
    let options = Options { session_header: "x-app-session", trusted_identity: true, key: &key };
    let needs = Needs { current_user: true, prior_user: true, non_user: true, metadata: true };
    for dialect in DIALECTS {
        let Ok(text) = scan(body, dialect, &ScanLimits::default(), &mut spans) else { continue };
        let facts = extract::facts(request, text, &spans, needs, &options);
        // Decoding shortens text, except that a lone surrogate's six bytes become three.
        assert!(facts.envelope_bytes <= body.len() as u64);
        assert!(facts.history_bytes <= facts.envelope_bytes);
        assert!(facts.messages.total() as usize <= spans.messages.len() + 1);
        assert!(facts.tools.unanswered <= facts.tools.calls);
        assert!(facts.texts.current_user.len() <= body.len());
        let joined: usize = facts.texts.non_user.iter().map(|text| text.len()).sum();
        assert!(facts.compat_context_bytes >= (joined + facts.texts.current_user.len()) as u64);
        let lean = extract::facts(request, text, &spans, Needs::default(), &options);
        assert_eq!(lean.compat_context_bytes, facts.compat_context_bytes);
        assert_eq!((lean.messages, lean.tools, lean.session), (facts.messages, facts.tools, facts.session));
        assert!(lean.texts.current_user.is_empty() && lean.texts.non_user.is_empty());
    }
}
