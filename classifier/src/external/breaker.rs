//! When an endpoint that fails is asked again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// First rest; doubles with each failure after a rest.
const FIRST_REST: Duration = Duration::from_millis(500);
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Answers in a row that may be late before it counts as a failure: one slow text is no outage.
const LATE_IN_A_ROW: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    late: u32,
    rests_until: Option<Instant>,
}

impl Breaker {
    /// How long it rests from now on, if it does.
    pub(super) fn rests(&self, now: Instant) -> Option<Duration> {
        let until = self.state.lock().unwrap_or_else(PoisonError::into_inner).rests_until?;
        until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }

    /// It answered.
    pub(super) fn well(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// It failed. Calls that were under way when the rest began fail with the first and are not counted again.
    /// Returns the rest that begins.
    pub(super) fn failed(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        let rest = FIRST_REST.saturating_mul(1 << state.failures.min(16)).min(LONGEST_REST);
        state.failures = state.failures.saturating_add(1);
        state.late = 0;
        state.rests_until = Some(now + rest);
        Some(rest)
    }

    /// No answer came in time.
    pub(super) fn late(&self, now: Instant) -> Option<Duration> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.late += 1;
            if state.late < LATE_IN_A_ROW {
                return None;
            }
        }
        self.failed(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_and_end_with_an_answer() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        assert_eq!(breaker.rests(now), None);
        let mut rests = Vec::new();
        for _ in 0..9 {
            let rest = breaker.failed(now).unwrap();
            assert_eq!(breaker.failed(now), None, "another call of the same outage");
            assert_eq!(breaker.rests(now), Some(rest));
            now += rest;
            assert_eq!(breaker.rests(now), None);
            rests.push(rest.as_millis());
        }
        assert_eq!(rests, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        breaker.well();
        assert_eq!(breaker.failed(now), Some(FIRST_REST));
    }

    #[test]
    fn one_late_answer_is_no_outage() {
        let breaker = Breaker::default();
        let now = Instant::now();
        assert_eq!([breaker.late(now), breaker.late(now)], [None, None]);
        breaker.well();
        assert_eq!([breaker.late(now), breaker.late(now)], [None, None]);
        assert_eq!(breaker.late(now), Some(FIRST_REST));
    }
}
