//! Host memory that a lane's copies begin or end in.
#![allow(unsafe_code, reason = "memory that a device reads and writes")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use super::{Lane, State};
use crate::abi::Plain;
use crate::error::Error;

/// Pinned host memory of a lane.
pub struct Staging<T: Plain> {
    lane: Lane,
    pub(super) items: NonNull<T>,
    len: usize,
}

impl Lane {
    /// Pinned host memory for `len` items, zeros at first, that copies of this lane begin or end in.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn staging<T: Plain>(&self, len: usize) -> Result<Staging<T>, Error> {
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: the address is written to the pointer given.
        unsafe { self.device().entry().hipHostMalloc(&mut memory, bytes, 0)? };
        let items = NonNull::new(memory.cast::<T>())
            .ok_or_else(|| Error::Program("hipHostMalloc succeeded without memory".to_owned()))?;
        // SAFETY: this many bytes were allocated.
        unsafe { items.as_ptr().cast::<u8>().write_bytes(0, bytes) };
        Ok(Staging { lane: self.clone(), items, len })
    }
}

impl<T: Plain> Staging<T> {
    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items.
    ///
    /// # Panics
    ///
    /// If the lane is busy.
    #[must_use]
    pub fn read(&self) -> &[T] {
        assert!(self.lane.is_idle(), "staging memory is read while its lane is busy");
        // SAFETY: allocated, initialised, and no copy writes it: the lane is idle, and a later copy into this memory
        // borrows it for writing, which ends the slice.
        unsafe { std::slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }

    /// The items, to be changed.
    ///
    /// # Panics
    ///
    /// If the lane is busy.
    pub fn write(&mut self) -> &mut [T] {
        assert!(self.lane.is_idle(), "staging memory is written while its lane is busy");
        // SAFETY: as in `read`; no copy reads it either, since a later one borrows it.
        unsafe { std::slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }

    /// Whether a copy of `count` items on `lane` is within it.
    pub(super) fn check(&self, lane: &Lane, count: usize) -> Result<(), Error> {
        assert!(Rc::ptr_eq(&self.lane.0, &lane.0), "staging memory belongs to one lane");
        assert_ne!(lane.0.state.get(), State::Capturing, "a copy cannot be captured");
        if count > self.len {
            return Err(Error::Range { at: 0, count, len: self.len });
        }
        Ok(())
    }
}

impl<T: Plain> Drop for Staging<T> {
    fn drop(&mut self) {
        // A refusal that says nothing about the work is asked again; who still is not told leaves the memory allocated
        // rather than have the device write to what is somebody else's by then.
        if !self.lane.is_idle() && self.lane.wait().is_err() && !self.lane.is_idle() {
            let _ = self.lane.wait();
            if !self.lane.is_idle() {
                return;
            }
        }
        // SAFETY: allocated and not freed before; no copy is under way. An error means that the device is dead.
        let _ = unsafe { self.lane.device().entry().hipHostFree(self.items.as_ptr().cast()) };
    }
}
