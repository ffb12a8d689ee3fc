//! Segment files: their names, their order, and opening the newest after whatever happened to the last
//! process.
//!
//! A name is `flows-<time>-<number>.pfl`, or `.jsonl` where an earlier version wrote lines of JSON: the time at which the segment was opened, written like the
//! first ten characters of a flow id, and a number that only grows. An operator can therefore see from
//! an id alone in which file it must be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pintle_routing::flow_id::FlowId;
use pintle_routing::units::UnixMillis;

use super::packed::Index;

const PREFIX: &str = "flows-";
const NUMBER_DIGITS: usize = 8;

/// How a segment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON document per line; read only.
    Lines,
    /// Frames ([`super::packed`]).
    Packed,
}

impl Format {
    const fn suffix(self) -> &'static str {
        match self {
            Format::Lines => ".jsonl",
            Format::Packed => ".pfl",
        }
    }
}

/// One segment file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    /// Grows by one with each segment; the order of segments.
    pub(crate) number: u64,
    /// Nothing in it was written earlier, unless the clock has been set back since.
    pub(crate) opened_at: UnixMillis,
    pub(crate) bytes: u64,
}

impl Segment {
    pub(crate) fn new(dir: &Path, number: u64, opened_at: UnixMillis) -> Segment {
        let format = Format::Packed;
        Segment { path: dir.join(file_name(number, opened_at, format)), format, number, opened_at, bytes: 0 }
    }
}

fn file_name(number: u64, opened_at: UnixMillis, format: Format) -> String {
    let time = FlowId::from_bits(u128::from(opened_at.get()) << 80).to_string();
    format!("{PREFIX}{}-{number:0NUMBER_DIGITS$}{}", &time[..FlowId::TIME_LEN], format.suffix())
}

fn parse_file_name(name: &str) -> Option<(Format, u64, UnixMillis)> {
    let stem = name.strip_prefix(PREFIX)?;
    let with = |format: Format| Some((format, stem.strip_suffix(format.suffix())?));
    let (format, stem) = with(Format::Packed).or_else(|| with(Format::Lines))?;
    let (time, number) = stem.split_once('-')?;
    if time.len() != FlowId::TIME_LEN || number.len() < NUMBER_DIGITS {
        return None;
    }
    let filled = format!("{time:0<width$}", width = FlowId::LEN);
    Some((format, number.parse().ok()?, filled.parse::<FlowId>().ok()?.at()))
}

/// The segments in `dir`, oldest first. Other files are ignored, and a segment that disappears while the
/// directory is read is left out. A missing directory holds no segments.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((format, number, opened_at)) = name.to_str().and_then(parse_file_name) else { continue };
        let bytes = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        segments.push(Segment { path: entry.path(), format, number, opened_at, bytes });
    }
    // Two processes may choose the same number at the end of an upgrade; they wrote at the same time then.
    segments.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    Ok(segments)
}

/// Creates `dir` for this user and group only.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

/// Creates a new, empty segment file and makes its directory entry durable.
pub(crate) fn create(dir: &Path, segment: &Segment) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&segment.path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Opens a packed segment to go on writing at its end, after cutting off what a crash left unfinished. Returns the
/// number of bytes cut and corrects `segment.bytes`.
pub(crate) fn resume(segment: &mut Segment) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).open(&segment.path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let keep = Index::of(&content).end as u64;
    let torn = content.len() as u64 - keep;
    if torn > 0 {
        file.set_len(keep)?;
    }
    segment.bytes = keep;
    Ok((file, torn))
}
