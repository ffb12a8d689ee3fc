use pintle_routing::facts::{Dialect, Facts, MessageCounts, Needs, ProviderState, SessionSource, ToolFacts};
use pintle_routing::units::Tokens;

use super::{Options, facts, tenant};
use crate::http::head::{Limits, RequestHead, parse_request};
use crate::json::{ScanLimits, Spans, scan};

const ALL: Needs = Needs { current_user: true, prior_user: true, non_user: true, metadata: true };

/// Readable stand-in for the keyed hash: the sum of tenant and key, shifted apart.
fn key(tenant: &[u8], session: &[u8]) -> u128 {
    let sum = |bytes: &[u8]| bytes.iter().fold(7u128, |sum, byte| sum.wrapping_mul(131) + u128::from(*byte));
    sum(tenant) << 64 ^ sum(session)
}

struct Case {
    head: RequestHead,
    wire: String,
    body: String,
    spans: Spans,
}

impl Case {
    fn new(dialect: Dialect, fields: &str, body: &str) -> Case {
        let wire = format!("POST /v1/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut head, mut spans) = (RequestHead::new(), Spans::new());
        parse_request(wire.as_bytes(), &Limits::default(), &mut head).unwrap().unwrap();
        scan(body.as_bytes(), dialect, &ScanLimits::default(), &mut spans).unwrap();
        Case { head, wire, body: body.to_owned(), spans }
    }

    fn facts(&self) -> Facts<'_> {
        self.facts_with("x-app-session", true, ALL)
    }

    fn facts_with(&self, session_header: &str, trusted_identity: bool, needs: Needs) -> Facts<'_> {
        let options = Options { session_header, trusted_identity, key: &key };
        facts(self.head.view(self.wire.as_bytes()), &self.body, &self.spans, needs, &options)
    }
}

fn chat(messages: &str) -> Case {
    Case::new(Dialect::OpenAiChat, "", &format!(r#"{{"model":"m","messages":[{messages}]}}"#))
}

#[test]
fn counts_and_texts_of_a_chat() {
    let case = Case::new(
        Dialect::OpenAiChat,
        "",
        r#"{"model":"au\u0074o","stream":true,"max_tokens":10,"tools":[{"a":1},{}],"messages":[
            {"role":"system","content":"Be brief."},{"role":"developer","content":"Use tools."},
            {"role":"user","content":"first\nline"},
            {"role":"assistant","content":"ok","tool_calls":[{"id":"a","function":{"arguments":"{}"}},{"id":"b","function":{"arguments":"[1]"}}]},
            {"role":"tool","tool_call_id":"a","content":"result"},
            {"role":"user","content":[{"type":"text","text":"now"},{"type":"image_url","image_url":{}},{"type":"text","text":""},{"type":"text","text":"this"}]}]}"#,
    );
    let facts = case.facts();
    assert_eq!(facts.requested_model, "auto");
    assert!(facts.stream && facts.has_image);
    assert_eq!(facts.max_completion, Some(Tokens(10)));
    assert_eq!(facts.messages, MessageCounts { user: 2, assistant: 1, system: 1, developer: 1, tool: 1 });
    assert_eq!(
        facts.tools,
        ToolFacts {
            definitions: 2,
            calls: 2,
            results: 1,
            unanswered: 1,
            last_is_result: false,
            last_is_user_after_result: true
        }
    );
    assert_eq!(facts.texts.current_user, "now this");
    assert_eq!(facts.texts.prior_user, ["first\nline"]);
    assert_eq!(facts.texts.non_user, ["Be brief.", "Use tools.", "ok"]);
    assert_eq!(facts.compat_context_bytes, "Be brief. Use tools. ok now this".len() as u64);
    let history = "Be brief.Use tools.first\nlineok{}[1]".len() as u64;
    assert_eq!(facts.history_bytes, history);
    assert_eq!(
        facts.envelope_bytes,
        history + "resultnow this".len() as u64 + r#"[{"a":1},{}]"#.len() as u64
    );
    assert!(facts.provider_state.is_none());
}

#[test]
fn texts_are_decoded_only_when_needed() {
    let case = chat(
        r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}"#,
    );
    let facts = case.facts_with("", false, Needs { current_user: true, ..Needs::default() });
    assert_eq!(facts.texts.current_user, "c");
    assert!(facts.texts.prior_user.is_empty() && facts.texts.non_user.is_empty());
    let facts = case.facts_with("", false, Needs::default());
    assert_eq!((facts.texts.current_user.as_ref(), facts.compat_context_bytes), ("", 3));
}

#[test]
fn where_no_user_speaks_the_others_are_heard() {
    let case = chat(r#"{"role":"system","content":"a"},{"role":"user","content":""}"#);
    let facts = case.facts_with("", false, Needs { current_user: true, ..Needs::default() });
    assert_eq!(facts.texts.non_user, ["a"]);
}

#[test]
fn instructions_behind_a_result_do_not_end_a_tool_loop() {
    let result = r#"{"role":"tool","tool_call_id":"1","content":"x"}"#;
    let flags = |rest: &str| {
        let tools = chat(&format!("{result}{rest}")).facts().tools;
        (tools.last_is_result, tools.last_is_user_after_result)
    };
    let system = r#",{"role":"system","content":"be brief"}"#;
    let user = r#",{"role":"user","content":"go on"}"#;
    assert_eq!(flags(""), (true, false));
    assert_eq!(flags(system), (true, false));
    assert_eq!(flags(user), (false, true));
    assert_eq!(flags(&format!("{user}{system}{user}")), (false, true));
    assert_eq!(flags(&format!(r#",{{"role":"assistant","content":"done"}}{user}"#)), (false, false));
}

#[test]
fn a_prefill_behind_a_result_does_not_end_a_tool_loop() {
    let result = r#"{"role":"tool","tool_call_id":"1","content":"x"}"#;
    let flags = |rest: &str| {
        let tools = chat(&format!("{result}{rest}")).facts().tools;
        (tools.last_is_result, tools.last_is_user_after_result)
    };
    let prefill = r#",{"role":"assistant","content":"The answer is"}"#;
    let user = r#",{"role":"user","content":"go on"}"#;
    let system = r#",{"role":"system","content":"be brief"}"#;
    let call = r#",{"role":"assistant","tool_calls":[{"id":"2","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    assert_eq!(flags(prefill), (true, false));
    assert_eq!(flags(&format!("{prefill}{system}{prefill}")), (true, false));
    assert_eq!(flags(&format!("{user}{prefill}")), (false, true));
    assert_eq!(flags(&format!("{prefill}{user}{prefill}")), (false, false), "the first one was an answer");
    assert_eq!(flags(call), (false, false), "asking for another tool is an answer");
}

#[test]
fn metadata_is_read_as_far_as_it_is_short() {
    let read = |metadata: &str| {
        let body = format!(r#"{{"model":"m","metadata":{metadata},"messages":[]}}"#);
        let case = Case::new(Dialect::OpenAiChat, "", &body);
        let metadata = case.facts().metadata;
        let owned = |text: &std::borrow::Cow<'_, str>| text.to_string();
        let members = metadata.members.iter().map(|(name, text)| (owned(name), text.as_ref().map(owned)));
        (members.collect::<Vec<_>>(), metadata.truncated)
    };
    let member = |name: &str, text: Option<&str>| (name.to_owned(), text.map(str::to_owned));
    let (members, truncated) = read(r#"{"co\u0068ort":"b\u0065ta","n":3,"o":{"p":"q"},"":""}"#);
    let wanted = [member("cohort", Some("beta")), member("n", None), member("o", None), member("", Some(""))];
    assert_eq!((members.as_slice(), truncated), (wanted.as_slice(), false));
    assert_eq!(read("null"), (vec![], false));
    assert_eq!(read(r#"["a"]"#), (vec![], false));
    let long = |length: usize| format!(r#"{{"a":"{}","b":"c"}}"#, "x".repeat(length));
    assert_eq!((read(&long(1024)).0.len(), read(&long(1024)).1), (2, false));
    assert_eq!(read(&long(1025)), (vec![member("b", Some("c"))], true));
    let many: Vec<String> = (0..33).map(|n| format!(r#""k{n}":"v""#)).collect();
    let (members, truncated) = read(&format!("{{{}}}", many.join(",")));
    assert_eq!((members.len(), truncated), (32, true));
    assert!(!read(&format!("{{{}}}", many[1..].join(","))).1);
}

#[test]
fn metadata_is_not_read_where_no_rule_asks() {
    let case = Case::new(Dialect::OpenAiChat, "", r#"{"model":"m","metadata":{"a":"b"},"messages":[]}"#);
    let facts = case.facts_with("", false, Needs { metadata: false, ..ALL });
    assert!(facts.metadata.members.is_empty() && !facts.metadata.truncated);
}

#[test]
fn an_anthropic_turn_with_results_is_one_tool_message() {
    let case = Case::new(
        Dialect::AnthropicMessages,
        "x-api-key: k1\r\n",
        r#"{"model":"c","max_tokens":5,"system":"sys","metadata":{"user_id":"u"},"messages":[
            {"role":"user","content":"go"},
            {"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"q":1}},{"type":"tool_use","id":"2","name":"f","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"one"},{"type":"tool_result","tool_use_id":"2","content":[{"type":"text","text":"two"}]},{"type":"text","text":"and?"}]}]}"#,
    );
    let facts = case.facts();
    assert_eq!(facts.messages, MessageCounts { user: 1, assistant: 1, system: 1, developer: 0, tool: 1 });
    assert_eq!(facts.messages.total(), 4);
    assert_eq!((facts.tools.calls, facts.tools.results, facts.tools.unanswered), (2, 2, 0));
    assert!(facts.tools.last_is_result && !facts.tools.last_is_user_after_result);
    assert_eq!(facts.texts.current_user, "and?");
    assert_eq!(facts.texts.non_user, ["sys"]);
    assert_eq!(facts.history_bytes, "sysgo".len() as u64 + r#"{"q":1}{}"#.len() as u64);
    assert_eq!(facts.envelope_bytes, facts.history_bytes + "onetwoand?".len() as u64);
    let session = facts.session.unwrap();
    assert_eq!((session.source, session.key), (SessionSource::AnthropicUserId, key(b"k1", b"u")));
}

#[test]
fn responses_items_count_as_the_messages_they_stand_for() {
    let case = Case::new(
        Dialect::OpenAiResponses,
        "",
        r#"{"model":"m","instructions":"short","previous_response_id":"resp_1","input":[
            {"role":"user","content":"hi"},{"type":"reasoning","summary":[{"type":"summary_text","text":"x"}]},
            {"type":"function_call","call_id":"a","name":"f","arguments":"{}"},
            {"type":"function_call","call_id":"b","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"b","output":"done"}]}"#,
    );
    let facts = case.facts();
    assert_eq!(facts.messages, MessageCounts { user: 1, assistant: 1, system: 1, developer: 0, tool: 1 });
    assert_eq!((facts.tools.calls, facts.tools.results, facts.tools.unanswered), (2, 1, 1));
    assert!(facts.tools.last_is_result);
    assert_eq!(facts.provider_state, Some(ProviderState::PreviousResponse("resp_1".into())));
    assert_eq!(facts.session.unwrap().source, SessionSource::PreviousResponseId);

    let case =
        Case::new(Dialect::OpenAiResponses, "", r#"{"model":"m","input":"x","conversation":{"id":"c1"}}"#);
    let facts = case.facts();
    assert_eq!(facts.provider_state, Some(ProviderState::Conversation("c1".into())));
    assert_eq!((facts.texts.current_user.as_ref(), facts.history_bytes), ("x", 0));
}

#[test]
fn in_a_chat_a_response_id_is_state_and_a_conversation_is_a_name() {
    let named = r#"{"model":"m","messages":[],"conversation":"c"}"#;
    let case = Case::new(Dialect::OpenAiChat, "", named);
    assert!(case.facts().provider_state.is_none());
    assert_eq!(case.facts().session.unwrap().source, SessionSource::Conversation);
    let stateful = r#"{"model":"m","messages":[],"previous_response_id":"p"}"#;
    let case = Case::new(Dialect::OpenAiChat, "", stateful);
    assert_eq!(case.facts().provider_state, Some(ProviderState::PreviousResponse("p".into())));
}

#[test]
fn unanswered_calls_are_those_of_the_last_assistant_turn() {
    let call = |ids: &[&str]| {
        let calls: Vec<String> = ids.iter().map(|id| format!(r#"{{"id":"{id}","function":{{}}}}"#)).collect();
        format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, calls.join(","))
    };
    let result = |id: &str| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"x"}}"#);
    let user = r#"{"role":"user","content":"x"}"#.to_owned();
    for (messages, unanswered) in [
        (vec![user.clone()], 0),
        (vec![call(&["a", "b"])], 2),
        (vec![call(&["a", "b"]), result("b")], 1),
        (vec![call(&["a", "b"]), result("b"), result("a")], 0),
        // The same answer twice answers one call.
        (vec![call(&["a", "b"]), result("b"), result("b")], 1),
        // An id written with an escape is the same id.
        (vec![call(&["a"]), result("\\u0061")], 0),
        // Earlier turns are over, answered or not.
        (vec![call(&["z"]), user.clone(), call(&["a"]), result("a")], 0),
        (vec![result("a"), call(&["a"])], 1),
        // Two assistant messages in a row are one turn.
        (vec![call(&["a"]), call(&["b"]), result("b")], 1),
        (vec![call(&["a"]), user.clone()], 1),
        (vec![r#"{"role":"assistant","function_call":{"name":"f","arguments":"{}"}}"#.to_owned()], 1),
        (
            vec![
                r#"{"role":"assistant","function_call":{"name":"f","arguments":"{}"}}"#.to_owned(),
                r#"{"role":"function","name":"f","content":"x"}"#.to_owned(),
            ],
            0,
        ),
    ] {
        let case = chat(&messages.join(","));
        assert_eq!(case.facts().tools.unanswered, unanswered, "{messages:?}");
    }
}

#[test]
fn session_keys_in_order_of_trust() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"prompt_cache_key":"pck","conversation":{"id":"conv"},
        "previous_response_id":"prev","metadata":{"user_id":"uid"}}"#;
    let fields = [
        ("X-App-Session: app\r\n", SessionSource::ConfiguredHeader, "app"),
        ("x-session-id: xsi\r\n", SessionSource::XSessionId, "xsi"),
        ("X-Claude-Code-Session-Id: cc\r\n", SessionSource::ClaudeCodeHeader, "cc"),
        ("session_id: sid\r\n", SessionSource::SessionIdHeader, "sid"),
        ("x-session-affinity: aff\r\n", SessionSource::SessionAffinityHeader, "aff"),
    ];
    for from in 0..fields.len() {
        let all: String = fields[from..].iter().rev().map(|(field, ..)| *field).collect();
        let case =
            Case::new(Dialect::AnthropicMessages, &format!("authorization: bEARER  tok \r\n{all}"), body);
        let session = case.facts().session.unwrap();
        assert_eq!((session.source, session.key), (fields[from].1, key(b"tok", fields[from].2.as_bytes())));
    }
    let mut body = body.to_owned();
    for (member, source, value) in [
        ("prompt_cache_key", SessionSource::PromptCacheKey, "pck"),
        ("conversation", SessionSource::Conversation, "conv"),
        ("previous_response_id", SessionSource::PreviousResponseId, "prev"),
        ("metadata", SessionSource::AnthropicUserId, "uid"),
    ] {
        // An empty header names nothing.
        let case = Case::new(Dialect::AnthropicMessages, "x-session-id: \r\n", &body);
        let session = case.facts().session.unwrap();
        assert_eq!((session.source, session.key), (source, key(b"", value.as_bytes())));
        body = body.replace(&format!("\"{member}\""), &format!("\"no_{member}\""));
    }
    let case = Case::new(Dialect::AnthropicMessages, "", &body);
    assert_eq!(case.facts().session.unwrap().source, SessionSource::Fingerprint);
}

#[test]
fn the_configured_header_counts_only_if_configured() {
    let case = Case::new(Dialect::OpenAiChat, "X-App-Session: app\r\n", r#"{"model":"m","messages":[]}"#);
    assert!(case.facts_with("", false, ALL).session.is_none());
    assert!(case.facts_with("x-app-session", false, ALL).session.is_some());
}

#[test]
fn a_fingerprint_lasts_through_the_conversation_and_parts_conversations() {
    let finger = |messages: &str| chat(messages).facts().session.map(|session| session.key);
    let start = r#"{"role":"system","content":"s"},{"role":"user","content":"hello"}"#;
    let later = format!(
        r#"{start},{{"role":"assistant","content":"yes"}},{{"role":"system","content":"new"}},{{"role":"user","content":"go"}}"#
    );
    let escaped =
        r#"{"content":"s","role":"system"},{"role":"user","content":[{"type":"text","text":"h\u0065llo"}]}"#;
    assert!(finger(start).is_some());
    assert_eq!(finger(start), finger(&later));
    assert_eq!(finger(start), finger(escaped));
    assert_ne!(finger(start), finger(r#"{"role":"system","content":"s"},{"role":"user","content":"hallo"}"#));
    assert_ne!(finger(start), finger(r#"{"role":"system","content":"t"},{"role":"user","content":"hello"}"#));
    // System prompt and user turn cannot be shifted into each other.
    assert_ne!(finger(start), finger(r#"{"role":"user","content":"s hello"}"#));
    assert_eq!(finger(r#"{"role":"system","content":"s"}"#), None);
}

#[test]
fn tenants() {
    for (fields, expected) in [
        ("", &b""[..]),
        ("Authorization: Bearer sk-1\r\nx-api-key: other\r\n", b"sk-1"),
        ("Authorization: Basic abc\r\n", b"Basic abc"),
        ("Authorization:\r\nx-api-key: xk\r\n", b"xk"),
        ("api-key: az\r\n", b"az"),
    ] {
        let case = Case::new(Dialect::OpenAiChat, fields, r#"{"model":"m","messages":[]}"#);
        assert_eq!(tenant(case.head.view(case.wire.as_bytes())), expected, "{fields}");
    }
}

#[test]
fn identity_headers_are_believed_only_if_trusted() {
    let fields = "x-authz-user-id: ann\r\nX-Authz-User-Groups: a,b\r\n";
    let case = Case::new(Dialect::OpenAiChat, fields, r#"{"model":"m","messages":[]}"#);
    let trusted = case.facts_with("", true, ALL).identity;
    assert_eq!((trusted.user, trusted.groups), ("ann", "a,b"));
    let untrusted = case.facts_with("", false, ALL).identity;
    assert_eq!((untrusted.user, untrusted.groups), ("", ""));
}
