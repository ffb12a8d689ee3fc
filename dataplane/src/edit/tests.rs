use pintle_routing::edits::{Reasoning, RequestEdits, RequestParams, SystemPrompt, ToolsEdit};
use pintle_routing::facts::Dialect::{self, AnthropicMessages, OpenAiChat, OpenAiResponses};

use super::tools::{chooses, offered};
use super::{Edits, RelevantTools, SubCall};
use crate::json::patch::Patch;
use crate::json::{ScanLimits, Spans, scan};

mod naive;

const LITERAL: &[u8] = b"\"served\"";

struct Case {
    dialect: Dialect,
    decision: RequestEdits,
    reasoning: Option<Reasoning<'static>>,
    plain_effort: bool,
    sub_call: Option<SubCall<'static>>,
    relevant: Option<RelevantTools>,
}

impl Case {
    fn of(dialect: Dialect) -> Self {
        Self {
            dialect,
            decision: RequestEdits::default(),
            reasoning: None,
            plain_effort: false,
            sub_call: None,
            relevant: None,
        }
    }

    fn system(mut self, text: &str, replace: bool) -> Self {
        self.decision.system_prompt = Some(SystemPrompt { text: text.into(), replace });
        self
    }

    fn params(mut self, params: RequestParams) -> Self {
        self.decision.params = params;
        self
    }

    fn tools(mut self, tools: ToolsEdit) -> Self {
        self.decision.tools = tools;
        self
    }

    fn reasoning(mut self, reasoning: Reasoning<'static>) -> Self {
        self.reasoning = Some(reasoning);
        self
    }

    fn run(&self, body: &str) -> (String, Vec<String>) {
        let mut spans = Spans::new();
        scan(body.as_bytes(), self.dialect, &ScanLimits::default(), &mut spans).unwrap();
        let mut patch = Patch::new();
        let edits = Edits {
            dialect: self.dialect,
            model: spans.model.span(),
            literal: LITERAL,
            sub_call: self.sub_call.as_ref(),
            relevant: self.relevant.as_ref(),
            decision: Some(&self.decision),
            reasoning: self.reasoning,
            plain_effort: self.plain_effort,
        };
        let remarks = edits.note(body.as_bytes(), &mut patch);
        let length = patch.settle(body.len()).unwrap();
        let out = patch.slices(body.as_bytes()).collect::<Vec<_>>().concat();
        assert_eq!(out.len(), length);
        (String::from_utf8(out).unwrap(), remarks)
    }

    #[track_caller]
    fn gives(&self, body: &str, wanted: &str) {
        assert_eq!(self.run(body).0, wanted);
    }
}

fn filter(allow: &[&str], block: &[&str]) -> ToolsEdit {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ToolsEdit::Filter { allow: names(allow), block: names(block) }
}

#[test]
fn without_edits_only_the_model_changes_and_nothing_is_said() {
    let case = Case::of(OpenAiChat).reasoning(Reasoning::Effort { effort: None });
    let body = " {\"x\" : 1e9, \"model\":\"auto\",\"x\":[],\"messages\":[ ] }\r\n";
    let (out, remarks) = case.run(body);
    assert_eq!(out, body.replace("\"auto\"", "\"served\""));
    assert!(remarks.is_empty());
}

#[test]
fn a_system_prompt_stands_before_the_clients_or_in_its_place() {
    let insert = Case::of(OpenAiChat).system("Be \"brief\".\n", false);
    insert.gives(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"model":"served","messages":[{"role":"system","content":"Be \"brief\".\n"},{"role":"user","content":"hi"}]}"#,
    );
    insert.gives(
        r#"{"messages":[ ],"model":"m"}"#,
        r#"{"messages":[{"role":"system","content":"Be \"brief\".\n"} ],"model":"served"}"#,
    );
    insert.gives(
        r#"{"messages":[{"role":"user","content":"a"},{"role":"\u0073ystem","c\u006fntent":"old\n"}],"model":"m"}"#,
        r#"{"messages":[{"role":"user","content":"a"},{"role":"\u0073ystem","c\u006fntent":"Be \"brief\".\n\n\nold\n"}],"model":"served"}"#,
    );
    insert.gives(
        r#"{"messages":[{"role":"developer","content":[{"type":"text","text":"old"}]}],"model":"m"}"#,
        r#"{"messages":[{"role":"developer","content":[{"type":"text","text":"Be \"brief\".\n"},{"type":"text","text":"old"}]}],"model":"served"}"#,
    );
    let replace = Case::of(OpenAiChat).system("New.", true);
    for old in [r#""old""#, r#"[{"type":"text","text":"old"}]"#, "null"] {
        replace.gives(
            &format!(r#"{{"model":"m","messages":[{{"content":{old},"role":"system"}}]}}"#),
            r#"{"model":"served","messages":[{"content":"New.","role":"system"}]}"#,
        );
    }
}

#[test]
fn each_api_has_its_own_place_for_a_system_prompt() {
    let case = |dialect, replace| Case::of(dialect).system("New.", replace);
    case(AnthropicMessages, false)
        .gives(r#"{"model":"m","messages":[]}"#, r#"{"model":"served","messages":[],"system":"New."}"#);
    case(AnthropicMessages, false).gives(
        r#"{"model":"m","messages":[],"system":"old"}"#,
        r#"{"model":"served","messages":[],"system":"New.\n\nold"}"#,
    );
    case(AnthropicMessages, false).gives(
        r#"{"system":[{"type":"text","text":"old","cache_control":{}}],"model":"m","messages":[]}"#,
        r#"{"system":[{"type":"text","text":"New."},{"type":"text","text":"old","cache_control":{}}],"model":"served","messages":[]}"#,
    );
    case(AnthropicMessages, true).gives(
        r#"{"system":[{"type":"text","text":"old"}],"model":"m","messages":[]}"#,
        r#"{"system":"New.","model":"served","messages":[]}"#,
    );
    case(OpenAiResponses, false).gives(
        r#"{"instructions":null,"model":"m","input":"x"}"#,
        r#"{"instructions":"New.","model":"served","input":"x"}"#,
    );
    case(OpenAiResponses, false).gives(
        r#"{"instructions":"","model":"m","input":"x"}"#,
        r#"{"instructions":"New.","model":"served","input":"x"}"#,
    );
}

#[test]
fn parameters_are_blocked_bounded_and_stripped() {
    let params = RequestParams {
        blocked: vec!["logit_bias".into(), "model".into(), "messages".into(), "no such".into()],
        max_tokens: Some(100),
        max_n: Some(1),
        strip_unknown: true,
    };
    let case = Case::of(OpenAiChat).params(params);
    let (out, remarks) = case.run(
        r#"{"logit_bias":{"1":2}, "model":"m","lo\u0067it_bias":0,"messages":[],"n":4,"foo":[1],"max_tokens":1e3,"max_completion_tokens":99,"bar":{}}"#,
    );
    assert_eq!(out, r#"{"model":"served","messages":[],"n":1,"max_tokens":100,"max_completion_tokens":99}"#);
    assert_eq!(
        remarks,
        [
            "request_params: logit_bias blocked",
            "request_params: logit_bias blocked",
            "request_params: foo stripped as unknown",
            "request_params: bar stripped as unknown",
            "request_params: max_tokens 1e3 bounded to 100",
            "request_params: n 4 bounded to 1",
        ]
    );
}

#[test]
fn whatever_is_no_number_within_the_bound_becomes_the_bound() {
    let params = RequestParams { max_tokens: Some(100), ..RequestParams::default() };
    let case = Case::of(OpenAiResponses).params(params);
    for (given, sent) in [
        ("100", "100"),
        ("0", "0"),
        ("null", "null"),
        ("101", "100"),
        ("-1", "100"),
        ("100.5", "100"),
        ("\"9999\"", "100"),
        ("99999999999999999999999999", "100"),
        ("true", "100"),
    ] {
        case.gives(
            &format!(r#"{{"model":"m","input":"x","max_output_tokens":{given}}}"#),
            &format!(r#"{{"model":"served","input":"x","max_output_tokens":{sent}}}"#),
        );
    }
}

#[test]
fn reasoning_is_told_in_the_familys_own_way() {
    let flag =
        |on| Case::of(OpenAiChat).reasoning(Reasoning::TemplateFlag { parameter: "enable_thinking", on });
    flag(true).gives(
        r#"{"model":"m","reasoning_effort":"low","messages":[]}"#,
        r#"{"model":"served","messages":[],"chat_template_kwargs":{"enable_thinking":true}}"#,
    );
    flag(false).gives(
        r#"{"chat_template_kwargs":{"enable_thinking":1,"a":2,"enable_thinking":3},"model":"m","messages":[]}"#,
        r#"{"chat_template_kwargs":{"a":2,"enable_thinking":false},"model":"served","messages":[]}"#,
    );
    flag(true).gives(
        r#"{"chat_template_kwargs": { },"model":"m","messages":[]}"#,
        r#"{"chat_template_kwargs": {"enable_thinking":true },"model":"served","messages":[]}"#,
    );
    flag(true).gives(
        r#"{"chat_template_kwargs":null,"model":"m","messages":[]}"#,
        r#"{"chat_template_kwargs":{"enable_thinking":true},"model":"served","messages":[]}"#,
    );
    let mut effort = Case::of(OpenAiChat).reasoning(Reasoning::Effort { effort: Some("high") });
    effort.gives(
        r#"{"model":"m","messages":[],"reasoning_effort":"low"}"#,
        r#"{"model":"served","messages":[],"chat_template_kwargs":{"reasoning_effort":"high"}}"#,
    );
    effort.plain_effort = true;
    effort.gives(
        r#"{"model":"m","messages":[],"reasoning_effort":"low"}"#,
        r#"{"model":"served","messages":[],"reasoning_effort":"high"}"#,
    );
    Case::of(OpenAiResponses).reasoning(Reasoning::Effort { effort: Some("high") }).gives(
        r#"{"model":"m","input":"x","reasoning":{"summary":"auto"}}"#,
        r#"{"model":"served","input":"x","reasoning":{"summary":"auto","effort":"high"}}"#,
    );
    let body = r#"{"model":"m","messages":[],"thinking":{"type":"enabled"}}"#;
    let (out, remarks) =
        Case::of(AnthropicMessages).reasoning(Reasoning::Effort { effort: Some("high") }).run(body);
    assert_eq!((out.as_str(), remarks.len()), (body.replace("\"m\"", "\"served\"").as_str(), 1));
}

#[test]
fn what_the_router_sets_is_neither_blocked_nor_stripped() {
    let params = RequestParams {
        blocked: vec!["chat_template_kwargs".into(), "reasoning_effort".into()],
        strip_unknown: true,
        ..RequestParams::default()
    };
    let case = Case::of(OpenAiChat)
        .params(params)
        .reasoning(Reasoning::TemplateFlag { parameter: "thinking", on: true });
    // Of the client's own there, nothing is left either.
    case.gives(
        r#"{"chat_template_kwargs":{"mine":1},"model":"m","messages":[]}"#,
        r#"{"chat_template_kwargs":{"thinking":true},"model":"served","messages":[]}"#,
    );
}

#[test]
fn tools_are_removed_or_filtered_with_what_speaks_of_them() {
    let tool = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let body = |choice: &str| {
        let (a, b, c) = (tool("a"), tool("b"), tool("c"));
        format!(r#"{{"model":"m","tools":[{a}, {b}, {c}],"tool_choice":{choice},"messages":[]}}"#)
    };
    let none = r#"{"model":"served","messages":[]}"#;
    Case::of(OpenAiChat).tools(ToolsEdit::Remove).gives(&body("\"auto\""), none);
    Case::of(OpenAiChat).tools(filter(&["x"], &[])).gives(&body("\"auto\""), none);
    let kept = |name: &str, choice: &str| {
        format!(r#"{{"model":"served","tools":[{}]{choice},"messages":[]}}"#, tool(name))
    };
    let demand = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    for (edit, left, gone) in [
        (filter(&["b"], &[]), "b", "a"),
        (filter(&[], &["a", "b"]), "c", "b"),
        (filter(&["a", "b"], &["b"]), "a", "b"),
    ] {
        let case = Case::of(OpenAiChat).tools(edit);
        case.gives(&body("\"auto\""), &kept(left, r#","tool_choice":"auto""#));
        case.gives(&body(&demand(left)), &kept(left, &format!(",\"tool_choice\":{}", demand(left))));
        case.gives(&body(&demand(gone)), &kept(left, ""));
    }
    Case::of(AnthropicMessages).tools(filter(&["web_search"], &[])).gives(
        r#"{"model":"m","tools":[{"name":"read"},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"},"messages":[]}"#,
        r#"{"model":"served","tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"},"messages":[]}"#,
    );
    Case::of(OpenAiResponses).tools(filter(&[], &["web_search"])).gives(
        r#"{"model":"m","tools":[{"type":"function","name":"read"},{"type":"web_search"}],"input":[]}"#,
        r#"{"model":"served","tools":[{"type":"function","name":"read"}],"input":[]}"#,
    );
}

#[test]
fn tools_that_have_nothing_to_do_with_it_go_with_the_choice_of_them() {
    let mut case = Case::of(OpenAiChat).tools(filter(&[], &["b"]));
    case.relevant = Some(RelevantTools {
        kept: Some(vec!["b".into(), "c".into()]),
        remark: "why".into(),
        ..RelevantTools::default()
    });
    let tool = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let (a, b, c) = (tool("a"), tool("b"), tool("c"));
    let body = format!(r#"{{"model":"m","tools":[{a},{b},{c}],"tool_choice":"auto","messages":[]}}"#);
    let (out, remarks) = case.run(&body);
    assert_eq!(out, format!(r#"{{"model":"served","tools":[{c}],"tool_choice":"auto","messages":[]}}"#));
    assert_eq!(remarks, ["why", "tools: 1 of 3 kept"]);
    case.relevant = Some(RelevantTools { kept: Some(Vec::new()), ..RelevantTools::default() });
    case.gives(&body, r#"{"model":"served","messages":[]}"#);
}

#[test]
fn tools_are_added_beside_those_on_offer_unless_one_of_the_name_is_there_or_none_may_be() {
    let tool = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let (a, b, c) = (tool("a"), tool("b"), tool("c"));
    let added = |names: &[&str]| RelevantTools {
        added: names.iter().map(|name| ((*name).to_owned(), tool(name))).collect(),
        remark: "why".into(),
        ..RelevantTools::default()
    };
    let with = |tools: ToolsEdit, names: &[&str]| {
        let mut case = Case::of(OpenAiChat).tools(tools);
        case.relevant = Some(added(names));
        case
    };
    let body = |tools: &str| format!(r#"{{"model":"m",{tools}"messages":[]}}"#);
    let sent = |tools: &str| format!(r#"{{"model":"served",{tools}"messages":[]}}"#);
    let passthrough = with(ToolsEdit::Passthrough, &["b", "c"]);
    passthrough.gives(&body(&format!("\"tools\":[{a},{b}],")), &sent(&format!("\"tools\":[{a},{b},{c}],")));
    passthrough.gives(&body("\"tools\":[],"), &sent(&format!("\"tools\":[{b},{c}],")));
    passthrough.gives(&body("\"tools\":null,"), &sent(&format!("\"tools\":[{b},{c}],")));
    passthrough.gives(&body(""), &format!(r#"{{"model":"served","messages":[],"tools":[{b},{c}]}}"#));
    with(ToolsEdit::Passthrough, &["a"])
        .gives(&body(&format!("\"tools\":[{a}],")), &sent(&format!("\"tools\":[{a}],")));
    let one = body(&format!("\"tools\":[{a}],"));
    with(filter(&[], &["a", "b"]), &["b", "c"]).gives(&one, &sent(&format!("\"tools\":[{c}],")));
    with(filter(&["z"], &[]), &["b"]).gives(&one, &sent(""));
    with(ToolsEdit::Remove, &["b"]).gives(&one, &sent(""));
    let mut blocked = with(ToolsEdit::Passthrough, &["b"]);
    blocked.decision.params.blocked = vec!["tools".into()];
    blocked.gives(&one, &sent(""));
    // An API takes one of the two.
    let old = r#""functions":[{"name":"f"}],"#;
    passthrough.gives(&body(old), &sent(old));
    let free = |choice: &str| chooses(&format!(r#"{{"tool_choice":{choice}}}"#));
    assert!(chooses("{}") && free("\"auto\"") && free(r#"{"type":"auto"}"#) && free("null"));
    assert!(!chooses(r#"{"tool_choice":null,"function_call":"none"}"#));
    assert!(!free("\"none\"") && !free("\"required\"") && !free(r#"{"type":"tool","name":"a"}"#));
}

#[test]
fn tools_on_offer_say_what_they_are_and_whether_they_are_needed() {
    let bound = |body: &str, dialect| -> Vec<(String, bool)> {
        let tools = offered(body, dialect).unwrap_or_default();
        tools.into_iter().map(|tool| (tool.text, tool.bound)).collect()
    };
    let chat = r#"{"tools":[{"type":"function","function":{"name":"a","description":"Reads \u0061ll."}},
        {"type":"function","function":{"name":"b"}},{"type":"function","function":{"name":"c"}}],
        "tool_choice":{"type":"function","function":{"name":"c"}},
        "messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"b"}}]}]}"#;
    let wanted = [("a: Reads all.", false), ("b", true), ("c", true)].map(|(text, is)| (text.to_owned(), is));
    assert_eq!(bound(chat, OpenAiChat), wanted);
    let messages = r#"{"tools":[{"name":"a","description":"x"},{"name":"b"}],"tool_choice":{"type":"any"},
        "messages":[{"role":"assistant","content":[{"type":"text","text":"t"},{"type":"tool_use","name":"a","id":"1"}]}]}"#;
    assert_eq!(bound(messages, AnthropicMessages), [("a: x".to_owned(), true), ("b".to_owned(), false)]);
    let responses = r#"{"tools":[{"type":"function","name":"a"},{"type":"web_search"}],
        "input":[{"type":"function_call","name":"a","call_id":"1"}]}"#;
    assert_eq!(bound(responses, OpenAiResponses), [("a".to_owned(), true), ("web_search".to_owned(), false)]);
    assert!(bound(r#"{"tools":[{"name":"a"}],"tool_choice":{"type":"none"}}"#, AnthropicMessages).is_empty());
    assert!(bound(r#"{"tools":[{"name":"a"}],"tool_choice":"none"}"#, OpenAiResponses).is_empty());
    assert!(bound(r#"{"messages":[]}"#, OpenAiChat).is_empty());
}

#[test]
fn one_of_several_calls_is_not_streamed_and_asks_what_it_is_told_to() {
    let mut case = Case::of(OpenAiChat).params(RequestParams {
        blocked: vec!["temperature".into(), "logprobs".into()],
        max_n: Some(1),
        ..RequestParams::default()
    });
    case.sub_call = Some(SubCall::default());
    case.gives(
        r#"{"stream":true,"model":"m","n":4,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"a"}]}"#,
        r#"{"stream":false,"model":"served","messages":[{"role":"user","content":"a"}]}"#,
    );
    case.sub_call =
        Some(SubCall { top_logprobs: Some(2), temperature: Some(0.5), prompt: Some("\"why\"?\n") });
    case.gives(
        r#"{"model":"m","temperature":1,"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}],"top_logprobs":1}"#,
        r#"{"model":"served","temperature":0.5,"messages":[{"role":"system","content":"s"},{"role":"user","content":"\"why\"?\n"}],"top_logprobs":2,"logprobs":true}"#,
    );
    let case = Case { sub_call: case.sub_call, ..Case::of(OpenAiChat).system("Be brief.", false) };
    case.gives(
        r#"{"top_logprobs":5,"logprobs":false,"model":"m","messages":[{"role":"user","content":"a"},{"role":"developer","content":"d"}]}"#,
        r#"{"top_logprobs":5,"logprobs":true,"model":"served","messages":[{"role":"user","content":"a"},{"role":"developer","content":"Be brief.\n\nd"},{"role":"user","content":"\"why\"?\n"}],"temperature":0.5}"#,
    );
}

#[test]
fn remarks_are_bounded_whatever_the_client_sends() {
    let members: String = (0..1000).map(|n| format!("\"{}{n}\":0,", "long".repeat(40))).collect();
    let params = RequestParams { strip_unknown: true, ..RequestParams::default() };
    let (out, remarks) =
        Case::of(OpenAiChat).params(params).run(&format!("{{{members}\"model\":\"m\",\"messages\":[]}}"));
    assert_eq!(out, r#"{"model":"served","messages":[]}"#);
    assert_eq!(remarks.len(), super::MOST_REMARKS + 1);
    assert!(remarks.iter().all(|remark| remark.len() < 128), "{remarks:?}");
    assert_eq!(remarks.last().unwrap(), "and 968 more");
}
