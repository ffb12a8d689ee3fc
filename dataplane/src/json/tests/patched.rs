//! Only the model changes.

use pintle_routing::facts::Dialect::OpenAiChat;
use proptest::prelude::*;
use serde_json::Value;

use super::corpus;
use crate::json::patch::{JsonValue, PatchError, Patched};
use crate::json::{ScanLimits, Span, Spans, scan};

/// Patches the model of `body` and returns what would go out.
fn patch(body: &[u8], model: &JsonValue) -> Vec<u8> {
    let mut spans = Spans::new();
    scan(body, OpenAiChat, &ScanLimits::default(), &mut spans).unwrap();
    let replacements = [(spans.model.span(), model.bytes())];
    let patched = Patched::new(body, &replacements).unwrap();
    let out = patched.slices().concat();
    assert_eq!(out.len() as u64, patched.len());
    assert!(patched.slices().len() <= 3);
    out
}

/// `prefix`, the model member, `suffix`.
fn check(prefix: &str, suffix: &str, old: &str, new: &str) {
    let old = JsonValue::string(old);
    let new = JsonValue::string(new);
    let body = [prefix.as_bytes(), b"\"model\" :\t", old.bytes(), suffix.as_bytes()].concat();
    let wanted = [prefix.as_bytes(), b"\"model\" :\t", new.bytes(), suffix.as_bytes()].concat();
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
        let value = JsonValue::string(&text);
        prop_assert_eq!(serde_json::from_slice::<String>(value.bytes()).unwrap(), text);
    }

    #[test]
    fn replacements_at_any_place(body in prop::collection::vec(any::<u8>(), 0..40), mut cuts in prop::collection::vec(0u32..40, 4)) {
        cuts.sort_unstable();
        let span = |start: u32, end: u32| Span { start, end };
        let replacements = [(span(cuts[0], cuts[1]), &b"one"[..]), (span(cuts[2], cuts[3]), &b""[..])];
        match Patched::new(&body, &replacements) {
            Ok(patched) => {
                let at = |index: usize| cuts[index] as usize;
                let wanted = [&body[..at(0)], b"one", &body[at(1)..at(2)], &body[at(3)..]].concat();
                prop_assert_eq!(patched.slices().concat(), wanted);
            }
            Err(error) => {
                prop_assert_eq!(error, PatchError::Outside);
                prop_assert!(cuts[3] as usize > body.len());
            }
        }
    }
}

#[test]
fn spans_out_of_order_are_refused() {
    let (early, late) = (Span { start: 1, end: 3 }, Span { start: 2, end: 4 });
    assert_eq!(Patched::new(b"abcdef", &[(late, b""), (early, b"")]), Err(PatchError::Order));
    assert_eq!(Patched::new(b"abcdef", &[(early, b""), (late, b"")]), Err(PatchError::Order));
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
