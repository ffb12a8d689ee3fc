//! Counts, sizes and texts of the conversation that a request carries.

use std::borrow::Cow;

use pintle_routing::facts::{Dialect, MessageCounts, Needs, Texts, ToolFacts};
use smallvec::SmallVec;

use crate::json::{Message, Part, PartKind, Parts, Role, Spans, StringSpan};

/// Tool calls and results of one turn that are matched without the heap.
const INLINE_CALLS: usize = 16;

/// What one pass over the messages finds.
pub(super) struct Outline {
    pub(super) messages: MessageCounts,
    pub(super) tools: ToolFacts,
    /// Decoded bytes in all messages: texts, reasoning, tool arguments and results.
    pub(super) message_bytes: u64,
    pub(super) history_bytes: u64,
    pub(super) compat_context_bytes: u64,
    /// Index of the last user message that has text.
    current_user: Option<usize>,
}

/// Reads counts and sizes. Nothing is decoded: lengths come from the scan.
pub(super) fn outline(body: &str, spans: &Spans) -> Outline {
    let mut counts = MessageCounts::default();
    let mut tools = ToolFacts { definitions: spans.tool_definitions, ..ToolFacts::default() };
    let (mut message_bytes, mut history_bytes) = (0, 0);
    let mut non_user = Joined::default();
    let (mut current_user, mut current_user_bytes) = (None, 0);

    if let Some(system) = spans.system.map(|parts| spans.parts_of(parts)).filter(|parts| !parts.is_empty()) {
        let sizes = sizes(body, system);
        counts.system += 1;
        message_bytes += sizes.all;
        history_bytes += sizes.all;
        non_user.add(sizes.text);
    }
    let history_end = history_end(&spans.messages);
    let prefill = without_prefill(spans).len();
    let mut previous = None;
    // The last two turns of the conversation proper: instructions that a client appends do not answer anything,
    // and users who speak twice in a row take one turn.
    let (mut spoken, mut before) = (None, None);
    for (index, message) in spans.messages.iter().enumerate() {
        let parts = spans.parts_of(message.parts);
        let sizes = sizes(body, parts);
        let results = count(parts, PartKind::ToolResult);
        let turn = Turn::of(message, results);
        tools.calls += count(parts, PartKind::ToolCall);
        tools.results += results;
        message_bytes += sizes.all;
        if index < history_end {
            history_bytes += sizes.all;
        }
        match turn {
            Turn::User => counts.user += 1,
            Turn::Tool => counts.tool += 1,
            Turn::System => counts.system += 1,
            Turn::Developer => counts.developer += 1,
            // Several items of a Responses input make up what is one assistant message in a chat.
            Turn::Assistant if spans.dialect == Dialect::OpenAiResponses && previous == Some(turn) => {}
            Turn::Assistant => counts.assistant += 1,
            Turn::Other => {}
        }
        match message.role {
            Role::System | Role::Developer | Role::Assistant => non_user.add(sizes.text),
            Role::User if sizes.text > 0 => (current_user, current_user_bytes) = (Some(index), sizes.text),
            Role::User | Role::Tool | Role::Other => {}
        }
        if matches!(turn, Turn::User | Turn::Assistant | Turn::Tool)
            && !(turn == Turn::Assistant && index >= prefill)
            && !(turn == Turn::User && spoken == Some(Turn::User))
        {
            before = spoken.replace(turn);
        }
        previous = Some(turn);
    }
    tools.last_is_result = spoken == Some(Turn::Tool);
    tools.last_is_user_after_result = spoken == Some(Turn::User) && before == Some(Turn::Tool);
    tools.unanswered = unanswered(body, spans);
    non_user.add(current_user_bytes);
    Outline {
        messages: counts,
        tools,
        message_bytes,
        history_bytes,
        compat_context_bytes: non_user.bytes,
        current_user,
    }
}

/// Decodes the texts that `needs` asks for.
pub(super) fn texts<'a>(body: &'a str, spans: &Spans, needs: Needs, outline: &Outline) -> Texts<'a> {
    let mut texts = Texts::default();
    let text_of = |parts: Parts| text(body, spans.parts_of(parts));
    if needs.current_user
        && let Some(index) = outline.current_user
    {
        texts.current_user = text_of(spans.messages[index].parts);
    }
    if needs.prior_user {
        let earlier = &spans.messages[..outline.current_user.unwrap_or(0)];
        let users = earlier.iter().filter(|message| message.role == Role::User);
        texts.prior_user =
            users.map(|message| text_of(message.parts)).filter(|text| !text.is_empty()).collect();
    }
    // Without a user text the others stand in for it, or who speaks only as `system` would be heard by no rule.
    if needs.non_user || (needs.current_user && outline.current_user.is_none()) {
        let others = spans
            .messages
            .iter()
            .filter(|message| matches!(message.role, Role::System | Role::Developer | Role::Assistant));
        let parts = spans.system.into_iter().chain(others.map(|message| message.parts));
        texts.non_user = parts.map(text_of).filter(|text| !text.is_empty()).collect();
    }
    texts
}

/// The texts of a message, joined by one space.
pub(super) fn text<'a>(body: &'a str, parts: &[Part]) -> Cow<'a, str> {
    let mut pieces = parts.iter().filter(|part| part.kind == PartKind::Text).filter_map(|part| part.string);
    let Some(first) = pieces.find(|piece| !piece.inner().is_empty()) else { return Cow::Borrowed("") };
    let mut joined = first.decode(body);
    for piece in pieces.filter(|piece| !piece.inner().is_empty()) {
        let text = joined.to_mut();
        text.push(' ');
        piece.decode_into(body, text);
    }
    joined
}

/// What a message is in the conversation. An Anthropic user message that carries tool results is one tool
/// message, whatever else it carries; its texts are still the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    User,
    Assistant,
    System,
    Developer,
    Tool,
    Other,
}

impl Turn {
    fn of(message: &Message, results: u32) -> Turn {
        match message.role {
            Role::User if results > 0 => Turn::Tool,
            Role::User => Turn::User,
            Role::Assistant => Turn::Assistant,
            Role::System => Turn::System,
            Role::Developer => Turn::Developer,
            Role::Tool => Turn::Tool,
            Role::Other => Turn::Other,
        }
    }
}

/// The messages before a prefill: what the client puts into the mouth of the model that is to answer. Whatever
/// it says, no model has read what came before it.
pub(crate) fn without_prefill(spans: &Spans) -> &[Message] {
    let said = |message: &Message| match message.role {
        Role::Assistant => count(spans.parts_of(message.parts), PartKind::ToolCall) > 0,
        Role::User | Role::Tool => true,
        Role::System | Role::Developer | Role::Other => false,
    };
    let last = spans.messages.iter().rposition(said).map_or(0, |last| last + 1);
    &spans.messages[..last]
}

/// Number of messages before the turn that the client adds now: the user and tool messages at the end.
fn history_end(messages: &[Message]) -> usize {
    let older = |message: &Message| !matches!(message.role, Role::User | Role::Tool);
    messages.iter().rposition(older).map_or(0, |last| last + 1)
}

/// Decoded bytes of a message.
#[derive(Default)]
struct Sizes {
    /// Texts as [`text`] joins them.
    text: u64,
    /// Everything that is text, reasoning, arguments or results.
    all: u64,
}

fn sizes(body: &str, parts: &[Part]) -> Sizes {
    let mut text = Joined::default();
    let mut other = 0;
    for part in parts {
        let Some(string) = part.string else { continue };
        match part.kind {
            PartKind::Text => text.add(string.decoded_len(body) as u64),
            PartKind::ResultText | PartKind::Reasoning | PartKind::Arguments | PartKind::Other => {
                other += string.decoded_len(body) as u64;
            }
            PartKind::ArgumentsJson => other += string.span().len() as u64,
            PartKind::ToolCall | PartKind::ToolResult | PartKind::Image => {}
        }
    }
    Sizes { text: text.bytes, all: text.bytes + other }
}

/// Length of non-empty texts joined by one space.
#[derive(Default)]
struct Joined {
    bytes: u64,
}

impl Joined {
    fn add(&mut self, text: u64) {
        if text > 0 {
            self.bytes += text + u64::from(self.bytes > 0);
        }
    }
}

fn count(parts: &[Part], kind: PartKind) -> u32 {
    parts.iter().filter(|part| part.kind == kind).count() as u32
}

/// Calls of the last assistant turn (consecutive assistant messages are one turn) that nothing after it
/// answers. Ids are compared; calls without one are answered by results without one.
fn unanswered(body: &str, spans: &Spans) -> u32 {
    let is_assistant = |message: &Message| message.role == Role::Assistant;
    let Some(last) = spans.messages.iter().rposition(is_assistant) else { return 0 };
    let first =
        spans.messages[..last].iter().rposition(|message| !is_assistant(message)).map_or(0, |at| at + 1);

    let (mut answered, nameless_results) =
        ids(body, spans, &spans.messages[last + 1..], PartKind::ToolResult);
    let (calls, nameless_calls) = ids(body, spans, &spans.messages[first..=last], PartKind::ToolCall);
    // Sorted, so that a hostile request with very many calls costs no more than its size.
    answered.sort_unstable();
    let open = calls.iter().filter(|call| answered.binary_search(call).is_err()).count() as u32;
    open + nameless_calls.saturating_sub(nameless_results)
}

type Ids<'a> = SmallVec<[Cow<'a, str>; INLINE_CALLS]>;

/// Ids of all parts of one kind, and how many parts have none.
fn ids<'a>(body: &'a str, spans: &Spans, messages: &[Message], kind: PartKind) -> (Ids<'a>, u32) {
    let (mut ids, mut nameless) = (Ids::new(), 0);
    let parts = messages.iter().flat_map(|message| spans.parts_of(message.parts));
    for part in parts.filter(|part| part.kind == kind) {
        match part.string.filter(|id: &StringSpan| !id.inner().is_empty()) {
            Some(id) => ids.push(id.decode(body)),
            None => nameless += 1,
        }
    }
    (ids, nameless)
}
