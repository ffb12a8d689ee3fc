//! `/v1/sessions`: what the router remembers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdminError, Shared};
use crate::book::{MAX_SESSIONS_LISTED, SessionBook, SessionView};
use crate::clock::unix_millis;

const DEFAULT_LISTED: usize = 50;

/// Hexadecimal digits of a whole key.
const KEY_DIGITS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    model: Option<String>,
}

pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|rejection| AdminError::bad_request(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LISTED);
    if limit == 0 || limit > MAX_SESSIONS_LISTED {
        return Err(AdminError::bad_request(format!("limit must be between 1 and {MAX_SESSIONS_LISTED}")));
    }
    let listed = ask(&admin, move |book| {
        let sessions = book.list(limit, query.model.as_deref(), unix_millis().get());
        json!({ "table": book.fill(), "sessions": sessions })
    });
    Ok(Json(listed.await?))
}

pub(super) async fn show(
    State(admin): State<Shared>,
    Path(key): Path<String>,
) -> Result<Json<SessionView>, AdminError> {
    let number = parse_key(&key)?;
    let found = ask(&admin, move |book| book.show(number, unix_millis().get())).await?;
    found.map(Json).ok_or_else(|| unknown(&key))
}

pub(super) async fn unpin(
    State(admin): State<Shared>,
    Path(key): Path<String>,
) -> Result<Json<Value>, AdminError> {
    let number = parse_key(&key)?;
    if ask(&admin, move |book| book.unpin(number, unix_millis().get())).await? {
        tracing::info!(session = %key, "session forgotten on an operator's request");
        Ok(Json(json!({ "unpinned": key })))
    } else {
        Err(unknown(&key))
    }
}

async fn ask<T: Send + 'static>(
    admin: &Shared,
    question: impl FnOnce(&dyn SessionBook) -> T + Send + 'static,
) -> Result<T, AdminError> {
    let book = admin.sessions.as_ref().map(Arc::clone);
    let book = book.ok_or_else(|| AdminError::not_found("this process keeps no session memory"))?;
    let answer = tokio::task::spawn_blocking(move || question(&*book)).await;
    answer.map_err(|error| AdminError::internal(error.to_string()))
}

fn parse_key(text: &str) -> Result<u128, AdminError> {
    let digits = text.len() == KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    number.ok_or_else(|| {
        AdminError::bad_request("a session key is 32 hexadecimal digits; GET /v1/sessions lists them")
    })
}

fn unknown(key: &str) -> AdminError {
    AdminError::not_found(format!("no session {key} is remembered"))
}
