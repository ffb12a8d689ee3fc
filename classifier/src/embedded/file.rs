//! The model's file: `PINTLEM1`, the length of a header, the header in JSON, and the sections that it lists.

use std::ops::Range;

use serde::Deserialize;

const MAGIC: &[u8; 8] = b"PINTLEM1";
const MAX_HEADER_BYTES: usize = 1 << 16;

/// A file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable embedded model: {0}")]
pub struct FormatError(pub String);

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) vocabulary: usize,
    pub(super) dimensions: usize,
    /// Weight of the axis that tells difficulty; 0 for none.
    pub(super) difficulty: f32,
    pub(super) pair_buckets: usize,
    pub(super) heads: Vec<HeadHeader>,
    pub(super) tagger: TaggerHeader,
    sections: Vec<Section>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeadHeader {
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    /// Columns of the token table.
    pub(super) columns: Range<usize>,
    /// Columns of the pair table; empty if the head does not read pairs.
    pub(super) pairs: Range<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TaggerHeader {
    pub(super) labels: Vec<String>,
    pub(super) buckets: usize,
    /// What is added to the score of the label that means nothing.
    pub(super) caution: f32,
}

#[derive(Debug, Deserialize)]
struct Section {
    name: String,
    range: Range<usize>,
}

/// A file's parts.
pub(super) struct File<'a> {
    pub(super) header: Header,
    body: &'a [u8],
}

impl<'a> File<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let fail = |what: &str| FormatError(what.to_owned());
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| fail("the magic number is missing"))?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| fail("cut short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_HEADER_BYTES || length > rest.len() {
            return Err(fail("the header is too long"));
        }
        let (header, body) = rest.split_at(length);
        let header: Header =
            serde_json::from_slice(header).map_err(|error| FormatError(error.to_string()))?;
        if header.version != 1 {
            return Err(FormatError(format!("version {} is not known", header.version)));
        }
        Ok(Self { header, body })
    }

    /// A section of `count` elements of `width` bytes.
    fn section(&self, name: &str, count: usize, width: usize) -> Result<&'a [u8], FormatError> {
        let section = self.header.sections.iter().find(|section| section.name == name);
        let section = section.ok_or_else(|| FormatError(format!("section {name} is missing")))?;
        let bytes = self.body.get(section.range.clone());
        let wanted = count.checked_mul(width);
        bytes
            .filter(|bytes| Some(bytes.len()) == wanted)
            .ok_or_else(|| FormatError(format!("section {name} has the wrong size")))
    }

    pub(super) fn bytes(&self, name: &str, count: usize) -> Result<&'a [u8], FormatError> {
        self.section(name, count, 1)
    }

    pub(super) fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>, FormatError> {
        let bytes = self.section(name, count, 4)?;
        let floats: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        if floats.iter().all(|value| value.is_finite()) {
            Ok(floats)
        } else {
            Err(FormatError(format!("section {name} has a number that is not finite")))
        }
    }

    pub(super) fn hashes(&self, name: &str, count: usize) -> Result<Vec<u64>, FormatError> {
        let bytes = self.section(name, count, 8)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
    }
}
