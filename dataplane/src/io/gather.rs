//! A request that is written from where it lies: its new head, and its body with a patch.

use std::ops::Range;

use monoio::buf::IoVecBuf;

use crate::json::patch::{Patch, PatchError};

/// Slices that are written from where they lie. Of a body with more changes than that, copying is cheaper, and
/// the kernel takes no more than 1024 (`IOV_MAX`) at once.
const MOST_SLICES: usize = 64;

/// A head and a patched body in slices of several buffers, written by one `writev`.
///
/// Owns its buffers, as io_uring demands of everything that the kernel reads while the caller waits.
pub struct Gather {
    /// The new head.
    pub head: Vec<u8>,
    /// The buffer that the client's request was read into.
    pub body: Vec<u8>,
    /// What changes in the body; spans count from the body's first byte.
    pub patch: Patch,
    /// The patched body, if it has more than [`MOST_SLICES`] slices.
    copied: Vec<u8>,
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
            patch: Patch::new(),
            copied: Vec::new(),
            vectors: Vec::with_capacity(8),
            first: 0,
        }
    }

    /// Lays out the head and, behind it, the bytes `range` of the body buffer with the patch.
    ///
    /// # Errors
    /// [`PatchError`] if the patch does not fit the body.
    ///
    /// # Panics
    /// If the range lies outside the buffer.
    pub fn lay_out(&mut self, range: Range<usize>) -> Result<(), PatchError> {
        self.release();
        let body = &self.body[range];
        self.patch.settle(body.len())?;
        self.copied.clear();
        push(&mut self.vectors, &self.head);
        if self.patch.len() * 2 + 1 > MOST_SLICES {
            self.patch.slices(body).for_each(|slice| self.copied.extend_from_slice(slice));
            push(&mut self.vectors, &self.copied);
        } else {
            self.patch.slices(body).for_each(|slice| push(&mut self.vectors, slice));
        }
        Ok(())
    }

    /// Bytes not yet written.
    pub fn remaining(&self) -> usize {
        self.vectors[self.first..].iter().map(|vector| vector.iov_len).sum()
    }

    /// The first slice that has not been written; empty when all have.
    pub(super) fn front(&self) -> &[u8] {
        match self.vectors.get(self.first) {
            // SAFETY: see `IoVecBuf` below: the slice lies in a buffer of this value, which is borrowed.
            Some(vector) => unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) },
            None => &[],
        }
    }

    /// Appends the next bytes, at most `most`, over the slices' bounds. They do not count as written.
    pub(super) fn copy_front(&self, most: usize, into: &mut Vec<u8>) {
        let end = into.len() + most;
        for vector in &self.vectors[self.first..] {
            // SAFETY: as above.
            let slice = unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len) };
            into.extend_from_slice(&slice[..slice.len().min(end - into.len())]);
        }
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

fn push(vectors: &mut Vec<libc::iovec>, part: &[u8]) {
    if !part.is_empty() {
        vectors.push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    }
}

impl Default for Gather {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the vectors are on the heap and point into heap buffers (the Vecs of head, body, patch and copy) that
// this value owns and that nobody changes between `lay_out` and `release`; moving the value moves none of them.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vectors[self.first..].as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vectors.len() - self.first
    }
}
