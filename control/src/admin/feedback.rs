//! `/api/v1/feedback` and `/api/v1/ratings`: what people say about answers, and what it amounts to. Paths, fields and
//! error codes are v0.3's.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AdminError, Shared};
use crate::clock::unix_millis;

/// Longest text of any field but `query`, in bytes.
const MAX_FIELD: usize = 1024;

/// What somebody says about answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Opinion {
    /// The model that did better or well; required.
    pub winner_model: String,
    /// The model that did worse; empty if only one answered.
    pub loser_model: String,
    /// Both did equally well.
    pub tie: bool,
    /// The decision under which they served; empty if none.
    pub decision_name: String,
    /// Another name for `decision_name`.
    pub category: String,
    /// Who asked, as in `x-authz-user-id`.
    pub user_id: String,
    /// The session: its key as `/v1/sessions` and flow documents show it, or what the client sent as
    /// `x-session-id` if it sent no credential.
    pub session_id: String,
    /// Says that the feedback was inferred and from what (`satisfied`, `wrong_answer`, …); empty if it was stated.
    pub feedback_type: String,
    /// How sure that inference is, in `[0,1]`; 0 counts as 1.
    pub confidence: f64,
}

/// Why feedback was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedbackRefusal {
    /// It says what cannot be: v0.3's code, and one sentence.
    Invalid(&'static str, String),
    /// Nothing reads feedback now: one sentence.
    NotRead(String),
    /// It could not be written down, or not now: one sentence.
    NotKept(String),
}

/// A model's rating.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatingView {
    /// Its name.
    pub model: String,
    /// Elo points.
    pub rating: f64,
    /// Comparisons won.
    pub wins: u32,
    /// Comparisons lost.
    pub losses: u32,
    /// Neither.
    pub ties: u32,
}

/// Who learns from feedback. Asked from a helper thread.
pub trait FeedbackDesk: Send + Sync {
    /// Takes feedback in; decisions read it from now on, and it outlives this process however that ends.
    ///
    /// # Errors
    /// [`FeedbackRefusal`]; nothing has changed then.
    fn take(&self, opinion: &Opinion) -> Result<(), FeedbackRefusal>;

    /// All ratings, best first: of a decision, or over all of them.
    fn ratings(&self, decision: Option<&str>) -> Vec<RatingView>;
}

pub(super) async fn take(State(admin): State<Shared>, body: Bytes) -> Result<Json<Value>, AdminError> {
    let opinion = read(&body)?;
    let taken = ask(&admin, move |desk| desk.take(&opinion)).await?;
    taken.map_err(|refusal| match refusal {
        FeedbackRefusal::Invalid(code, message) => AdminError::invalid(code, message),
        FeedbackRefusal::NotRead(message) => AdminError::unavailable("NO_SELECTOR_CONFIGURED", message),
        FeedbackRefusal::NotKept(message) => AdminError::unavailable("FEEDBACK_NOT_KEPT", message),
    })?;
    Ok(Json(
        json!({ "success": true, "message": "Feedback recorded successfully", "timestamp": timestamp() }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatingsQuery {
    category: Option<String>,
}

pub(super) async fn ratings(
    State(admin): State<Shared>,
    query: Result<Query<RatingsQuery>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|rejection| AdminError::bad_request(rejection.body_text()))?;
    let category = query.category.filter(|category| !category.is_empty());
    let of = category.clone();
    let ratings = ask(&admin, move |desk| desk.ratings(of.as_deref())).await?;
    Ok(Json(json!({
        "count": ratings.len(),
        "ratings": ratings,
        "category": category.unwrap_or_else(|| "global".to_owned()),
        "timestamp": timestamp(),
    })))
}

/// Reads and checks what can be checked without knowing the policy.
fn read(body: &[u8]) -> Result<Opinion, AdminError> {
    let mut opinion: Opinion = serde_json::from_slice(body)
        .map_err(|error| AdminError::invalid("INVALID_INPUT", error.to_string()))?;
    let Opinion {
        winner_model,
        loser_model,
        decision_name,
        category,
        user_id,
        session_id,
        feedback_type,
        confidence,
        tie: _,
    } = &mut opinion;
    for field in [winner_model, loser_model, decision_name, category, user_id, session_id, feedback_type] {
        if field.len() > MAX_FIELD {
            let message = format!("no field may be longer than {MAX_FIELD} bytes");
            return Err(AdminError::invalid("INVALID_INPUT", message));
        }
        *field = field.trim().to_owned();
    }
    if !(0.0..=1.0).contains(confidence) {
        return Err(AdminError::invalid("INVALID_CONFIDENCE", "confidence must be between 0.0 and 1.0"));
    }
    let category = std::mem::take(&mut opinion.category);
    if opinion.decision_name.is_empty() {
        opinion.decision_name = category;
    } else if !category.is_empty() && category != opinion.decision_name {
        let message = "decision_name and category must match when both are provided";
        return Err(AdminError::invalid("CONFLICTING_CATEGORY", message));
    }
    if opinion.winner_model.is_empty() {
        return Err(AdminError::invalid("MISSING_WINNER", "winner_model is required"));
    }
    if opinion.winner_model == opinion.loser_model {
        let message = "winner_model and loser_model must be different models";
        return Err(AdminError::invalid("INVALID_MODEL_COMPARISON", message));
    }
    Ok(opinion)
}

fn timestamp() -> String {
    let now = UNIX_EPOCH + Duration::from_millis(unix_millis().get());
    humantime::format_rfc3339_seconds(now).to_string()
}

async fn ask<T: Send + 'static>(
    admin: &Shared,
    question: impl FnOnce(&dyn FeedbackDesk) -> T + Send + 'static,
) -> Result<T, AdminError> {
    let desk = admin.feedback.as_ref().map(Arc::clone);
    let desk = desk.ok_or_else(|| AdminError::not_found("this process takes no feedback"))?;
    let answer = tokio::task::spawn_blocking(move || question(&*desk)).await;
    answer.map_err(|error| AdminError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_v03_reads_them() {
        let body =
            br#"{"query":"ignored","winner_model":" a ","loser_model":"b","category":"math","confidence":1}"#;
        let opinion = read(body).expect("good");
        assert_eq!((opinion.winner_model.as_str(), opinion.decision_name.as_str()), ("a", "math"));
        assert!(opinion.category.is_empty() && !opinion.tie);
    }

    #[test]
    fn what_cannot_be_is_refused_with_v03s_codes() {
        let long = format!(r#"{{"winner_model":"{}"}}"#, "x".repeat(MAX_FIELD + 1));
        for (body, code) in [
            (r#"{}"#, "MISSING_WINNER"),
            (r#"{"loser_model":"a"}"#, "MISSING_WINNER"),
            (r#"{"winner_model":"a","loser_model":" a"}"#, "INVALID_MODEL_COMPARISON"),
            (r#"{"winner_model":"a","confidence":1.5}"#, "INVALID_CONFIDENCE"),
            (r#"{"winner_model":"a","decision_name":"x","category":"y"}"#, "CONFLICTING_CATEGORY"),
            (r#"{"winner_model":7}"#, "INVALID_INPUT"),
            (long.as_str(), "INVALID_INPUT"),
        ] {
            let refused = read(body.as_bytes()).expect_err(body);
            assert!(format!("{refused:?}").contains(code), "{body}: {refused:?}");
        }
    }
}
