//! Where the interesting values of a body lie.

use pintle_routing::facts::Dialect;

/// Bytes `start..end` of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// Of two offsets below 4 GiB, which [`scan`](super::scan()) has made sure of.
    pub(super) const fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// The same as a range.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether there are no bytes.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes; empty if `body` is not the body that was scanned.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.range()).unwrap_or_default()
    }
}

/// A JSON string in a body, quotes included, and what it takes to decode it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StringSpan {
    span: Span,
    /// Number of escapes; the top bit says whether one is a `\u`.
    escapes: u32,
}

impl StringSpan {
    const UNICODE: u32 = 1 << 31;

    pub(super) const fn new(span: Span, escapes: u32, unicode: bool) -> StringSpan {
        StringSpan { span, escapes: (escapes & !StringSpan::UNICODE) | ((unicode as u32) << 31) }
    }

    /// A value that is no string and counts as it stands.
    pub(super) const fn verbatim(span: Span) -> StringSpan {
        StringSpan { span, escapes: 0 }
    }

    /// The string with its quotes.
    pub const fn span(self) -> Span {
        self.span
    }

    /// What lies between the quotes.
    pub const fn inner(self) -> Span {
        let Span { start, end } = self.span;
        if end < start + 2 { Span { start, end: start } } else { Span { start: start + 1, end: end - 1 } }
    }

    /// Number of escape sequences in it.
    pub const fn escapes(self) -> u32 {
        self.escapes & !StringSpan::UNICODE
    }

    /// Whether one of them is a `\u` escape.
    pub const fn has_unicode_escape(self) -> bool {
        self.escapes & StringSpan::UNICODE != 0
    }
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// `user`
    User,
    /// `assistant`, and what it emits on its own in the Responses API: tool calls, reasoning.
    Assistant,
    /// `system`
    System,
    /// `developer`
    Developer,
    /// `tool`, the older `function`, and the tool outputs of the Responses API.
    Tool,
    /// No role, or one not listed here.
    #[default]
    Other,
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Text of the message; the string is the text.
    Text,
    /// Text inside an Anthropic `tool_result` block or a Responses tool output; the string is the text.
    ResultText,
    /// The assistant's reasoning as sent back; the string is the text.
    Reasoning,
    /// An image. No string.
    Image,
    /// A tool call by the assistant; the string is its id, if it has one.
    ToolCall,
    /// The arguments of a tool call, as text.
    Arguments,
    /// The arguments of a tool call, as a JSON value (not a string).
    ArgumentsJson,
    /// A tool result; the string is the id of the call it answers, if stated.
    ToolResult,
    /// Anything else; the string is its `text`, if it has one.
    Other,
}

/// One part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The string that belongs to it; see [`PartKind`].
    pub string: Option<StringSpan>,
}

/// A run of [`Spans::parts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// One message of a conversation, or one item of a Responses input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Content, tool calls and tool results, in no particular order between these groups.
    pub parts: Parts,
    /// The whole value.
    pub span: Span,
    /// `name`
    pub name: Option<StringSpan>,
}

/// Everything that [`scan`](super::scan()) finds in a body. Reused from request to request.
#[derive(Debug, Clone)]
pub struct Spans {
    /// The API that the body was read as.
    pub dialect: Dialect,
    /// `model`; always there after a successful scan.
    pub model: StringSpan,
    /// `stream`, false when absent or null.
    pub stream: bool,
    /// `messages`, or the items of `input`.
    pub messages: Vec<Message>,
    /// The parts of all messages; see [`Spans::parts_of`].
    pub parts: Vec<Part>,
    /// Anthropic's `system`, or `instructions` of the Responses API.
    pub system: Option<Parts>,
    /// `tools`, if it is an array.
    pub tools: Option<Span>,
    /// Elements of `tools`, and of the older `functions`.
    pub tool_definitions: u32,
    /// `tool_choice`
    pub tool_choice: Option<Span>,
    /// `user`
    pub user: Option<StringSpan>,
    /// `prompt_cache_key`
    pub prompt_cache_key: Option<StringSpan>,
    /// `conversation`, or its `id` if it is an object.
    pub conversation: Option<StringSpan>,
    /// `previous_response_id`
    pub previous_response_id: Option<StringSpan>,
    /// `metadata`, if it is an object.
    pub metadata: Option<Span>,
    /// `metadata.user_id`
    pub metadata_user_id: Option<StringSpan>,
    /// `max_tokens`
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`, or `max_output_tokens` of the Responses API.
    pub max_completion_tokens: Option<u64>,
    /// `n`
    pub n: Option<u64>,
    /// `stream_options`
    pub stream_options: Option<Span>,
    /// `stream_options.include_usage`
    pub include_usage: bool,
    /// `store` is false: the provider is not to keep the answer.
    pub unstored: bool,
    /// Items of a Responses input that refer to items kept by the provider.
    pub item_references: u32,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans {
            dialect: Dialect::OpenAiChat,
            model: StringSpan::default(),
            stream: false,
            messages: Vec::new(),
            parts: Vec::new(),
            system: None,
            tools: None,
            tool_definitions: 0,
            tool_choice: None,
            user: None,
            prompt_cache_key: None,
            conversation: None,
            previous_response_id: None,
            metadata: None,
            metadata_user_id: None,
            max_tokens: None,
            max_completion_tokens: None,
            n: None,
            stream_options: None,
            include_usage: false,
            unstored: false,
            item_references: 0,
        }
    }
}

/// Messages and parts for which memory is kept between requests; a conversation beyond it is rare.
const KEPT_ENTRIES: usize = 4096;

impl Spans {
    /// Empty, to be filled by [`scan`](super::scan()).
    pub fn new() -> Spans {
        Spans::default()
    }

    /// Forgets the body and keeps the memory, up to that of a large conversation.
    pub fn clear(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        let mut parts = std::mem::take(&mut self.parts);
        messages.clear();
        messages.shrink_to(KEPT_ENTRIES);
        parts.clear();
        parts.shrink_to(KEPT_ENTRIES);
        *self = Spans { messages, parts, ..Spans::default() };
    }

    /// The parts that belong to a message, or to [`Spans::system`].
    pub fn parts_of(&self, parts: Parts) -> &[Part] {
        self.parts.get(parts.start as usize..parts.end as usize).unwrap_or_default()
    }

    /// The bound that the request puts on its answer, in tokens.
    pub fn max_completion(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}
