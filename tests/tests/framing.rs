//! Promise: HTTP/1.1 as its users speak it: chunks, 100-continue, pipelining, keep-alive, HTTP/1.0.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pintle_standin::{Options, StandIn};
use pintle_tests::Gateway;
use pintle_tests::http::chat_head;
use serde_json::json;

fn stand_in() -> StandIn {
    StandIn::spawn(Options::for_model("small")).unwrap()
}

fn body(text: &str) -> String {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] }).to_string()
}

#[test]
fn a_chunked_request_arrives_whole() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let text = body("chunks \u{1f980} all the way");
    for size in [1, 2, 3, 64, text.len()] {
        let mut message = format!("{}\r\nTransfer-Encoding: Chunked\r\n\r\n", chat_head("s1")).into_bytes();
        for piece in text.as_bytes().chunks(size) {
            message.extend_from_slice(format!("{:X};ext=\"1\"\r\n", piece.len()).as_bytes());
            message.extend_from_slice(piece);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"0\r\nx-trailer: t\r\n\r\n");
        connection.send(&message);
        let response = connection.response();
        assert_eq!(response.status, 200, "chunks of {size}: {}", response.text());
        let seen = stand_in.seen().pop().unwrap();
        assert_eq!(seen.body_bytes, text.len() as u64 + 1);
        assert_eq!(seen.header("transfer-encoding"), None, "a known length is sent as such");
    }
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let text = body("slow");
    let message = format!("{}\r\ncontent-length: {}\r\n\r\n{text}", chat_head("s1"), text.len());
    for byte in message.as_bytes() {
        connection.send([*byte]);
    }
    assert_eq!(connection.response().status, 200);
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let text = body("may I?");
    for _ in 0..2 {
        let length = text.len();
        connection
            .send(format!("{}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n", chat_head("s1")));
        let (interim, _) = connection.try_head().unwrap();
        assert_eq!(interim.status, 100);
        connection.send(&text);
        assert_eq!(connection.response().status, 200);
    }
    assert_eq!(stand_in.seen().pop().unwrap().header("expect"), None);
}

#[test]
fn expect_100_continue_on_a_hopeless_request_is_refused_without_its_body() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    connection
        .send(format!("{}\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n", chat_head("s1")));
    connection.response().assert_openai_error(413);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let mut message = String::new();
    for n in 0..10 {
        let text = body(&format!("[tokens:{}]", n + 1));
        message.push_str(&format!("{}\r\ncontent-length: {}\r\n\r\n{text}", chat_head("s1"), text.len()));
        message.push_str("GET /health HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    connection.send(&message);
    for n in 0..10 {
        let response = connection.response();
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["usage"]["completion_tokens"], n + 1);
        assert_eq!(connection.response().status, 200);
    }
}

#[test]
fn connections_are_reused_on_both_sides() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    for stream in [false, true] {
        for n in 0..20 {
            let text = format!("turn {n}");
            let json = json!({ "model": "auto", "stream": stream, "messages": [{ "role": "user", "content": text }] });
            assert_eq!(connection.chat("s1", &json).status, 200);
        }
    }
    assert_eq!(stand_in.stats().completed, 40);
    assert_eq!(stand_in.stats().connections, 1);
}

#[test]
fn close_is_honoured_and_http_1_0_closes() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let text = body("bye");
    let mut connection = gateway.connect();
    connection.request(&format!("{}\r\nconnection: close", chat_head("s1")), text.as_bytes());
    let response = connection.response();
    assert_eq!((response.status, response.header("connection")), (200, "close"));
    connection.assert_closed();

    let mut connection = gateway.connect();
    let head = "POST /v1/chat/completions HTTP/1.0\r\nhost: test\r\nx-session-id: s1";
    let stream =
        json!({ "model": "auto", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    connection.request(head, stream.to_string().as_bytes());
    let response = connection.response();
    assert_eq!(response.status, 200);
    assert_eq!(response.header("transfer-encoding"), "", "HTTP/1.0 knows no chunks");
    assert!(response.body.ends_with(b"data: [DONE]\n\n"));
    connection.assert_closed();
}

#[test]
fn absolute_form_queries_and_odd_cases_are_understood() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    connection.send("GET http://test/health HTTP/1.1\r\nHoSt: test\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    assert_eq!(connection.get("/v1/models?limit=1").status, 200);
    connection.send("\r\nGET /health HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(connection.response().status, 200, "an empty line before a request is skipped");
    let text = body("hi");
    let head =
        "POST /v1/chat/completions?api-version=1 HTTP/1.1\r\nhost: test\r\nCONTENT-TYPE: application/json";
    connection.request(head, text.as_bytes());
    assert_eq!(connection.response().status, 200);
}

#[test]
fn a_head_request_gets_no_body() {
    let stand_in = stand_in();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    connection.send("HEAD /nowhere HTTP/1.1\r\nhost: test\r\n\r\nGET /health HTTP/1.1\r\nhost: test\r\n\r\n");
    let (head, _) = connection.try_head().unwrap();
    assert!(head.status == 404 || head.status == 405, "{}", head.status);
    if head.header("connection") == "close" {
        connection.assert_closed();
    } else {
        assert_eq!(connection.response().status, 200, "nothing stands between the two heads");
    }
}

#[test]
fn hyper_with_a_pool_streams_and_posts_side_by_side() {
    let stand_in =
        StandIn::spawn(Options { tokens_per_second: 2_000.0, ..Options::for_model("small") }).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let url = format!("http://{}/v1/chat/completions", gateway.address());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let (client, url) = (client.clone(), url.clone());
            tasks.spawn(async move {
                let json = json!({ "model": "auto", "stream": n % 2 == 0,
                    "messages": [{ "role": "user", "content": format!("request {n} [tokens:50]") }] });
                let request = Request::post(url).body(Full::from(json.to_string())).unwrap();
                let response = client.request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap().to_bytes()
            });
        }
        while let Some(body) = tokio::time::timeout(Duration::from_secs(30), tasks.join_next()).await.unwrap()
        {
            let body = body.unwrap();
            assert!(body.ends_with(b"data: [DONE]\n\n") || body.ends_with(b"}"));
        }
    });
    assert_eq!(stand_in.stats().completed, 64);
    assert_eq!(stand_in.stats().aborted, 0);
}
