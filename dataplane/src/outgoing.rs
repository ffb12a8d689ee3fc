//! The request as a backend gets it: a new head, and the client's body with a patch.

use std::borrow::Cow;
use std::ops::Range;

use pintle_routing::edits::HeaderEdits;
use pintle_routing::facts::Dialect;
use pintle_routing::ids::DecisionId;
use smallvec::SmallVec;

use crate::attempt::{Call, Letter};
use crate::connection::{Body, Connection, Exchange};
use crate::edit::{Edits, RelevantTools, SubCall};
use crate::failure::Failure;
use crate::http::head::{
    Credentials, Field, FieldError, UpstreamRequest, is_per_connection, write_upstream_request,
};
use crate::io::Gather;
use crate::json::Span;

/// The version of Anthropic's API that a client is taken to speak if it does not say (v0.3 does the same).
const ANTHROPIC_VERSION: &[u8] = b"2023-06-01";

/// Headers of the client that never reach a backend: they are addressed to this gateway.
const OURS: [&[u8]; 8] = [
    b"x-vsr-looper-request",
    b"x-vsr-looper-secret",
    b"x-vsr-looper-decision",
    b"x-vsr-looper-iteration",
    b"x-vsr-skip-processing",
    b"x-authz-user-id",
    b"x-authz-user-groups",
    b"x-selected-model",
];

/// What the client's request becomes on its way to a backend.
#[derive(Clone, Copy)]
pub(crate) struct Wording<'a> {
    pub(crate) body: Body,
    /// Where the model's value lies in the body.
    pub(crate) model: Span,
    /// Whose edits the request gets.
    pub(crate) decision: Option<DecisionId>,
    /// The decision has also chosen the target.
    pub(crate) selected: bool,
    /// The offered tools that it keeps, where that was looked at.
    pub(crate) relevant: Option<&'a RelevantTools>,
    /// It is one of several calls for one answer, and what it asks.
    pub(crate) sub_call: Option<&'a SubCall<'a>>,
}

/// The client's request, sent from the buffer that it was read into.
pub(crate) struct Forwarded<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) exchange: &'a Exchange,
    pub(crate) wording: Wording<'a>,
}

impl Letter for Forwarded<'_> {
    fn pack(&mut self, call: &Call<'_>, gather: &mut Gather) -> Result<(Range<usize>, Vec<String>), Failure> {
        let remarks = compose(self.connection, self.exchange, call, &self.wording, gather)?;
        let (buffer, range) = self.connection.take_body(self.wording.body);
        gather.body = buffer;
        Ok((range, remarks))
    }

    fn unpack(&mut self, gather: &mut Gather) {
        self.connection.put_body(self.wording.body, std::mem::take(&mut gather.body));
    }
}

/// The model's name at the backend of a call, as a JSON string.
pub(crate) fn model_literal<'a>(call: &Call<'a>) -> &'a [u8] {
    let spec = &call.backend.spec;
    match call.target.lora {
        Some(lora) => spec.lora_literals.get(usize::from(lora.0)).unwrap_or(&spec.model_literal),
        None => &spec.model_literal,
    }
}

/// Composes head and patch in `gather`. Returns what was edited beyond the model, a line each.
///
/// # Errors
/// What keeps the request from being sent: a header of the configuration that no request may carry.
pub(crate) fn compose(
    connection: &Connection,
    exchange: &Exchange,
    call: &Call<'_>,
    wording: &Wording<'_>,
    gather: &mut Gather,
) -> Result<Vec<String>, Failure> {
    let policy = &exchange.generation.policy;
    let body = connection.body(wording.body);
    gather.patch.clear();
    let mut remarks = Edits {
        dialect: exchange.dialect(),
        model: wording.model,
        literal: model_literal(call),
        sub_call: wording.sub_call,
        relevant: wording.relevant,
        decision: wording.decision.map(|decision| policy.edits(decision)),
        reasoning: policy.reasoning(wording.decision.filter(|_| wording.selected), call.target),
        plain_effort: call.backend.spec.plain_effort,
    }
    .note(body, &mut gather.patch);
    let length = gather.patch.settle(body.len()).map_err(|error| {
        Failure::ours(500, "bad_edit", format!("The request's edits do not fit its body: {error}."))
    })?;
    let further = wording.sub_call.map_or(&[][..], |_| sub_call_headers(exchange));
    let heading = Heading { decision: wording.decision, length, further };
    compose_head(connection, exchange, call, &heading, &mut remarks, &mut gather.head)?;
    Ok(remarks)
}

/// What a request's head is made of, beside the client's.
pub(crate) struct Heading<'a> {
    /// Whose edits it gets.
    pub(crate) decision: Option<DecisionId>,
    /// Bytes of the body.
    pub(crate) length: usize,
    /// Further fields.
    pub(crate) further: &'a [(String, String)],
}

/// Fields that each of several calls for one answer gets.
pub(crate) fn sub_call_headers(exchange: &Exchange) -> &[(String, String)] {
    &exchange.generation.settings.looper.headers
}

/// Composes the head of a request: the client's, with what the backend, the gateway and the decision put into it.
///
/// # Errors
/// A header of the configuration that no request may carry.
pub(crate) fn compose_head(
    connection: &Connection,
    exchange: &Exchange,
    call: &Call<'_>,
    heading: &Heading<'_>,
    remarks: &mut Vec<String>,
    head: &mut Vec<u8>,
) -> Result<(), Failure> {
    let spec = &call.backend.spec;
    let malformed = |error: FieldError| {
        Failure::ours(500, "bad_backend_header", format!("Backend {}: {error}.", spec.name))
    };
    let id = exchange.id.encode();
    let mut set: SmallVec<[Field<'_>; 8]> = SmallVec::new();
    for (name, value) in spec.headers.iter().chain(heading.further) {
        set.push(Field::new(name.as_bytes(), value.as_bytes()).map_err(malformed)?);
    }
    // The answer is read for usage and tool calls, so it must come as plain text.
    set.push(Field::new(b"Accept-Encoding", b"identity").map_err(malformed)?);
    let own_credentials = spec.headers.iter().any(|(name, _)| is_credential(name));
    let keep = connection.settings().api_keys.is_empty() && !own_credentials;

    let mut headers = Headers { set, add: SmallVec::new(), remove: SmallVec::from_slice(&OURS), ours: 0 };
    headers.ours = headers.set.len();
    if let Some(decision) = heading.decision {
        headers.mutate(&exchange.generation.policy.edits(decision).headers, remarks)?;
    }
    let Headers { mut set, add, remove, .. } = headers;
    let named = |set: &[Field<'_>], name: &str| {
        let is = |field: &Field<'_>| field.name().eq_ignore_ascii_case(name.as_bytes());
        set.iter().any(is) || add.iter().any(is)
    };
    if exchange.flow.request.request_id.is_empty() && !named(&set, "x-request-id") {
        set.push(Field::new(b"x-request-id", &id).map_err(malformed)?);
    }
    let anthropic = exchange.dialect() == Dialect::AnthropicMessages;
    let view = connection.head.view(&connection.input);
    if anthropic && view.field("anthropic-version").is_none() && !named(&set, "anthropic-version") {
        set.push(Field::new(b"anthropic-version", ANTHROPIC_VERSION).map_err(malformed)?);
    }
    let request = UpstreamRequest {
        target: &target(spec.path(exchange.dialect()).unwrap_or_default(), view.query()),
        host: spec.authority.as_bytes(),
        content_length: Some(heading.length as u64),
        credentials: if keep { Credentials::Forward } else { Credentials::Remove },
        set: &set,
        add: &add,
        remove: &remove,
    };
    head.clear();
    write_upstream_request(head, view, &request).map_err(malformed)
}

/// The backend's own target with the client's query: `beta=true` and the like are part of what is asked.
fn target<'a>(own: &'a str, query: &[u8]) -> Cow<'a, [u8]> {
    match query {
        b"" => Cow::Borrowed(own.as_bytes()),
        query => {
            let mark: &[u8] = if own.contains('?') { b"&" } else { b"?" };
            Cow::Owned([own.as_bytes(), mark, query].concat())
        }
    }
}

fn is_credential(name: &str) -> bool {
    ["authorization", "x-api-key", "api-key"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

struct Headers<'a> {
    set: SmallVec<[Field<'a>; 8]>,
    add: SmallVec<[Field<'a>; 4]>,
    remove: SmallVec<[&'a [u8]; 16]>,
    /// The first of `set`: the backend's own and the gateway's, which no decision changes.
    ours: usize,
}

impl<'a> Headers<'a> {
    /// Applies a decision's edits to what the client sent: names deleted, then updated, then added.
    fn mutate(&mut self, edits: &'a HeaderEdits, remarks: &mut Vec<String>) -> Result<(), Failure> {
        let mut done = [0usize; 3];
        for name in &edits.delete {
            if self.may_change(name, remarks) {
                self.remove.push(name.as_bytes());
                done[0] += 1;
            }
        }
        for (name, value) in &edits.update {
            if self.may_change(name, remarks) {
                self.set.push(field(name, value)?);
                done[1] += 1;
            }
        }
        for (name, value) in &edits.add {
            if self.may_change(name, remarks) {
                self.add.push(field(name, value)?);
                done[2] += 1;
            }
        }
        for (count, what) in done.into_iter().zip(["deleted", "updated", "added"]) {
            if count > 0 {
                remarks.push(format!("header_mutation: {count} {what}"));
            }
        }
        Ok(())
    }

    fn may_change(&self, name: &str, remarks: &mut Vec<String>) -> bool {
        let ours = &self.set[..self.ours];
        let fixed = is_per_connection(name.as_bytes())
            || ours.iter().any(|field| field.name().eq_ignore_ascii_case(name.as_bytes()));
        if fixed {
            remarks.push(format!("header_mutation: {name} is the gateway's own; left as it is"));
        }
        !fixed
    }
}

fn field<'a>(name: &'a str, value: &'a str) -> Result<Field<'a>, Failure> {
    Field::new(name.as_bytes(), value.as_bytes()).map_err(|error| {
        Failure::ours(500, "bad_header_mutation", format!("header_mutation of the decision: {error}."))
    })
}
