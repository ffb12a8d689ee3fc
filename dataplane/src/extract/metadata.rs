//! The members of `metadata`, as far as they are read.

use std::borrow::Cow;

use pintle_routing::facts::{MAX_METADATA_MEMBERS, MAX_METADATA_NAME, MAX_METADATA_TEXT, Metadata};

use crate::json::members::{Texts, texts};
use crate::json::{Spans, StringSpan};

pub(super) fn metadata<'a>(body: &'a str, spans: &Spans) -> Metadata<'a> {
    let Some(object) = spans.metadata else { return Metadata::default() };
    let Texts { members, more } = texts(body, object, MAX_METADATA_MEMBERS);
    let mut read = Metadata { members: Vec::with_capacity(members.len()), truncated: more };
    let short = |string: StringSpan, most: usize| -> Option<Cow<'a, str>> {
        Some(string.decode(body)).filter(|text| text.len() <= most)
    };
    for (name, text) in members {
        let name = short(name, MAX_METADATA_NAME);
        let text = text.map(|text| short(text, MAX_METADATA_TEXT));
        match (name, text) {
            (Some(name), None) => read.members.push((name, None)),
            (Some(name), Some(Some(text))) => read.members.push((name, Some(text))),
            _ => read.truncated = true,
        }
    }
    read
}
