//! Tools that a decision lets the model have.

use std::borrow::Cow;

use pintle_routing::edits::ToolsEdit;
use pintle_routing::facts::Dialect;

use super::Draft;
use super::system::string;
use crate::json::Span;
use crate::json::members::Row;

pub(super) fn edit(draft: &mut Draft<'_>, dialect: Dialect, tools: &ToolsEdit) {
    match tools {
        ToolsEdit::Passthrough => {}
        ToolsEdit::Remove => {
            if remove(draft) {
                draft.remark("tools: all removed".into());
            }
        }
        ToolsEdit::Filter { allow, block } => {
            let passes = |name: &str| {
                (allow.is_empty() || allow.iter().any(|allowed| allowed == name))
                    && !block.iter().any(|blocked| blocked == name)
            };
            filter(draft, dialect, passes);
        }
    }
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

fn filter(draft: &mut Draft<'_>, dialect: Dialect, passes: impl Fn(&str) -> bool) {
    let (mut kept, mut all) = (0, 0);
    let mut rows = Vec::new();
    for member in ["tools", "functions"] {
        let Some(row) = draft.value(member).and_then(|value| Row::array(draft.body, value)) else { continue };
        let keep: Vec<bool> = row
            .items
            .iter()
            .map(|tool| tool_name(draft.body, tool.value).is_some_and(|name| passes(&name)))
            .collect();
        all += keep.len();
        kept += keep.iter().filter(|keep| **keep).count();
        rows.push((member, row, keep));
    }
    if kept == all {
        return;
    }
    draft.remark(format!("tools: {kept} of {all} kept"));
    if kept == 0 {
        remove(draft);
        return;
    }
    for (member, row, keep) in rows {
        if keep.contains(&true) {
            row.rewrite(draft.patch, |at| keep[at], b"", b"");
        } else {
            draft.drop_all(member);
        }
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
