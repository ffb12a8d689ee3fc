//! A question of which a part is answered elsewhere: whoever is last tells the answer. An asker whose time is up
//! before takes what there is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pintle_routing::evidence::Unknown;

use super::worker::Open;
use crate::reader::TextReading;

pub(super) type Answer = Result<Arc<TextReading>, Unknown>;

/// What one question waits for.
#[derive(Default)]
pub(super) struct Joint(Mutex<State<Open, Answer>>);

/// What an asker gets who waits no longer.
pub(super) enum Settled<Q> {
    /// The question with the answers that have arrived; it will not be told by anybody else.
    Parked(Q),
    /// It is whole, and whoever was last tells the answer now.
    Coming,
    /// What is done here is not done.
    Unread,
}

impl Joint {
    /// One more answer will be delivered.
    pub(super) fn expect(&self) {
        self.state().outstanding += 1;
    }

    /// An answer that was expected. Returns the question if nothing else is missing.
    pub(super) fn deliver(&self, item: usize, answer: Answer) -> Option<Open> {
        let whole = self.state().deliver(item, answer);
        whole.map(joined)
    }

    /// All that is done here is done. Returns the question if nothing else is missing.
    pub(super) fn park(&self, open: Open) -> Option<Open> {
        let whole = self.state().park(open);
        whole.map(joined)
    }

    /// Takes the question as it is.
    pub(super) fn settle(&self) -> Settled<Open> {
        let settled = self.state().settle();
        match settled {
            Settled::Parked(parked) => Settled::Parked(joined(parked)),
            Settled::Coming => Settled::Coming,
            Settled::Unread => Settled::Unread,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Open, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    place: Place<Q>,
}

/// Where the rest of the question is.
enum Place<Q> {
    /// With a thread that computes.
    Away,
    /// Here: all that is done here is done.
    Parked(Q),
    /// With whoever tells the answer.
    Taken,
}

impl<Q, A> Default for State<Q, A> {
    fn default() -> Self {
        Self { outstanding: 0, arrived: Vec::new(), place: Place::Away }
    }
}

impl<Q, A> State<Q, A> {
    fn deliver(&mut self, item: usize, answer: A) -> Option<(Q, Vec<(usize, A)>)> {
        self.outstanding -= 1;
        self.arrived.push((item, answer));
        self.take_whole()
    }

    fn park(&mut self, question: Q) -> Option<(Q, Vec<(usize, A)>)> {
        self.place = Place::Parked(question);
        self.take_whole()
    }

    fn settle(&mut self) -> Settled<(Q, Vec<(usize, A)>)> {
        match self.place {
            Place::Away => Settled::Unread,
            Place::Taken => Settled::Coming,
            Place::Parked(_) => self.take().map_or(Settled::Coming, Settled::Parked),
        }
    }

    fn take_whole(&mut self) -> Option<(Q, Vec<(usize, A)>)> {
        if self.outstanding > 0 { None } else { self.take() }
    }

    fn take(&mut self) -> Option<(Q, Vec<(usize, A)>)> {
        if !matches!(self.place, Place::Parked(_)) {
            return None;
        }
        match std::mem::replace(&mut self.place, Place::Taken) {
            Place::Parked(question) => Some((question, std::mem::take(&mut self.arrived))),
            Place::Away | Place::Taken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::{Place, Settled, State};

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
            assert!(
                matches!(state.place, Place::Taken) && state.arrived.is_empty() && state.outstanding == 0
            );
        });
    }

    /// An asker whose time is up, an answer and the thread that computes the rest: the question goes to one of them,
    /// and the asker knows whether to wait for it.
    #[test]
    fn an_asker_whose_time_is_up_gets_it_or_knows_that_it_comes() {
        loom::model(|| {
            let state: Arc<Mutex<State<(), usize>>> = Arc::default();
            state.lock().unwrap().outstanding = 1;
            let told = Arc::new(AtomicUsize::new(0));
            let answer = {
                let (state, told) = (state.clone(), told.clone());
                thread::spawn(move || {
                    let whole = state.lock().unwrap().deliver(0, 10);
                    told.fetch_add(usize::from(whole.is_some()), Ordering::Relaxed);
                })
            };
            let asker = {
                let state = state.clone();
                thread::spawn(move || state.lock().unwrap().settle())
            };
            let whole = state.lock().unwrap().park(());
            told.fetch_add(usize::from(whole.is_some()), Ordering::Relaxed);
            answer.join().unwrap();
            let told = || told.load(Ordering::Relaxed);
            match asker.join().unwrap() {
                Settled::Parked(((), arrived)) => assert!(arrived.is_empty() && told() == 0),
                Settled::Coming => assert_eq!(told(), 1),
                Settled::Unread => assert_eq!(told(), 1, "it is told later, to nobody"),
            }
        });
    }
}
