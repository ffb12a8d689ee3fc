//! Idle connections of one worker, most recently used first.

use std::cell::RefCell;
use std::collections::HashMap;

use super::backend::Backend;
use super::link::Link;

struct Idle {
    link: Link,
    since_ms: u64,
}

/// Idle upstream connections of one worker.
#[derive(Default)]
pub struct Pool {
    by_backend: RefCell<HashMap<u32, Vec<Idle>>>,
}

impl Pool {
    /// The connection used last, if one is open and silent.
    pub fn take(&self, backend: &Backend) -> Option<Link> {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.get_mut(&backend.connections)?;
        while let Some(Idle { link, .. }) = idle.pop() {
            if link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for later, unless `most` are kept already.
    pub fn put(&self, backend: &Backend, mut link: Link, most: usize, now_ms: u64) {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.entry(backend.connections).or_default();
        if idle.len() < most {
            link.rest();
            idle.push(Idle { link, since_ms: now_ms });
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
