//! Where two documents part.

use serde_json::Value;

/// Characters of a value that a difference shows.
const SHOWN_CHARS: usize = 120;

/// The first place at which two documents differ, and what stands there.
pub(super) fn first_difference(before: &Value, after: &Value) -> Option<String> {
    let mut path = String::new();
    let (before, after) = descend(before, after, &mut path)?;
    let show = |value: Option<&Value>| match value {
        None => "nothing".to_owned(),
        Some(value) => {
            let text = value.to_string();
            match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
    };
    Some(format!("{}: recorded {}, now {}", path.trim_start_matches('.'), show(before), show(after)))
}

type Pair<'v> = (Option<&'v Value>, Option<&'v Value>);

/// Appends the way to the first difference to `path`. The values nest as deep as a configuration's rules may.
fn descend<'v>(before: &'v Value, after: &'v Value, path: &mut String) -> Option<Pair<'v>> {
    match (before, after) {
        _ if before == after => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            step(keys.map(|key| (format!(".{key}"), a.get(key), b.get(key))), path)
        }
        (Value::Array(a), Value::Array(b)) => {
            let most = a.len().max(b.len());
            step((0..most).map(|at| (format!("[{at}]"), a.get(at), b.get(at))), path)
        }
        _ => Some((Some(before), Some(after))),
    }
}

fn step<'v>(
    mut members: impl Iterator<Item = (String, Option<&'v Value>, Option<&'v Value>)>,
    path: &mut String,
) -> Option<Pair<'v>> {
    let (name, before, after) = members.find(|(_, before, after)| before != after)?;
    path.push_str(&name);
    match (before, after) {
        (Some(before), Some(after)) => descend(before, after, path),
        pair => Some(pair),
    }
}
