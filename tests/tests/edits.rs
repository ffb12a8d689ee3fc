//! Promise: a decision's plugins change in the request what they name, and no other byte.

use pintle_standin::{Options, Seen, StandIn};
use pintle_tests::{ConfigFile, Gateway, Model};
use serde_json::{Value, json};

const FAMILIES: &str = "    default_reasoning_effort: high
    reasoning_families:
      qwen3: {type: chat_template_kwargs, parameter: enable_thinking}
      gpt-oss: {type: reasoning_effort, parameter: reasoning_effort}
";

/// A gateway with one decision on the model `small`, with these plugins.
fn gateway(stand_in: &StandIn, family: &str, reference: &str, plugins: &str) -> Gateway {
    let model = Model { provider: format!("reasoning_family: {family}"), ..Model::on(&[stand_in], 0.1, 0.5) };
    let mut config = ConfigFile::plain(vec![model]);
    config.defaults = FAMILIES.to_owned();
    config.routing = format!(
        "  decisions:
    - name: everything
      description: all requests
      priority: 1
      rules: {{operator: AND, conditions: []}}
      modelRefs:
        - {{model: small{reference}}}
      plugins:
{plugins}"
    );
    Gateway::start(&config)
}

fn stand_in() -> StandIn {
    StandIn::spawn(Options::for_model("small")).unwrap()
}

fn last(stand_in: &StandIn) -> Seen {
    stand_in.seen().pop().unwrap()
}

const ALL: &str = "        - type: header_mutation
          configuration:
            add: [{name: x-team, value: blue}, {name: content-length, value: '1'}]
            update: [{name: x-tier, value: gold}]
            delete: [x-secret]
        - type: tools
          configuration: {enabled: true, mode: filtered, allow_tools: [read_file]}
        - type: request_params
          configuration: {blocked_params: [logit_bias], max_tokens_limit: 7, max_n: 1}
        - type: system_prompt
          configuration: {system_prompt: \"Answer in \\\"verse\\\".\"}
";

#[test]
fn every_edit_at_once_and_no_other_byte() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "qwen3", ", use_reasoning: true", ALL);
    let tool = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let (read, write) = (tool("read_file"), tool("write_file"));
    let body = format!(
        "{{\"odd\" : 1.50, \"logit_bias\":{{}}, \"m\\u006fdel\":\"auto\",\"max_tokens\": 9,\r\n\"tools\":[{write},{read}],\
         \"messages\":[ {{\"role\":\"user\",\"content\":\"hi \\ud83d\\ude00\"}}]}}"
    );
    let mut connection = gateway.connect();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nx-tier: tin\r\nx-secret: 1\r\nx-team: red\r\nx-other: o";
    connection.request(head, body.as_bytes());
    let response = connection.response();
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("x-vsr-injected-system-prompt"), "true");
    let seen = last(&stand_in);
    let wanted = format!(
        "{{\"odd\" : 1.50, \"m\\u006fdel\":\"small\",\"max_tokens\": 7,\r\n\"tools\":[{read}],\
         \"messages\":[{{\"role\":\"system\",\"content\":\"Answer in \\\"verse\\\".\"}}, {{\"role\":\"user\",\"content\":\"hi \\ud83d\\ude00\"}}],\
         \"chat_template_kwargs\":{{\"enable_thinking\":true}}}}"
    );
    assert_eq!(seen.body, wanted);
    let values = |name: &str| -> Vec<&str> {
        seen.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    };
    assert_eq!(values("x-team"), ["red", "blue"]);
    assert_eq!(values("x-tier"), ["gold"]);
    assert!(values("x-secret").is_empty());
    assert_eq!(values("x-other"), ["o"]);
    assert_eq!(values("content-length"), [wanted.len().to_string()]);
    let flow = gateway.flow(&response.flow());
    let edits = &flow["upstream"][0]["edits"];
    assert_eq!(edits[0], "reasoning: chat_template_kwargs.enable_thinking = true", "{edits}");
    assert_eq!(edits.as_array().unwrap().len(), 9, "{edits}");
    let page = gateway.explain(&response.flow(), &[]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("max_tokens 9 bounded to 7"), "{page:?}");
}

#[test]
fn an_effort_is_told_as_the_template_takes_it_and_off_leaves_the_clients() {
    for (reference, sent) in [
        (", use_reasoning: true", json!({ "reasoning_effort": "high" })),
        (", use_reasoning: true, reasoning_effort: low", json!({ "reasoning_effort": "low" })),
        ("", Value::Null),
    ] {
        let stand_in = stand_in();
        let none = "        - type: tools\n          configuration: {enabled: true, mode: passthrough}\n";
        let gateway = gateway(&stand_in, "gpt-oss", reference, none);
        let body = json!({ "model": "auto", "reasoning_effort": "medium", "messages": [{ "role": "user", "content": "x" }] });
        assert_eq!(gateway.connect().chat("s", &body).status, 200);
        let seen: Value = serde_json::from_str(&last(&stand_in).body).unwrap();
        assert_eq!(seen["chat_template_kwargs"], sent, "{reference}");
        assert_eq!(seen.get("reasoning_effort").is_some(), sent.is_null(), "{reference}");
    }
}

#[test]
fn a_request_that_names_its_model_is_edited_but_reasons_as_its_client_says() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "qwen3", ", use_reasoning: true", ALL);
    let body = r#"{"model":"small","logit_bias":{},"messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(gateway.connect().chat_bytes("s", body.as_bytes()).status, 200);
    let wanted = r#"{"model":"small","messages":[{"role":"system","content":"Answer in \"verse\"."},{"role":"user","content":"x"}]}"#;
    assert_eq!(last(&stand_in).body, wanted);
}

#[test]
fn a_thousand_edits_in_one_body_arrive_whole() {
    let stand_in = stand_in();
    let strip = "        - type: request_params\n          configuration: {strip_unknown: true}\n";
    let gateway = gateway(&stand_in, "gpt-oss", "", strip);
    let unknown: String = (0..1000).map(|n| format!("\"x{n}\":[{n}],")).collect();
    let kept: String = (0..1000).map(|n| format!(",{{\"role\":\"user\",\"content\":\"{n}\"}}")).collect();
    let messages = format!("\"messages\":[{{\"role\":\"user\",\"content\":\"\"}}{kept}]");
    let body = format!("{{{unknown}\"model\":\"auto\",{unknown}{messages}}}").replace("\"temp\"", "");
    let response = gateway.connect().chat_bytes("s", body.as_bytes());
    assert_eq!(response.status, 200, "{}", response.text());
    let wanted = format!("{{\"model\":\"small\",{messages}}}");
    let seen = last(&stand_in);
    assert_eq!(seen.body_bytes, wanted.len() as u64);
    assert!(wanted.starts_with(&seen.body));
}
