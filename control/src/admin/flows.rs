//! `/v1/flows`: what the journal holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use pintle_routing::flow_id::FlowId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdminError, Shared};
use crate::journal::{self, Filter, MAX_LISTED, ReadError};

const DEFAULT_LISTED: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    session: Option<String>,
    decision: Option<String>,
    model: Option<String>,
    before: Option<FlowId>,
}

pub(super) async fn list(
    State(admin): State<Shared>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|rejection| AdminError::bad_request(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LISTED);
    if limit == 0 || limit > MAX_LISTED {
        return Err(AdminError::bad_request(format!("limit must be between 1 and {MAX_LISTED}")));
    }
    let filter = Filter {
        limit,
        session: query.session,
        decision: query.decision,
        model: query.model,
        before: query.before,
    };
    let dir = admin.journal_dir.clone();
    let flows = read(&admin, move || journal::list(&dir, &filter)).await?;
    Ok(Json(json!({ "flows": flows })))
}

/// The document.
pub(super) async fn show(
    State(admin): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, AdminError> {
    let id = id.parse::<FlowId>().map_err(|error| AdminError::bad_request(error.to_string()))?;
    let dir = admin.journal_dir.clone();
    let found = read(&admin, move || journal::find(&dir, id)).await?;
    let document = found.ok_or_else(|| {
        AdminError::not_found(format!(
            "the journal has no flow {id}; it may have been removed with its segment"
        ))
    })?;
    Ok(Json(document).into_response())
}

/// Reads the journal on a helper thread, after what waits in the queue has been written.
async fn read<T: Send + 'static>(
    admin: &Shared,
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, AdminError> {
    let busy = |_| AdminError::too_busy("the journal is being read; try again");
    let turn = Arc::clone(&admin.journal_readers).acquire_owned().await.map_err(busy)?;
    admin.journal.flush().await;
    let reading = move || {
        let result = work();
        drop(turn);
        result
    };
    let done = tokio::task::spawn_blocking(reading).await;
    let result = done.map_err(|error| AdminError::internal(error.to_string()))?;
    result.map_err(|error| AdminError::internal(error.to_string()))
}
