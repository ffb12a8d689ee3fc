//! Conversations as clients keep them, and the requests that they make of them.

use super::random::Random;
use super::setup::{MODELS, WORDS};

/// A message, as far as a client's bookkeeping goes.
#[derive(Debug, Clone)]
pub(super) enum Message {
    System,
    User(&'static str),
    Text,
    Calls(Vec<String>),
    Result(String),
}

impl Message {
    const fn is_assistant(&self) -> bool {
        matches!(self, Self::Text | Self::Calls(_))
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::System => out.push_str(r#"{"role":"system","content":"be brief"}"#),
            Self::User(word) => out.push_str(&format!(r#"{{"role":"user","content":"{word}, please"}}"#)),
            Self::Text => out.push_str(r#"{"role":"assistant","content":"done"}"#),
            Self::Calls(ids) => {
                let call = |id: &String| {
                    format!(
                        r#"{{"id":"{id}","type":"function","function":{{"name":"read","arguments":"{{}}"}}}}"#
                    )
                };
                let calls: Vec<String> = ids.iter().map(call).collect();
                out.push_str(r#"{"role":"assistant","content":null,"tool_calls":["#);
                out.push_str(&calls.join(","));
                out.push_str("]}");
            }
            Self::Result(id) => {
                out.push_str(&format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"x"}}"#));
            }
        }
    }
}

/// A request, kept whole so that it can be sent again.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Sent as `x-session-id`, if any.
    pub(super) session: Option<usize>,
    pub(super) model: &'static str,
    pub(super) previous: Option<String>,
    pub(super) messages: Vec<Message>,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { session, model, previous, messages } = self;
        write!(f, "session {session:?} model {model} previous {previous:?}:")?;
        messages.iter().try_for_each(|message| match message {
            Message::System => f.write_str(" system"),
            Message::User(word) => write!(f, " {word}"),
            Message::Text => f.write_str(" text"),
            Message::Calls(ids) => write!(f, " calls({})", ids.join(" ")),
            Message::Result(id) => write!(f, " result({id})"),
        })
    }
}

impl Request {
    pub(super) fn head(&self) -> String {
        let session = self.session.map_or(String::new(), |n| format!("x-session-id: s{n}\r\n"));
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{session}\r\n")
    }

    pub(super) fn body(&self) -> String {
        let mut out = format!(r#"{{"model":"{}","#, self.model);
        if let Some(previous) = &self.previous {
            out.push_str(&format!(r#""previous_response_id":"{previous}","#));
        }
        out.push_str(r#""tools":[{"type":"function","function":{"name":"read"}}],"messages":["#);
        for (at, message) in self.messages.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            message.write(&mut out);
        }
        out.push_str("]}");
        out
    }

    /// The call whose result is the newest that no model has answered to, read from the client's own books.
    pub(super) fn unread_result(&self) -> Option<&str> {
        let unread = self.messages.iter().rev().take_while(|message| !message.is_assistant());
        unread.into_iter().find_map(|message| match message {
            Message::Result(id) => Some(id.as_str()),
            _ => None,
        })
    }
}

/// One conversation of a session; a session may have several at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// Calls without a result.
    pub(super) open: Vec<String>,
    /// Who asked for them.
    pub(super) asker: Option<usize>,
    /// Refers to its last answer instead of only repeating it.
    pub(super) stateful: bool,
    /// Sends a session header.
    pub(super) named: bool,
    /// Id of its last answer.
    pub(super) answer: Option<String>,
    /// Counts answers taken, so that a second answer to the same request is dropped.
    pub(super) taken: u64,
    /// The last request, to be repeated.
    pub(super) last: Option<Request>,
}

/// Messages after which a client begins another conversation.
const LONG: usize = 14;

impl Conversation {
    /// Another conversation in the same place.
    fn begin(&mut self, random: &mut Random) {
        let taken = self.taken + 1;
        *self = Self {
            messages: vec![Message::System],
            stateful: random.percent(25),
            named: !random.percent(10),
            taken,
            ..Self::default()
        };
    }

    /// The next request.
    pub(super) fn ask(&mut self, session: usize, random: &mut Random) -> Request {
        if self.messages.is_empty() || (self.messages.len() > LONG && self.open.is_empty()) {
            self.begin(random);
        }
        if let Some(last) = &self.last
            && random.percent(10)
        {
            return last.clone();
        }
        let mut messages = self.messages.clone();
        let word = Message::User(WORDS[random.below(WORDS.len())]);
        let abandons = random.percent(5);
        if self.open.is_empty() || abandons {
            messages.push(word);
        } else {
            let wanted = if random.percent(25) { 1 + random.below(self.open.len()) } else { self.open.len() };
            messages.extend(self.open.iter().take(wanted).cloned().map(Message::Result));
            match random.below(10) {
                0 => messages.push(word),
                1 => messages.push(Message::System),
                2 => messages.extend([word, Message::System]),
                _ => {}
            }
        }
        let request = Request {
            session: self.named.then_some(session),
            model: if random.percent(3) { MODELS[random.below(MODELS.len())] } else { "auto" },
            previous: self.answer.clone().filter(|_| self.stateful),
            messages,
        };
        self.last = Some(request.clone());
        request
    }

    /// Takes an answer to a request into the conversation.
    pub(super) fn take(&mut self, request: &Request, model: usize, id: &str, calls: &[String]) {
        self.taken += 1;
        self.messages.clone_from(&request.messages);
        if self.asker != Some(model) {
            // Results of another model's calls would not be this model's to read.
            self.open.clear();
        }
        let answered = |id: &String| {
            request.messages.iter().any(|message| matches!(message, Message::Result(result) if result == id))
        };
        self.open.retain(|id| !answered(id));
        self.open.extend_from_slice(calls);
        self.asker = Some(model);
        self.answer = Some(id.to_owned());
        let message = if calls.is_empty() { Message::Text } else { Message::Calls(calls.to_vec()) };
        self.messages.push(message);
    }
}
