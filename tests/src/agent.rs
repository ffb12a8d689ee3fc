//! A coding agent as a client: it keeps the conversation and carries out tool calls.

use serde_json::{Value, json};

use crate::http::{Connection, Response};

/// One session of an agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Sent as `x-session-id`; none when empty.
    pub session: String,
    /// The conversation so far.
    pub messages: Vec<Value>,
    /// Ids of calls that wait for their results.
    pub open_calls: Vec<String>,
    /// The model asked for.
    pub model: String,
    /// Ask for streamed answers.
    pub stream: bool,
}

impl Agent {
    /// A session that has not begun.
    pub fn new(session: &str) -> Self {
        let system = json!({ "role": "system", "content": format!("You are agent {session}. Be brief.") });
        Self {
            session: session.to_owned(),
            messages: vec![system],
            open_calls: Vec::new(),
            model: "auto".to_owned(),
            stream: false,
        }
    }

    /// The request body for the conversation as it stands.
    pub fn body(&self) -> Value {
        json!({
            "model": self.model,
            "stream": self.stream,
            "messages": self.messages,
            "tools": [{ "type": "function", "function": {
                "name": "read_file",
                "description": "Read a file.",
                "parameters": { "type": "object", "properties": { "path": { "type": "string" } },
                    "required": ["path"] },
            }}],
        })
    }

    /// Says something; returns the response, whose answer is part of the conversation if it was a success.
    #[track_caller]
    pub fn say(&mut self, connection: &mut Connection, text: &str) -> Response {
        self.messages.push(json!({ "role": "user", "content": text }));
        self.ask(connection)
    }

    /// Hands in a result for every open call.
    #[track_caller]
    pub fn hand_in(&mut self, connection: &mut Connection) -> Response {
        assert!(!self.open_calls.is_empty(), "no tool was called: {:?}", self.messages.last());
        for id in self.open_calls.drain(..) {
            self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "fn main() {}" }));
        }
        self.ask(connection)
    }

    /// Sends the conversation.
    #[track_caller]
    pub fn ask(&mut self, connection: &mut Connection) -> Response {
        let response = connection.chat(&self.session, &self.body());
        if response.status == 200 {
            let message = if self.stream {
                streamed(&response)
            } else {
                response.json()["choices"][0]["message"].clone()
            };
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            self.open_calls = calls.map(|c| c["id"].as_str().expect("a call id").to_owned()).collect();
            self.messages.push(message);
        }
        response
    }
}

/// The message that a stream adds up to.
#[track_caller]
fn streamed(response: &Response) -> Value {
    assert!(response.body.ends_with(b"data: [DONE]\n\n"), "the stream ended early");
    let mut text = String::new();
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for event in response.events() {
        let delta = &event["choices"][0]["delta"];
        text.extend(delta["content"].as_str());
        for part in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = part["index"].as_u64().expect("an index") as usize;
            calls.resize_with(calls.len().max(index + 1), Default::default);
            let (id, name, arguments) = &mut calls[index];
            id.extend(part["id"].as_str());
            name.extend(part["function"]["name"].as_str());
            arguments.extend(part["function"]["arguments"].as_str());
        }
    }
    if calls.is_empty() {
        return json!({ "role": "assistant", "content": text });
    }
    let calls = calls.into_iter().map(|(id, name, arguments)| {
        json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
    });
    json!({ "role": "assistant", "content": null, "tool_calls": calls.collect::<Vec<_>>() })
}
