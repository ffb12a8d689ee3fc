//! Asking a running gateway's admin API.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer longer than this is not one of the admin API's.
const MOST_BYTES: u64 = 64 << 20;

/// Asks for `path`; `place` is a host and port, or the path of a unix socket.
pub(super) fn ask(place: &str, method: &str, path: &str) -> Result<Value, Box<dyn Error>> {
    let request = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    let answer = exchange(place, &request).map_err(|error| format!("the admin API at {place}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the admin API's answer has no end of head")?;
    let status: u16 =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status in the answer")?;
    let value: Value = serde_json::from_str(body)?;
    if status == 200 {
        return Ok(value);
    }
    let told = value.pointer("/error/message").or(value.get("error")).and_then(Value::as_str);
    Err(told.map_or_else(|| format!("the admin API answers {status}: {body}"), str::to_owned).into())
}

fn exchange(place: &str, request: &str) -> io::Result<String> {
    if place.starts_with('/') {
        let stream = UnixStream::connect(place)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        return talk(stream, request);
    }
    let stream = TcpStream::connect(place)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    talk(stream, request)
}

fn talk(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let place = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET /v1/sessions HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).expect("sent");
        });
        place
    }

    #[test]
    fn an_answer_is_read_and_an_error_is_told() {
        let ask = |answer| ask(&answering(answer), "GET", "/v1/sessions");
        let found = ask("HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\":[1]}").expect("good");
        assert_eq!(found["a"][0], 1);
        let error =
            ask("HTTP/1.0 404 Not Found\r\n\r\n{\"error\":{\"message\":\"no session\"}}").unwrap_err();
        assert_eq!(error.to_string(), "no session");
        assert!(ask("nonsense").is_err() && ask("HTTP/1.0 200 OK\r\n\r\nnonsense").is_err());
    }
}
