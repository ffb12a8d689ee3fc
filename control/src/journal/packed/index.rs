//! Where everything lies in a segment. Its bytes may be anything.

use std::cell::OnceCell;

use memchr::memmem;
use pintle_routing::flow::{FlowDocument, FlowRecord};
use pintle_routing::flow_id::FlowId;
use pintle_routing::policy::Legend;

use super::value::{Undecodable, decode, number};
use super::{FLOW, HEADER_BYTES, LEGEND, LOST, MARK, MAX_FRAME_BYTES, NAMES, START, VERSION, check, flow_id};
use crate::journal::Damage;

/// One thing in a segment, in the order of writing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// A flow.
    Flow(Packed<'a>),
    /// Flows that were lost.
    Lost(u64),
    /// Bytes that are no frame, as many as lie together.
    Damaged,
}

/// A flow as it lies in the segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) id: FlowId,
    stretch: usize,
    legend: u64,
    pub(crate) record: &'a [u8],
}

/// A segment's content.
pub(crate) struct Index<'a> {
    stretches: Vec<Stretch<'a>>,
    pub(crate) entries: Vec<Entry<'a>>,
    /// Just behind the last whole frame.
    pub(crate) end: usize,
}

/// What lies between one start and the next.
#[derive(Default)]
struct Stretch<'a> {
    /// Of a version that this build does not read.
    foreign: bool,
    names: Vec<&'a str>,
    legends: Vec<PackedLegend<'a>>,
}

struct PackedLegend<'a> {
    number: u64,
    bytes: &'a [u8],
    read: OnceCell<Result<Legend, Damage>>,
}

impl<'a> Index<'a> {
    /// Finds all frames. Bytes behind the last whole one are an unfinished write, not damage.
    pub(crate) fn of(content: &'a [u8]) -> Index<'a> {
        let mut index = Index { stretches: vec![Stretch::default()], entries: Vec::new(), end: 0 };
        let finder = memmem::Finder::new(&MARK);
        // Marks may lie in content, too, and lengths may be anything: what is looked at in vain has an end.
        let mut vain = content.len().saturating_mul(4);
        let mut from = 0;
        while let Some(skipped) = finder.find(&content[from..]) {
            let at = from + skipped;
            match whole_frame(&content[at..]) {
                Ok(found) => {
                    if at > index.end {
                        index.entries.push(Entry::Damaged);
                    }
                    index.end = at + HEADER_BYTES + found.len();
                    from = index.end;
                    index.take(found);
                }
                Err(looked_at) => {
                    from = at + MARK.len();
                    let Some(left) = vain.checked_sub(looked_at) else { break };
                    vain = left;
                }
            }
        }
        index
    }

    /// The flows, in the order of writing.
    pub(crate) fn flows(&self) -> impl DoubleEndedIterator<Item = &Packed<'a>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Flow(flow) => Some(flow),
            _ => None,
        })
    }

    fn take(&mut self, content: &'a [u8]) {
        let Some((kind, mut rest)) = content.split_first() else { return self.entries.push(Entry::Damaged) };
        let taken = match *kind {
            START => {
                self.stretches
                    .push(Stretch { foreign: rest.first() != Some(&VERSION), ..Stretch::default() });
                Ok(())
            }
            NAMES => self.take_names(rest),
            LEGEND => number(&mut rest).map(|number| {
                let stretch = self.stretches.last_mut().expect("there is one from the beginning");
                stretch.legends.push(PackedLegend { number, bytes: rest, read: OnceCell::new() });
            }),
            FLOW => self.take_flow(rest),
            LOST => number(&mut rest).and_then(|_at| {
                let count = number(&mut rest)?;
                self.entries.push(Entry::Lost(count));
                Ok(())
            }),
            _ => Ok(()),
        };
        if taken.is_err() {
            self.entries.push(Entry::Damaged);
        }
    }

    fn take_names(&mut self, mut rest: &'a [u8]) -> Result<(), Undecodable> {
        let stretch = self.stretches.last_mut().expect("there is one from the beginning");
        while !rest.is_empty() {
            let length = usize::try_from(number(&mut rest)?).map_err(|_| Undecodable::Short)?;
            let (name, behind) = rest.split_at_checked(length).ok_or(Undecodable::Short)?;
            stretch.names.push(str::from_utf8(name).map_err(|_| Undecodable::Text)?);
            rest = behind;
        }
        Ok(())
    }

    fn take_flow(&mut self, rest: &'a [u8]) -> Result<(), Undecodable> {
        let (id, mut rest) = rest.split_first_chunk::<16>().ok_or(Undecodable::Short)?;
        let legend = number(&mut rest)?;
        let stretch = self.stretches.len() - 1;
        self.entries.push(Entry::Flow(Packed { id: flow_id(*id), stretch, legend, record: rest }));
        Ok(())
    }

    /// The document of a flow in here.
    pub(crate) fn document(&self, flow: &Packed<'_>) -> Result<FlowDocument, Damage> {
        let stretch = &self.stretches[flow.stretch];
        if stretch.foreign {
            return Err(Damage::new("it was written by a later version"));
        }
        let known = stretch.legends.iter().find(|legend| legend.number == flow.legend);
        let known = known.ok_or_else(|| Damage::new("its legend is missing"))?;
        let legend = known.read.get_or_init(|| {
            let legend: Legend = decode(known.bytes, &stretch.names).map_err(Damage::new)?;
            legend.check().map_err(Damage::new)?;
            Ok(legend)
        });
        let legend = legend.as_ref().map_err(Clone::clone)?;
        let mut record: FlowRecord = decode(flow.record, &stretch.names).map_err(Damage::new)?;
        record.id = flow.id;
        record.document(legend).map_err(Damage::new)
    }
}

/// The content of the frame at the front of `bytes`, or how many bytes were looked at to find none.
fn whole_frame(bytes: &[u8]) -> Result<&[u8], usize> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(0usize)?;
    let [_, _, a, b, c, d, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let content = rest.get(..length).filter(|_| length <= MAX_FRAME_BYTES).ok_or(0usize)?;
    if check(content) == u32::from_le_bytes([e, f, g, h]) { Ok(content) } else { Err(length) }
}
