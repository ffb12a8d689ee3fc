//! A question of which a part is answered elsewhere: whoever is last tells the answer.

use std::sync::{Arc, Mutex, PoisonError};

use pintle_routing::evidence::Unknown;

use super::worker::Open;
use crate::reader::TextReading;

pub(super) type Answer = Result<Arc<TextReading>, Unknown>;

#[derive(Default)]
pub(super) struct Joint(Mutex<State<Open, Answer>>);

impl Joint {
    /// One more answer will be delivered.
    pub(super) fn expect(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).outstanding += 1;
    }

    /// An answer that was expected. Returns the question if nothing else is missing.
    pub(super) fn deliver(&self, item: usize, answer: Answer) -> Option<Open> {
        let whole = self.0.lock().unwrap_or_else(PoisonError::into_inner).deliver(item, answer);
        whole.map(joined)
    }

    /// All that is done here is done. Returns the question if nothing else is missing.
    pub(super) fn park(&self, open: Open) -> Option<Open> {
        let whole = self.0.lock().unwrap_or_else(PoisonError::into_inner).park(open);
        whole.map(joined)
    }
}

fn joined((mut open, arrived): (Open, Vec<(usize, Answer)>)) -> Open {
    for (item, answer) in arrived {
        open.answers[item] = answer;
    }
    open
}

/// A question `Q` that waits for answers `A`, each with the item that it is for.
struct State<Q, A> {
    outstanding: usize,
    arrived: Vec<(usize, A)>,
    /// The rest of the question, once all that is done here is done.
    parked: Option<Q>,
}

impl<Q, A> Default for State<Q, A> {
    fn default() -> Self {
        Self { outstanding: 0, arrived: Vec::new(), parked: None }
    }
}

impl<Q, A> State<Q, A> {
    fn deliver(&mut self, item: usize, answer: A) -> Option<(Q, Vec<(usize, A)>)> {
        self.outstanding -= 1;
        self.arrived.push((item, answer));
        self.take_whole()
    }

    fn park(&mut self, question: Q) -> Option<(Q, Vec<(usize, A)>)> {
        self.parked = Some(question);
        self.take_whole()
    }

    fn take_whole(&mut self) -> Option<(Q, Vec<(usize, A)>)> {
        if self.outstanding > 0 {
            return None;
        }
        let question = self.parked.take()?;
        Some((question, std::mem::take(&mut self.arrived)))
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::State;

    /// In every interleaving of two answers and the thread that computes the rest: told once, with both answers.
    #[test]
    fn it_is_told_once_and_whole() {
        loom::model(|| {
            let state: Arc<Mutex<State<(), usize>>> = Arc::default();
            state.lock().unwrap().outstanding = 2;
            let told = Arc::new(AtomicUsize::new(0));
            let tell = |told: &AtomicUsize, whole: Option<((), Vec<(usize, usize)>)>| {
                if let Some(((), mut arrived)) = whole {
                    arrived.sort_unstable();
                    assert_eq!(arrived, [(0, 10), (1, 11)]);
                    told.fetch_add(1, Ordering::Relaxed);
                }
            };
            let answers: Vec<_> = (0..2)
                .map(|item| {
                    let (state, told) = (state.clone(), told.clone());
                    thread::spawn(move || {
                        let whole = state.lock().unwrap().deliver(item, 10 + item);
                        tell(&told, whole);
                    })
                })
                .collect();
            let whole = state.lock().unwrap().park(());
            tell(&told, whole);
            answers.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(told.load(Ordering::Relaxed), 1);
            let state = state.lock().unwrap();
            assert!(state.parked.is_none() && state.arrived.is_empty() && state.outstanding == 0);
        });
    }
}
