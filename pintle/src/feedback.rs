//! What feedback has taught: taken from the admin API, given to the workers, kept in a file.
//!
//! The file is written whole and put in place of the one before, every [`EVERY`] if there is something new, before
//! another process takes over, and at the end. What a decision has read of it stands in the decision's own flow
//! document, so a replay needs neither the file nor the feedback.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pintle_control::{FeedbackDesk, FeedbackRefusal, Opinion, RatingView, SessionBook};
use pintle_dataplane::shared::{Shared, now};
use pintle_routing::experience::{Experience, Feedback, session_hash, user_hash};
use tracing::{error, info, warn};

/// Time between two looks whether the file is behind.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

/// Hexadecimal digits of a session's key, and those that are enough.
const KEY_DIGITS: std::ops::RangeInclusive<usize> = 16..=32;

/// Takes feedback in.
pub(crate) struct Desk {
    file: PathBuf,
    shared: OnceLock<Arc<Shared>>,
    /// Something was learnt that the file does not have. Held while anything is learnt or written.
    behind: Mutex<bool>,
}

impl Desk {
    /// A desk that is not open yet. `state_dir` keeps what it learns.
    pub(crate) fn new(state_dir: &Path) -> Arc<Self> {
        let file = state_dir.join("experience.json");
        Arc::new(Self { file, shared: OnceLock::new(), behind: Mutex::new(false) })
    }

    /// Gives the workers what earlier processes have learnt, and opens.
    pub(crate) fn open(&self, shared: &Arc<Shared>) {
        match read(&self.file) {
            Ok(Some(experience)) => shared.experience.store(Arc::new(experience)),
            Ok(None) => {}
            Err(error) => {
                let aside = self.file.with_extension("json.unreadable");
                warn!(file = %self.file.display(), %error, aside = %aside.display(), "what feedback has taught is lost");
                // It stays where it is if it cannot be moved, and is overwritten by what comes.
                let _ = fs::rename(&self.file, aside);
            }
        }
        let _ = self.shared.set(shared.clone());
    }

    /// Writes what is not written yet.
    pub(crate) fn save(&self) {
        let Some(shared) = self.shared.get() else { return };
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if !*behind {
            return;
        }
        match write(&self.file, &shared.experience.load_full()) {
            Ok(()) => *behind = false,
            Err(error) => {
                error!(file = %self.file.display(), %error, "what feedback has taught cannot be kept")
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Option<Experience>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, experience: &Experience) -> io::Result<()> {
    let fresh = file.with_extension("json.new");
    let mut out = File::create(&fresh)?;
    out.write_all(&serde_json::to_vec(experience)?)?;
    out.sync_all()?;
    fs::rename(&fresh, file)
}

impl FeedbackDesk for Desk {
    fn take(&self, opinion: &Opinion) -> Result<(), FeedbackRefusal> {
        let shared =
            self.shared.get().ok_or_else(|| FeedbackRefusal::NotRead("the gateway is starting".into()))?;
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut experience = Experience::clone(&shared.experience.load());
        generation
            .policy
            .learn(&mut experience, &feedback)
            .map_err(|error| FeedbackRefusal::Invalid("INVALID_INPUT", error.to_string()))?;
        shared.experience.store(Arc::new(experience));
        *behind = true;
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
