//! Who asked, and what the request looked like.

use pintle_routing::facts::{Dialect, SessionSource};
use pintle_routing::flow::FlowDocument;

use super::super::format::{clean, count, list, plural, tokens};
use super::super::page::Page;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    let request = &document.request;
    page.section("Who asked");
    let dialect = request.dialect.map_or("", dialect_name).to_owned();
    let streamed = if request.stream { "streamed" } else { "not streamed" };
    let details = list(&[dialect, streamed.to_owned(), plural(request.bytes, "byte")]);
    page.pair("request", &format!("{} {} ({details})", clean(&request.method), clean(&request.path)));
    page.pair("request id", &clean(&request.request_id));
    page.pair("model asked", &clean(&request.model));
    let session = match &request.session_source {
        Some(source) if request.session_key.is_empty() => format!("from {}", source_name(*source)),
        Some(source) => format!("{} (from {})", clean(&request.session_key), source_name(*source)),
        None => "none: nothing in the request tells sessions apart".to_owned(),
    };
    page.pair("session", &session);
    page.pair("identity", if document.facts.identified { "trusted, established" } else { "none trusted" });
    write_facts(page, document);
}

fn write_facts(page: &mut Page, document: &FlowDocument) {
    let facts = &document.facts;
    page.section("What was seen");
    let messages = &facts.messages;
    let kinds = [
        (messages.user, "user"),
        (messages.assistant, "assistant"),
        (messages.system, "system"),
        (messages.developer, "developer"),
        (messages.tool, "tool"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, role)| format!("{number} {role}"))
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", list(&kinds)) };
    page.pair("messages", &format!("{}{kinds}", messages.total()));
    let tools = &facts.tools;
    if tools.definitions + tools.calls + tools.results > 0 {
        let last = match (tools.last_is_result, tools.last_is_user_after_result) {
            (true, _) => "the last message is a tool result",
            (_, true) => "the user speaks right after a tool result",
            _ => "",
        };
        let open = match tools.unanswered {
            0 => String::new(),
            open => format!("{open} unanswered"),
        };
        let numbers = [
            format!("{} offered", tools.definitions),
            format!("{} called", tools.calls),
            format!("{} answered", tools.results),
            open,
            last.to_owned(),
        ];
        page.pair("tools", &list(&numbers));
    }
    let context = format!(
        "about {}, of which {} from earlier turns; {} of text",
        tokens(facts.context_tokens),
        count(facts.history_tokens.get()),
        plural(facts.envelope_bytes, "byte"),
    );
    page.pair("context", &context);
    if let Some(bound) = facts.max_completion {
        page.pair("answer bound", &tokens(bound));
    }
    let special =
        [(facts.has_image, "carries an image"), (facts.provider_state, "refers to state at a provider")];
    let special: Vec<String> =
        special.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned()).collect();
    page.pair("also", &list(&special));
}

const fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "OpenAI chat completions",
        Dialect::OpenAiResponses => "OpenAI responses",
        Dialect::AnthropicMessages => "Anthropic messages",
    }
}

const fn source_name(source: SessionSource) -> &'static str {
    match source {
        SessionSource::ConfiguredHeader => "the configured header",
        SessionSource::XSessionId => "header x-session-id",
        SessionSource::ClaudeCodeHeader => "header x-claude-code-session-id",
        SessionSource::SessionIdHeader => "header session_id",
        SessionSource::SessionAffinityHeader => "header x-session-affinity",
        SessionSource::PromptCacheKey => "body prompt_cache_key",
        SessionSource::Conversation => "body conversation",
        SessionSource::PreviousResponseId => "body previous_response_id",
        SessionSource::AnthropicUserId => "body metadata.user_id",
        SessionSource::Fingerprint => "a fingerprint of tenant, system prompt and first user turn",
    }
}
