//! Promise: a decision may leave a request only the tools that have to do with it, or offer it such tools out of a
//! database, and never takes away the ones that it works with.

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

/// A gateway that offers the one tool of its database that is most to the point, if it is to the point at all.
fn adding(stand_in: &StandIn, more: &str) -> Gateway {
    let tool = |name: &str, description: &str, category: &str| {
        json!({
            "tool": { "type": "function", "function": { "name": name, "description": "As named.",
                "parameters": { "type": "object", "properties": {} } } },
            "description": description, "category": category, "tags": [category],
        })
    };
    let database = json!([
        tool("read_file", "Read a source file of the project from disk.", "code"),
        tool("get_weather", "Get the weather forecast of a city: rain, wind, temperature.", "weather"),
        tool("send_email", "Send an email to a colleague.", "office"),
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), database.to_string()).unwrap();
    let mut config = ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.5)]);
    config.routing.push_str(&format!(
        "      plugins:
        - type: tool_selection
          configuration: {{enabled: true, tools_db_path: '{}', top_k: 1, similarity_threshold: 0.2{more}}}
",
        file.path().display()
    ));
    config = config.with("classifier: {deadline_ms: 20000}");
    // The file is read at the start.
    Gateway::start(&config)
}

const WEATHER: &str = "Get the weather forecast: will it rain in Paris, and how strong is the wind?";

#[test]
fn a_tool_out_of_the_database_is_offered_beside_the_clients_own() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = adding(&stand_in, "");
    let mut connection = gateway.connect();
    let mut asked = body(WEATHER);
    asked["tools"] = json!([{ "type": "function", "function": { "name": "own" } }]);
    let response = connection.chat("s1", &asked);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(sent_tools(&stand_in), ["own", "get_weather"]);
    let flow = gateway.flow(&response.flow());
    let edit = flow["upstream"][0]["edits"][0].as_str().unwrap();
    assert!(edit.starts_with("tool_selection: 1 of 3 tools of the database"), "{flow}");

    asked.as_object_mut().unwrap().remove("tools");
    assert_eq!(connection.chat("s2", &asked).status, 200);
    assert_eq!(sent_tools(&stand_in), ["get_weather"]);
    asked["tool_choice"] = "none".into();
    assert_eq!(connection.chat("s3", &asked).status, 200);
    assert!(sent_tools(&stand_in).is_empty(), "no tool is to be called");

    let message =
        json!({ "model": "auto", "max_tokens": 9, "messages": [{ "role": "user", "content": WEATHER }] });
    let head = "POST /v1/messages HTTP/1.1\r\nhost: test\r\ncontent-type: application/json";
    connection.request(head, message.to_string().as_bytes());
    let response = connection.response();
    assert_eq!(response.status, 200, "{}", response.text());
    let sent: Value = serde_json::from_str(&stand_in.seen().pop().unwrap().body).unwrap();
    assert_eq!(
        (&sent["tools"][0]["name"], &sent["tools"][0]["input_schema"]["type"]),
        (&json!("get_weather"), &json!("object"))
    );
}

#[test]
fn a_tool_of_the_database_that_was_called_is_offered_again() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = adding(&stand_in, ", advanced_filtering: {enabled: true, block_tools: [get_weather]}");
    let mut connection = gateway.connect();
    assert_eq!(connection.chat("s", &body_without_tools(WEATHER)).status, 200);
    assert!(!sent_tools(&stand_in).contains(&"get_weather".to_owned()), "it is not to be offered");
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "send_email", "arguments": "{}" } });
    let mut working = body_without_tools("");
    working["messages"] = json!([
        { "role": "user", "content": WEATHER },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c1", "content": "sent" },
    ]);
    assert_eq!(connection.chat("s2", &working).status, 200);
    assert!(sent_tools(&stand_in).contains(&"send_email".to_owned()));
}

fn body_without_tools(text: &str) -> Value {
    let mut body = body(text);
    body.as_object_mut().unwrap().remove("tools");
    body
}
