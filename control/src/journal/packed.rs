//! Segments of records: what a worker noted of each request, in few bytes, and what it takes to make documents of
//! them.
//!
//! A segment is a row of frames:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `F1 0A` |
//! | 4 | length of the content, little endian |
//! | 4 | the lower half of the content's XXH3 |
//! | | the content: its kind in one byte, and |
//!
//! | kind | content |
//! |---|---|
//! | 1 start | the format's version in one byte; numbers of names and legends begin anew |
//! | 2 names | names of fields and variants, each as a length and its bytes; they continue the numbers |
//! | 3 legend | its number, and a [`Legend`] as a [value] |
//! | 4 flow | 16 bytes of flow id (big endian), the number of its legend, and a [`FlowRecord`] as a value |
//! | 5 lost | when (milliseconds) and how many flows were lost |
//!
//! A frame that is damaged costs itself; names or a legend cost the flows up to the next start, of which there is one
//! at the beginning of each segment, wherever a process begins to write, and every [`STRETCH`] bytes. Readers look for
//! the next whole frame. Kinds that a reader does not know are passed over.

use std::sync::Arc;

use pintle_routing::flow::FlowRecord;
use pintle_routing::flow_id::FlowId;
use pintle_routing::policy::Legend;
use pintle_routing::units::UnixMillis;
use xxhash_rust::xxh3::xxh3_64;

mod index;
mod value;

pub(crate) use index::{Entry, Index};

use value::{Names, encode, put_number};

/// The format that this build writes; it reads this one and none later.
const VERSION: u8 = 1;

const MARK: [u8; 2] = [0xf1, 0x0a];
const HEADER_BYTES: usize = MARK.len() + 4 + 4;

const START: u8 = 1;
const NAMES: u8 = 2;
const LEGEND: u8 = 3;
const FLOW: u8 = 4;
const LOST: u8 = 5;

/// Bytes after which numbers begin anew, so that damage does not reach further.
pub(crate) const STRETCH: usize = 1 << 20;

/// Largest content of a frame that is read: a legend may be larger than any flow.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Makes frames.
pub(crate) struct Packer {
    names: Names,
    /// Legends by their numbers. Held, so that none can come to lie where another was.
    legends: Vec<Arc<Legend>>,
    /// Bytes since the last start; none if the next flow needs one first.
    since_start: Option<usize>,
    content: Vec<u8>,
}

/// A flow that cannot be written.
#[derive(Debug)]
pub(crate) struct Unwritable;

impl Packer {
    pub(crate) fn new() -> Packer {
        Packer { names: Names::new(), legends: Vec::new(), since_start: None, content: Vec::new() }
    }

    /// Begins anew with the next flow: what was packed before may not be where that is written.
    pub(crate) fn restart(&mut self) {
        self.since_start = None;
    }

    /// Appends the frame of a flow, and those that it takes to read it.
    ///
    /// # Errors
    /// If it has no form or more than `largest` bytes. What has been appended must be taken away then, and this
    /// [restarted](Self::restart).
    pub(crate) fn flow(
        &mut self,
        record: &FlowRecord,
        legend: &Arc<Legend>,
        largest: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let before = out.len();
        if self.since_start.is_none_or(|bytes| bytes >= STRETCH) {
            self.names.clear();
            self.legends.clear();
            self.since_start = Some(0);
            frame(&[START, VERSION], out);
        }
        let number = match self.legends.iter().position(|known| Arc::ptr_eq(known, legend)) {
            Some(number) => number,
            None => self.legend(legend, out)?,
        };
        let names = self.names.len();
        self.content.clear();
        self.content.push(FLOW);
        self.content.extend_from_slice(&record.id.bits().to_be_bytes());
        put_number(number as u64, &mut self.content);
        encode(record, &mut self.names, &mut self.content).map_err(|_| Unwritable)?;
        if self.content.len() > largest {
            return Err(Unwritable);
        }
        self.new_names(names, out);
        frame(&self.content, out);
        self.since_start = self.since_start.map(|bytes| bytes + out.len() - before);
        Ok(())
    }

    fn legend(&mut self, legend: &Arc<Legend>, out: &mut Vec<u8>) -> Result<usize, Unwritable> {
        let (number, names) = (self.legends.len(), self.names.len());
        self.content.clear();
        self.content.push(LEGEND);
        put_number(number as u64, &mut self.content);
        encode(legend.as_ref(), &mut self.names, &mut self.content).map_err(|_| Unwritable)?;
        if self.content.len() > MAX_FRAME_BYTES {
            return Err(Unwritable);
        }
        self.new_names(names, out);
        frame(&self.content, out);
        self.legends.push(Arc::clone(legend));
        Ok(number)
    }

    /// The frame of names that were numbered since there were `before` of them.
    fn new_names(&self, before: usize, out: &mut Vec<u8>) {
        let names = self.names.since(before);
        if names.is_empty() {
            return;
        }
        let mut content = vec![NAMES];
        for name in names {
            put_number(name.len() as u64, &mut content);
            content.extend_from_slice(name.as_bytes());
        }
        frame(&content, out);
    }
}

/// Appends the frame that tells of lost flows.
pub(crate) fn lost(at: UnixMillis, count: u64, out: &mut Vec<u8>) {
    let mut content = vec![LOST];
    put_number(at.get(), &mut content);
    put_number(count, &mut content);
    frame(&content, out);
}

fn frame(content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(&check(content).to_le_bytes());
    out.extend_from_slice(content);
}

fn check(content: &[u8]) -> u32 {
    xxh3_64(content) as u32
}

fn flow_id(bytes: [u8; 16]) -> FlowId {
    FlowId::from_bits(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
