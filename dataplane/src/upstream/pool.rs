//! Idle connections of one worker, most recently used first.

use std::cell::RefCell;
use std::collections::HashMap;

use super::backend::Backend;
use crate::io::Stream;

struct Idle {
    stream: Stream,
    since_ms: u64,
}

/// Idle upstream connections of one worker.
#[derive(Default)]
pub struct Pool {
    by_backend: RefCell<HashMap<u32, Vec<Idle>>>,
}

impl Pool {
    /// The connection used last, if one is open and silent.
    pub fn take(&self, backend: &Backend) -> Option<Stream> {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.get_mut(&backend.connections)?;
        while let Some(Idle { stream, .. }) = idle.pop() {
            if stream.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection for later, unless `most` are kept already.
    pub fn put(&self, backend: &Backend, stream: Stream, most: usize, now_ms: u64) {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.entry(backend.connections).or_default();
        if idle.len() < most {
            idle.push(Idle { stream, since_ms: now_ms });
        }
    }

    /// Closes what has been idle for `idle_ms`.
    pub fn sweep(&self, now_ms: u64, idle_ms: u64) {
        self.by_backend.borrow_mut().retain(|_, idle| {
            idle.retain(|connection| now_ms.saturating_sub(connection.since_ms) < idle_ms);
            !idle.is_empty()
        });
    }

    /// Connections kept.
    pub fn len(&self) -> usize {
        self.by_backend.borrow().values().map(Vec::len).sum()
    }

    /// No connection is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.by_backend.borrow_mut().clear();
    }
}
