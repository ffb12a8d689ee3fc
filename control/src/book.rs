//! Session memory as the admin API shows it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pintle_sessions::{NameId, Record, Store, TableStats};
use serde::Serialize;
use serde_json::{Value, json};

use crate::exposition::names;

/// Most sessions that one listing returns.
pub const MAX_SESSIONS_LISTED: usize = 1000;

/// Hexadecimal digits of a whole session key.
pub const KEY_DIGITS: usize = 32;

/// Digits that are enough to ask for a session; flow documents show so many.
pub const MIN_KEY_DIGITS: usize = 16;

/// One session for a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SessionView {
    /// Key in hexadecimal, [`KEY_DIGITS`] digits.
    pub key: String,
    /// Target that served the last turn.
    pub model: String,
    /// Decision that chose it; empty when none had matched.
    pub decision: String,
    /// Backend that served the last turn.
    pub backend: String,
    /// Turns committed.
    pub turns: u32,
    /// Turns in a row on `model`.
    pub turns_on_model: u32,
    /// Model changes.
    pub switches: u32,
    /// When the last turn was committed, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// Milliseconds since then.
    pub idle_ms: u64,
    /// The lock that holds the session on its model: `tool_loop`, `provider_state`, or none.
    pub lock: Option<&'static str>,
    /// When that lock ends by itself, in milliseconds since the Unix epoch.
    pub locked_until_ms: Option<u64>,
    /// Prompt tokens of all turns.
    pub prompt_tokens: u64,
    /// Of those, served from prefix caches.
    pub cached_tokens: u64,
    /// Completion tokens of all turns.
    pub completion_tokens: u64,
    /// Damage was found in the record: this is the turn before the last.
    pub stale: bool,
}

/// What the admin API may do with session memory. Answered from a helper thread.
pub trait SessionBook: Send + Sync {
    /// The `limit` sessions seen last, latest first; `model` narrows to the target of the last turn.
    fn list(&self, limit: usize, model: Option<&str>, now_ms: u64) -> Vec<SessionView>;
    /// One session.
    fn show(&self, key: u128, now_ms: u64) -> Option<SessionView>;
    /// The keys that begin with `prefix`, the first `digits` hexadecimal digits of a key; two at most.
    fn resolve(&self, prefix: u128, digits: usize) -> Vec<u128>;
    /// Forgets a session, locked or not, so that its next turn is routed as a new one; false if it was not
    /// known.
    fn unpin(&self, key: u128) -> bool;
    /// Capacity, sessions held, and whatever else describes the memory.
    fn describe(&self, now_ms: u64) -> Value;
    /// Brings the metrics of the memory up to date. Called every few seconds; quick.
    fn publish(&self);
}

impl SessionBook for Store {
    fn list(&self, limit: usize, model: Option<&str>, now_ms: u64) -> Vec<SessionView> {
        let wanted = |record: &Record| model.is_none_or(|name| self.name(record.model) == Some(name));
        let living = |record: &Record| !record.is_expired(now_ms, self.ttl_ms());
        let mut latest = BinaryHeap::with_capacity(limit + 1);
        for (key, record) in self.iter().filter(|(_, record)| living(record) && wanted(record)) {
            latest.push(Reverse((record.last_seen_ms, key)));
            if latest.len() > limit {
                latest.pop();
            }
        }
        let keys = latest.into_sorted_vec();
        keys.into_iter().filter_map(|Reverse((_, key))| self.show(key, now_ms)).collect()
    }

    fn show(&self, key: u128, now_ms: u64) -> Option<SessionView> {
        self.get(key, now_ms).map(|record| view(self, key, &record, now_ms))
    }

    fn resolve(&self, prefix: u128, digits: usize) -> Vec<u128> {
        let shift = 4 * KEY_DIGITS.saturating_sub(digits) as u32;
        let same = |key: &u128| key.checked_shr(shift).unwrap_or(0) == prefix;
        self.iter().map(|(key, _)| key).filter(same).take(2).collect()
    }

    fn unpin(&self, key: u128) -> bool {
        self.remove(key).is_some()
    }

    fn describe(&self, now_ms: u64) -> Value {
        json!({ "stats": self.stats(), "census": self.census(now_ms) })
    }

    fn publish(&self) {
        let stats = self.stats();
        publish_table("sessions", &stats.sessions);
        publish_table("responses", &stats.pins);
    }
}

fn publish_table(table: &'static str, stats: &TableStats) {
    let slots = |state: &'static str, slots: u64| {
        metrics::gauge!(names::SESSION_SLOTS, "table" => table, "state" => state).set(slots as f64);
    };
    slots("occupied", stats.occupied);
    slots("free", stats.slots.saturating_sub(stats.occupied));
    metrics::gauge!(names::SESSION_CAPACITY, "table" => table).set(stats.capacity as f64);
    let events = [
        ("evicted", stats.evicted),
        ("expired", stats.expired),
        ("full", stats.full),
        ("corrupt", stats.corrupt),
        ("stale", stats.stale),
        ("recovered", stats.recovered),
        ("busy", stats.busy),
    ];
    for (event, count) in events {
        metrics::counter!(names::SESSION_EVENTS, "table" => table, "event" => event).absolute(count);
    }
}

fn view(store: &Store, key: u128, record: &Record, now_ms: u64) -> SessionView {
    let name = |id: NameId| store.name(id).unwrap_or("(damaged name)").to_owned();
    let (lock, locked_until_ms) = if record.is_in_tool_loop(now_ms) {
        (Some("tool_loop"), Some(record.tool_loop_until_ms))
    } else if record.has_provider_state(now_ms) {
        (Some("provider_state"), Some(record.provider_state_until_ms))
    } else {
        (None, None)
    };
    SessionView {
        key: format!("{key:0KEY_DIGITS$x}"),
        model: name(record.model),
        decision: name(record.decision),
        backend: name(record.backend),
        turns: record.turns,
        turns_on_model: record.turns_on_model,
        switches: record.switches,
        last_seen_ms: record.last_seen_ms,
        idle_ms: now_ms.saturating_sub(record.last_seen_ms),
        lock,
        locked_until_ms,
        prompt_tokens: record.prompt_tokens,
        cached_tokens: record.cached_tokens,
        completion_tokens: record.completion_tokens,
        stale: record.flags & Record::STALE != 0,
    }
}

#[cfg(test)]
mod tests {
    use pintle_sessions::Options;

    use super::*;

    const NOW: u64 = 1_795_262_400_000;

    fn store(dir: &tempfile::TempDir) -> Store {
        let (store, _) = Store::open(dir.path(), &Options::with_capacity(100), NOW).expect("opens");
        let names = ["small", "large"].map(|name| store.intern(name).expect("room"));
        for turn in 0..10u64 {
            let key = (u128::from(turn) << 64) | 7;
            let record = Record {
                model: names[(turn % 2) as usize],
                turns: turn as u32,
                last_seen_ms: NOW - turn,
                flags: if turn == 3 { Record::OPEN_TOOL_LOOP } else { 0 },
                tool_loop_until_ms: NOW + 60_000,
                ..Record::default()
            };
            assert!(store.commit(key, |_| Some(record), NOW).is_remembered());
        }
        store
    }

    #[test]
    fn the_latest_are_listed_first_and_models_filter() {
        let dir = tempfile::TempDir::new().expect("temporary directory");
        let store = store(&dir);
        let turns = |views: Vec<SessionView>| views.iter().map(|view| view.turns).collect::<Vec<_>>();
        assert_eq!(turns(store.list(3, None, NOW)), [0, 1, 2]);
        assert_eq!(turns(store.list(100, Some("large"), NOW)), [1, 3, 5, 7, 9]);
        assert!(store.list(5, Some("no-such"), NOW).is_empty());
        let past_all_locks = NOW + store.ttl_ms() + 60_001;
        assert!(store.list(100, None, past_all_locks).is_empty(), "expired sessions are not shown");
    }

    #[test]
    fn its_metrics_say_how_full_it_is() {
        let dir = tempfile::TempDir::new().expect("temporary directory");
        let store = store(&dir);
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || store.publish());
        let text = handle.render();
        for line in [
            r#"pintle_session_slots{table="sessions",state="occupied"} 10"#,
            r#"pintle_session_slots{table="responses",state="occupied"} 0"#,
            r#"pintle_session_capacity{table="sessions"} 100"#,
            r#"pintle_session_events_total{table="sessions",event="evicted"} 0"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_locked_session_says_so_and_can_be_forgotten() {
        let dir = tempfile::TempDir::new().expect("temporary directory");
        let store = store(&dir);
        let key = (3 << 64) | 7;
        let view = store.show(key, NOW).expect("known");
        assert_eq!((view.lock, view.locked_until_ms), (Some("tool_loop"), Some(NOW + 60_000)));
        assert_eq!((view.model.as_str(), view.idle_ms), ("large", 3));
        assert_eq!(store.resolve(3, MIN_KEY_DIGITS), [key]);
        assert_eq!(store.resolve(key, KEY_DIGITS), [key]);
        assert!(store.resolve(77, MIN_KEY_DIGITS).is_empty());
        assert!(store.unpin(key));
        assert!(store.show(key, NOW).is_none() && !store.unpin(key));
    }
}
