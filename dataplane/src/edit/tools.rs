//! Tools that a decision lets the model have.

use std::borrow::Cow;

use pintle_routing::edits::ToolsEdit;
use pintle_routing::facts::Dialect;

use super::Draft;
use crate::json::Span;
use crate::json::members::Row;
use crate::json::text::string;

/// Tools that have to do with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelevantTools {
    /// Names of those that stay of what is offered; `None` leaves all.
    pub kept: Option<Vec<String>>,
    /// Those that are offered besides, unless one of the name is: name, and the tool as this API writes it.
    pub added: Vec<(String, String)>,
    /// How many there were, and why these.
    pub remark: String,
}

pub(super) fn edit(
    draft: &mut Draft<'_>,
    dialect: Dialect,
    tools: &ToolsEdit,
    relevant: Option<&RelevantTools>,
) {
    let is_relevant = |name: &str| match relevant.and_then(|relevant| relevant.kept.as_ref()) {
        Some(kept) => kept.iter().any(|kept| kept == name),
        None => true,
    };
    let added = relevant.map_or(&[][..], |relevant| &relevant.added);
    if let Some(relevant) = relevant {
        draft.remark(relevant.remark.clone());
    }
    match tools {
        ToolsEdit::Passthrough if relevant.is_none() => {}
        ToolsEdit::Passthrough => filter(draft, dialect, is_relevant, added),
        ToolsEdit::Remove => {
            if remove(draft) {
                draft.remark("tools: all removed".into());
            }
        }
        ToolsEdit::Filter { allow, block } => {
            let passes = |name: &str| {
                (allow.is_empty() || allow.iter().any(|allowed| allowed == name))
                    && !block.iter().any(|blocked| blocked == name)
                    && is_relevant(name)
            };
            filter(draft, dialect, passes, added);
        }
    }
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) name: String,
    /// What it says of itself: name and description.
    pub(crate) text: String,
    /// The conversation has called it, or the request demands it.
    pub(crate) bound: bool,
}

/// The tools that a request offers; `None` if it offers none, or wants none to be called.
pub(crate) fn offered(body: &str, dialect: Dialect) -> Option<Vec<Offered>> {
    let top = Row::document(body)?;
    let text = |row: &Row, name: &str| string(body, row.value(body, name)?);
    let choice = top.value(body, "tool_choice").or_else(|| top.value(body, "function_call"));
    let kind = choice.and_then(|choice| match Row::object(body, choice) {
        Some(row) => text(&row, "type"),
        None => string(body, choice),
    });
    if kind.as_deref() == Some("none") {
        return None;
    }
    let mut bound = called(body, &top);
    bound.extend(choice.and_then(|choice| chosen(body, dialect, choice)).map(Cow::into_owned));
    let mut tools = Vec::new();
    for member in ["tools", "functions"] {
        let row = top.value(body, member).and_then(|value| Row::array(body, value));
        for item in row.iter().flat_map(|row| &row.items) {
            let Some(name) = tool_name(body, item.value) else { continue };
            let described = Row::object(body, item.value).and_then(|tool| {
                let inner = tool.value(body, "function").and_then(|value| Row::object(body, value));
                text(inner.as_ref().unwrap_or(&tool), "description")
            });
            let bound = bound.iter().any(|bound| *bound == name);
            let text = match described {
                Some(described) => format!("{name}: {described}"),
                None => name.to_string(),
            };
            tools.push(Offered { name: name.into_owned(), text, bound });
        }
    }
    (!tools.is_empty()).then_some(tools)
}

/// What the request lets the model do with tools is the model's choice.
pub(crate) fn chooses(body: &str) -> bool {
    let Some(top) = Row::document(body) else { return false };
    let said = |name: &str| top.value(body, name).filter(|value| body.get(value.range()) != Some("null"));
    let Some(choice) = said("tool_choice").or_else(|| said("function_call")) else { return true };
    let kind = match Row::object(body, choice) {
        Some(row) => row.value(body, "type").and_then(|kind| string(body, kind)),
        None => string(body, choice),
    };
    kind.as_deref() == Some("auto")
}

/// Names of the tools that the conversation has called.
pub(crate) fn in_use(body: &str) -> Vec<String> {
    Row::document(body).map(|top| called(body, &top)).unwrap_or_default()
}

fn called(body: &str, top: &Row) -> Vec<String> {
    let mut names = Vec::new();
    let list = top.value(body, "messages").or_else(|| top.value(body, "input"));
    let messages = list.and_then(|value| Row::array(body, value));
    for message in messages.iter().flat_map(|row| &row.items) {
        let Some(row) = Row::object(body, message.value) else { continue };
        let calls = |member: &str| row.value(body, member).and_then(|value| Row::array(body, value));
        for call in calls("tool_calls").iter().flat_map(|calls| &calls.items) {
            names.extend(tool_name(body, call.value).map(Cow::into_owned));
        }
        if let Some(call) = row.value(body, "function_call") {
            names.extend(tool_name(body, call).map(Cow::into_owned));
        }
        let is_call = |row: &Row| {
            let kind = row.value(body, "type").and_then(|kind| string(body, kind));
            kind.is_some_and(|kind| kind == "tool_use" || kind.ends_with("_call"))
        };
        if is_call(&row) {
            names.extend(tool_name(body, message.value).map(Cow::into_owned));
        }
        for block in calls("content").iter().flat_map(|blocks| &blocks.items) {
            if Row::object(body, block.value).is_some_and(|block| is_call(&block)) {
                names.extend(tool_name(body, block.value).map(Cow::into_owned));
            }
        }
    }
    names
}

/// Takes out the tools and what speaks of them; OpenAI refuses a choice among no tools.
fn remove(draft: &mut Draft<'_>) -> bool {
    let names = ["tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"];
    let mut removed = false;
    for name in names {
        removed |= draft.drop_all(name);
    }
    removed
}

/// Leaves the tools that pass, and offers those of `added` that pass and are not there.
fn filter(
    draft: &mut Draft<'_>,
    dialect: Dialect,
    passes: impl Fn(&str) -> bool,
    added: &[(String, String)],
) {
    let may_not_be = draft.top.named(draft.body, "tools").next().is_some();
    // An API that has both takes only one of them.
    let blocked = draft.find("tools").is_none() && (may_not_be || draft.find("functions").is_some());
    let (mut kept, mut all) = (0, 0);
    let (mut rows, mut offered) = (Vec::new(), Vec::new());
    for member in ["tools", "functions"] {
        let Some(row) = draft.value(member).and_then(|value| Row::array(draft.body, value)) else { continue };
        let keep: Vec<bool> = row
            .items
            .iter()
            .map(|tool| tool_name(draft.body, tool.value).is_some_and(|name| passes(&name)))
            .collect();
        let names = row.items.iter().filter_map(|tool| tool_name(draft.body, tool.value));
        offered.extend(names.map(Cow::into_owned));
        all += keep.len();
        kept += keep.iter().filter(|keep| **keep).count();
        rows.push((member, row, keep));
    }
    let added: Vec<&str> = added
        .iter()
        .filter(|(name, _)| !blocked && passes(name) && !offered.contains(name))
        .map(|(_, tool)| tool.as_str())
        .collect();
    if kept == all && added.is_empty() {
        return;
    }
    if kept < all {
        draft.remark(format!("tools: {kept} of {all} kept"));
    }
    if kept == 0 && added.is_empty() {
        remove(draft);
        return;
    }
    let joined = added.join(",");
    let mut placed = added.is_empty();
    for (member, row, keep) in rows {
        let back = if member == "tools" { joined.as_bytes() } else { b"" };
        placed |= member == "tools";
        if keep.contains(&true) || !back.is_empty() {
            row.rewrite(draft.patch, |at| keep[at], b"", back);
        } else {
            draft.drop_all(member);
        }
    }
    if !placed {
        draft.set("tools", format!("[{joined}]").as_bytes());
    }
    // A tool that is gone cannot be demanded.
    for member in ["tool_choice", "function_call"] {
        let chosen = draft.value(member).and_then(|value| chosen(draft.body, dialect, value));
        if chosen.is_some_and(|name| !passes(&name)) {
            draft.drop_all(member);
            draft.remark(format!("tools: {member} named a removed tool; removed"));
        }
    }
}

/// The name of an offered tool: of a function, custom or client tool its own, of a tool that the provider runs
/// its type.
fn tool_name(body: &str, tool: Span) -> Option<Cow<'_, str>> {
    let tool = Row::object(body, tool)?;
    let text = |row: &Row, name: &str| string(body, row.value(body, name)?);
    let nested = |name: &str| text(&Row::object(body, tool.value(body, name)?)?, "name");
    nested("function")
        .or_else(|| nested("custom"))
        .or_else(|| text(&tool, "name"))
        .or_else(|| text(&tool, "type"))
}

/// The one tool that a choice demands, if it demands one.
fn chosen(body: &str, dialect: Dialect, choice: Span) -> Option<Cow<'_, str>> {
    let row = Row::object(body, choice)?;
    let kind = row.value(body, "type").and_then(|kind| string(body, kind));
    match (dialect, kind.as_deref()) {
        // `{"type":"any"}` demands some tool, `allowed_tools` several.
        (Dialect::AnthropicMessages, Some("tool")) => string(body, row.value(body, "name")?),
        (Dialect::AnthropicMessages, _) | (_, Some("allowed_tools")) => None,
        _ => tool_name(body, choice),
    }
}
