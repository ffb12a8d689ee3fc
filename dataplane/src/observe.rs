//! What an answer says about itself while it passes: usage, tool calls, finish reason.
//!
//! The observer sees payload only, after framing. It copies nothing of a stream but an event that
//! straddles two pieces, and it never changes what passes: an answer that it cannot read is passed on like
//! any other, and its tokens are estimated.

use crate::http::sse::Splitter;
use crate::json::usage::Summary;
use crate::memory::Heard;

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    summary: Summary,
    bytes: u64,
    events: u64,
}

/// How much was known at a moment, to tell whether more is known later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    calls: usize,
    tool_calls: bool,
    usage: crate::json::usage::Usage,
}

/// Bytes of text that make a token, where nothing better is known.
const BYTES_PER_TOKEN: u64 = 4;

impl Seen {
    /// Of a whole answer that is at hand.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        let mut seen = Self { bytes: body.len() as u64, ..Self::default() };
        seen.summary.read_body(body);
        seen
    }

    /// The error that the backend reported, whatever its status.
    pub(crate) fn error(&self) -> Option<&str> {
        self.summary.error.as_ref().map(|error| error.message.as_str())
    }

    /// Payload bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Id of the answer; empty if the backend gave none.
    pub(crate) fn id(&self) -> &str {
        &self.summary.id
    }

    /// The answer asks the client to run tools.
    pub(crate) fn tool_calls(&self) -> bool {
        self.summary.tool_calls
    }

    /// Ids of those calls.
    pub(crate) fn tool_call_ids(&self) -> &[String] {
        &self.summary.tool_call_ids
    }

    /// As the backend worded it.
    pub(crate) fn finish_reason(&self) -> Option<&str> {
        self.summary.finish.map(|_| self.summary.finish_reason.as_str())
    }

    /// Reported by the backend.
    pub(crate) fn prompt_tokens(&self) -> Option<u64> {
        self.summary.usage.prompt_tokens()
    }

    /// Reported by the backend.
    pub(crate) fn cached_tokens(&self) -> Option<u64> {
        self.summary.usage.cached_tokens()
    }

    /// Generated tokens: reported, or one per event of a stream, or by bytes.
    pub(crate) fn completion_tokens(&self) -> u64 {
        let estimate = || if self.events > 0 { self.events } else { self.bytes.div_ceil(BYTES_PER_TOKEN) };
        self.summary.usage.completion_tokens().unwrap_or_else(estimate)
    }

    /// Reported by the backend.
    pub(crate) fn reasoning_tokens(&self) -> Option<u64> {
        self.summary.usage.reasoning_tokens()
    }

    /// The backend reported an error inside a 2xx answer.
    pub(crate) fn failed(&self) -> bool {
        self.summary.error.is_some()
    }

    /// What session memory keeps of it.
    pub(crate) fn heard(&self) -> Heard<'_> {
        Heard {
            id: self.id(),
            tool_calls: self.tool_calls(),
            tool_call_ids: self.tool_call_ids(),
            prompt_tokens: self.prompt_tokens(),
            cached_tokens: self.cached_tokens(),
            completion_tokens: self.completion_tokens(),
        }
    }

    /// How much is known.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            calls: self.summary.tool_call_ids.len(),
            tool_calls: self.summary.tool_calls,
            usage: self.summary.usage,
        }
    }
}

enum Kind {
    Events(Splitter),
    Whole(Vec<u8>),
    Blind,
}

/// Watches one answer.
pub(crate) struct Observer {
    kind: Kind,
    limit: usize,
    seen: Seen,
}

impl Observer {
    /// Of an answer that cannot be read: an error, or compressed.
    pub(crate) fn blind() -> Self {
        Self { kind: Kind::Blind, limit: 0, seen: Seen::default() }
    }

    /// Of server-sent events of at most `limit` bytes each.
    pub(crate) fn events(limit: usize) -> Self {
        Self { kind: Kind::Events(Splitter::new(limit)), limit, seen: Seen::default() }
    }

    /// Of one JSON document of at most `limit` bytes.
    pub(crate) fn whole(limit: usize) -> Self {
        Self { kind: Kind::Whole(Vec::new()), limit, seen: Seen::default() }
    }

    /// Looks at the next payload.
    pub(crate) fn feed(&mut self, payload: &[u8]) {
        let Seen { summary, bytes, events } = &mut self.seen;
        *bytes += payload.len() as u64;
        match &mut self.kind {
            Kind::Events(splitter) => splitter.feed(payload, |event| {
                *events += 1;
                summary.read_event(event);
            }),
            Kind::Whole(body) if body.len() + payload.len() <= self.limit => body.extend_from_slice(payload),
            Kind::Whole(_) => self.kind = Kind::Blind,
            Kind::Blind => {}
        }
    }

    /// The payload is complete.
    pub(crate) fn end(&mut self) {
        let Seen { summary, events, .. } = &mut self.seen;
        match &mut self.kind {
            Kind::Events(splitter) => splitter.finish(|event| {
                *events += 1;
                summary.read_event(event);
            }),
            Kind::Whole(body) => {
                summary.read_body(body);
                self.kind = Kind::Blind;
            }
            Kind::Blind => {}
        }
    }

    /// The backend has said why it stopped: what follows is usage, or other choices.
    pub(crate) fn finished(&self) -> bool {
        self.seen.summary.finish.is_some()
    }

    /// What has been seen so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\
\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n\
data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\
\"arguments\":\"{}\"}}]}}]}\n\n\
data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
data: {\"id\":\"r\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\
\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n";

    #[test]
    fn a_stream_says_the_same_in_whatever_pieces_it_comes() {
        for size in [1, 2, 3, 7, 64, STREAM.len()] {
            let mut observer = Observer::events(1 << 20);
            for piece in STREAM.chunks(size) {
                observer.feed(piece);
            }
            observer.end();
            let seen = observer.seen();
            assert!(observer.finished() && seen.tool_calls(), "pieces of {size}");
            assert_eq!(seen.tool_call_ids(), ["call_1"]);
            assert_eq!(seen.finish_reason(), Some("tool_calls"));
            assert_eq!((seen.prompt_tokens(), seen.cached_tokens()), (Some(9), Some(4)));
            assert_eq!(seen.completion_tokens(), 2);
        }
    }

    #[test]
    fn usage_after_the_finish_reason_shows_in_the_mark() {
        let at = memchr::memmem::find(STREAM, b"data: {\"id\":\"r\",\"choices\":[],").unwrap();
        let mut observer = Observer::events(1 << 20);
        observer.feed(&STREAM[..at]);
        assert!(observer.finished());
        let mark = observer.seen().mark();
        observer.feed(&STREAM[at..]);
        assert_ne!(observer.seen().mark(), mark);
    }

    #[test]
    fn a_whole_answer_over_the_limit_is_not_kept() {
        let mut observer = Observer::whole(8);
        observer.feed(b"{\"usage\":{\"prompt_tokens\":1}}");
        observer.end();
        assert_eq!(observer.seen().prompt_tokens(), None);
        assert_eq!(observer.seen().completion_tokens(), 8);
    }
}
