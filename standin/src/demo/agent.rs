//! The agent's side of the conversation: what it sends, and what it makes of a streamed answer.

use serde_json::{Value, json};

use super::script::{Act, SYSTEM, TOOLS};

/// A conversation so far.
#[derive(Debug)]
pub(super) struct Agent {
    messages: Vec<Value>,
    open_calls: Vec<String>,
}

impl Agent {
    pub(super) fn new() -> Self {
        Self { messages: vec![json!({ "role": "system", "content": SYSTEM })], open_calls: Vec::new() }
    }

    /// Adds what the agent does next and returns the request body.
    pub(super) fn act(&mut self, act: Act, model: &str) -> Value {
        match act {
            Act::Say(text) => self.messages.push(json!({ "role": "user", "content": text })),
            Act::Result(text) => {
                let results = self.open_calls.drain(..);
                let results =
                    results.map(|id| json!({ "role": "tool", "tool_call_id": id, "content": text }));
                self.messages.extend(results);
            }
        }
        let tools: Vec<Value> = TOOLS
            .iter()
            .map(|(name, what, argument)| {
                json!({ "type": "function", "function": {
                    "name": name,
                    "description": what,
                    "parameters": {
                        "type": "object",
                        "properties": { *argument: { "type": "string" } },
                        "required": [argument],
                    },
                }})
            })
            .collect();
        json!({
            "model": model,
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": self.messages,
            "tools": tools,
        })
    }

    /// Adds the model's answer.
    pub(super) fn hear(&mut self, answer: &Answer) {
        let mut message = json!({ "role": "assistant", "content": answer.text });
        if !answer.calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = answer.calls.iter().map(Call::to_json).collect();
        }
        self.messages.push(message);
        self.open_calls = answer.calls.iter().map(|c| c.id.clone()).collect();
    }
}

/// A tool call as its pieces came in.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: String,
    pub(super) name: String,
    arguments: String,
}

impl Call {
    fn to_json(&self) -> Value {
        let function = json!({ "name": self.name, "arguments": self.arguments });
        json!({ "id": self.id, "type": "function", "function": function })
    }
}

/// An answer, put together from its events.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) done: bool,
    pub(super) bytes: usize,
    partial: Vec<u8>,
}

/// Tool calls in one answer that are kept.
const CALL_LIMIT: usize = 64;

impl Answer {
    /// Takes the next bytes of the stream; lines may be split anywhere.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            match line.trim_ascii().strip_prefix(b"data: ") {
                Some(b"[DONE]") => self.done = true,
                Some(data) => self.event(&serde_json::from_slice(data).unwrap_or_default()),
                None => {}
            }
        }
    }

    fn event(&mut self, event: &Value) {
        let delta = &event["choices"][0]["delta"];
        self.text.extend(delta["content"].as_str());
        for part in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = part["index"].as_u64().unwrap_or(0) as usize;
            if index >= CALL_LIMIT {
                continue;
            }
            if self.calls.len() <= index {
                self.calls.resize_with(index + 1, Call::default);
            }
            let call = &mut self.calls[index];
            call.id.extend(part["id"].as_str());
            call.name.extend(part["function"]["name"].as_str());
            call.arguments.extend(part["function"]["arguments"].as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_together_whatever_the_cuts() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"caf\u{e9}\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_m_1\",\
             \"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\
             \"function\":{\"arguments\":\"\\\":1}\"}}]}}]}\n\ndata: [DONE]\n\n";
        for size in [1, 3, 7, stream.len()] {
            let mut answer = Answer::default();
            stream.as_bytes().chunks(size).for_each(|piece| answer.feed(piece));
            assert_eq!(answer.text, "caf\u{e9}");
            assert!(answer.done);
            let mut agent = Agent::new();
            agent.hear(&answer);
            let body = agent.act(Act::Result("ok"), "auto");
            assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
            assert_eq!(body["messages"][2]["tool_call_id"], "call_m_1");
        }
    }
}
