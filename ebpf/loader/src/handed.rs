//! What one process hands to another, so that the kernel goes on without a gap.

use std::os::fd::{AsFd, OwnedFd};

use crate::object;
use crate::status::Unavailable;

/// Descriptors, and what is said of them. As long as one process has them, programs stay attached and tables stay.
#[derive(Debug)]
pub struct Handed<T> {
    /// What they are.
    pub terms: T,
    /// The descriptors, in the order that goes with the terms.
    pub descriptors: Vec<OwnedFd>,
}

impl<T> Handed<T> {
    /// With descriptors of its own.
    pub(crate) fn copy<'a>(
        terms: T,
        descriptors: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> Result<Self, Unavailable> {
        let copies = descriptors.into_iter().map(|descriptor| object::copy(descriptor.as_fd()));
        Ok(Self { terms, descriptors: copies.collect::<Result<_, _>>()? })
    }
}
