//! The admin API: metrics, health, status, flows, sessions and reload, on a unix socket and, if
//! configured, on a TCP address.
//!
//! It has no passwords. Who may open the socket is decided by file permissions; the TCP address must be a
//! loopback address unless the operator says otherwise, and requests that a browser made for a foreign
//! page are refused (an `Origin` header, or on loopback a `Host` that is a name other than `localhost`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::book::SessionBook;
use crate::exposition::Exposition;
use crate::hooks::{Check, ReloadResult, Report};
use crate::journal::{Backend, JournalHandle};
use crate::lifecycle::{Lifecycle, Phase};
use crate::reload::{ReloadError, Reloader};

mod errors;
mod feedback;
mod flows;
mod server;
mod sessions;

use errors::AdminError;
pub use feedback::{FeedbackDesk, FeedbackRefusal, Opinion, RatingView};
pub(crate) use server::{BoundAdmin, SharedAdmin, bind};

/// Most bytes of a request's head.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Most bytes of a request's body; feedback is the only one that needs any.
pub const BODY_BYTES: usize = 16 * 1024;
/// How long a head may take, and how long a connection may stay idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections served at once on each listener; further ones wait to be accepted.
pub const MAX_CONNECTIONS: usize = 64;

/// Where the admin API listens (`global.pintle.admin`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminOptions {
    /// TCP address; `None` for none.
    pub listen: Option<SocketAddr>,
    /// Allows a `listen` address that other machines can reach.
    pub allow_remote: bool,
    /// Path of the unix socket; `None` for none. Created with mode 0660.
    pub socket: Option<PathBuf>,
}

/// Why the admin API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum AdminBindError {
    /// Not a loopback address, and not allowed explicitly.
    #[error(
        "admin.listen {0} can be reached from other machines, and the admin API has no passwords; use a \
         loopback address or allow it explicitly"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be used.
    #[error("admin API cannot listen on {address}: {source}")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket path cannot be used.
    #[error("admin API cannot listen on {path}: {source}")]
    Unix {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process answers on the socket.
    #[error("another process serves the admin API on {0}")]
    InUse(PathBuf),
}

/// What the handlers share.
pub(crate) struct Admin {
    pub(crate) exposition: Exposition,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) alive: Check,
    pub(crate) ready: Check,
    pub(crate) status: Report,
    pub(crate) config: Report,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) sessions: Option<Arc<dyn SessionBook>>,
    pub(crate) feedback: Option<Arc<dyn FeedbackDesk>>,
    pub(crate) journal: JournalHandle,
    pub(crate) journal_dir: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) started: Instant,
    /// One reader of the journal at a time: a search may read all of it.
    pub(crate) journal_readers: Arc<Semaphore>,
}

type Shared = Arc<Admin>;

/// Every route. `local_only` says that the listener is a loopback address.
fn router(admin: Shared, local_only: bool) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/config", get(config))
        .route("/-/reload", post(reload))
        .route("/v1/flows", get(flows::list))
        .route("/v1/flows/{id}", get(flows::show))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{key}", get(sessions::show).delete(sessions::unpin))
        .route("/api/v1/feedback", post(feedback::take))
        .route("/api/v1/ratings", get(feedback::ratings))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(local_only, no_browsers))
        .with_state(admin)
}

async fn index() -> Json<Value> {
    Json(json!({
        "service": "pintle",
        "version": env!("CARGO_PKG_VERSION"),
        "paths": [
            "GET /metrics", "GET /health", "GET /ready", "GET /status", "GET /config", "POST /-/reload",
            "GET /v1/flows?limit&session&decision&model&before", "GET /v1/flows/{id}",
            "GET /v1/sessions?limit&model", "GET /v1/sessions/{key}", "DELETE /v1/sessions/{key}",
            "POST /api/v1/feedback", "GET /api/v1/ratings?category",
        ],
    }))
}

async fn metrics(State(admin): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.exposition.render())
}

async fn health(State(admin): State<Shared>) -> Response {
    verdict((admin.alive)(), "alive")
}

async fn ready(State(admin): State<Shared>) -> Response {
    let state = match admin.lifecycle.phase() {
        Phase::Starting => Err("starting".to_owned()),
        Phase::Running | Phase::HandedOver => (admin.ready)(),
        Phase::Draining => Err("draining".to_owned()),
    };
    verdict(state, "ready")
}

fn verdict(state: Result<(), String>, good: &'static str) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, Json(json!({ "status": good }))).into_response(),
        Err(reason) => {
            let body = json!({ "status": format!("not {good}"), "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn status(State(admin): State<Shared>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": admin.lifecycle.phase().as_str(),
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "health": admin.alive.as_ref()().err(),
        "journal": {
            "dir": admin.journal_dir,
            "io": admin.backend.as_str(),
            "queued": admin.journal.queued(),
            "lost": admin.journal.lost(),
        },
        "last_reload": admin.reloader.last(),
        "data_plane": (admin.status)(),
    }))
}

async fn config(State(admin): State<Shared>) -> Json<Value> {
    Json((admin.config)())
}

async fn reload(State(admin): State<Shared>) -> Result<Response, AdminError> {
    let report = Arc::clone(&admin.reloader).reload().await.map_err(|error| match error {
        ReloadError::NotServing(_) => AdminError::conflict(error.to_string()),
        ReloadError::Failed(_) => AdminError::internal(error.to_string()),
    })?;
    let status = match report.result {
        ReloadResult::Applied | ReloadResult::Unchanged => StatusCode::OK,
        ReloadResult::Refused => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok((status, Json(report)).into_response())
}

async fn no_such_path(request: Request) -> AdminError {
    AdminError::not_found(format!("there is nothing at {}; GET / lists what there is", request.uri().path()))
}

async fn wrong_method(request: Request) -> AdminError {
    AdminError::method_not_allowed(format!("{} does not take {}", request.uri().path(), request.method()))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => AdminError::timeout("the answer took too long").into_response(),
    }
}

async fn no_browsers(State(local_only): State<bool>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return AdminError::forbidden("the admin API does not answer web pages (Origin header)")
            .into_response();
    }
    if local_only && !names_this_machine(headers) {
        return AdminError::forbidden("Host must be localhost or an IP address").into_response();
    }
    next.run(request).await
}

/// Whether `Host` is absent, `localhost` or a literal address: what a page that has bound its own name to
/// this machine cannot send.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    if host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(n, _)| n);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}
