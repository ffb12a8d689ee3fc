//! What the scan promises, told by example and by property.

use pintle_routing::facts::Dialect::{self, AnthropicMessages, OpenAiChat, OpenAiResponses};
use proptest::prelude::*;

use super::blocks::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::blocks::x86::{Sse2, avx2_masks};
use super::blocks::{BLOCK, Blocks, Native, Strings};
use super::scan::scan_with;
use super::*;

mod corpus;
mod patched;

fn scanned(body: &str, dialect: Dialect) -> Result<Spans, ScanError> {
    let mut spans = Spans::new();
    scan(body.as_bytes(), dialect, &ScanLimits::default(), &mut spans).map(|_| spans)
}

fn kind(body: &str) -> ScanErrorKind {
    scanned(body, OpenAiChat).unwrap_err().kind
}

fn kinds(body: &str, spans: &Spans, message: usize) -> Vec<(PartKind, String)> {
    let part =
        |part: &Part| (part.kind, part.string.map(|s| s.decode(body).into_owned()).unwrap_or_default());
    spans.parts_of(spans.messages[message].parts).iter().map(part).collect()
}

#[test]
fn finds_everything_of_a_chat_request() {
    let body = r#" {"x":{"model":"no","messages":1},"m\u006fdel" : "gpt-\"4","stream":true,"n":2,"user":"u1",
        "max_completion_tokens":77,"max_tokens":5,"stream_options":{"include_usage":true},"tool_choice":"auto",
        "metadata":{"a":1},"prompt_cache_key":"k","tools":[{"type":"function"},{}],
        "messages":[{"role":"system","content":"s"},
          {"content":[{"type":"text","text":"a\u00e9\\"},{"type":"image_url","image_url":{"url":"x"}}],"role":"us\u0065r","name":"bob"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2"}]},
          {"role":"tool","tool_call_id":"c1","content":"ok"}]} "#;
    let spans = scanned(body, OpenAiChat).unwrap();
    assert_eq!(spans.model.decode(body), "gpt-\"4");
    assert_eq!(spans.model.span().of(body.as_bytes()), br#""gpt-\"4""#);
    assert!(spans.stream && spans.include_usage);
    assert_eq!((spans.n, spans.max_completion(), spans.tool_definitions), (Some(2), Some(77), 2));
    assert_eq!(spans.user.unwrap().decode(body), "u1");
    assert_eq!(spans.prompt_cache_key.unwrap().decode(body), "k");
    let roles: Vec<Role> = spans.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(spans.messages[1].name.unwrap().decode(body), "bob");
    assert_eq!(kinds(body, &spans, 1), [(PartKind::Text, "aé\\".into()), (PartKind::Image, String::new())]);
    let calls = kinds(body, &spans, 2);
    assert_eq!(
        calls,
        [
            (PartKind::Arguments, r#"{"a":1}"#.into()),
            (PartKind::ToolCall, "c1".into()),
            (PartKind::ToolCall, "c2".into())
        ]
    );
    assert_eq!(kinds(body, &spans, 3), [(PartKind::Text, "ok".into()), (PartKind::ToolResult, "c1".into())]);
}

#[test]
fn finds_everything_of_an_anthropic_request() {
    let body = r#"{"model":"claude","max_tokens":9,"system":[{"type":"text","text":"be brief"}],"metadata":{"user_id":"u7"},
        "messages":[{"role":"user","content":"hi"},
          {"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"f","input":{"content":[1]}}]},
          {"role":"user","content":[{"content":[{"type":"text","text":"42"},{"type":"image","source":{}}],"type":"tool_result","tool_use_id":"t1"},{"type":"text","text":"go on"}]}]}"#;
    let spans = scanned(body, AnthropicMessages).unwrap();
    assert_eq!(spans.metadata_user_id.unwrap().decode(body), "u7");
    assert_eq!(spans.max_completion(), Some(9));
    assert_eq!(spans.parts_of(spans.system.unwrap())[0].string.unwrap().decode(body), "be brief");
    assert_eq!(
        kinds(body, &spans, 1),
        [
            (PartKind::Reasoning, "hm".into()),
            (PartKind::ArgumentsJson, r#""content":[1]"#.into()),
            (PartKind::ToolCall, "t1".into()),
        ]
    );
    assert_eq!(
        kinds(body, &spans, 2),
        [
            (PartKind::ResultText, "42".into()),
            (PartKind::Image, String::new()),
            (PartKind::ToolResult, "t1".into()),
            (PartKind::Text, "go on".into()),
        ]
    );
}

#[test]
fn finds_everything_of_a_responses_request() {
    let body = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},
        {"type":"reasoning","summary":[]},
        {"type":"function_call","call_id":"f1","name":"g","arguments":"{}"},
        {"type":"function_call_output","call_id":"f1","output":"done"},{"type":"item_reference","id":"i"}],
        "instructions":"short","conversation":{"id":"conv_1"},"previous_response_id":"resp_1","max_output_tokens":3}"#;
    let spans = scanned(body, OpenAiResponses).unwrap();
    assert_eq!(spans.conversation.unwrap().decode(body), "conv_1");
    assert_eq!(spans.previous_response_id.unwrap().decode(body), "resp_1");
    assert_eq!((spans.max_completion(), spans.item_references), (Some(3), 1));
    let roles: Vec<Role> = spans.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Assistant, Role::Tool, Role::Other]);
    assert_eq!(
        kinds(body, &spans, 2),
        [(PartKind::Arguments, "{}".into()), (PartKind::ToolCall, "f1".into())]
    );
    assert_eq!(
        kinds(body, &spans, 3),
        [(PartKind::ResultText, "done".into()), (PartKind::ToolResult, "f1".into())]
    );

    let text = r#"{"input":"hello","model":"m"}"#;
    let spans = scanned(text, OpenAiResponses).unwrap();
    assert_eq!(kinds(text, &spans, 0), [(PartKind::Text, "hello".into())]);
}

#[test]
fn says_what_is_wrong() {
    use ScanErrorKind::*;
    const M: &str = r#""model":"m","messages":[]"#;
    for (body, expected) in [
        ("", NotAnObject),
        ("[]", NotAnObject),
        ("{", UnexpectedEnd { expected: "a member name in double quotes" }),
        (r#"{"messages":[]}"#, Missing { key: "model" }),
        (r#"{"model":"m"}"#, Missing { key: "messages" }),
        (r#"{"model":1,"messages":[]}"#, Type { key: "model", expected: "a string that is not empty" }),
        (r#"{"model":"","messages":[]}"#, Type { key: "model", expected: "a string that is not empty" }),
        (r#"{"model":"m","messages":{}}"#, Type { key: "messages", expected: "an array" }),
        (r#"{"model":"m","messages":[1]}"#, Type { key: "messages[]", expected: "an object" }),
        (r#"{"model":"m","stream":1,"messages":[]}"#, Type { key: "stream", expected: "true or false" }),
        (r#"{"model":"m","messages":[],"m\u006fdel":"n"}"#, Duplicate { key: "model" }),
        (r#"{"model":"m","user":null,"user":"x","messages":[]}"#, Duplicate { key: "user" }),
        (r#"{"model":"m","messages":[{"role":"user","role":"tool"}]}"#, Duplicate { key: "role" }),
        (&format!("{{{M}}}x"), Trailing),
        (&format!("{{{M},}}"), Unexpected { expected: "a member name in double quotes" }),
        (&format!("{{{M},\"a\":01}}"), Unexpected { expected: "',' or '}'" }),
        (&format!("{{{M},\"a\":-}}"), Unexpected { expected: "a digit" }),
        (&format!("{{{M},\"a\":1.}}"), Unexpected { expected: "a digit" }),
        (&format!("{{{M},\"a\":tru}}"), Unexpected { expected: "true, false or null" }),
        (&format!("{{{M},\"a\" 1}}"), Unexpected { expected: "':'" }),
        (&format!("{{{M},\"a\":[1}}"), Unexpected { expected: "',' or ']'" }),
        (&format!("{{{M},\"a\":\"\u{1}\"}}"), ControlCharacter),
        (&format!("{{{M},\"a\":\"\\x\"}}"), Escape),
        (&format!("{{{M},\"a\":\"\\u12g4\"}}"), UnicodeEscape),
        (&format!("{{{M},\"a\":\"\\u123\"}}"), UnicodeEscape),
        (&format!("{{{M},\"a\":\"x"), UnexpectedEnd { expected: "'\"'" }),
        (&format!("{{{M},\"a\":\"x\\"), UnexpectedEnd { expected: "'\"'" }),
    ] {
        assert_eq!(kind(body), expected, "{body}");
    }
}

#[test]
fn says_where() {
    let error = scanned("{\"model\":\"m\",\n \"é\": x}", OpenAiChat).unwrap_err();
    assert_eq!((error.line, error.column, error.offset), (2, 7, 21));
    assert_eq!(error.to_string(), "invalid JSON: expected a value (line 2, column 7, byte 21)");
    let error =
        scan(b"{\"model\":\"\xff\"}", OpenAiChat, &ScanLimits::default(), &mut Spans::new()).unwrap_err();
    assert_eq!((error.kind, error.offset), (ScanErrorKind::Utf8, 10));
}

#[test]
fn limits_depth_messages_and_parts() {
    let nested = |levels: usize| {
        format!("{{\"model\":\"m\",\"messages\":[],\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    assert!(scanned(&nested(127), OpenAiChat).is_ok());
    assert_eq!(kind(&nested(128)), ScanErrorKind::Depth { limit: 128 });
    assert_eq!(
        kind(&format!("{{\"x\":{}", "[{\"a\":".repeat(5_000_000))),
        ScanErrorKind::Depth { limit: 128 }
    );

    let limits = ScanLimits { messages: 2, parts: 3, ..ScanLimits::default() };
    let body = |message: &str, n: usize| {
        format!("{{\"model\":\"m\",\"messages\":[{}]}}", vec![message; n].join(","))
    };
    let run = |body: String| scan(body.as_bytes(), OpenAiChat, &limits, &mut Spans::new()).map(drop);
    assert!(run(body("{}", 2)).is_ok());
    assert_eq!(run(body("{}", 3)).unwrap_err().kind, ScanErrorKind::TooMany { what: "messages", limit: 2 });
    assert!(run(body(r#"{"content":["a","b","c"]}"#, 1)).is_ok());
    let error = run(body(r#"{"content":["a","b"]}"#, 2)).unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::TooMany { what: "parts of messages", limit: 3 });
}

#[test]
fn rejects_every_truncation() {
    for body in corpus::bodies() {
        for cut in 0..body.len() {
            let mut spans = Spans::new();
            assert!(scan(&body.as_bytes()[..cut], OpenAiChat, &ScanLimits::default(), &mut spans).is_err());
        }
    }
}

#[test]
fn decodes_all_that_strings_can_hold() {
    for (raw, text) in [
        (r"plain", "plain"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r"\u0041\u00e9\u4f60", "Aé你"),
        (r"\ud83d\ude00!", "😀!"),
        (r"\uD83D", "\u{fffd}"),
        (r"\ude00\ud83dx", "\u{fffd}\u{fffd}x"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"é\u0000", "é\0"),
        // Malformed, as only a caller that did not scan could pass.
        (r"\", "\u{fffd}"),
        (r"\x", "\u{fffd}x"),
        (r"\u12", "\u{fffd}12"),
        (r"\ué", "\u{fffd}é"),
    ] {
        assert_eq!(text::decode(raw), text, "{raw}");
    }
}

/// Bytes on both sides of every boundary that the masks draw, and any others.
fn interesting_byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(&b"\"\\\x1e\x1f\x20\x21u/0189:@AFGZ`afgz\x7f\x80\xff"[..]), any::<u8>(),]
}

/// A string for JSON text: mostly plain, often escaped, sometimes wrong.
fn stringish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z \u{e9}\u{4f60}]{0,20}",
        2 => Just("\\\\".to_owned()),
        2 => Just("\\\"".to_owned()),
        2 => Just("\\n".to_owned()),
        2 => "\\\\u[0-9a-fA-F]{4}",
        1 => Just("\\ud83d\\ude00".to_owned()),
        1 => "\\\\u[0-9a-g]{1,4}",
        1 => "\\\\[a-z/]",
        1 => Just("\"".to_owned()),
        1 => Just("\u{1}".to_owned()),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn simd_blocks_equal_portable_ones(bytes in prop::collection::vec(interesting_byte(), BLOCK), wanted in interesting_byte()) {
        let bytes: [u8; BLOCK] = bytes.try_into().unwrap();
        let masks = (Portable::block(&bytes), Portable::equal(&bytes, wanted), Portable::hex_digits(&bytes));
        let plain = |test: fn(u8) -> bool| (0..BLOCK).filter(|&at| test(bytes[at])).fold(0, |mask, at| mask | 1 << at);
        prop_assert_eq!(masks.0.quote, plain(|byte| byte == b'"'));
        prop_assert_eq!(masks.0.backslash, plain(|byte| byte == b'\\'));
        prop_assert_eq!(masks.0.control, plain(|byte| byte < 0x20));
        prop_assert_eq!(masks.2, plain(|byte| byte.is_ascii_hexdigit()));
        #[cfg(target_arch = "x86_64")]
        {
            prop_assert_eq!((Sse2::block(&bytes), Sse2::equal(&bytes, wanted), Sse2::hex_digits(&bytes)), masks);
            if let Some(avx2) = avx2_masks(&bytes, wanted) {
                prop_assert_eq!(avx2, masks);
            }
        }
        let short = bytes.first_chunk().unwrap();
        prop_assert_eq!(Native::short(short), Portable::short(short));
    }

    #[test]
    fn simd_scan_equals_portable_scan_and_both_agree_with_serde(text in stringish(), pad in 0usize..70) {
        let body = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}{text}\"}}]}}", "p".repeat(pad));
        let (mut native, mut portable) = (Spans::new(), Spans::new());
        let limits = ScanLimits::default();
        let one = scan_with::<Native>(body.as_bytes(), OpenAiChat, &limits, &mut native);
        let two = scan_with::<Portable>(body.as_bytes(), OpenAiChat, &limits, &mut portable);
        prop_assert_eq!(one, two);
        prop_assert_eq!(&native.parts, &portable.parts);
        prop_assert_eq!(&native.messages, &portable.messages);
        #[cfg(target_arch = "x86_64")]
        {
            let three = scan_with::<Sse2>(body.as_bytes(), OpenAiChat, &limits, &mut native);
            prop_assert_eq!(one, three);
            prop_assert_eq!(&native.parts, &portable.parts);
        }
        // serde_json checks the same grammar when it does not decode strings.
        let valid = serde_json::from_str::<&serde_json::value::RawValue>(&body).is_ok();
        prop_assert_eq!(one.is_ok(), valid, "{}", body);
    }

    #[test]
    fn decoded_length_is_the_length_of_the_decoded_text(text in stringish()) {
        let body = format!("{{\"model\":\"m\",\"messages\":[{{\"content\":\"{text}\"}}]}}");
        if let Ok(spans) = scanned(&body, OpenAiChat) {
            let string = spans.parts[0].string.unwrap();
            let decoded = string.decode(&body);
            prop_assert_eq!(string.decoded_len(&body), decoded.len());
            let mut appended = String::from("x");
            string.decode_into(&body, &mut appended);
            prop_assert_eq!(&appended[1..], decoded.as_ref());
            // serde_json refuses lone surrogates; where it decodes, the text is the same.
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&body) {
                prop_assert_eq!(value["messages"][0]["content"].as_str().unwrap(), decoded.as_ref());
            }
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [OpenAiChat, AnthropicMessages, OpenAiResponses] {
            let _ = scan(&bytes, dialect, &ScanLimits::default(), &mut Spans::new());
        }
    }
}
