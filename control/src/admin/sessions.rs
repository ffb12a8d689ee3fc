//! `/v1/sessions`: what the router remembers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdminError, Shared};
use crate::book::{KEY_DIGITS, MAX_SESSIONS_LISTED, MIN_KEY_DIGITS, SessionBook, SessionView};
use crate::clock::unix_millis;

const DEFAULT_LISTED: usize = 50;

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
        json!({ "memory": book.describe(unix_millis().get()), "sessions": sessions })
    });
    Ok(Json(listed.await?))
}

pub(super) async fn show(
    State(admin): State<Shared>,
    Path(key): Path<String>,
) -> Result<Json<SessionView>, AdminError> {
    let prefix = KeyPrefix::parse(&key)?;
    let found = ask(&admin, move |book| book.show(prefix.resolve(book)?, unix_millis().get())).await?;
    found.map(Json).ok_or_else(|| unknown(&key))
}

pub(super) async fn unpin(
    State(admin): State<Shared>,
    Path(key): Path<String>,
) -> Result<Json<Value>, AdminError> {
    let prefix = KeyPrefix::parse(&key)?;
    let forgotten = ask(&admin, move |book| prefix.resolve(book).filter(|key| book.unpin(*key))).await?;
    let forgotten = forgotten.ok_or_else(|| unknown(&key))?;
    let whole = format!("{forgotten:0KEY_DIGITS$x}");
    tracing::info!(session = %whole, "session forgotten on an operator's request");
    Ok(Json(json!({ "unpinned": whole })))
}

/// The first digits of a session key, as many as a flow document shows or more.
#[derive(Clone, Copy)]
struct KeyPrefix {
    value: u128,
    digits: usize,
}

impl KeyPrefix {
    fn parse(text: &str) -> Result<KeyPrefix, AdminError> {
        let digits = text.len();
        let well_formed = (MIN_KEY_DIGITS..=KEY_DIGITS).contains(&digits)
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value.map(|value| KeyPrefix { value, digits }).ok_or_else(|| {
            AdminError::bad_request(format!(
                "a session is named by {MIN_KEY_DIGITS} to {KEY_DIGITS} hexadecimal digits of its key"
            ))
        })
    }

    /// The one session meant; `None` if there is none, or more than one.
    fn resolve(self, book: &dyn SessionBook) -> Option<u128> {
        if self.digits == KEY_DIGITS {
            return Some(self.value);
        }
        match book.resolve(self.value, self.digits)[..] {
            [key] => Some(key),
            _ => None,
        }
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

fn unknown(key: &str) -> AdminError {
    AdminError::not_found(format!("no session {key} is remembered"))
}
