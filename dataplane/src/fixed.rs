//! Answers with a fixed text (`fast_response`), in the client's dialect, whole or as a stream.

use std::io::Write;

use pintle_routing::facts::Dialect;

use crate::json::text::quote_into;

/// What the answer is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed<'a> {
    /// The flow's id: part of the answer's.
    pub(crate) id: &'a str,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) text: &'a str,
}

/// The model that such an answer names, as v0.3 does.
const MODEL: &str = "router";

impl Fixed<'_> {
    /// The whole answer: one JSON document, or all events of a stream.
    pub(crate) fn body(&self, dialect: Dialect, stream: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + 2 * self.text.len());
        match (dialect, stream) {
            (Dialect::OpenAiChat, false) => self.chat(&mut out),
            (Dialect::OpenAiChat, true) => self.chat_events(&mut out),
            (Dialect::AnthropicMessages, false) => self.message(&mut out),
            (Dialect::AnthropicMessages, true) => self.message_events(&mut out),
            (Dialect::OpenAiResponses, false) => self.response(&mut out, "completed"),
            (Dialect::OpenAiResponses, true) => self.response_events(&mut out),
        }
        out
    }

    fn chat_open(&self, out: &mut Vec<u8>, object: &str) {
        let Self { id, created, .. } = self;
        put(
            out,
            format_args!(
                "{{\"id\":\"chatcmpl-fast-{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":\"{MODEL}\",\
                 \"choices\":[{{\"index\":0,"
            ),
        );
    }

    fn chat(&self, out: &mut Vec<u8>) {
        self.chat_open(out, "chat.completion");
        out.extend_from_slice(b"\"message\":{\"role\":\"assistant\",\"content\":");
        quote_into(self.text, out);
        out.extend_from_slice(
            b"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}",
        );
    }

    fn chat_events(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.chat_open(out, "chat.completion.chunk");
        out.extend_from_slice(b"\"delta\":{\"role\":\"assistant\",\"content\":");
        quote_into(self.text, out);
        out.extend_from_slice(b"},\"finish_reason\":null}]}\n\ndata: ");
        self.chat_open(out, "chat.completion.chunk");
        out.extend_from_slice(b"\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    }

    /// Up to the content, which the caller writes.
    fn message_open(&self, out: &mut Vec<u8>) {
        let id = self.id;
        put(
            out,
            format_args!(
                "{{\"id\":\"msg_fast_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"{MODEL}\",\"content\":["
            ),
        );
    }

    fn message(&self, out: &mut Vec<u8>) {
        self.message_open(out);
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
        quote_into(self.text, out);
        out.extend_from_slice(
            b"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}",
        );
    }

    fn message_events(&self, out: &mut Vec<u8>) {
        event(out, "message_start");
        out.extend_from_slice(b"\"message\":");
        self.message_open(out);
        out.extend_from_slice(
            b"],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n",
        );
        event(out, "content_block_start");
        out.extend_from_slice(b"\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
        event(out, "content_block_delta");
        out.extend_from_slice(b"\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":");
        quote_into(self.text, out);
        out.extend_from_slice(b"}}\n\n");
        event(out, "content_block_stop");
        out.extend_from_slice(b"\"index\":0}\n\n");
        event(out, "message_delta");
        out.extend_from_slice(
            b"\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":0}}\n\n",
        );
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"output_text\",\"annotations\":[],\"text\":");
        quote_into(self.text, out);
        out.push(b'}');
    }

    fn item(&self, out: &mut Vec<u8>, done: bool) {
        let (id, status) = (self.id, if done { "completed" } else { "in_progress" });
        put(
            out,
            format_args!(
                "{{\"id\":\"msg_fast_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"{status}\",\"content\":["
            ),
        );
        if done {
            self.part(out);
        }
        out.extend_from_slice(b"]}");
    }

    fn response(&self, out: &mut Vec<u8>, status: &str) {
        let Self { id, created, .. } = self;
        put(
            out,
            format_args!(
                "{{\"id\":\"resp_fast_{id}\",\"object\":\"response\",\"created_at\":{created},\"status\":\"{status}\",\
                 \"model\":\"{MODEL}\",\"error\":null,\"incomplete_details\":null,\"instructions\":null,\"metadata\":{{}},\
                 \"parallel_tool_calls\":true,\"temperature\":null,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null,\
                 \"store\":false,\"output\":["
            ),
        );
        let done = status == "completed";
        if done {
            self.item(out, true);
        }
        out.extend_from_slice(b"],\"usage\":");
        out.extend_from_slice(if done {
            b"{\"input_tokens\":0,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":0,\
              \"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":0}}"
        } else {
            b"null}"
        });
    }

    fn response_events(&self, out: &mut Vec<u8>) {
        let mut number = 0;
        let mut numbered = |out: &mut Vec<u8>, kind: &str| {
            event(out, kind);
            put(out, format_args!("\"sequence_number\":{number},"));
            number += 1;
        };
        let place = format!("\"item_id\":\"msg_fast_{}\",\"output_index\":0,\"content_index\":0,", self.id);
        for kind in ["response.created", "response.in_progress"] {
            numbered(out, kind);
            out.extend_from_slice(b"\"response\":");
            self.response(out, "in_progress");
            out.extend_from_slice(b"}\n\n");
        }
        numbered(out, "response.output_item.added");
        out.extend_from_slice(b"\"output_index\":0,\"item\":");
        self.item(out, false);
        out.extend_from_slice(b"}\n\n");
        numbered(out, "response.content_part.added");
        put(
            out,
            format_args!(
                "{place}\"part\":{{\"type\":\"output_text\",\"annotations\":[],\"text\":\"\"}}}}\n\n"
            ),
        );
        for (kind, member) in [("response.output_text.delta", "delta"), ("response.output_text.done", "text")]
        {
            numbered(out, kind);
            put(out, format_args!("{place}\"logprobs\":[],\"{member}\":"));
            quote_into(self.text, out);
            out.extend_from_slice(b"}\n\n");
        }
        numbered(out, "response.content_part.done");
        put(out, format_args!("{place}\"part\":"));
        self.part(out);
        out.extend_from_slice(b"}\n\n");
        numbered(out, "response.output_item.done");
        out.extend_from_slice(b"\"output_index\":0,\"item\":");
        self.item(out, true);
        out.extend_from_slice(b"}\n\n");
        numbered(out, "response.completed");
        out.extend_from_slice(b"\"response\":");
        self.response(out, "completed");
        out.extend_from_slice(b"}\n\n");
    }
}

/// Opens an event whose data begins with its type.
pub(crate) fn event(out: &mut Vec<u8>, kind: &str) {
    put(out, format_args!("event: {kind}\ndata: {{\"type\":\"{kind}\","));
}

/// Writes at the end.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::observe::Observer;

    const TEXT: &str = "No \"such\"\nthing \u{1f600}";
    const DIALECTS: [Dialect; 3] =
        [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages];

    fn fixed() -> Fixed<'static> {
        Fixed { id: "F", created: 7, text: TEXT }
    }

    #[test]
    fn a_whole_answer_holds_the_text_where_each_api_has_it() {
        let at = ["/choices/0/message/content", "/output/0/content/0/text", "/content/0/text"];
        for (dialect, at) in DIALECTS.into_iter().zip(at) {
            let value: Value = serde_json::from_slice(&fixed().body(dialect, false)).unwrap();
            assert_eq!(value.pointer(at).unwrap(), TEXT, "{value}");
        }
    }

    #[test]
    fn every_event_is_json_and_the_observer_understands_the_stream() {
        for dialect in DIALECTS {
            let body = String::from_utf8(fixed().body(dialect, true)).unwrap();
            let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
            let events: Vec<Value> = data
                .filter(|data| *data != "[DONE]")
                .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
                .collect();
            let said = events.iter().filter_map(|event| {
                [&event["delta"]["text"], &event["delta"], &event["choices"][0]["delta"]["content"]]
                    .into_iter()
                    .find_map(Value::as_str)
            });
            assert_eq!(said.collect::<String>(), TEXT, "{body}");
            for (kind, event) in body.lines().filter_map(|line| line.strip_prefix("event: ")).zip(&events) {
                assert_eq!(event["type"], kind);
            }
            let mut observer = Observer::events(1 << 20);
            observer.feed(body.as_bytes());
            observer.end();
            assert!(observer.finished() && !observer.seen().tool_calls(), "{body}");
        }
    }
}
