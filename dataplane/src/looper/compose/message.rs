//! A message of Anthropic's API: the backend's own, with what was asked of all models together as its usage.

use pintle_routing::flow::Usage;

use super::{Reply, document, raw};
use crate::fixed::{event, put};
use crate::json::members::Row;
use crate::json::text::quote_into;

pub(super) fn whole(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let mut back = Vec::new();
    heading(reply, &mut back);
    usage(reply.usage, true, &mut back);
    back.extend_from_slice(reply.more);
    document(reply.first(), &["model", "usage"], &back, &mut out);
    out
}

/// All events of a stream: each content block as one delta of its kind.
pub(super) fn events(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let text = reply.first();
    let Some(top) = Row::document(text) else { return out };
    event(&mut out, "message_start");
    out.extend_from_slice(b"\"message\":");
    let mut back = Vec::new();
    heading(reply, &mut back);
    back.extend_from_slice(b"\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
    usage(reply.usage, false, &mut back);
    back.extend_from_slice(reply.more);
    document(text, &["model", "usage", "content", "stop_reason", "stop_sequence"], &back, &mut out);
    out.extend_from_slice(b"}\n\n");
    let content = top.value(text, "content").and_then(|value| Row::array(text, value));
    for (index, block) in content.iter().flat_map(|content| &content.items).enumerate() {
        self::block(index, text.get(block.value.range()).unwrap_or("{}"), &mut out);
    }
    event(&mut out, "message_delta");
    let value = |name| raw(text, &top, name).unwrap_or("null");
    put(
        &mut out,
        format_args!(
            "\"delta\":{{\"stop_reason\":{},\"stop_sequence\":{}}},\"usage\":{{\"output_tokens\":{}}}}}\n\n",
            value("stop_reason"),
            value("stop_sequence"),
            reply.usage.completion.get()
        ),
    );
    out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    out
}

fn heading(reply: &Reply<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"model\":");
    quote_into(reply.model, out);
    out.push(b',');
}

/// Cached tokens are counted beside the input here, not within.
fn usage(usage: Usage, ended: bool, out: &mut Vec<u8>) {
    let cached = usage.cached.map_or(0, |cached| cached.get());
    let output = if ended { usage.completion.get() } else { 0 };
    put(
        out,
        format_args!(
            "\"usage\":{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\
             \"cache_read_input_tokens\":{cached},\"output_tokens\":{output}}}",
            usage.prompt.get().saturating_sub(cached)
        ),
    );
}

/// One content block. What streams in no deltas that are known here (a redacted thought, a result of a tool that the
/// provider runs) comes whole as it begins.
fn block(index: usize, text: &str, out: &mut Vec<u8>) {
    let row = Row::document(text).unwrap_or_default();
    let value = |name| raw(text, &row, name);
    let start = |without: &[&str], back: &str, out: &mut Vec<u8>| {
        event(out, "content_block_start");
        put(out, format_args!("\"index\":{index},\"content_block\":"));
        document(text, without, back.as_bytes(), out);
        out.extend_from_slice(b"}\n\n");
    };
    let delta = |kind: &str, member: &str, value: &str, out: &mut Vec<u8>| {
        event(out, "content_block_delta");
        put(
            out,
            format_args!("\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":{value}}}}}\n\n"),
        );
    };
    match value("type") {
        Some("\"text\"") => {
            start(&["text", "citations"], "\"text\":\"\"", out);
            delta("text_delta", "text", value("text").unwrap_or("\"\""), out);
            let citations = row.value(text, "citations").and_then(|value| Row::array(text, value));
            for citation in citations.iter().flat_map(|row| &row.items) {
                let citation = text.get(citation.value.range()).unwrap_or("{}");
                delta("citations_delta", "citation", citation, out);
            }
        }
        Some("\"thinking\"") => {
            start(&["thinking", "signature"], "\"thinking\":\"\",\"signature\":\"\"", out);
            delta("thinking_delta", "thinking", value("thinking").unwrap_or("\"\""), out);
            if let Some(signature) = value("signature") {
                delta("signature_delta", "signature", signature, out);
            }
        }
        Some("\"tool_use\"" | "\"server_tool_use\"" | "\"mcp_tool_use\"") => {
            start(&["input"], "\"input\":{}", out);
            let mut input = Vec::new();
            quote_into(value("input").unwrap_or("{}"), &mut input);
            delta("input_json_delta", "partial_json", &String::from_utf8_lossy(&input), out);
        }
        _ => start(&[], "", out),
    }
    event(out, "content_block_stop");
    put(out, format_args!("\"index\":{index}}}\n\n"));
}
