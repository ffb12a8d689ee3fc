//! Promise: a decision that asks several models gives one answer, accounts for every call, and never takes a held
//! turn from its model.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::http::Response;
use pintle_tests::ports::NOBODY;
use pintle_tests::{Agent, Backend, ConfigFile, Gateway, Model, PATIENCE, until};
use serde_json::{Value, json};

/// A backend that takes longer to answer than anybody waits.
fn silent(model: &str) -> StandIn {
    StandIn::spawn(Options { first_token_ms: 60_000, ..Options::for_model(model) }).unwrap()
}

/// A stand-in that is this sure of each of its tokens.
fn stand_in(model: &str, logprob: f64) -> StandIn {
    StandIn::spawn(Options { logprob: Some(logprob), ..Options::for_model(model) }).unwrap()
}

/// Both models, the smaller one cheaper, under one decision with this algorithm.
fn gateway(small: &StandIn, large: &StandIn, algorithm: &str, integrations: &str) -> Gateway {
    Gateway::start(&config(small, large, algorithm, integrations))
}

fn config(small: &StandIn, large: &StandIn, algorithm: &str, integrations: &str) -> ConfigFile {
    let models = vec![Model::on(&[small], 0.1, 0.5), Model::on(&[large], 1.0, 0.9)];
    let mut config = ConfigFile::plain(models);
    config.routing = format!(
        "  decisions:
    - name: together
      description: all requests
      priority: 1
      rules: {{operator: AND, conditions: []}}
      modelRefs: [{{model: large}}, {{model: small}}]
      algorithm: {{{algorithm}}}
"
    );
    if !integrations.is_empty() {
        config.global = format!("  integrations: {{looper: {{{integrations}}}}}\n");
    }
    config
}

fn chat(text: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] })
}

/// Asked by price, so the smaller model first.
const BY_LOGPROB: &str = "type: confidence, confidence: {escalation_order: cost, threshold: 0.5}";

fn sub_calls(flow: &Value) -> Vec<(String, String, Option<f64>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |call: &Value| {
        (text(&call["model"]), text(&call["sub_call"]["ask"]), call["sub_call"]["confidence"].as_f64())
    };
    flow["upstream"].as_array().unwrap().iter().map(one).collect()
}

#[track_caller]
fn assert_close(given: &Value, wanted: f64) {
    let given = given.as_f64().unwrap_or(f64::NAN);
    assert!((given - wanted).abs() < 1e-9, "{given}, not {wanted}");
}

#[test]
fn the_first_answer_that_is_sure_enough_is_the_clients() {
    let (small, large) = (stand_in("small", -0.3), stand_in("large", -0.1));
    let gateway = gateway(&small, &large, BY_LOGPROB, "");
    let response = gateway.connect().chat("s", &chat("why?"));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!((response.model(), small.stats().completed, large.stats().completed), ("small", 1, 0));
    let flow = gateway.flow(&response.flow());
    assert_eq!(sub_calls(&flow).len(), 1);
    assert_close(&flow["upstream"][0]["sub_call"]["confidence"], 0.9);
    let choice = &response.json()["choices"][0];
    assert!(choice["message"]["content"].as_str().unwrap().starts_with("(small)"), "{choice}");
    assert!(choice.get("logprobs").is_none(), "the client did not ask for them");
}

#[test]
fn an_unsure_answer_is_asked_again_of_the_next_model_and_both_are_paid_for() {
    let (small, large) = (stand_in("small", -2.7), stand_in("large", -0.3));
    let gateway = gateway(&small, &large, BY_LOGPROB, "headers: {x-team: blue}");
    let mut body = chat("why?");
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    body["n"] = 3.into();
    let response = gateway.connect().chat("s", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let told = |name: &str| response.header(&format!("x-vsr-looper-{name}")).to_owned();
    assert_eq!(
        ["model", "models-used", "iterations", "algorithm"].map(told),
        ["large", "small,large", "2", "confidence"]
    );
    assert_eq!(response.header("x-vsr-selected-decision"), "together");
    let events = response.events();
    assert!(
        events[0]["choices"][0]["delta"]["content"].as_str().unwrap().starts_with("(large)"),
        "{events:?}"
    );
    let flow = gateway.flow(&response.flow());
    let calls = sub_calls(&flow);
    assert_eq!(
        calls.iter().map(|(model, ask, _)| (model.as_str(), ask.as_str())).collect::<Vec<_>>(),
        [("small", "original"), ("large", "original")]
    );
    assert_close(&flow["upstream"][0]["sub_call"]["confidence"], 0.1);
    let sum = |path: &str| -> f64 {
        let calls = flow["upstream"].as_array().unwrap();
        calls.iter().map(|call| call["sub_call"].pointer(path).unwrap().as_f64().unwrap()).sum()
    };
    assert_close(&flow["usage"]["prompt"], sum("/usage/prompt"));
    assert_close(&flow["cost_usd"], sum("/cost_usd"));
    assert_close(&events.last().unwrap()["usage"]["prompt_tokens"], sum("/usage/prompt"));
    assert_close(&events.last().unwrap()["usage"]["completion_tokens"], sum("/usage/completion"));
    assert_eq!(flow["looper"]["choices"], json!([1]), "{flow}");
    for (stand_in, name) in [(&small, "small"), (&large, "large")] {
        let seen = stand_in.seen().pop().unwrap();
        let sent: Value = serde_json::from_str(&seen.body).unwrap();
        let wanted = json!({ "model": name, "stream": false, "logprobs": true, "top_logprobs": 1,
            "messages": body["messages"] });
        assert_eq!(sent, wanted);
        assert!(seen.headers.contains(&("x-team".into(), "blue".into())), "{:?}", seen.headers);
    }
}

#[test]
fn a_model_judges_its_own_answer_in_a_request_of_its_own() {
    let (small, large) = (stand_in("small", -2.7), stand_in("large", -0.3));
    let method = "type: confidence, confidence: {escalation_order: cost, confidence_method: self_verify}";
    let gateway = gateway(&small, &large, method, "");
    let response = gateway.connect().chat("s", &chat("why?"));
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    let calls = sub_calls(&gateway.flow(&response.flow()));
    let asked: Vec<(&str, &str)> =
        calls.iter().map(|(model, ask, _)| (model.as_str(), ask.as_str())).collect();
    let wanted =
        [("small", "original"), ("small", "verification"), ("large", "original"), ("large", "verification")];
    assert_eq!(asked, wanted);
    let judged: Value = serde_json::from_str(&small.seen().pop().unwrap().body).unwrap();
    let prompt = judged["messages"][0]["content"].as_str().unwrap();
    assert!(prompt.contains("why?") && prompt.contains("(small)"), "{prompt}");
    assert_eq!((&judged["max_tokens"], &judged["temperature"]), (&json!(256), &json!(0.1)));
}

/// A server that says how sure it is of whatever it is asked, and what it was asked.
fn verifier(confidence: f64) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            // The question ends with the body's closing brace.
            while !request.ends_with(b"}") {
                let count = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..count]);
            }
            let body = format!("{{\"confidence\":{confidence},\"samples\":[\"0.1\"]}}");
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
            if tell.send(String::from_utf8(request).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, told)
}

#[test]
fn a_verifier_is_asked_about_each_answer_and_a_missing_one_judges_nothing() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let method = |address| {
        format!(
            "type: confidence, confidence: {{escalation_order: cost, confidence_method: automix_entailment, \
             verifier_server_url: 'http://{address}/judge/'}}"
        )
    };
    let (address, asked) = verifier(0.8);
    let sure = gateway(&small, &large, &method(address), "");
    let response = sure.connect().chat("s", &chat("why \"so\"?"));
    assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
    let question = asked.recv_timeout(PATIENCE).unwrap();
    let (head, body) = question.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /judge/verify HTTP/1.1\r\n") && !head.contains("x-session-id"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["question"], &body["threshold"]), (&json!("why \"so\"?"), &json!(0.7)));
    assert!(body["answer"].as_str().unwrap().starts_with("(small)"), "{body}");

    let unsure = gateway(&small, &large, &method(NOBODY), "");
    let response = unsure.connect().chat("s", &chat("why?"));
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    let flow = unsure.flow(&response.flow());
    assert_eq!(flow["upstream"][1]["model"], "verifier", "{flow}");
    assert!(flow["upstream"][1]["error"].is_string());
}

#[test]
fn ratings_gives_every_answer_as_a_choice_and_asks_at_once() {
    let slow =
        |model: &str| StandIn::spawn(Options { first_token_ms: 2000, ..Options::for_model(model) }).unwrap();
    let (small, large) = (slow("small"), slow("large"));
    let gateway = gateway(&small, &large, "type: ratings", "");
    let response = std::thread::scope(|scope| {
        let asked = scope.spawn(|| gateway.connect().chat("s", &chat("why?")));
        until("both are at work at once", || small.stats().in_flight + large.stats().in_flight == 2);
        asked.join().expect("an answer")
    });
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json();
    let choices = answer["choices"].as_array().unwrap();
    let told: Vec<_> = choices.iter().map(|choice| (&choice["index"], &choice["model"])).collect();
    assert_eq!(told, [(&json!(0), &json!("large")), (&json!(1), &json!("small"))]);
    assert_eq!(answer["model"], "large,small");
    assert_eq!(response.model(), "large");
}

#[test]
fn remom_shows_a_round_to_the_next_and_on_the_way_what_was_said() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let algorithm =
        "type: remom, remom: {breadth_schedule: [2], temperature: 0.5, include_intermediate_responses: true}";
    let gateway = gateway(&small, &large, algorithm, "");
    let response = gateway.connect().chat("s", &chat("why?"));
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json();
    let rounds = answer["reasoning_mom_responses"].as_array().unwrap();
    assert_eq!(rounds.iter().map(|round| &round["breadth"]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(response.header("x-vsr-looper-iterations"), "3");
    let last = if response.header("x-vsr-looper-model") == "small" { &small } else { &large };
    let sent: Value = serde_json::from_str(&last.seen().pop().unwrap().body).unwrap();
    let prompt = sent["messages"][0]["content"].as_str().unwrap();
    assert!(["why?", "(small)", "(large)"].iter().all(|part| prompt.contains(part)), "{prompt}");
    assert_eq!(sent["temperature"], 0.5);
}

#[test]
fn a_tool_loop_stays_with_the_model_whose_call_it_is() {
    let (small, large) = (stand_in("small", -2.7), stand_in("large", -0.3));
    let gateway = gateway(&small, &large, BY_LOGPROB, "");
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s");
    // A tool call has no tokens of text, so nobody is sure of it and the last model's stands.
    let response = agent.say(&mut connection, "[tool] look");
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    assert_eq!(agent.open_calls.len(), 1);
    let before = small.stats().requests;
    let response = agent.hand_in(&mut connection);
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    assert_eq!(small.stats().requests, before, "a held turn is one call to its model");
    assert_eq!(response.header("x-vsr-looper-algorithm"), "");
    assert_eq!(small.stats().violations + large.stats().violations, 0);
}

#[test]
fn a_named_model_is_asked_alone() {
    let (small, large) = (stand_in("small", -2.7), stand_in("large", -0.3));
    let gateway = gateway(&small, &large, BY_LOGPROB, "");
    let mut named = chat("why?");
    named["model"] = "small".into();
    assert_eq!(gateway.connect().chat("s", &named).model(), "small");
    assert_eq!(large.stats().requests, 0);
}

#[test]
fn a_failed_call_is_passed_over_or_ends_the_request_as_configured() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let asked = |gateway: &Gateway| -> Response { gateway.connect().chat("s", &chat("why? [error:500]")) };
    let failing = gateway(&small, &large, "type: ratings", "");
    let response = asked(&failing);
    let message = response.assert_openai_error(502);
    assert!(message.contains("No model answered"), "{message}");
    let flow = failing.flow(&response.flow());
    assert_eq!((&flow["outcome"]["committed"], &flow["upstream"][0]["status"]), (&json!(false), &json!(500)));

    let with_one_dead = |algorithm: &str| {
        let mut config = config(&small, &large, algorithm, "");
        config.models[0].backends = vec![Backend::at(NOBODY)];
        config
    };
    let lenient = with_one_dead("type: ratings");
    let strict = with_one_dead("type: ratings, ratings: {on_error: fail}");
    let response = Gateway::start(&lenient).connect().chat("s", &chat("why?"));
    assert_eq!((response.status, response.json()["choices"].as_array().unwrap().len()), (200, 1));
    let response = Gateway::start(&strict).connect().chat("s", &chat("why?"));
    assert!(response.assert_openai_error(502).contains("failed"), "{}", response.text());
}

#[test]
fn time_that_is_over_ends_all_calls() {
    let (small, large) = (silent("small"), silent("large"));
    let gateway = gateway(&small, &large, "type: ratings", "timeout_seconds: 3");
    let start = Instant::now();
    let response = gateway.connect().chat("s", &chat("why?"));
    response.assert_openai_error(504);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    until("both backends have lost their caller", || small.stats().aborted + large.stats().aborted == 2);
}

#[test]
fn a_backend_is_not_blamed_for_the_time_that_all_calls_together_have() {
    let (small, large) = (silent("small"), silent("large"));
    let gateway = gateway(&small, &large, "type: ratings", "timeout_seconds: 1");
    // More of them than failures that give a backend a rest.
    for turn in 0..5 {
        let response = gateway.connect().chat(&format!("s{turn}"), &chat("why?"));
        response.assert_openai_error(504);
        let flow = gateway.flow(&response.flow());
        // One call finds the time over, and then the other is not wanted any more.
        for call in flow["upstream"].as_array().unwrap() {
            assert!(call["fault"] == "pintle" || call["fault"] == "none", "{call}");
        }
    }
    for model in gateway.admin("/status").json()["data_plane"]["models"].as_array().unwrap() {
        assert_eq!(model["up"], true, "{model}");
    }
}

#[test]
fn a_responses_client_can_answer_every_tool_call_that_it_gets_of_several_models() {
    let (small, large) = (stand_in("small", -0.3), stand_in("large", -0.3));
    let gateway = gateway(&small, &large, "type: ratings", "");
    let mut body = response_request("why?");
    body["tools"] = json!([{ "type": "function", "name": "f", "parameters": { "type": "object" } }]);
    body["tool_choice"] = "required".into();
    let first = post(&gateway, "/v1/responses", &body).json();
    let calls = first["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call");
    let results: Vec<Value> = calls
        .map(|call| json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "done" }))
        .collect();
    assert_eq!(results.len(), 1, "{first}");
    body["input"] = results.into();
    body["previous_response_id"] = first["id"].clone();
    body["tool_choice"] = "auto".into();
    let second = post(&gateway, "/v1/responses", &body);
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(small.stats().violations + large.stats().violations, 0);
}

#[test]
fn a_client_that_leaves_ends_all_calls() {
    let (small, large) = (silent("small"), silent("large"));
    let gateway = gateway(&small, &large, "type: ratings", "");
    let mut connection = gateway.connect();
    connection.request(&pintle_tests::http::chat_head("s"), chat("why?").to_string().as_bytes());
    until("both are asked", || small.stats().in_flight + large.stats().in_flight == 2);
    drop(connection);
    until("both backends have lost their caller", || small.stats().aborted + large.stats().aborted == 2);
    until("it is recorded", || {
        gateway.metric("pintle_requests_total", &["class=\"4xx\"", "fault=\"client\""]) == 1.0
    });
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Response {
    let mut connection = gateway.connect();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: test\r\nx-session-id: s\r\ncontent-type: application/json");
    connection.request(&head, body.to_string().as_bytes());
    connection.response()
}

fn response_request(text: &str) -> Value {
    json!({ "model": "auto", "input": text })
}

fn message_request(text: &str) -> Value {
    json!({ "model": "auto", "max_tokens": 99, "messages": [{ "role": "user", "content": text }] })
}

#[test]
fn a_responses_client_gets_the_surer_answer_of_its_own_api() {
    let (small, large) = (stand_in("small", -2.7), stand_in("large", -0.3));
    let gateway = gateway(&small, &large, BY_LOGPROB, "");
    let response = post(&gateway, "/v1/responses", &response_request("why?"));
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("response"), &json!("large")));
    let part = &answer["output"][0]["content"][0];
    assert!(part["text"].as_str().unwrap().starts_with("(large)"), "{answer}");
    assert_eq!(part["logprobs"], json!([]), "the client did not ask for them");
    let flow = gateway.flow(&response.flow());
    assert_close(&flow["upstream"][0]["sub_call"]["confidence"], 0.1);
    assert_close(&flow["upstream"][1]["sub_call"]["confidence"], 0.9);
    assert_close(&answer["usage"]["input_tokens"], flow["usage"]["prompt"].as_f64().unwrap());
    let sent: Value = serde_json::from_str(&small.seen().pop().unwrap().body).unwrap();
    let include = json!(["message.output_text.logprobs"]);
    assert_eq!(sent, json!({ "model": "small", "input": "why?", "include": include, "top_logprobs": 1 }));

    // What follows on it goes to the one who knows it, and to nobody else.
    let before = small.stats().requests;
    let mut next = response_request("and then?");
    next["previous_response_id"] = answer["id"].clone();
    let response = post(&gateway, "/v1/responses", &next);
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    assert_eq!((small.stats().requests, response.header("x-vsr-looper-algorithm")), (before, ""));

    let mut streamed = response_request("why?");
    streamed["stream"] = true.into();
    streamed["include"] = include;
    let response = post(&gateway, "/v1/responses", &streamed);
    let events = response.events();
    assert_eq!(events.first().unwrap()["type"], "response.created");
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["model"]), (&json!("response.completed"), &json!("large")));
    assert!(last["response"]["output"][0]["content"][0]["logprobs"][0]["logprob"].is_number(), "{last}");
}

#[test]
fn a_responses_client_gets_all_that_were_rated_and_a_later_request_may_wait_in_the_background() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let gateway = gateway(&small, &large, "type: ratings", "");
    let response = post(&gateway, "/v1/responses", &response_request("why?"));
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json();
    let said = |nth: usize| answer["output"][nth]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(said(0).starts_with("(large)") && said(1).starts_with("(small)"), "{answer}");
    let mut background = response_request("why?");
    background["background"] = true.into();
    let response = post(&gateway, "/v1/responses", &background);
    assert_eq!(
        (response.status, response.header("x-vsr-looper-algorithm")),
        (200, ""),
        "{}",
        response.text()
    );
}

#[test]
fn a_messages_client_gets_a_judged_and_a_synthesised_answer_whole_and_streamed() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let method = "type: confidence, confidence: {escalation_order: cost, confidence_method: self_verify}";
    let judged = gateway(&small, &large, method, "");
    let response = post(&judged, "/v1/messages", &message_request("why?"));
    assert_eq!((response.status, response.model()), (200, "large"), "{}", response.text());
    let answer = response.json();
    assert_eq!((&answer["type"], &answer["model"]), (&json!("message"), &json!("large")));
    assert!(answer["content"][0]["text"].as_str().unwrap().starts_with("(large)"), "{answer}");
    let question = small.seen().pop().unwrap();
    let question: Value = serde_json::from_str(&question.body).unwrap();
    assert_eq!((&question["max_tokens"], question.get("logprobs")), (&json!(256), None));

    let algorithm =
        "type: remom, remom: {breadth_schedule: [2], temperature: 1.5, include_intermediate_responses: true}";
    let synthesised = gateway(&small, &large, algorithm, "");
    let mut body = message_request("why?");
    body["stream"] = true.into();
    let response = post(&synthesised, "/v1/messages", &body);
    assert_eq!(
        (response.status, response.header("x-vsr-looper-iterations")),
        (200, "3"),
        "{}",
        response.text()
    );
    let events = response.events();
    let started = &events[0]["message"];
    assert_eq!((&events[0]["type"], &started["role"]), (&json!("message_start"), &json!("assistant")));
    assert_eq!(started["reasoning_mom_responses"].as_array().unwrap().len(), 2);
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    let last = if response.header("x-vsr-looper-model") == "small" { &small } else { &large };
    let sent: Value = serde_json::from_str(&last.seen().pop().unwrap().body).unwrap();
    assert_eq!((sent["temperature"].as_f64(), &sent["stream"]), (Some(1.0), &json!(false)));
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains("(small)"), "{sent}");
}

#[test]
fn a_tool_loop_over_messages_stays_with_the_model_whose_call_it_is() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    let gateway = gateway(&small, &large, "type: remom, remom: {breadth_schedule: [1]}", "");
    let mut body = message_request("[tool] look");
    body["tools"] = json!([{ "name": "look", "input_schema": { "type": "object" } }]);
    let response = post(&gateway, "/v1/messages", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let maker = response.header("x-vsr-looper-model").to_owned();
    let answer = response.json();
    let Some(call) = answer["content"].as_array().unwrap().iter().find(|block| block["type"] == "tool_use")
    else {
        panic!("no tool is called: {answer}")
    };
    let result = json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "seen" }]);
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": answer["content"] }));
    messages.push(json!({ "role": "user", "content": result }));
    let before = small.stats().requests + large.stats().requests;
    let response = post(&gateway, "/v1/messages", &body);
    assert_eq!((response.status, response.model()), (200, maker.as_str()), "{}", response.text());
    assert_eq!(small.stats().requests + large.stats().requests, before + 1);
    assert_eq!(small.stats().violations + large.stats().violations, 0);
}

#[test]
fn what_an_api_cannot_say_is_refused_before_anybody_is_asked() {
    let (small, large) = (stand_in("small", -0.1), stand_in("large", -0.1));
    for (algorithm, why) in [(BY_LOGPROB, "log probabilities"), ("type: ratings", "room for one answer")] {
        let gateway = gateway(&small, &large, algorithm, "");
        let response = post(&gateway, "/v1/messages", &message_request("why?"));
        assert_eq!(response.status, 400, "{}", response.text());
        let answer = response.json();
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(why) && message.contains("/v1/responses"), "{message}");
        assert_eq!((&answer["type"], response.flow().is_empty()), (&json!("error"), false));
    }
    assert_eq!(small.stats().requests + large.stats().requests, 0);
}
