//! Runs the checks of the fuzz targets on the stable toolchain.

#[path = "../../fuzz/src/lib.rs"]
mod checks;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

/// Tokens that the parsers treat specially.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"data: ",
    b"chunked",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"\"model\":",
    b"\"role\":\"user\"",
    b"\"content\":",
    b"null",
    b"\xff",
    b"0",
];

#[test]
fn http_head() {
    replay::replay("http_head", TOKENS, checks::http_head);
}

#[test]
fn chunked() {
    replay::replay("chunked", TOKENS, checks::chunked);
}

#[test]
fn json_scan() {
    replay::replay("json_scan", TOKENS, checks::json_scan);
}

#[test]
fn sse() {
    replay::replay("sse", TOKENS, checks::sse);
}

#[test]
fn facts() {
    replay::replay("facts", TOKENS, checks::facts);
}
