//! What a decision changes in a request, as a patch of the client's body.
//!
//! # Order
//!
//! Model, what several calls for one answer need, reasoning, system prompt, parameters, tools; header fields are the
//! caller's business. A later step
//! finds the body as the earlier ones left it, and none undoes what the router itself put there: a parameter
//! that reasoning has set is neither blocked nor stripped. Whatever no step names passes byte for byte.
//!
//! # Why from the body anew
//!
//! The steps need places that the scan for routing does not note, and only a decision with edits needs them.
//! So the body's outermost members are walked once more where there is something to do, and not otherwise.

mod parameters;
pub(crate) mod sub_call;
mod system;
#[cfg(test)]
mod tests;
pub(crate) mod tools;

use std::borrow::Cow;

pub use sub_call::SubCall;
pub use tools::RelevantTools;

use pintle_routing::edits::{Reasoning, RequestEdits};
use pintle_routing::facts::Dialect;

use crate::json::Span;
use crate::json::members::Row;
use crate::json::patch::Patch;
use crate::json::text::quote_into;

/// Remarks kept of one request; a client can make as many parameters as it likes.
const MOST_REMARKS: usize = 32;
/// Characters of a client's own words that a remark repeats.
const MOST_WORDS: usize = 64;

/// What is asked of the body.
#[derive(Debug, Clone, Copy)]
pub struct Edits<'a> {
    /// The body's API.
    pub dialect: Dialect,
    /// Where the model's value lies, quotes included.
    pub model: Span,
    /// What takes its place: a JSON string.
    pub literal: &'a [u8],
    /// What it asks as one of several calls for one answer.
    pub sub_call: Option<&'a SubCall<'a>>,
    /// Edits of the decision, if one was taken.
    pub decision: Option<&'a RequestEdits>,
    /// The tools that have to do with the request, where that was looked at.
    pub relevant: Option<&'a RelevantTools>,
    /// How the target is told to reason.
    pub reasoning: Option<Reasoning<'a>>,
    /// An effort is a parameter of its own (OpenAI's servers) and not one of the chat template.
    pub plain_effort: bool,
}

impl Edits<'_> {
    /// Only the model changes.
    fn is_plain(&self) -> bool {
        let edits = self.decision.is_none_or(|edits| {
            let RequestEdits {
                system_prompt,
                params,
                tools,
                tool_selection: _,
                tool_addition: _,
                headers: _,
            } = edits;
            system_prompt.is_none() && *params == Default::default() && *tools == Default::default()
        });
        let reasons = !matches!(self.reasoning, None | Some(Reasoning::Effort { effort: None }));
        edits && !reasons && self.sub_call.is_none() && self.relevant.is_none()
    }

    /// Notes the changes of `body`, a body of this dialect, in `patch`, and says in a line each what was done
    /// beyond the model.
    pub fn note(&self, body: &[u8], patch: &mut Patch) -> Vec<String> {
        patch.replace(self.model, |out| out.extend_from_slice(self.literal));
        if self.is_plain() {
            return Vec::new();
        }
        // The scan has proved both.
        let Some((body, top)) =
            simdutf8::basic::from_utf8(body).ok().and_then(|body| Some((body, Row::document(body)?)))
        else {
            return Vec::new();
        };
        let count = top.items.len();
        let mut draft = Draft {
            body,
            patch,
            fates: vec![Fate::Kept; count],
            top,
            added: Vec::new(),
            remarks: Vec::new(),
            unsaid: 0,
        };
        if let Some(sub_call) = self.sub_call {
            sub_call::edit(&mut draft, self.dialect, sub_call);
        }
        let strip = self.decision.is_some_and(|edits| edits.params.strip_unknown);
        if let Some(reasoning) = self.reasoning {
            self.reason(&mut draft, reasoning, strip);
        }
        if let Some(edits) = self.decision {
            if let Some(prompt) = &edits.system_prompt {
                system::edit(&mut draft, self.dialect, prompt);
            }
            parameters::edit(&mut draft, self.dialect, &edits.params);
            tools::edit(&mut draft, self.dialect, &edits.tools, self.relevant);
        }
        draft.finish()
    }

    fn reason(&self, draft: &mut Draft<'_>, reasoning: Reasoning<'_>, alone: bool) {
        let mut value = Vec::new();
        match (reasoning, self.dialect) {
            (Reasoning::Effort { effort: None }, _) => {}
            (_, Dialect::AnthropicMessages) | (Reasoning::TemplateFlag { .. }, Dialect::OpenAiResponses) => {
                draft.remark(
                    "reasoning: this API has no word for the model's reasoning family; left as it is".into(),
                );
            }
            (Reasoning::TemplateFlag { parameter, on }, Dialect::OpenAiChat) => {
                draft.drop_all("reasoning_effort");
                value.extend_from_slice(if on { b"true" } else { b"false" });
                draft.set_within("chat_template_kwargs", parameter, &value, alone);
                draft.remark(format!("reasoning: chat_template_kwargs.{parameter} = {on}"));
            }
            (Reasoning::Effort { effort: Some(effort) }, Dialect::OpenAiResponses) => {
                quote_into(effort, &mut value);
                draft.set_within("reasoning", "effort", &value, false);
                draft.remark(format!("reasoning: reasoning.effort = {effort}"));
            }
            (Reasoning::Effort { effort: Some(effort) }, Dialect::OpenAiChat) => {
                quote_into(effort, &mut value);
                if self.plain_effort {
                    draft.set("reasoning_effort", &value);
                    draft.remark(format!("reasoning: reasoning_effort = {effort}"));
                } else {
                    draft.drop_all("reasoning_effort");
                    draft.set_within("chat_template_kwargs", "reasoning_effort", &value, alone);
                    draft.remark(format!("reasoning: chat_template_kwargs.reasoning_effort = {effort}"));
                }
            }
        }
    }
}

/// What becomes of one outermost member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays, with whatever is patched inside.
    Kept,
    /// The router has set it: no later step touches it.
    Set,
    Dropped,
}

/// A body while its edits are noted.
struct Draft<'a> {
    body: &'a str,
    patch: &'a mut Patch,
    top: Row,
    /// By the position of the member.
    fates: Vec<Fate>,
    /// New members, comma-separated.
    added: Vec<u8>,
    remarks: Vec<String>,
    unsaid: usize,
}

impl<'a> Draft<'a> {
    /// The member of this name that counts, if it is still there.
    fn find(&self, name: &str) -> Option<usize> {
        self.top.named(self.body, name).rfind(|at| self.fates[*at] != Fate::Dropped)
    }

    fn value(&self, name: &str) -> Option<Span> {
        self.find(name).map(|at| self.top.items[at].value)
    }

    fn name(&self, at: usize) -> Cow<'a, str> {
        self.top.items[at].name.map(|name| name.decode(self.body)).unwrap_or_default()
    }

    /// Takes a member out unless the router has set it.
    fn drop_at(&mut self, at: usize) -> bool {
        let drops = self.fates[at] == Fate::Kept;
        if drops {
            self.fates[at] = Fate::Dropped;
        }
        drops
    }

    /// Takes all members of this name out; says whether there was one.
    fn drop_all(&mut self, name: &str) -> bool {
        let all: Vec<usize> = self.top.named(self.body, name).collect();
        let mut dropped = false;
        for at in all {
            dropped |= self.drop_at(at);
        }
        dropped
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.added.is_empty() {
            self.added.push(b',');
        }
        quote_into(name, &mut self.added);
        self.added.push(b':');
        self.added.extend_from_slice(value);
    }

    /// The position of the one member of this name, those that a reader might prefer to it dropped.
    fn only(&mut self, name: &str) -> Option<usize> {
        let at = self.find(name)?;
        let others: Vec<usize> = self.top.named(self.body, name).filter(|other| *other != at).collect();
        for other in others {
            self.drop_at(other);
        }
        Some(at)
    }

    /// Sets an outermost member.
    fn set(&mut self, name: &str, value: &[u8]) {
        match self.only(name) {
            Some(at) => {
                let old = self.top.items[at].value;
                self.patch.replace(old, |out| out.extend_from_slice(value));
                self.fates[at] = Fate::Set;
            }
            None => self.add(name, value),
        }
    }

    /// Sets `key` of the object that is the member `name`; `alone`, without what else the client put there.
    fn set_within(&mut self, name: &str, key: &str, value: &[u8], alone: bool) {
        let mut inner = Vec::new();
        quote_into(key, &mut inner);
        inner.push(b':');
        inner.extend_from_slice(value);
        let object = |inner: &[u8]| [b"{", inner, b"}"].concat();
        let at = self.only(name);
        let row = at.filter(|_| !alone).and_then(|at| Row::object(self.body, self.top.items[at].value));
        let (Some(at), Some(row)) = (at, row) else {
            return self.set(name, &object(&inner));
        };
        let last = row.named(self.body, key).next_back();
        let repeated: Vec<usize> = row.named(self.body, key).filter(|at| Some(*at) != last).collect();
        if let Some(last) = last {
            self.patch.replace(row.items[last].value, |out| out.extend_from_slice(value));
            inner.clear();
        }
        row.rewrite(self.patch, |at| !repeated.contains(&at), b"", &inner);
        self.fates[at] = Fate::Set;
    }

    fn remark(&mut self, remark: String) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.push(remark);
        } else {
            self.unsaid += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        let fates = &self.fates;
        self.top.rewrite(self.patch, |at| fates[at] != Fate::Dropped, b"", &self.added);
        if self.unsaid > 0 {
            self.remarks.push(format!("and {} more", self.unsaid));
        }
        self.remarks
    }
}

/// A client's own word, cut to a length that a record can bear.
fn shown(word: &str) -> String {
    word.chars().take(MOST_WORDS).collect()
}
