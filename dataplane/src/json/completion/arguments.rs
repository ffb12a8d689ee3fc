//! Where in the text of a tool call, as models write it, the values of its arguments lie.

use std::ops::Range;

use crate::json::Span;
use crate::json::blocks::Native;
use crate::json::cursor::Cursor;
use crate::json::members::Row;

/// Scalars of one text that are looked at.
const MOST_VALUES: usize = 4096;

/// The scalars in `arguments` (or `parameters`, as some models have it) of every JSON object in `text`: numbers and
/// words as they stand, strings without their quotes. In order.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|open| at + open) {
        // An object that is cut off holds no arguments that could be told apart.
        let Ok(object) = Cursor::<Native>::at_value(text.as_bytes(), super::DEPTH, open).span() else {
            break;
        };
        if let Some(row) = Row::object(text, object)
            && let Some(arguments) = row.value(text, "arguments").or_else(|| row.value(text, "parameters"))
        {
            scalars(text, arguments, &mut found);
        }
        at = object.end as usize;
    }
    found
}

fn scalars(text: &str, value: Span, found: &mut Vec<Range<usize>>) {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        if found.len() >= MOST_VALUES {
            return;
        }
        let row = Row::object(text, value).or_else(|| Row::array(text, value));
        match row {
            // The last is looked at first, so what is left stands in order.
            Some(row) => waiting.extend(row.items.iter().rev().map(|item| item.value)),
            None if text.as_bytes().get(value.start as usize) == Some(&b'"') => {
                found.push(value.start as usize + 1..value.end as usize - 1);
            }
            None => found.push(value.range()),
        }
    }
}
