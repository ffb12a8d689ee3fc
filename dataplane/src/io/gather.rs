//! A request that is written from where it lies: head, body before the model, new model, body after it.

use std::ops::Range;
use std::sync::Arc;

use monoio::buf::IoVecBuf;

const PARTS: usize = 4;

/// Up to four byte ranges in three buffers, written by one `writev`.
///
/// Owns its buffers, as io_uring demands of everything that the kernel reads while the caller waits.
pub struct Gather {
    /// The new head.
    pub head: Vec<u8>,
    /// The buffer that the client's request was read into.
    pub body: Vec<u8>,
    insert: Arc<[u8]>,
    // On the heap, so that moving the Gather into the driver does not move the array.
    vectors: Vec<libc::iovec>,
    first: usize,
}

impl Gather {
    /// An empty gather with room for its vectors.
    pub fn new() -> Self {
        Self {
            head: Vec::new(),
            body: Vec::new(),
            insert: Arc::from(&[][..]),
            vectors: Vec::with_capacity(PARTS),
            first: 0,
        }
    }

    /// Lays out `head`, then `body[before]`, then `insert`, then `body[after]`, from the start.
    ///
    /// # Panics
    /// If a range lies outside `body`.
    pub fn lay_out(&mut self, before: Range<usize>, insert: Arc<[u8]>, after: Range<usize>) {
        self.insert = insert;
        self.first = 0;
        self.vectors.clear();
        for part in [&self.head[..], &self.body[before], &self.insert[..], &self.body[after]] {
            if !part.is_empty() {
                self.vectors
                    .push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
            }
        }
    }

    /// Bytes not yet written.
    pub fn remaining(&self) -> usize {
        self.vectors[self.first..].iter().map(|vector| vector.iov_len).sum()
    }

    /// Marks `n` more bytes as written.
    pub fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let vector = &mut self.vectors[self.first];
            let step = n.min(vector.iov_len);
            n -= step;
            if step == vector.iov_len {
                self.first += 1;
            } else {
                vector.iov_base = vector.iov_base.wrapping_byte_add(step);
                vector.iov_len -= step;
            }
        }
    }

    /// Forgets the layout; the buffers stay and may be changed again.
    pub fn release(&mut self) {
        self.vectors.clear();
        self.first = 0;
    }
}

impl Default for Gather {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the vectors are on the heap and point into heap buffers (two Vecs and an Arc) that this value owns
// and that nobody changes between `lay_out` and `release`; moving the value moves none of them.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vectors[self.first..].as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vectors.len() - self.first
    }
}
