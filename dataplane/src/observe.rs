//! What an answer says about itself while it passes: usage, tool calls, finish reason.
//!
//! The observer sees payload only, after framing. It copies nothing of a stream but an event that
//! straddles two pieces, and it never changes what passes: an answer that it cannot read is passed on like
//! any other, and its tokens are estimated.

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// Events that carried data.
    pub(crate) events: u64,
    /// The answer asks for tools.
    pub(crate) tool_calls: bool,
    /// Ids of those calls, at most [`MAX_PINNED_CALLS`](crate::commit::MAX_PINNED_CALLS).
    pub(crate) tool_call_ids: Vec<String>,
    /// As the backend said it.
    pub(crate) finish_reason: Option<String>,
    /// Reported by the backend.
    pub(crate) prompt_tokens: Option<u64>,
    /// Reported by the backend.
    pub(crate) cached_tokens: Option<u64>,
    /// Reported by the backend.
    pub(crate) reported_completion: Option<u64>,
    /// The backend reported an error inside a 2xx answer.
    pub(crate) error: bool,
}

/// Bytes of JSON around one token of an unstreamed answer are not counted: four bytes of text make a token.
const BYTES_PER_TOKEN: u64 = 4;

impl Seen {
    /// Generated tokens: reported, or one per event of a stream, or by bytes.
    pub(crate) fn completion_tokens(&self) -> u64 {
        self.reported_completion.unwrap_or(if self.events > 0 {
            self.events
        } else {
            self.bytes.div_ceil(BYTES_PER_TOKEN)
        })
    }
}

enum Kind {
    Events,
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
        Self { kind: Kind::Events, limit, seen: Seen::default() }
    }

    /// Of one JSON document of at most `limit` bytes.
    pub(crate) fn whole(limit: usize) -> Self {
        Self { kind: Kind::Whole(Vec::new()), limit, seen: Seen::default() }
    }

    /// Looks at the next payload.
    pub(crate) fn feed(&mut self, payload: &[u8]) {
        self.seen.bytes += payload.len() as u64;
        match &mut self.kind {
            Kind::Whole(body) if body.len() + payload.len() <= self.limit => body.extend_from_slice(payload),
            Kind::Whole(_) => self.kind = Kind::Blind,
            _ => {}
        }
    }

    /// The payload is complete.
    pub(crate) fn end(&mut self) {}

    /// The backend has said why it stopped: nothing that matters to the next turn follows.
    pub(crate) fn finished(&self) -> bool {
        self.seen.finish_reason.is_some()
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }
}
