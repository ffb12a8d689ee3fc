//! JSON bodies: scanned once into spans, patched in place, never rebuilt.
//!
//! # Why no document tree
//!
//! The router reads a dozen members of a request and changes one. A tree would cost more than everything
//! else done for the request, and writing it out again would lose what the router does not know (member
//! order, number formats, unknown parameters). So [`scan()`] walks the body once, checks that it is JSON, and
//! notes where the interesting values lie; [`patch`] sends the body on as slices around the changed value.
//!
//! # Why the scan is strict
//!
//! What one parser accepts and another reads differently could be routed as one request and served as
//! another. A repeated interesting member, invalid UTF-8, a bad escape or anything after the document is an
//! error here, not upstream.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod blocks;
pub mod completion;
mod cursor;
mod error;
pub mod members;
pub mod patch;
mod scan;
mod spans;
mod strings;
#[cfg(test)]
mod tests;
pub mod text;
pub mod usage;

pub use error::{ScanError, ScanErrorKind};
pub(crate) use scan::is_client_call;
pub use scan::{ScanLimits, scan};
pub use spans::{Message, Part, PartKind, Parts, Role, Span, Spans, StringSpan};
