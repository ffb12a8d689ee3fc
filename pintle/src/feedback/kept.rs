//! What feedback has taught, on disk: all of it as of some time, and a log of the lessons since.
//!
//! A lesson is appended and synchronised before anybody is told that it was taken, so a process that is killed loses
//! none. The log is folded into the other file when it is long, and by the caller from time to time. Lessons are
//! numbered and the folded file says how many it holds: a crash between its renaming and the log's truncation
//! teaches nothing twice.
//!
//! A line of the log is the checksum of what follows, in hexadecimal digits, and `{"nth":…,"lesson":…}`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pintle_routing::experience::{Experience, Lesson};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Longest log, in bytes: some hundreds of lessons, learnt again within a second at a start.
const MAX_LOG: u64 = 256 * 1024;
/// Longest line, in bytes; names and the decision's are at most 1 KiB each.
const MAX_LINE: usize = 64 * 1024;
/// What users like is nobody else's to read.
const MODE: u32 = 0o600;
/// Digits of a checksum.
const DIGITS: usize = 16;

/// Both files, and how far they go.
#[derive(Debug)]
pub(super) struct Kept {
    file: PathBuf,
    log: File,
    log_path: PathBuf,
    /// Bytes of the log that are lessons.
    length: u64,
    /// Behind them there is something else, which nobody may take for lessons.
    has_rest: bool,
    /// Lessons that were ever taken.
    lessons: u64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    nth: u64,
    lesson: Lesson,
}

/// What stands beside the experience in its file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Mark {
    lessons: u64,
}

/// What was found, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) experience: Experience,
    /// A file of which something could not be read: where it lies now, and what is wrong.
    pub(super) damaged: Vec<(PathBuf, String)>,
}

impl Kept {
    /// Reads both files. What cannot be read is set aside under another name; what can be is kept.
    ///
    /// # Errors
    /// A log that cannot be opened: nothing could be kept.
    pub(super) fn open(state_dir: &Path) -> io::Result<(Self, Found)> {
        let file = state_dir.join("experience.json");
        let log_path = state_dir.join("experience.log");
        let mut damaged = Vec::new();
        let (mut experience, mut lessons) = match read(&file) {
            Ok(read) => read,
            Err(error) => {
                let aside = file.with_extension("json.unreadable");
                // It stays where it is if it cannot be moved, and is overwritten by what comes.
                let _ = fs::rename(&file, &aside);
                damaged.push((aside, error.to_string()));
                Default::default()
            }
        };
        let log = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&log_path)?;
        // Its name must outlive a power cut as its lessons do.
        sync_folder(&log_path)?;
        let mut text = Vec::new();
        (&log).take(2 * MAX_LOG).read_to_end(&mut text)?;
        let mut length = 0;
        while let Some((entry, line)) = entry(&text[length..]) {
            // Those before are part of the file already.
            if entry.nth > lessons {
                entry.lesson.apply(&mut experience);
                lessons = entry.nth;
            }
            length += line;
        }
        let mut is_dear = false;
        // A line without an end is one that nobody was told of.
        if text[length..].contains(&b'\n') {
            let aside = log_path.with_extension("log.unreadable");
            let rest = text.len() - length;
            let copied = fs::write(&aside, &text[length..]);
            is_dear = copied.is_err();
            let why = match copied {
                Ok(()) => format!("{rest} bytes of the log are damaged"),
                Err(error) => {
                    format!("{rest} bytes of the log are damaged, and cannot be set aside: {error}")
                }
            };
            damaged.push((aside, why));
        }
        let has_rest = log.metadata()?.len() > length as u64;
        let mut kept = Self { file, log, log_path, length: length as u64, has_rest, lessons };
        if !is_dear {
            // Else with the next lesson.
            let _ = kept.cut();
        }
        Ok((kept, Found { experience, damaged }))
    }

    /// The log is empty.
    pub(super) const fn is_folded(&self) -> bool {
        self.length == 0
    }

    /// Adds a lesson, for good. `before` is what was learnt up to it.
    ///
    /// # Errors
    /// Nothing was added.
    pub(super) fn add(&mut self, lesson: &Lesson, before: &Experience) -> io::Result<()> {
        let nth = self.lessons + 1;
        let body = serde_json::to_vec(&Entry { nth, lesson: lesson.clone() })?;
        let mut line = format!("{:0DIGITS$x} ", xxh3_64(&body)).into_bytes();
        line.extend_from_slice(&body);
        line.push(b'\n');
        // Numbers that are none do not come back.
        if entry(&line).is_none_or(|(entry, _)| entry.lesson != *lesson) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it cannot be written down"));
        }
        if self.length + line.len() as u64 > MAX_LOG {
            self.fold(before)?;
        }
        self.cut()?;
        let written = self.log.write_all_at(&line, self.length).and_then(|()| self.log.sync_data());
        if let Err(error) = written {
            self.has_rest = true;
            // What stays after all is a line too many, that its writer was not told of.
            let _ = self.cut();
            return Err(error);
        }
        (self.length, self.lessons) = (self.length + line.len() as u64, nth);
        Ok(())
    }

    /// Leaves nothing behind the lessons.
    fn cut(&mut self) -> io::Result<()> {
        if self.has_rest {
            self.log.set_len(self.length)?;
            self.has_rest = false;
        }
        Ok(())
    }

    /// Writes all that was learnt in place of the file before, and empties the log.
    ///
    /// # Errors
    /// Nothing is lost: the lessons are in the log, or in the file and in the log.
    pub(super) fn fold(&mut self, experience: &Experience) -> io::Result<()> {
        let fresh = self.file.with_extension("json.new");
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
        out.write_all(&encode(experience, self.lessons)?)?;
        out.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        sync_folder(&self.file)?;
        (self.length, self.has_rest) = (0, true);
        self.cut()
    }

    /// Where lessons are appended.
    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The first line of a log and its length; `None` where it is not whole.
fn entry(log: &[u8]) -> Option<(Entry, usize)> {
    let end = log.iter().take(MAX_LINE).position(|byte| *byte == b'\n')?;
    let (sum, body) = log[..end].split_at_checked(DIGITS)?;
    let body = body.strip_prefix(b" ")?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (sum == xxh3_64(body)).then_some(())?;
    Some((serde_json::from_slice(body).ok()?, end + 1))
}

fn read(file: &Path) -> io::Result<(Experience, u64)> {
    match fs::read(file) {
        Ok(bytes) => Ok((serde_json::from_slice(&bytes)?, serde_json::from_slice::<Mark>(&bytes)?.lessons)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Default::default()),
        Err(error) => Err(error),
    }
}

fn encode(experience: &Experience, lessons: u64) -> io::Result<Vec<u8>> {
    let mut value = serde_json::to_value(experience)?;
    if let Some(members) = value.as_object_mut() {
        members.insert("lessons".into(), lessons.into());
    }
    Ok(serde_json::to_vec(&value)?)
}
