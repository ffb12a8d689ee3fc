//! The file: its layout, its header, and how it comes to be.
//!
//! ```text
//! page 0   header: what the file is and how large its parts are, under a checksum; then one word that
//!          changes, the boot in which the file was last opened and not closed
//! then     names | session heads | session slots | pin heads | pin slots, each from a page boundary
//! ```
//!
//! A file is built under a temporary name and renamed when it is complete, so that a file under the real
//! name always has a whole header and all its blocks: no write into it can fail for lack of space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::OpenError;
use crate::names::NAMES_WORDS;
use crate::open::Options;
use crate::record::{PIN_WORDS, RECORD_WORDS};
use crate::table::Shape;
use crate::word::Word;

pub(crate) const PAGE: usize = 4096;
const PAGE_WORDS: usize = PAGE / 8;
const MAGIC: u64 = u64::from_le_bytes(*b"PINTLESM");
/// Version of the header itself; what follows it is told by the layout digest.
pub(crate) const FORMAT: u64 = 1;
/// Everything that decides where a byte lies and what it means. Change it and old files are set aside.
const LAYOUT: &str = "le; names 4096 x (sum, len, 496 bytes), xxh3 seed id; head 64: owner32 check32 28 x tag16; \
    slot: key128, 2 x (stamp48+16, xxh3(key, seq, payload), payload); \
    record: last_seen tool_loop_until provider_state_until prompt cached completion u64, \
    model decision backend turns switches turns_on_model last_prompt last_cached last_completion turn_sequence \
    flags u32, demand policy0 policy1 f32; pin: session128 expires created u64, model backend u32; place v1";
const HEADER_WORDS: usize = 11;
const OPENED_IN_BOOT: usize = 16;

/// The fixed part of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) capacity: u64,
    pub(crate) pin_capacity: u64,
    pub(crate) hash_key: u128,
    pub(crate) created_ms: u64,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    NotOurs,
    Damaged,
    OtherFormat(u64),
    OtherLayout,
    WrongLength,
}

impl Unusable {
    pub(crate) fn reason(self) -> String {
        match self {
            Unusable::NotOurs => "it does not begin like a session memory".into(),
            Unusable::Damaged => "its header is damaged".into(),
            Unusable::OtherFormat(version) => format!("its format is {version}, this build knows {FORMAT}"),
            Unusable::OtherLayout => "its records are laid out as another build had them".into(),
            Unusable::WrongLength => "its length is not what its header says".into(),
        }
    }
}

/// Where each part lies, in words.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) names: Range<usize>,
    pub(crate) sessions: Part,
    pub(crate) pins: Part,
}

/// Where a table lies.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) shape: Shape,
    pub(crate) heads: Range<usize>,
    pub(crate) slots: Range<usize>,
}

impl Layout {
    pub(crate) fn of(header: &Header) -> Layout {
        let names = PAGE_WORDS..PAGE_WORDS + NAMES_WORDS;
        let sessions = Part::after(names.end, header.capacity, RECORD_WORDS);
        let pins = Part::after(sessions.slots.end, header.pin_capacity, PIN_WORDS);
        Layout { names, sessions, pins }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.pins.slots.end.next_multiple_of(PAGE_WORDS) * 8) as u64
    }
}

impl Part {
    fn after(end: usize, capacity: u64, payload: usize) -> Part {
        let shape = Shape::for_capacity(capacity);
        let heads = from_page(end, shape.head_words());
        let slots = from_page(heads.end, shape.slot_words(payload));
        Part { shape, heads, slots }
    }
}

fn from_page(start: usize, words: usize) -> Range<usize> {
    let start = start.next_multiple_of(PAGE_WORDS);
    start..start + words
}

/// The file, mapped.
pub(crate) struct Map {
    raw: MmapRaw,
}

impl Map {
    pub(crate) fn new(file: &File, path: &Path) -> Result<Map, OpenError> {
        let raw = MmapOptions::new().map_raw(file).map_err(OpenError::io("map", path))?;
        Ok(Map { raw })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, lives as long as `self` and is readable and writable over
        // its whole length. This process reaches it only through these atomics; no other process writes
        // it, because writing takes the lock file, except
        // those that it was shared with, and they too use these atomics. Any bit pattern is a u64.
        unsafe { std::slice::from_raw_parts(self.raw.as_mut_ptr().cast::<AtomicU64>(), self.raw.len() / 8) }
    }

    /// Writes the header page to disk.
    pub(crate) fn sync_header(&self) -> io::Result<()> {
        self.raw.flush_range(0, PAGE)
    }

    /// Writes everything to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.raw.flush()
    }

    /// The boot in which the file was opened and not closed since; zero after an orderly close.
    pub(crate) fn opened_in_boot(&self) -> u64 {
        Word::load(&self.words()[OPENED_IN_BOOT])
    }

    pub(crate) fn set_opened_in_boot(&self, boot: u64) {
        self.words()[OPENED_IN_BOOT].publish(boot);
    }
}

impl Header {
    pub(crate) fn write(&self, words: &[AtomicU64]) {
        let fields = self.fields(Layout::of(self).bytes());
        for (cell, word) in words.iter().zip(fields) {
            Word::store(cell, word);
        }
        words[HEADER_WORDS - 1].publish(sum(&fields));
    }

    /// Reads the header of a file of `length` bytes.
    pub(crate) fn read(words: &[AtomicU64], length: u64) -> Result<Header, Unusable> {
        let mut fields = [0; HEADER_WORDS - 1];
        for (field, cell) in fields.iter_mut().zip(words) {
            *field = Word::load(cell);
        }
        let [magic, format, digest, capacity, pin_capacity, low, high, created_ms, bytes, _] = fields;
        if magic != MAGIC {
            return Err(Unusable::NotOurs);
        }
        if Word::load(&words[HEADER_WORDS - 1]) != sum(&fields) {
            return Err(Unusable::Damaged);
        }
        if format != FORMAT {
            return Err(Unusable::OtherFormat(format));
        }
        if digest != layout_digest() {
            return Err(Unusable::OtherLayout);
        }
        if !Options::CAPACITY.contains(&capacity) || !Options::CAPACITY.contains(&pin_capacity) {
            return Err(Unusable::Damaged);
        }
        let header =
            Header { capacity, pin_capacity, hash_key: u128::from(low) | u128::from(high) << 64, created_ms };
        if bytes != length || Layout::of(&header).bytes() != length {
            return Err(Unusable::WrongLength);
        }
        Ok(header)
    }

    fn fields(&self, bytes: u64) -> [u64; HEADER_WORDS - 1] {
        let (low, high) = (self.hash_key as u64, (self.hash_key >> 64) as u64);
        [
            MAGIC,
            FORMAT,
            layout_digest(),
            self.capacity,
            self.pin_capacity,
            low,
            high,
            self.created_ms,
            bytes,
            0,
        ]
    }
}

fn sum(fields: &[u64]) -> u64 {
    let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

pub(crate) fn layout_digest() -> u64 {
    xxhash_rust::xxh3::xxh3_64(LAYOUT.as_bytes())
}

/// Makes `dir` if it is missing, for its owner alone.
pub(crate) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(OpenError::io("create the directory", dir))
}

/// Opens an existing file; `None` if there is none.
pub(crate) fn open_existing(path: &Path) -> Result<Option<File>, OpenError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io("open", path)(error)),
    }
}

/// Creates a file with all its blocks and a header, under a name that `publish` changes.
pub(crate) fn build(path: &Path, header: &Header) -> Result<(File, Map), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove the unfinished file", path)(error));
        }
        _ => {}
    }
    let bytes = Layout::of(header).bytes();
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(OpenError::io("create", path))?;
    allocate(&mut file, bytes).map_err(|error| {
        let _ = fs::remove_file(path);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                OpenError::NoSpace { path: path.to_owned(), bytes }
            }
            _ => OpenError::io("allocate", path)(error),
        }
    })?;
    let map = Map::new(&file, path)?;
    header.write(map.words());
    Ok((file, map))
}

/// Gives a complete file its real name, for good.
pub(crate) fn publish(file: &File, from: &Path, to: &Path) -> Result<(), OpenError> {
    file.sync_all().map_err(OpenError::io("write", from))?;
    rename(from, to)
}

/// Renames, and makes the renaming survive a crash of the machine.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    fs::rename(from, to).map_err(OpenError::io("rename", from))?;
    let dir = to.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("write the directory", dir))
}

fn allocate(file: &mut File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // A file system without preallocation: writing zeros claims the blocks as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            let mut left = bytes;
            while left > 0 {
                let step = left.min(zeros.len() as u64);
                file.write_all(&zeros[..step as usize])?;
                left -= step;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}
