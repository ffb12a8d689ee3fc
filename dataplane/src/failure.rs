//! Errors as the client sees them, in the dialect that it speaks.

use std::borrow::Cow;

use pintle_routing::facts::Dialect;
use pintle_routing::flow::Fault;
use pintle_routing::outcome::Refusal;

use crate::json::text::quote_into;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's `error.type`.
    pub kind: &'static str,
    /// OpenAI's `error.code`.
    pub code: &'static str,
    /// What was wrong, and what to do.
    pub message: Cow<'static, str>,
    /// OpenAI's `error.param`: the offending member.
    pub param: Option<&'static str>,
    /// Value of `Allow`, for a method that is not.
    pub allow: Option<&'static str>,
    /// Further header fields: which limit was met, and when it will not be any more.
    pub headers: Option<Box<[(&'static str, u64); 4]>>,
    /// Whose fault it is.
    pub fault: Fault,
    /// The connection cannot be used for another request.
    pub close: bool,
}

/// `error.type` of a request that cannot be served as it is.
pub const INVALID_REQUEST: &str = "invalid_request_error";
/// `error.type` of a backend's failure.
pub const UPSTREAM: &str = "upstream_error";
/// `error.type` of a failure of ours.
pub const SERVER: &str = "server_error";

impl Failure {
    /// The client's fault.
    pub fn client(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            kind: INVALID_REQUEST,
            code,
            message: message.into(),
            param: None,
            allow: None,
            headers: None,
            fault: Fault::Client,
            close: false,
        }
    }

    /// A backend's fault.
    pub fn upstream(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: UPSTREAM, fault: Fault::Upstream, ..Self::client(status, code, message) }
    }

    /// Ours.
    pub fn ours(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: SERVER, fault: Fault::Pintle, ..Self::client(status, code, message) }
    }

    /// What a policy has refused.
    pub fn refusal(refusal: Refusal) -> Self {
        let mut failure = Self::client(refusal.status, refusal.code, refusal.message);
        failure.kind = refusal.kind;
        if refusal.status >= 500 {
            // The request could have been served, had its models been up.
            failure.fault = Fault::Upstream;
        }
        failure
    }

    /// Names the offending member.
    pub fn about(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// Ends the connection after the answer: what follows on it cannot be understood.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The JSON body.
    ///
    /// OpenAI: `{"error":{"message","type","param","code"}}`. Anthropic: `{"type":"error","error":{"type",
    /// "message"},"request_id"}`, whose types are those that its clients map to exceptions.
    pub fn body(&self, dialect: Dialect, flow_id: &str, out: &mut Vec<u8>) {
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                out.extend_from_slice(b"{\"error\":{\"message\":");
                quote_into(&self.message, out);
                out.extend_from_slice(b",\"type\":");
                quote_into(self.kind, out);
                out.extend_from_slice(b",\"param\":");
                match self.param {
                    Some(param) => quote_into(param, out),
                    None => out.extend_from_slice(b"null"),
                }
                out.extend_from_slice(b",\"code\":");
                quote_into(self.code, out);
                out.extend_from_slice(b"}}");
            }
            Dialect::AnthropicMessages => {
                out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
                quote_into(self.anthropic_kind(), out);
                out.extend_from_slice(b",\"message\":");
                quote_into(&self.message, out);
                out.extend_from_slice(b"},\"request_id\":");
                quote_into(flow_id, out);
                out.push(b'}');
            }
        }
    }

    /// Anthropic's name for this kind of error, by status.
    fn anthropic_kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            503 | 529 => "overloaded_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_are_json_with_the_message_in_place() {
        let failure = Failure::client(400, "invalid_json", "line 1: \"x\"\n\u{1}é").about("messages");
        let mut body = Vec::new();
        failure.body(Dialect::OpenAiChat, "F", &mut body);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["message"], "line 1: \"x\"\n\u{1}é");
        assert_eq!(value["error"]["param"], "messages");
        assert_eq!(value["error"]["code"], "invalid_json");

        body.clear();
        Failure::upstream(504, "upstream_timeout", "late").body(Dialect::AnthropicMessages, "F", &mut body);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["type"], "timeout_error");
        assert_eq!(value["request_id"], "F");
    }
}
