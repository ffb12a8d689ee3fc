use pintle_routing::facts::Dialect;

use super::{Completion, Means, arguments};

fn answer(tokens: &str) -> String {
    format!(
        r#"{{"id":"x","choices":[ {{"index":0,"message":{{"role":"assistant","content":"a\n\u00e9","reasoning_content":"hm"}},
        "logprobs":{{"content":[{tokens}],"refusal":null}},"finish_reason":"stop"}} ,{{"message":{{"content":"second"}}}}],"usage":{{}}}}"#
    )
}

#[test]
fn the_first_choice_is_read_and_stays_where_it_is() {
    let body = answer(r#"{"token":"a","logprob":-0.5,"top_logprobs":[]}"#);
    let completion = Completion::read(&body, Dialect::OpenAiChat).unwrap();
    assert_eq!((completion.content.as_str(), completion.reasoning.as_str()), ("a\n\u{e9}", "hm"));
    let choice = &body[completion.choice.range()];
    assert!(
        choice.starts_with(r#"{"index":0"#) && choice.ends_with(r#""finish_reason":"stop"}"#),
        "{choice}"
    );
}

#[test]
fn what_is_no_completion_is_none() {
    for body in [
        "",
        "[]",
        r#"{"error":{"message":"x"}}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[{"index":0}]}"#,
        r#"{"choices":[{"message":{"content":"cut"#,
    ] {
        assert_eq!(Completion::read(body, Dialect::OpenAiChat), None, "{body}");
    }
    let call = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]},"logprobs":null}]}"#;
    let completion = Completion::read(call, Dialect::OpenAiChat).unwrap();
    assert!(completion.content.is_empty() && completion.means(None).is_none());
}

#[test]
fn means_are_over_the_tokens_that_have_a_number() {
    let body = answer(
        r#"{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},{"token":"b","logprob":-2.5}]},
        {"token":"b","logprob":-1.5,"top_logprobs":[{"token":"b","logprob":-1.5}]}, {"token":"c"}, 7"#,
    );
    let completion = Completion::read(&body, Dialect::OpenAiChat).unwrap();
    assert_eq!(completion.tokens.len(), 2);
    assert_eq!(completion.means(None), Some(Means { logprob: -1.0, margin: Some(2.0) }));
    assert_eq!(completion.means(Some(4.0)), Some(Means { logprob: -1.0, margin: Some(3.0) }));
}

#[test]
fn values_of_arguments_are_told_from_what_surrounds_them() {
    let text = r#"<tool_call>{"name": "f", "arguments": {"path": "src/a.rs", "deep": [1, {"x": true}]}}</tool_call>
{"name": "g", "parameters": {"q": ""}} {"arguments": "cut"#;
    let found: Vec<&str> = arguments::values(text).into_iter().map(|range| &text[range]).collect();
    assert_eq!(found, ["src/a.rs", "1", "true", ""]);
    assert!(arguments::values("no call { at all").is_empty());
}

#[test]
fn means_of_arguments_leave_out_the_scaffolding() {
    let tokens =
        [("{\\\"arguments\\\": {\\\"a\\\": \\\"", -9.0), ("ru", -1.0), ("st\\\"}", -2.0), ("}", -9.0)]
            .map(|(text, logprob)| format!(r#"{{"token":"{text}","logprob":{logprob}}}"#))
            .join(",");
    let body = answer(&tokens);
    let completion = Completion::read(&body, Dialect::OpenAiChat).unwrap();
    assert_eq!(completion.means_of_arguments(&body, None), Some(Means { logprob: -1.5, margin: None }));
    let plain = answer(r#"{"token":"hello","logprob":-1}"#);
    assert_eq!(Completion::read(&plain, Dialect::OpenAiChat).unwrap().means_of_arguments(&plain, None), None);
}

#[test]
fn a_message_is_read_by_its_blocks() {
    let body = r#"{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"x"},
        {"type":"text","text":"a\n"},{"type":"tool_use","id":"t","name":"f","input":{"text":"no"}},{"type":"text","text":"b"}]}"#;
    let completion = Completion::read(body, Dialect::AnthropicMessages).unwrap();
    assert_eq!((completion.content.as_str(), completion.reasoning.as_str()), ("a\nb", "hm"));
    assert_eq!(&body[completion.choice.range()], body);
    assert!(completion.means(None).is_none());
    for body in ["", "[]", r#"{"content":"x"}"#, r#"{"content":[{"type":"text"#] {
        assert_eq!(Completion::read(body, Dialect::AnthropicMessages), None, "{body}");
    }
}

#[test]
fn a_response_is_read_by_its_items_with_the_tokens_of_its_texts() {
    let tokens = r#"[{"token":"a","logprob":-0.5,"top_logprobs":[{"logprob":-0.5},{"logprob":-2.5}]},{"token":"b","logprob":-1.5}]"#;
    let body = format!(
        r#"{{"object":"response","status":"completed","output":[
        {{"type":"reasoning","summary":[{{"type":"summary_text","text":"hm"}}]}},
        {{"type":"message","content":[{{"type":"output_text","text":"a","logprobs":{tokens}}},{{"type":"refusal","refusal":"no"}}]}},
        {{"type":"function_call","arguments":"{{}}","name":"f"}},
        {{"type":"message","content":[{{"type":"output_text","text":"b","logprobs":null}}]}}]}}"#
    );
    let completion = Completion::read(&body, Dialect::OpenAiResponses).unwrap();
    assert_eq!((completion.content.as_str(), completion.reasoning.as_str()), ("ab", "hm"));
    assert_eq!(completion.means(None), Some(Means { logprob: -1.0, margin: Some(2.0) }));
    let waiting = body.replace("completed", "queued");
    assert_eq!(Completion::read(&waiting, Dialect::OpenAiResponses), None);
    assert_eq!(Completion::read(&body[..body.len() - 1], Dialect::OpenAiResponses), None);
}
