//! A response of OpenAI's API: that of the first answer, under whose id its backend knows it, with the output of all.

use std::borrow::Cow;

use pintle_routing::flow::Usage;
use pintle_routing::units::Tokens;

use super::{Reply, append, document, raw};
use crate::fixed::{event, put};
use crate::json::is_client_call;
use crate::json::members::Row;
use crate::json::patch::Patch;
use crate::json::text::{quote_into, string};

/// What is said anew of a response.
const OURS: [&str; 3] = ["model", "output", "usage"];

pub(super) fn whole(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    ended(reply, &items(reply), &mut out);
    out
}

/// All events of a stream: each part at once.
pub(super) fn events(reply: &Reply<'_>) -> Vec<u8> {
    let (text, items) = (reply.first(), items(reply));
    let mut stream = Stream { out: Vec::with_capacity(4096), number: 0 };
    for kind in ["response.created", "response.in_progress"] {
        stream.event(kind, |out| {
            out.extend_from_slice(b"\"response\":");
            let mut back = b"\"status\":\"in_progress\",".to_vec();
            heading(reply, &mut back);
            back.extend_from_slice(b"\"output\":[],\"usage\":null");
            let [model, output, usage] = OURS;
            let without = [model, output, usage, "status", "completed_at", "incomplete_details"];
            document(text, &without, &back, out);
        });
    }
    for (index, item) in items.iter().enumerate() {
        stream.item(index, item);
    }
    let status = Row::document(text).and_then(|top| raw(text, &top, "status"));
    let last = match status {
        Some("\"incomplete\"") => "response.incomplete",
        _ => "response.completed",
    };
    stream.event(last, |out| {
        out.extend_from_slice(b"\"response\":");
        ended(reply, &items, out);
    });
    stream.out
}

fn ended(reply: &Reply<'_>, items: &[Cow<'_, str>], out: &mut Vec<u8>) {
    let mut back = Vec::new();
    heading(reply, &mut back);
    back.extend_from_slice(b"\"output\":[");
    for (nth, item) in items.iter().enumerate() {
        if nth > 0 {
            back.push(b',');
        }
        back.extend_from_slice(item.as_bytes());
    }
    back.extend_from_slice(b"],");
    usage(reply.usage, &mut back);
    back.extend_from_slice(reply.more);
    document(reply.first(), &OURS, &back, out);
}

fn heading(reply: &Reply<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"model\":");
    quote_into(reply.model, out);
    out.push(b',');
}

fn usage(usage: Usage, out: &mut Vec<u8>) {
    let Usage { prompt, cached, completion, reasoning, .. } = usage;
    // Clients count on both details; what nobody reported is none.
    let count = |tokens: Option<Tokens>| tokens.map_or(0, Tokens::get);
    put(
        out,
        format_args!(
            "\"usage\":{{\"input_tokens\":{},\"input_tokens_details\":{{\"cached_tokens\":{}}},\
             \"output_tokens\":{},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
            prompt.get(),
            count(cached),
            completion.get(),
            count(reasoning),
            prompt.get().saturating_add(completion.get())
        ),
    );
}

/// The output of all answers, one after another. Of others than the first not what they ask the client to do: the
/// backend that knows this response has not asked it.
fn items<'r>(reply: &'r Reply<'_>) -> Vec<Cow<'r, str>> {
    let mut items = Vec::new();
    for (nth, choice) in reply.choices.iter().enumerate() {
        let text = choice.text();
        let output = Row::document(text).and_then(|top| Row::array(text, top.value(text, "output")?));
        let texts = output.iter().flat_map(|row| &row.items).filter_map(|item| text.get(item.value.range()));
        let texts = texts.filter(|item| nth == 0 || !asks_client(item));
        items.extend(texts.map(|item| told(item, reply.logprobs)));
    }
    items
}

fn asks_client(item: &str) -> bool {
    let kind = Row::document(item).and_then(|row| string(item, row.value(item, "type")?));
    kind.is_some_and(|kind| is_client_call(kind.as_bytes()) || kind == "mcp_approval_request")
}

/// An item as the client is told it: with log probabilities only where it wants them.
fn told(item: &str, logprobs: bool) -> Cow<'_, str> {
    let row = Row::document(item).unwrap_or_default();
    let parts = row.value(item, "content").and_then(|value| Row::array(item, value)).filter(|_| !logprobs);
    let given = parts.iter().flat_map(|parts| &parts.items).filter_map(|part| {
        let part = Row::object(item, part.value)?;
        part.value(item, "logprobs").filter(|value| value.len() > 2)
    });
    let mut patch = Patch::new();
    given.for_each(|value| patch.replace(value, |out| out.extend_from_slice(b"[]")));
    if patch.is_empty() {
        return Cow::Borrowed(item);
    }
    let mut out = Vec::with_capacity(item.len());
    append(&mut patch, item, &mut out);
    // Cut at the borders of JSON values.
    String::from_utf8(out).map_or(Cow::Borrowed(item), Cow::Owned)
}

/// Events under numbers.
struct Stream {
    out: Vec<u8>,
    number: u32,
}

impl Stream {
    fn event(&mut self, kind: &str, write: impl FnOnce(&mut Vec<u8>)) {
        event(&mut self.out, kind);
        put(&mut self.out, format_args!("\"sequence_number\":{},", self.number));
        write(&mut self.out);
        self.out.extend_from_slice(b"}\n\n");
        self.number += 1;
    }

    fn item(&mut self, index: usize, item: &str) {
        let row = Row::document(item).unwrap_or_default();
        let value = |name| raw(item, &row, name);
        let id = value("id").unwrap_or("\"\"");
        let place = format!("\"item_id\":{id},\"output_index\":{index},");
        let (without, back): (&[&str], &str) = match value("type") {
            Some("\"message\"") => (&["content", "status"], "\"status\":\"in_progress\",\"content\":[]"),
            Some("\"function_call\"") => {
                (&["arguments", "status"], "\"status\":\"in_progress\",\"arguments\":\"\"")
            }
            Some("\"reasoning\"") => (&["summary", "content", "status"], "\"summary\":[]"),
            _ => (&[], ""),
        };
        self.event("response.output_item.added", |out| {
            put(out, format_args!("\"output_index\":{index},\"item\":"));
            document(item, without, back.as_bytes(), out);
        });
        let parts = |name: &str| {
            let row = row.value(item, name).and_then(|value| Row::array(item, value)).unwrap_or_default();
            row.items.into_iter().filter_map(|part| item.get(part.value.range())).collect::<Vec<_>>()
        };
        match value("type") {
            Some("\"message\"") => {
                for (nth, part) in parts("content").into_iter().enumerate() {
                    self.part(&format!("{place}\"content_index\":{nth},"), part);
                }
            }
            Some("\"function_call\"") => {
                let (arguments, name) =
                    (value("arguments").unwrap_or("\"\""), value("name").unwrap_or("\"\""));
                let kind = "response.function_call_arguments";
                self.event(&format!("{kind}.delta"), |out| {
                    put(out, format_args!("{place}\"delta\":{arguments}"))
                });
                self.event(&format!("{kind}.done"), |out| {
                    put(out, format_args!("{place}\"name\":{name},\"arguments\":{arguments}"));
                });
            }
            Some("\"reasoning\"") => {
                for (nth, part) in parts("summary").into_iter().enumerate() {
                    self.summary(&format!("{place}\"summary_index\":{nth},"), part);
                }
            }
            _ => {}
        }
        self.event("response.output_item.done", |out| {
            put(out, format_args!("\"output_index\":{index},\"item\":{item}"));
        });
    }

    /// A part of a message: a text or a refusal.
    fn part(&mut self, place: &str, part: &str) {
        let row = Row::document(part).unwrap_or_default();
        let value = |name| raw(part, &row, name);
        let (member, kind) = match value("type") {
            Some("\"refusal\"") => ("refusal", "response.refusal"),
            _ => ("text", "response.output_text"),
        };
        self.event("response.content_part.added", |out| {
            put(out, format_args!("{place}\"part\":"));
            document(part, &[member, "logprobs", "annotations"], opened(member).as_bytes(), out);
        });
        let said = value(member).unwrap_or("\"\"");
        let logprobs = match member {
            "text" => format!("\"logprobs\":{},", value("logprobs").unwrap_or("[]")),
            _ => String::new(),
        };
        self.event(&format!("{kind}.delta"), |out| {
            put(out, format_args!("{place}{logprobs}\"delta\":{said}"))
        });
        let annotations = row.value(part, "annotations").and_then(|value| Row::array(part, value));
        for (nth, annotation) in annotations.iter().flat_map(|row| &row.items).enumerate() {
            let annotation = part.get(annotation.value.range()).unwrap_or("{}");
            self.event("response.output_text.annotation.added", |out| {
                put(out, format_args!("{place}\"annotation_index\":{nth},\"annotation\":{annotation}"));
            });
        }
        self.event(&format!("{kind}.done"), |out| {
            put(out, format_args!("{place}{logprobs}\"{member}\":{said}"))
        });
        self.event("response.content_part.done", |out| put(out, format_args!("{place}\"part\":{part}")));
    }

    fn summary(&mut self, place: &str, part: &str) {
        let said = Row::document(part).and_then(|row| raw(part, &row, "text")).unwrap_or("\"\"");
        let kind = "response.reasoning_summary";
        self.event(&format!("{kind}_part.added"), |out| {
            put(out, format_args!("{place}\"part\":{{\"type\":\"summary_text\",\"text\":\"\"}}"));
        });
        self.event(&format!("{kind}_text.delta"), |out| put(out, format_args!("{place}\"delta\":{said}")));
        self.event(&format!("{kind}_text.done"), |out| put(out, format_args!("{place}\"text\":{said}")));
        self.event(&format!("{kind}_part.done"), |out| put(out, format_args!("{place}\"part\":{part}")));
    }
}

/// What a part has before anything was said.
fn opened(member: &str) -> &'static str {
    match member {
        "text" => "\"text\":\"\",\"annotations\":[],\"logprobs\":[]",
        _ => "\"refusal\":\"\"",
    }
}
