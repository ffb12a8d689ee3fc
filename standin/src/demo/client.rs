//! The demonstration's HTTP client.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::DemoError;

/// An answer must begin, and go on, within this time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of one answer that are read at most.
const ANSWER_LIMIT: usize = 8 << 20;

/// What a `GET` on a loopback server may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// A pooled client for loopback servers.
#[derive(Debug, Clone)]
pub(super) struct Client(HyperClient<HttpConnector, Full<Bytes>>);

impl Client {
    pub(super) fn new() -> Self {
        Self(HyperClient::builder(TokioExecutor::new()).build_http())
    }

    /// Status and JSON body of a `GET`; `Null` if the body is not JSON.
    pub(super) async fn get(&self, url: &str) -> Result<(u16, Value), DemoError> {
        let request = Request::get(url).body(Full::default()).map_err(DemoError::http)?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(DemoError::http)?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(DemoError::http)?.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        tokio::time::timeout(PROBE_DEADLINE, exchange).await.map_err(DemoError::http)?
    }

    /// Posts JSON and returns the response as soon as its head is there.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Response<Incoming>, DemoError> {
        let mut request = Request::builder().method(Method::POST).uri(url);
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_string())).map_err(DemoError::http)?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, self.0.request(request)).await;
        answer.map_err(DemoError::http)?.map_err(DemoError::http)
    }
}

/// Reads a body to its end, handing each piece on as it comes.
pub(super) async fn read(
    response: Response<Incoming>,
    mut piece: impl FnMut(&[u8]),
) -> Result<(), DemoError> {
    let mut body = response.into_body();
    let mut total = 0;
    loop {
        let frame = tokio::time::timeout(ANSWER_DEADLINE, body.frame()).await.map_err(DemoError::http)?;
        let Some(frame) = frame else { return Ok(()) };
        if let Ok(data) = frame.map_err(DemoError::http)?.into_data() {
            total += data.len();
            if total > ANSWER_LIMIT {
                return Err(DemoError::http("the answer is too long"));
            }
            piece(&data);
        }
    }
}
