//! The client's answer, made of what models answered: whole, or as the events of a stream.
//!
//! Choices are the backends' own words but for their number, so what no API of ours knows (a refusal, an
//! annotation) comes through.

mod message;
mod response;

use pintle_routing::facts::Dialect;
use pintle_routing::flow::Usage;

use crate::json::Span;
use crate::json::members::Row;
use crate::json::patch::Patch;
use crate::json::text::quote_into;

/// An answer that no single backend gave.
pub(super) struct Reply<'a> {
    /// The flow's id: part of a chat completion's. Other answers keep the id of their backend's.
    pub(super) id: &'a str,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    /// Whose answer it is.
    pub(super) model: &'a str,
    pub(super) choices: &'a [Choice<'a>],
    /// Of all calls together.
    pub(super) usage: Usage,
    /// The client wants log probabilities.
    pub(super) logprobs: bool,
    /// Further members of the answer, each with a comma before it.
    pub(super) more: &'a [u8],
}

/// A choice of a backend's answer.
pub(super) struct Choice<'a> {
    pub(super) body: &'a str,
    pub(super) at: Span,
    /// Whose it is, where the choices are of several models.
    pub(super) model: Option<&'a str>,
}

impl Reply<'_> {
    /// The answer in an API: one JSON document, or all events of a stream.
    pub(super) fn body(&self, dialect: Dialect, stream: bool, include_usage: bool) -> Vec<u8> {
        match (dialect, stream) {
            (Dialect::OpenAiChat, false) => self.whole(),
            (Dialect::OpenAiChat, true) => self.events(include_usage),
            (Dialect::OpenAiResponses, false) => response::whole(self),
            (Dialect::OpenAiResponses, true) => response::events(self),
            (Dialect::AnthropicMessages, false) => message::whole(self),
            (Dialect::AnthropicMessages, true) => message::events(self),
        }
    }

    /// The document of the answer that comes first.
    fn first(&self) -> &str {
        self.choices.first().map_or("{}", Choice::text)
    }

    /// One `chat.completion`.
    fn whole(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        self.open("chat.completion", &mut out);
        for (nth, choice) in self.choices.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            self.choice(nth, choice, &mut out);
        }
        out.extend_from_slice(b"],\"usage\":");
        self.usage(&mut out);
        out.extend_from_slice(self.more);
        out.push(b'}');
        out
    }

    /// All events of a stream: each choice at once, then how it ended, then usage if that is asked for.
    fn events(&self, include_usage: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        for (nth, choice) in self.choices.iter().enumerate() {
            let text = choice.text();
            let row = choice.row(text);
            let value = |name| row.as_ref().and_then(|row| row.value(text, name));
            let logprobs = value("logprobs").filter(|_| self.logprobs);
            self.event(
                nth,
                choice,
                |out| {
                    out.extend_from_slice(b"\"delta\":");
                    delta(text, value("message").unwrap_or_default(), out);
                    if let Some(logprobs) = logprobs {
                        out.extend_from_slice(b",\"logprobs\":");
                        out.extend_from_slice(logprobs.of(text.as_bytes()));
                    }
                    out.extend_from_slice(b",\"finish_reason\":null");
                },
                if nth == 0 { self.more } else { b"" },
                &mut out,
            );
            self.event(
                nth,
                choice,
                |out| {
                    out.extend_from_slice(b"\"delta\":{},\"finish_reason\":");
                    let finish =
                        value("finish_reason").map_or(&b"\"stop\""[..], |finish| finish.of(text.as_bytes()));
                    out.extend_from_slice(finish);
                },
                b"",
                &mut out,
            );
        }
        if include_usage {
            out.extend_from_slice(b"data: ");
            self.open("chat.completion.chunk", &mut out);
            out.extend_from_slice(b"],\"usage\":");
            self.usage(&mut out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out
    }

    fn open(&self, object: &str, out: &mut Vec<u8>) {
        let Self { id, created, .. } = self;
        out.extend_from_slice(
            format!("{{\"id\":\"chatcmpl-{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":")
                .as_bytes(),
        );
        quote_into(self.model, out);
        out.extend_from_slice(b",\"choices\":[");
    }

    fn event(
        &self,
        nth: usize,
        choice: &Choice<'_>,
        write: impl FnOnce(&mut Vec<u8>),
        more: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"data: ");
        self.open("chat.completion.chunk", out);
        out.extend_from_slice(format!("{{\"index\":{nth},").as_bytes());
        write(out);
        choice.name(out);
        out.extend_from_slice(b"}]");
        out.extend_from_slice(more);
        out.extend_from_slice(b"}\n\n");
    }

    /// A choice under its new number.
    fn choice(&self, nth: usize, choice: &Choice<'_>, out: &mut Vec<u8>) {
        let text = choice.text();
        let Some(row) = choice.row(text) else { return };
        let mut gone: Vec<usize> = row.named(text, "index").collect();
        if !self.logprobs {
            gone.extend(row.named(text, "logprobs"));
        }
        if choice.model.is_some() {
            gone.extend(row.named(text, "model"));
        }
        let (front, mut back) = (format!("\"index\":{nth}"), Vec::new());
        choice.name(&mut back);
        let mut patch = Patch::new();
        row.rewrite(
            &mut patch,
            |at| !gone.contains(&at),
            front.as_bytes(),
            back.strip_prefix(b",").unwrap_or_default(),
        );
        append(&mut patch, text, out);
    }

    fn usage(&self, out: &mut Vec<u8>) {
        let Usage { prompt, cached, completion, reasoning, .. } = self.usage;
        let total = prompt.get().saturating_add(completion.get());
        out.extend_from_slice(
            format!(
                "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{total}",
                prompt.get(),
                completion.get()
            )
            .as_bytes(),
        );
        if let Some(cached) = cached {
            out.extend_from_slice(
                format!(",\"prompt_tokens_details\":{{\"cached_tokens\":{}}}", cached.get()).as_bytes(),
            );
        }
        if let Some(reasoning) = reasoning {
            out.extend_from_slice(
                format!(",\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}", reasoning.get())
                    .as_bytes(),
            );
        }
        out.push(b'}');
    }
}

impl<'a> Choice<'a> {
    fn text(&self) -> &'a str {
        self.body.get(self.at.range()).unwrap_or_default()
    }

    fn row(&self, text: &str) -> Option<Row> {
        Row::document(text)
    }

    fn name(&self, out: &mut Vec<u8>) {
        if let Some(model) = self.model {
            out.extend_from_slice(b",\"model\":");
            quote_into(model, out);
        }
    }
}

/// A message as one delta: its tool calls get the numbers that a stream has.
fn delta(text: &str, message: Span, out: &mut Vec<u8>) {
    let message = text.get(message.range()).unwrap_or("{}");
    let mut patch = Patch::new();
    let calls = Row::document(message).and_then(|row| Row::array(message, row.value(message, "tool_calls")?));
    for (nth, call) in calls.iter().flat_map(|calls| &calls.items).enumerate() {
        if let Some(row) = Row::object(message, call.value) {
            let gone: Vec<usize> = row.named(message, "index").collect();
            row.rewrite(&mut patch, |at| !gone.contains(&at), format!("\"index\":{nth}").as_bytes(), b"");
        }
    }
    append(&mut patch, message, out);
}

fn append(patch: &mut Patch, text: &str, out: &mut Vec<u8>) {
    // What was noted from the text's own rows fits it.
    if patch.settle(text.len()).is_ok() {
        patch.slices(text.as_bytes()).for_each(|slice| out.extend_from_slice(slice));
    }
}

/// A document without the members of these names, with others (comma-separated) behind those that stay.
fn document(text: &str, without: &[&str], back: &[u8], out: &mut Vec<u8>) {
    let Some(row) = Row::document(text) else { return out.extend_from_slice(b"{}") };
    let gone: Vec<usize> =
        without.iter().flat_map(|name| row.named(text, name).collect::<Vec<_>>()).collect();
    let mut patch = Patch::new();
    row.rewrite(&mut patch, |at| !gone.contains(&at), b"", back);
    append(&mut patch, text, out);
}

/// A member's value as it is written.
fn raw<'t>(text: &'t str, row: &Row, name: &str) -> Option<&'t str> {
    text.get(row.value(text, name)?.range())
}

/// The same document on one line, as events must be: no string of it holds a line's end but by an escape.
pub(super) fn one_line(document: String) -> String {
    if document.contains(['\n', '\r']) { document.replace(['\n', '\r'], " ") } else { document }
}
