use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<(RequestHead, usize), RequestError> {
    let mut head = RequestHead::new();
    parse_request(text.as_bytes(), &Limits::default(), &mut head).map(|len| (head, len.expect("complete")))
}

fn refused(text: &str) -> RequestError {
    parse(text).expect_err(text)
}

/// A POST with these lines in its head.
fn post(lines: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn reads_a_request_and_stops_at_its_end() {
    let wire = "POST /v1/chat/completions?x=1&y HTTP/1.1\r\nHost: api:8080\r\nContent-Length: 5\r\nX-Session-Id:  s 1 \r\n\r\nhello";
    let (head, len) = parse(wire).unwrap();
    let request = head.view(wire.as_bytes());
    assert_eq!(&wire[len..], "hello");
    assert_eq!((head.method(), request.method_text()), (Method::Post, &b"POST"[..]));
    assert_eq!((request.path(), request.query()), (&b"/v1/chat/completions"[..], &b"x=1&y"[..]));
    assert_eq!(request.path_and_query(), b"/v1/chat/completions?x=1&y");
    assert_eq!(request.field("x-SESSION-id"), Some(&b"s 1"[..]));
    assert_eq!((request.fields().len(), request.field("absent")), (3, None));
    assert_eq!((head.framing(), head.keep_alive()), (BodyFraming::Length(5), true));
}

#[test]
fn accepts_origin_absolute_and_asterisk_targets() {
    for (line, path) in
        [("GET /", "/"), ("GET http://h/a", "/a"), ("GET HTTPS://h:1", "/"), ("OPTIONS *", "*")]
    {
        let wire = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let (head, _) = parse(&wire).unwrap();
        assert_eq!(head.view(wire.as_bytes()).path(), path.as_bytes(), "{line}");
    }
    for line in [
        "GET *",
        "GET a",
        "GET h:80",
        "GET ftp://h/",
        "GET http://u@h/",
        "GET http:///a",
        "GET http://h?q",
        "GET /#f",
        "GET /\u{e9}",
    ] {
        assert_eq!(refused(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n")), RequestError::Target, "{line}");
    }
}

#[test]
fn states_one_length_or_refuses() {
    use RequestError::*;
    for (lines, expected) in [
        ("", Ok(BodyFraming::None)),
        ("Content-Length: 0\r\n", Ok(BodyFraming::None)),
        ("Content-Length: 7\r\nContent-Length: 7\r\n", Ok(BodyFraming::Length(7))),
        ("Content-Length: 7, 7\r\n", Ok(BodyFraming::Length(7))),
        ("Transfer-Encoding: Chunked\r\n", Ok(BodyFraming::Chunked)),
        ("Content-Length: 7\r\nContent-Length: 8\r\n", Err(ContentLengthsDiffer)),
        ("Content-Length: 7, 8\r\n", Err(ContentLengthsDiffer)),
        ("Content-Length: -1\r\n", Err(ContentLength)),
        ("Content-Length: +1\r\n", Err(ContentLength)),
        ("Content-Length: 0x1\r\n", Err(ContentLength)),
        ("Content-Length: 1 2\r\n", Err(ContentLength)),
        ("Content-Length:\r\n", Err(ContentLength)),
        ("Content-Length: 1,\r\n", Err(ContentLength)),
        ("Content-Length: 18446744073709551616\r\n", Err(ContentLength)),
        ("Content-Length: 33554433\r\n", Err(BodyTooLarge { limit: 33_554_432 })),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(AmbiguousLength)),
        ("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", Err(AmbiguousLength)),
        ("Transfer-Encoding: identity\r\nContent-Length: 0\r\n", Err(AmbiguousLength)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(TransferEncoding)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(TransferEncoding)),
        ("Transfer-Encoding: chunked, chunked\r\n", Err(TransferEncoding)),
        ("Transfer-Encoding: \"chunked\"\r\n", Err(TransferEncoding)),
        ("Transfer-Encoding:\r\n", Err(TransferEncoding)),
    ] {
        assert_eq!(parse(&post(lines)).map(|(head, _)| head.framing()), expected, "{lines}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), TransferEncodingInHttp10);
}

#[test]
fn refuses_lines_that_others_would_read_differently() {
    use RequestError::*;
    for (wire, error) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", LineEnd),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", FieldValue),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", FieldName),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", FieldName),
        ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", FieldName),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", FieldName),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", FieldName),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", FieldValue),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", LineEnd),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version),
        ("\x16\x03\x01\x02", RequestLine),
        ("GET / HTTP/1.1\r\n\r\n", HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Host),
    ] {
        assert_eq!(refused(wire), error, "{wire:?}");
    }
    assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert!(parse("\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").is_ok());
}

#[test]
fn each_refusal_has_its_status() {
    for (error, status) in [
        (RequestError::TargetTooLong { limit: 1 }, 414),
        (RequestError::HeadTooLarge { limit: 1 }, 431),
        (RequestError::TooManyFields { limit: 1 }, 431),
        (RequestError::Version, 505),
        (RequestError::BodyTooLarge { limit: 1 }, 413),
        (RequestError::TransferEncoding, 501),
        (RequestError::Expectation, 417),
        (RequestError::AmbiguousLength, 400),
    ] {
        assert_eq!(error.status(), status);
        assert!(!reason_phrase(status).is_empty());
    }
    assert_eq!(ResponseError::StatusLine.status(), 502);
}

#[test]
fn limits_fields_and_size() {
    let limits = Limits { head_bytes: 200, headers: 3, body_bytes: 10 };
    let run = |wire: &str| parse_request(wire.as_bytes(), &limits, &mut RequestHead::new());
    assert!(run(&post("a: 1\r\nb: 2\r\n")).unwrap().is_some());
    assert_eq!(run(&post("a: 1\r\nb: 2\r\nc: 3\r\n")), Err(RequestError::TooManyFields { limit: 3 }));
    assert_eq!(
        run(&post(&format!("a: {}", "x".repeat(200)))),
        Err(RequestError::HeadTooLarge { limit: 200 })
    );
    assert_eq!(run(&format!("GET /{}", "x".repeat(200))), Err(RequestError::TargetTooLong { limit: 200 }));
    // A head that fits is not refused for the body behind it.
    assert!(run(&format!("{}{}", post("Content-Length: 10\r\n"), "x".repeat(500))).unwrap().is_some());
    let nominated = (0..33).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(refused(&post(&format!("Connection: {nominated}\r\n"))), RequestError::Connection);
}

#[test]
fn keeps_alive_as_the_version_says() {
    for (version, lines, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: x-a, close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let wire = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(parse(&wire).unwrap().0.keep_alive(), keep_alive, "{version} {lines}");
    }
}

#[test]
fn meets_one_expectation() {
    let expects = |lines: &str| parse(&post(lines)).map(|(head, _)| head.expects_continue());
    assert_eq!(expects("Content-Length: 3\r\nExpect: 100-Continue\r\n"), Ok(true));
    assert_eq!(expects("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"), Ok(true));
    assert_eq!(expects("Content-Length: 3\r\n"), Ok(false));
    assert_eq!(expects("Expect: 100-continue\r\n"), Ok(false));
    assert_eq!(expects("Expect: tea\r\n"), Err(RequestError::Expectation));
    assert_eq!(expects("Expect: 100-continue, tea\r\n"), Err(RequestError::Expectation));
    let old = "POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: tea\r\n\r\n";
    assert!(!parse(old).unwrap().0.expects_continue());
}

#[test]
fn a_head_sent_byte_by_byte_is_searched_not_reparsed() {
    let wire = post(&format!("X-Long: {}\r\n", "v".repeat(40_000)));
    let mut head = RequestHead::new();
    for end in 1..wire.len() {
        assert_eq!(parse_request(&wire.as_bytes()[..end], &Limits::default(), &mut head), Ok(None));
    }
    let len = parse_request(wire.as_bytes(), &Limits::default(), &mut head).unwrap();
    assert_eq!(len, Some(wire.len()));
}

fn response(text: &str, method: Method) -> Result<ResponseHead, ResponseError> {
    let mut head = ResponseHead::new();
    parse_response(text.as_bytes(), method, &Limits::default(), &mut head).map(|len| {
        len.expect("complete");
        head
    })
}

#[test]
fn knows_where_a_response_ends() {
    use ResponseFraming::*;
    for (wire, method, framing, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::Post, Length(3), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Method::Post, Length(0), true),
        ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Post, Chunked, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Post, Close, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", Method::Get, Length(3), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Method::Get, Length(3), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            Length(3),
            true,
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", Method::Get, Empty, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Method::Get, Empty, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Head, Empty, true),
        ("HTTP/1.1 100 Continue\r\n\r\n", Method::Post, Empty, true),
    ] {
        let head = response(wire, method).unwrap();
        assert_eq!((head.framing(), head.keep_alive()), (framing, keep_alive), "{wire}");
    }
    assert!(response("HTTP/1.1 103 Early Hints\r\n\r\n", Method::Post).unwrap().is_interim());
}

#[test]
fn refuses_ambiguous_responses() {
    use ResponseError::*;
    for (wire, error) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", AmbiguousLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncoding),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", SwitchedProtocols),
        ("HTTP/1.1 99 Low\r\n\r\n", StatusLine),
        ("HTTP/1.1 600 High\r\n\r\n", StatusLine),
        ("SSH-2.0-x\r\n", StatusLine),
        ("HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n", LineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", FieldName),
    ] {
        assert_eq!(response(wire, Method::Post).unwrap_err(), error, "{wire}");
    }
}

#[test]
fn tells_media_type_and_coding() {
    let wire =
        "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nContent-Encoding: gzip\r\n\r\n";
    let head = response(wire, Method::Post).unwrap();
    let view = head.view(wire.as_bytes());
    assert!(view.is_event_stream());
    assert_eq!((view.content_encoding(), view.reason()), (Some(&b"gzip"[..]), &b"OK"[..]));
    let wire = "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n";
    let head = response(wire, Method::Post).unwrap();
    assert_eq!(
        (head.view(wire.as_bytes()).content_encoding(), head.view(wire.as_bytes()).media_type()),
        (None, &b""[..])
    );
}

fn upstream<'a>(set: &'a [Field<'a>], credentials: Credentials) -> UpstreamRequest<'a> {
    UpstreamRequest {
        target: b"/v1/chat/completions",
        host: b"vllm:8000",
        content_length: Some(12),
        credentials,
        set,
        add: &[],
        remove: &[b"X-Private"],
    }
}

#[test]
fn the_upstream_request_carries_only_what_is_end_to_end() {
    let wire = post(
        "Content-Length: 9\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nTE: trailers\r\nTrailer: x\r\n\
         Upgrade: h2c\r\nProxy-Authorization: p\r\nProxy-Connection: k\r\nExpect: 100-continue\r\nAuthorization: Bearer sk\r\n\
         x-api-key: k\r\nx-user-openai-key: u\r\nX-Private: 1\r\nAccept-Encoding: gzip\r\nContent-Type: application/json\r\nX-Keep: yes\r\n",
    );
    let (head, _) = parse(&wire).unwrap();
    let set = [
        Field::new(b"Authorization", b"Bearer own").unwrap(),
        Field::new(b"accept-encoding", b"identity").unwrap(),
    ];
    let mut out = Vec::new();
    write_upstream_request(&mut out, head.view(wire.as_bytes()), &upstream(&set, Credentials::Remove))
        .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "POST /v1/chat/completions HTTP/1.1\r\nHost: vllm:8000\r\nContent-Type: application/json\r\nX-Keep: yes\r\n\
         Authorization: Bearer own\r\naccept-encoding: identity\r\nContent-Length: 12\r\n\r\n"
    );
    let mut out = Vec::new();
    write_upstream_request(&mut out, head.view(wire.as_bytes()), &upstream(&[], Credentials::Forward))
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("Authorization: Bearer sk\r\n") && text.contains("x-api-key: k\r\n"));
}

#[test]
fn nothing_that_ends_a_line_can_be_written() {
    for (name, value) in [(&b"a b"[..], &b"x"[..]), (b"", b"x"), (b"a:", b"x"), (b"a\r", b"x")] {
        assert_eq!(Field::new(name, value), Err(FieldError::Name));
    }
    for value in [&b"a\r\nX: y"[..], b"a\n", b"\0", b" a", b"a\t", b"\x7f"] {
        assert_eq!(Field::new(b"a", value), Err(FieldError::Value), "{value:?}");
    }
    assert!(Field::new(b"x-vsr-selected-decision", "décision a\tb".as_bytes()).is_ok());
    let (wire, mut out) = (post(""), Vec::new());
    let (head, _) = parse(&wire).unwrap();
    for target in [&b"/a b"[..], b"/\r\nX: y", b""] {
        let request = UpstreamRequest { target, ..upstream(&[], Credentials::Remove) };
        assert_eq!(
            write_upstream_request(&mut out, head.view(wire.as_bytes()), &request),
            Err(FieldError::Target)
        );
    }
    let request = UpstreamRequest { host: b"a\r\nX: y", ..upstream(&[], Credentials::Remove) };
    assert_eq!(
        write_upstream_request(&mut out, head.view(wire.as_bytes()), &request),
        Err(FieldError::Value)
    );
    assert!(out.is_empty());
}

#[test]
fn the_client_response_states_its_framing_once() {
    let wire = "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nContent-Length: 3\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                Trailer: t\r\nx-vsr-replay-id: forged\r\nContent-Type: text/plain\r\n\r\n";
    let head = response(wire, Method::Post).unwrap();
    let set = [Field::new(b"x-vsr-replay-id", b"7").unwrap()];
    let write = |framing, version, keep_alive| {
        let client = ClientResponse { framing, version, keep_alive, set: &set, remove: &[] };
        let mut out = Vec::new();
        write_client_response(&mut out, head.view(wire.as_bytes()), &client);
        String::from_utf8(out).unwrap()
    };
    let common = "Content-Type: text/plain\r\nx-vsr-replay-id: 7\r\n";
    for (framing, version, keep_alive, tail) in [
        (ResponseFraming::Length(3), Version::Http11, true, "Content-Length: 3\r\n"),
        (ResponseFraming::Length(3), Version::Http11, false, "Content-Length: 3\r\nConnection: close\r\n"),
        (
            ResponseFraming::Length(3),
            Version::Http10,
            true,
            "Content-Length: 3\r\nConnection: keep-alive\r\n",
        ),
        (ResponseFraming::Empty, Version::Http11, true, "Content-Length: 3\r\n"),
        (ResponseFraming::Close, Version::Http11, true, "Connection: close\r\n"),
    ] {
        assert_eq!(write(framing, version, keep_alive), format!("HTTP/1.1 200 Fine\r\n{common}{tail}\r\n"));
    }
    let chunked = write(ResponseFraming::Chunked, Version::Http11, true);
    assert!(chunked.contains("Trailer: t\r\n") && chunked.ends_with("Transfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn own_responses_are_complete() {
    let mut out = Vec::new();
    let fields = [Field::new(b"Content-Type", b"application/json").unwrap()];
    write_own_response(&mut out, 413, &fields, 2, Version::Http11, false);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    );
}

/// Pieces that heads are made of, and that break them.
fn headish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".as_bytes().to_vec()),
        Just("POST http://h/p?q HTTP/1.0\r\n".as_bytes().to_vec()),
        Just("HTTP/1.1 200 OK\r\n".as_bytes().to_vec()),
        Just("Host: a\r\n".as_bytes().to_vec()),
        Just("Content-Length: 12\r\n".as_bytes().to_vec()),
        Just("Transfer-Encoding: chunked\r\n".as_bytes().to_vec()),
        Just("Connection: close, host\r\n".as_bytes().to_vec()),
        Just("\r\n".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        "[A-Za-z-]{1,8}: [ -~]{0,12}\r\n".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_split_of_a_request_gives_the_same_verdict(wire in headish(), step in 1usize..20) {
        let mut whole = RequestHead::new();
        let at_once = parse_request(&wire, &Limits::default(), &mut whole);
        let mut pieced = RequestHead::new();
        let mut outcome = Ok(None);
        let mut end = 0;
        while end < wire.len() && outcome == Ok(None) {
            end = (end + step).min(wire.len());
            outcome = parse_request(&wire[..end], &Limits::default(), &mut pieced);
        }
        match (at_once, outcome) {
            // Nonsense is found at the latest when the head has doubled, or is complete.
            (Err(_), Ok(None)) => {
                let empty_lines = wire.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                prop_assert!(!wire[empty_lines..].windows(4).any(|window| window == b"\r\n\r\n"));
            }
            (Err(_), Err(_)) => {}
            (one, two) => prop_assert_eq!(one, two),
        }
        if let Ok(Some(_)) = at_once {
            prop_assert_eq!(whole.framing(), pieced.framing());
            let fields: Vec<_> = whole.view(&wire).fields().iter().collect();
            let again: Vec<_> = pieced.view(&wire).fields().iter().collect();
            prop_assert_eq!(fields, again);
        }
    }

    #[test]
    fn what_is_written_upstream_reads_back_as_one_plain_request(wire in headish()) {
        let mut head = RequestHead::new();
        if let Ok(Some(_)) = parse_request(&wire, &Limits::default(), &mut head) {
            let mut out = Vec::new();
            write_upstream_request(&mut out, head.view(&wire), &upstream(&[], Credentials::Remove)).unwrap();
            let mut again = RequestHead::new();
            prop_assert_eq!(parse_request(&out, &Limits::default(), &mut again), Ok(Some(out.len())));
            prop_assert_eq!(again.framing(), BodyFraming::Length(12));
            prop_assert!(again.keep_alive());
        }
    }

    #[test]
    fn what_is_written_to_the_client_reads_back_with_the_same_framing(wire in headish()) {
        let mut head = ResponseHead::new();
        if let Ok(Some(_)) = parse_response(&wire, Method::Post, &Limits::default(), &mut head) {
            let client = ClientResponse { framing: head.framing(), version: Version::Http11, keep_alive: true, set: &[], remove: &[] };
            let mut out = Vec::new();
            write_client_response(&mut out, head.view(&wire), &client);
            let mut again = ResponseHead::new();
            prop_assert_eq!(parse_response(&out, Method::Post, &Limits::default(), &mut again), Ok(Some(out.len())));
            prop_assert_eq!((again.status(), again.framing()), (head.status(), head.framing()));
        }
    }
}

#[test]
fn the_first_line_of_a_refused_head_tells_whom_it_is_for() {
    let told = |text: &'static str| addressed(text.as_bytes());
    let messages = Some((&b"POST"[..], &b"/v1/messages"[..]));
    assert_eq!(told("POST /v1/messages HTTP/1.1\r\nbad"), messages);
    assert_eq!(told("\r\nPOST /v1/messages?beta=true HTTP/1.1"), messages);
    assert_eq!(told("POST http://host/v1/messages HTTP/1.1"), messages);
    assert_eq!(told("POST /v1/messages\r\n"), messages);
    for unclear in
        ["", "POST", "POST ", "POST /v1/mess", "POST v1 HTTP/1.1", "\u{16}\u{3}\u{1} \u{2} x", "A ? B"]
    {
        assert_eq!(told(unclear), None, "{unclear:?}");
    }
}
