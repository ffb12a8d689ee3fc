//! Futures that are polled together, by the task that waits for the first of them to end.
//!
//! None is dropped before its end: an operation on a socket must not be (see [`io`](crate::io)).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A few futures; all are polled whenever one may go on.
pub(super) struct Gang<'a, T> {
    members: Vec<Pin<Box<dyn Future<Output = T> + 'a>>>,
}

impl<'a, T> Gang<'a, T> {
    pub(super) const fn new() -> Self {
        Self { members: Vec::new() }
    }

    pub(super) fn add(&mut self, member: impl Future<Output = T> + 'a) {
        self.members.push(Box::pin(member));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What the first that ends comes to; `None` without members.
    pub(super) async fn next(&mut self) -> Option<T> {
        if self.members.is_empty() {
            return None;
        }
        let ended = poll_fn(|context| {
            for (at, member) in self.members.iter_mut().enumerate() {
                if let Poll::Ready(output) = member.as_mut().poll(context) {
                    return Poll::Ready((at, output));
                }
            }
            Poll::Pending
        });
        let (at, output) = ended.await;
        drop(self.members.remove(at));
        Some(output)
    }
}
