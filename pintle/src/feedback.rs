//! What feedback has taught: taken from the admin API, given to the workers, kept in files ([`kept`]).
//!
//! What a decision has read of it stands in the decision's own flow document, so a replay needs neither the files nor
//! the feedback.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pintle_control::{FeedbackDesk, FeedbackRefusal, Opinion, RatingView, SessionBook};
use pintle_dataplane::shared::{Shared, now};
use pintle_routing::experience::{Experience, Feedback, session_hash, user_hash};
use tracing::{error, info, warn};

use kept::Kept;

mod kept;
#[cfg(test)]
mod tests;

/// Time between two looks whether lessons are to be folded.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

/// Hexadecimal digits of a session's key, and those that are enough.
const KEY_DIGITS: std::ops::RangeInclusive<usize> = 16..=32;

/// Takes feedback in.
pub(crate) struct Desk {
    state_dir: PathBuf,
    shared: OnceLock<Arc<Shared>>,
    /// Held while anything is learnt or written.
    keeper: Mutex<Keeper>,
}

/// Who writes down what is learnt.
enum Keeper {
    /// Nobody yet, or the files cannot be opened: why.
    None(String),
    Open(Kept),
    /// Another process: it takes the files over, or has not handed them over yet to this one, which has read them.
    Elsewhere(Option<Kept>),
}

impl Desk {
    /// A desk that is not open yet. `state_dir` keeps what it learns.
    pub(crate) fn new(state_dir: &Path) -> Arc<Self> {
        let keeper = Mutex::new(Keeper::None("the gateway is starting".into()));
        Arc::new(Self { state_dir: state_dir.to_owned(), shared: OnceLock::new(), keeper })
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the workers what earlier processes have learnt, and opens; where another process still has the files,
    /// with [`take_charge`](Self::take_charge).
    pub(crate) fn open(&self, shared: &Arc<Shared>, alone: bool) {
        let mut keeper = self.keeper();
        let (opened, experience) = self.read();
        *keeper = match opened {
            Keeper::Open(kept) if !alone => Keeper::Elsewhere(Some(kept)),
            opened => opened,
        };
        if let Some(experience) = experience {
            shared.experience.store(Arc::new(experience));
        }
        let _ = self.shared.set(shared.clone());
    }

    /// The files are this process's from now on.
    pub(crate) fn take_charge(&self) {
        let mut keeper = self.keeper();
        if let Keeper::Elsewhere(kept) = &mut *keeper
            && let Some(kept) = kept.take()
        {
            *keeper = Keeper::Open(kept);
        }
    }

    fn read(&self) -> (Keeper, Option<Experience>) {
        match Kept::open(&self.state_dir) {
            Ok((kept, found)) => {
                for (aside, error) in &found.damaged {
                    warn!(aside = %aside.display(), %error, "some of what feedback has taught is lost");
                }
                (Keeper::Open(kept), Some(found.experience))
            }
            Err(error) => {
                error!(folder = %self.state_dir.display(), %error, "what feedback teaches cannot be kept, so none is taken");
                (Keeper::None(format!("it cannot be kept: {error}")), None)
            }
        }
    }

    /// Folds the lessons that are only in the log.
    pub(crate) fn save(&self) {
        self.fold(&mut self.keeper());
    }

    fn fold(&self, keeper: &mut Keeper) {
        if let (Some(shared), Keeper::Open(kept)) = (self.shared.get(), keeper) {
            fold(kept, &shared.experience.load());
        }
    }

    /// Takes nothing in from now on: another process is about to read the files.
    pub(crate) fn hand_over(&self) {
        let mut keeper = self.keeper();
        self.fold(&mut keeper);
        if let Keeper::Open(_) = *keeper {
            *keeper = Keeper::Elsewhere(None);
        }
    }

    /// The other process has not come to serve. It has learnt nothing, but the files need not be as they were.
    pub(crate) fn take_back(&self) {
        let mut keeper = self.keeper();
        if let Keeper::Elsewhere(None) = *keeper {
            *keeper = self.read().0;
        }
    }
}

/// What cannot be folded stays in the log.
fn fold(kept: &mut Kept, experience: &Experience) {
    if kept.is_folded() {
        return;
    }
    if let Err(error) = kept.fold(experience) {
        error!(log = %kept.log_path().display(), %error, "what feedback has taught stays in its log");
    }
}

/// Feedback that would be forgotten is not taken.
fn not_kept(error: &io::Error) -> FeedbackRefusal {
    FeedbackRefusal::NotKept(format!("it cannot be kept: {error}"))
}

impl FeedbackDesk for Desk {
    fn take(&self, opinion: &Opinion) -> Result<(), FeedbackRefusal> {
        let shared =
            self.shared.get().ok_or_else(|| FeedbackRefusal::NotRead("the gateway is starting".into()))?;
        let mut keeper = self.keeper();
        let generation = shared.generation.load_full();
        if !generation.policy.reads_experience() {
            let why = "no decision selects by feedback: elo, hybrid, rl_driven and gmtrouter do";
            return Err(FeedbackRefusal::NotRead(why.into()));
        }
        let decision = opinion.decision_name.as_str();
        let stated = opinion.feedback_type.is_empty();
        let sure = if opinion.confidence > 0.0 { opinion.confidence } else { 1.0 };
        let feedback = Feedback {
            winner: &opinion.winner_model,
            loser: &opinion.loser_model,
            tie: opinion.tie,
            decision,
            user: (!opinion.user_id.is_empty()).then(|| user_hash(&opinion.user_id)),
            session: session(shared, &opinion.session_id)?,
            weight: if stated { 1.0 } else { generation.policy.implicit_weight(decision) * sure },
            at: now(),
        };
        let lesson = generation
            .policy
            .lesson(&feedback)
            .map_err(|error| FeedbackRefusal::Invalid("INVALID_INPUT", error.to_string()))?;
        let kept = match &mut *keeper {
            Keeper::Open(kept) => kept,
            Keeper::None(why) => return Err(FeedbackRefusal::NotKept(why.clone())),
            Keeper::Elsewhere(_) => {
                return Err(FeedbackRefusal::NotKept("another process is taking over; ask again".into()));
            }
        };
        let mut experience = Experience::clone(&shared.experience.load());
        kept.add(&lesson, &experience).map_err(|error| not_kept(&error))?;
        lesson.apply(&mut experience);
        shared.experience.store(Arc::new(experience));
        let (winner, loser, tie) = (feedback.winner, feedback.loser, feedback.tie);
        info!(winner, loser, tie, decision, stated, "feedback taken");
        metrics::counter!(
            "llm_model_feedback_total",
            "winner" => winner.to_owned(),
            "loser" => loser.to_owned(),
            "is_tie" => if tie { "true" } else { "false" },
            "category" => decision.to_owned()
        )
        .increment(1);
        Ok(())
    }

    fn ratings(&self, decision: Option<&str>) -> Vec<RatingView> {
        let Some(shared) = self.shared.get() else { return Vec::new() };
        let experience = shared.experience.load();
        let record = match decision {
            None => Some(&experience.overall),
            Some(name) => experience.decisions.get(name),
        };
        let mut ratings: Vec<RatingView> = record
            .into_iter()
            .flat_map(|record| &record.ratings)
            .map(|(model, rating)| RatingView {
                model: model.clone(),
                rating: rating.rating,
                wins: rating.wins,
                losses: rating.losses,
                ties: rating.ties,
            })
            .collect();
        ratings.sort_by(|a, b| b.rating.total_cmp(&a.rating));
        ratings
    }
}

/// The session that is meant, by its key or by the client's own word for it.
fn session(shared: &Shared, id: &str) -> Result<Option<u64>, FeedbackRefusal> {
    if id.is_empty() {
        return Ok(None);
    }
    let digits = KEY_DIGITS.contains(&id.len()).then(|| u128::from_str_radix(id, 16).ok()).flatten();
    let Some(key) = digits else {
        return Ok(Some(session_hash(shared.store.session_key(b"", id.as_bytes()))));
    };
    if id.len() == *KEY_DIGITS.end() {
        return Ok(Some(session_hash(key)));
    }
    match shared.store.resolve(key, id.len())[..] {
        [key] => Ok(Some(session_hash(key))),
        _ => Err(FeedbackRefusal::Invalid(
            "INVALID_INPUT",
            format!("no session {id} is remembered, or several"),
        )),
    }
}
