//! What one request says about itself, read from its head and body before any decision is taken.
//!
//! Facts are borrowed from the request's own bytes. Whoever parses the request (the data plane, a dry
//! run, a test) fills them in; this crate only reads them. They are complete before selection on every
//! dialect: session, tool state and history are never discovered afterwards.

use std::borrow::Cow;

use crate::units::{Tokens, UnixMillis};

/// Which HTTP API the client speaks; errors are answered in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `POST /v1/chat/completions`
    OpenAiChat,
    /// `POST /v1/responses`
    OpenAiResponses,
    /// `POST /v1/messages`
    AnthropicMessages,
}

/// Where a session key was found, in order of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionSource {
    /// The header named by `global.pintle.session.header`.
    ConfiguredHeader,
    /// `x-session-id`
    XSessionId,
    /// `x-claude-code-session-id`
    ClaudeCodeHeader,
    /// `session_id`
    SessionIdHeader,
    /// `x-session-affinity`
    SessionAffinityHeader,
    /// Body `prompt_cache_key`.
    PromptCacheKey,
    /// Body `conversation` (a string, or an object's `id`).
    Conversation,
    /// Body `previous_response_id`.
    PreviousResponseId,
    /// Anthropic `metadata.user_id`.
    AnthropicUserId,
    /// A fingerprint of tenant, system prompt and first user turn.
    Fingerprint,
}

/// Who this turn belongs to. The key is already namespaced by tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionIdentity {
    /// Keyed 128-bit hash of (tenant, session key): the address of the session's record.
    pub key: u128,
    /// Where the key came from.
    pub source: SessionSource,
}

/// Counts over the messages of the conversation that the request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MessageCounts {
    /// Messages whose role is `user`.
    pub user: u32,
    /// Messages whose role is `assistant`.
    pub assistant: u32,
    /// Messages whose role is `system`, and Anthropic's `system` member as one.
    pub system: u32,
    /// Messages whose role is `developer`.
    pub developer: u32,
    /// Messages that carry tool results.
    pub tool: u32,
}

impl MessageCounts {
    /// Every message, of any role.
    pub const fn total(&self) -> u32 {
        self.user + self.assistant + self.system + self.developer + self.tool
    }
}

/// Tools as the request shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ToolFacts {
    /// Tools offered to the model.
    pub definitions: u32,
    /// Tool calls made by the assistant in the carried history.
    pub calls: u32,
    /// Tool results in the carried history.
    pub results: u32,
    /// Calls of the last assistant turn that have no result yet.
    pub unanswered: u32,
    /// The last message is a tool result.
    pub last_is_result: bool,
    /// The last message is a user turn that directly follows a tool result.
    pub last_is_user_after_result: bool,
}

/// State that lives at the provider, so that another model or backend could not continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderState<'a> {
    /// `previous_response_id`
    PreviousResponse(Cow<'a, str>),
    /// `conversation`
    Conversation(Cow<'a, str>),
}

/// Decoded texts; each is filled only if the policy's needs ask for it.
#[derive(Debug, Clone, Default)]
pub struct Texts<'a> {
    /// Last user message with text; parts joined by one space.
    pub current_user: Cow<'a, str>,
    /// Earlier non-empty user texts, oldest first.
    pub prior_user: Vec<Cow<'a, str>>,
    /// System, developer and assistant texts, in order.
    pub non_user: Vec<Cow<'a, str>>,
}

/// Members of a request's `metadata` that are read.
pub const MAX_METADATA_MEMBERS: usize = 32;
/// Bytes of a member's decoded name.
pub const MAX_METADATA_NAME: usize = 128;
/// Bytes of a member's decoded text.
pub const MAX_METADATA_TEXT: usize = 1024;

/// What the client says in its request's `metadata`. Anybody can write anything there.
#[derive(Debug, Clone, Default)]
pub struct Metadata<'a> {
    /// Name and text of each member, in order; no text where the value is none.
    pub members: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    /// Members beyond [`MAX_METADATA_MEMBERS`], or with a longer name or text than is read, are left out.
    pub truncated: bool,
}

/// Who asks. Only headers that the operator declared trusted reach this type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity<'a> {
    /// User id, empty when unknown.
    pub user: &'a str,
    /// Comma-separated groups, empty when unknown.
    pub groups: &'a str,
}

/// Everything that routing may know about a request.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The client's API.
    pub dialect: Dialect,
    /// The `model` value of the request, decoded.
    pub requested_model: Cow<'a, str>,
    /// The client asked for a streamed answer.
    pub stream: bool,
    /// The session this turn belongs to; `None` only if the request carries nothing to tell sessions apart.
    pub session: Option<SessionIdentity>,
    /// The caller.
    pub identity: Identity<'a>,
    /// Message counts.
    pub messages: MessageCounts,
    /// Tool counts.
    pub tools: ToolFacts,
    /// Provider-managed state, if the request refers to any.
    pub provider_state: Option<ProviderState<'a>>,
    /// The last user message, or any message, carries an image.
    pub has_image: bool,
    /// Texts, as far as the policy needs them.
    pub texts: Texts<'a>,
    /// The request's `metadata`, if the policy needs it.
    pub metadata: Metadata<'a>,
    /// Bytes of decoded text in all messages, tool schemas and tool results: the whole envelope.
    pub envelope_bytes: u64,
    /// Bytes that v0.3.0 counts for its context signal: non-user texts and the current user text.
    pub compat_context_bytes: u64,
    /// Bytes of every message before the last user turn: what a prefix cache may hold.
    pub history_bytes: u64,
    /// `max_tokens` / `max_completion_tokens`, when the request bounds its answer.
    pub max_completion: Option<Tokens>,
}

impl<'a> Facts<'a> {
    /// A chat request to `auto` with one user message, by nobody in particular and of no session.
    pub fn of_text(text: &'a str) -> Self {
        let bytes = text.len() as u64;
        Self {
            dialect: Dialect::OpenAiChat,
            requested_model: Cow::Borrowed("auto"),
            stream: false,
            session: None,
            identity: Identity::default(),
            messages: MessageCounts { user: 1, ..MessageCounts::default() },
            tools: ToolFacts::default(),
            provider_state: None,
            has_image: false,
            texts: Texts { current_user: Cow::Borrowed(text), ..Texts::default() },
            metadata: Metadata::default(),
            envelope_bytes: bytes,
            compat_context_bytes: bytes,
            history_bytes: 0,
            max_completion: None,
        }
    }
}

/// Which texts a policy reads, so that a parser decodes no more than that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// `Texts::current_user`; and of a request in which no user says anything, `Texts::non_user` in its place,
    /// or else whoever speaks only as `system` would not be heard by any rule.
    pub current_user: bool,
    /// `Texts::prior_user`
    pub prior_user: bool,
    /// `Texts::non_user`
    pub non_user: bool,
    /// [`Facts::metadata`]
    pub metadata: bool,
}

/// What the router remembers of a session, as read before the decision.
///
/// A snapshot never changes while a turn is decided: what the turn adds is committed after the upstream
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SessionSnapshot<'a> {
    /// Target that served the last turn (its canonical name).
    pub model: &'a str,
    /// Decision that chose it; empty when none had matched.
    pub decision: &'a str,
    /// Turns served so far.
    pub turns: u32,
    /// Model changes so far.
    pub switches: u32,
    /// Turns in a row on `model`.
    pub turns_on_model: u32,
    /// When the last turn was committed.
    pub last_seen: UnixMillis,
    /// The last answer asked for tools: the next turn is inside a tool loop.
    pub open_tool_loop: bool,
    /// The last answer left state at the provider.
    pub provider_state: bool,
    /// Prompt tokens of the last turn, as the backend reported them (or estimated).
    pub last_prompt_tokens: Tokens,
    /// Of those, tokens that the backend served from its prefix cache; `None` when it does not report.
    pub last_cached_tokens: Option<Tokens>,
    /// Completion tokens of the last turn.
    pub last_completion_tokens: Tokens,
    /// Sum over all turns.
    pub prompt_tokens: Tokens,
    /// Sum over all turns.
    pub cached_tokens: Tokens,
    /// Sum over all turns.
    pub completion_tokens: Tokens,
    /// Smoothed demand estimate of the session, in [0,1]; negative when unknown. Owned by the session policy.
    pub demand: f32,
}
