//! Promise: a decision may leave a request only the tools that have to do with it, and never takes away the ones that
//! it works with.

use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Gateway, Model};
use serde_json::{Value, json};

/// A gateway that keeps the one tool that is most to the point.
fn gateway(stand_in: &StandIn) -> Gateway {
    let mut config = ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.5)]);
    config.routing.push_str(
        "      plugins:
        - type: tool_selection
          configuration: {enabled: true, mode: filter, relevance_threshold: 0.99, preserve_count: 1}
",
    );
    config = config.with("classifier: {deadline_ms: 20000}");
    Gateway::start(&config)
}

fn body(text: &str) -> Value {
    let tool = |name: &str, description: &str| json!({ "type": "function", "function": { "name": name, "description": description } });
    json!({
        "model": "auto",
        "messages": [{ "role": "user", "content": text }],
        "tools": [
            tool("read_file", "Read a source file of the project from disk."),
            tool("get_weather", "Get the weather forecast of a city: rain, wind, temperature."),
            tool("send_email", "Send an email to a colleague."),
        ],
    })
}

fn sent_tools(stand_in: &StandIn) -> Vec<String> {
    let sent: Value = serde_json::from_str(&stand_in.seen().pop().unwrap().body).unwrap();
    let tools = sent["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_tool_that_is_to_the_point_stays_and_so_do_those_in_use() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = gateway(&stand_in);
    let mut connection = gateway.connect();
    let asked = body("Will it rain in Paris tomorrow, and how strong is the wind?");
    let response = connection.chat("s1", &asked);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(sent_tools(&stand_in), ["get_weather"]);
    let flow = gateway.flow(&response.flow());
    let edit = flow["upstream"][0]["edits"][0].as_str().unwrap();
    assert!(edit.starts_with("tool_selection: 1 of 3 tools"), "{flow}");
    assert!(flow["timings"]["classifier_us"].as_u64().unwrap() > 0, "{flow}");

    let mut demanded = asked.clone();
    demanded["tool_choice"] = json!({ "type": "function", "function": { "name": "send_email" } });
    assert_eq!(connection.chat("s2", &demanded).status, 200);
    assert_eq!(sent_tools(&stand_in), ["send_email"], "what must be there counts among those to be kept");

    let mut working = asked.clone();
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "read_file", "arguments": "{}" } });
    working["messages"] = json!([
        { "role": "user", "content": "Read it." },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c1", "content": "fn main() {}" },
    ]);
    assert_eq!(connection.chat("s3", &working).status, 200);
    assert!(sent_tools(&stand_in).contains(&"read_file".to_owned()));

    let mut unwanted = asked.clone();
    unwanted["tool_choice"] = "none".into();
    assert_eq!(connection.chat("s4", &unwanted).status, 200);
    assert_eq!(sent_tools(&stand_in).len(), 3);
}
