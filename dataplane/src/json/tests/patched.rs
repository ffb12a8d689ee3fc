//! Only the model changes.

use pintle_routing::facts::Dialect::OpenAiChat;
use proptest::prelude::*;
use serde_json::Value;

use super::corpus;
use crate::json::patch::{Patch, PatchError};
use crate::json::text::quote_into;
use crate::json::{ScanLimits, Span, Spans, scan};

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    quote_into(text, &mut out);
    out
}

fn patched(patch: &mut Patch, body: &[u8]) -> Result<Vec<u8>, PatchError> {
    let length = patch.settle(body.len())?;
    let out = patch.slices(body).collect::<Vec<_>>().concat();
    assert_eq!(out.len(), length);
    Ok(out)
}

/// Patches the model of `body` and returns what would go out.
fn patch(body: &[u8], model: &[u8]) -> Vec<u8> {
    let mut spans = Spans::new();
    scan(body, OpenAiChat, &ScanLimits::default(), &mut spans).unwrap();
    let mut patch = Patch::new();
    patch.replace(spans.model.span(), |out| out.extend_from_slice(model));
    patched(&mut patch, body).unwrap()
}

/// `prefix`, the model member, `suffix`.
fn check(prefix: &str, suffix: &str, old: &str, new: &str) {
    let (old, new) = (quoted(old), quoted(new));
    let body = [prefix.as_bytes(), b"\"model\" :\t", &old, suffix.as_bytes()].concat();
    let wanted = [prefix.as_bytes(), b"\"model\" :\t", &new, suffix.as_bytes()].concat();
    assert_eq!(patch(&body, &new), wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_other_byte_is_the_clients(
        before in prop::collection::vec((".{0,12}", corpus::value()), 0..4),
        content in corpus::value(),
        after in prop::collection::vec((".{0,12}", corpus::value()), 0..4),
        old in ".{1,30}",
        new in ".{0,30}",
    ) {
        // Members with unknown names may repeat; `x-` keeps them from being known ones.
        let member = |(name, value): &(String, Value)| {
            format!("{} : {value}", Value::from(format!("x-{name}")))
        };
        let mut prefix = String::from(" {");
        for entry in &before {
            prefix += &member(entry);
            prefix += ",";
            prefix += &member(entry);
            prefix += " ,\r\n";
        }
        let mut suffix = format!(", \"messages\":[{{\"role\":\"user\",\"content\":{content}}}]");
        for entry in &after {
            suffix += ",";
            suffix += &member(entry);
        }
        suffix += "}\n";
        check(&prefix, &suffix, &old, &new);
    }

    #[test]
    fn a_written_string_reads_back(text in any::<String>()) {
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted(&text)).unwrap(), text);
    }

    #[test]
    fn changes_at_any_place(body in prop::collection::vec(any::<u8>(), 0..40), mut cuts in prop::collection::vec(0u32..40, 4)) {
        cuts.sort_unstable();
        let mut patch = Patch::new();
        // Noted in the other order than they stand in the body.
        patch.remove(Span { start: cuts[2], end: cuts[3] });
        patch.replace(Span { start: cuts[0], end: cuts[1] }, |out| out.extend_from_slice(b"one"));
        patch.insert(cuts[0], |out| out.extend_from_slice(b"<"));
        patch.insert(cuts[0], |out| out.extend_from_slice(b">"));
        match patched(&mut patch, &body) {
            Ok(patched) => {
                let at = |index: usize| cuts[index] as usize;
                // Of changes that begin together, those of no span come first.
                let one: [&[u8]; 3] = if cuts[0] == cuts[1] { [b"one", b"<", b">"] } else { [b"<", b">", b"one"] };
                let wanted = [&body[..at(0)], &one.concat(), &body[at(1)..at(2)], &body[at(3)..]].concat();
                prop_assert_eq!(patched, wanted);
            }
            Err(error) => {
                prop_assert_eq!(error, PatchError::Outside);
                prop_assert!(cuts[3] as usize > body.len());
            }
        }
    }
}

#[test]
fn overlapping_changes_are_refused() {
    let mut patch = Patch::new();
    patch.remove(Span { start: 2, end: 4 });
    patch.remove(Span { start: 1, end: 3 });
    assert_eq!(patch.settle(6), Err(PatchError::Overlap));
    patch.clear();
    patch.remove(Span { start: 1, end: 3 });
    patch.insert(2, |out| out.push(b'x'));
    assert_eq!(patch.settle(6), Err(PatchError::Overlap));
}

#[test]
fn nesting_up_to_the_limit_passes_unchanged() {
    let nested = format!("{}{}", "{\"a\":[".repeat(63), "]}".repeat(63));
    check("{", &format!(",\"messages\":[],\"deep\":{nested}}}"), "a", "b");
}

#[test]
fn large_bodies_pass_unchanged() {
    // 16 MiB, a third of it escapes.
    let text = "line \\\"one\\\"\\n\\u4f60 ".repeat((16 << 20) / 21);
    check(
        "{",
        &format!(",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"),
        "a",
        "bigger-model",
    );
    let tail = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}],");
    check(&tail, "}", "a", "bigger-model");
}
