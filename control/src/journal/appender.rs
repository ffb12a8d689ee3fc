//! Appends batches of frames to segment files and keeps their total size within its bound.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pintle_routing::units::UnixMillis;

use super::file::{Backend, SegmentFile};
use super::segments::{self, Format, Segment};
use super::{JournalError, JournalOptions, MIN_SEGMENT_BYTES, OpenReport};

const LOCK_FILE: &str = "flows.lock";

/// Segment files kept at most, however small faults have left them.
const MAX_SEGMENTS: usize = 65_536;

/// Numbers tried for a new segment before that counts as a failure.
const NUMBERS_TRIED: u64 = 16;

pub(crate) struct Appender {
    dir: PathBuf,
    backend: Backend,
    max_bytes: u64,
    segment_bytes: u64,
    /// Full segments, oldest first.
    closed: VecDeque<Segment>,
    closed_bytes: u64,
    current: Option<Current>,
    next_number: u64,
    /// Held for as long as this process may write to the directory.
    lock: File,
}

struct Current {
    segment: Segment,
    file: SegmentFile,
    /// Written since the last sync.
    dirty: bool,
}

impl Appender {
    /// Opens the journal in `options.dir`, creating it if needed. Blocks; for [`Backend::IoUring`], must
    /// run inside a tokio-uring runtime.
    ///
    /// `shared` is the lock of a process that writes there and goes on doing so for a while: its last segment is
    /// left to it.
    pub(crate) fn open(
        options: &JournalOptions,
        backend: Backend,
        shared: Option<OwnedFd>,
    ) -> Result<(Appender, OpenReport), JournalError> {
        if options.segment_bytes < MIN_SEGMENT_BYTES || options.max_bytes < 2 * options.segment_bytes {
            return Err(JournalError::Bounds {
                segment_bytes: options.segment_bytes,
                max_bytes: options.max_bytes,
            });
        }
        let at = |path: &PathBuf| {
            let path = path.clone();
            move |source| JournalError::Io { path, source }
        };
        segments::create_dir(&options.dir).map_err(at(&options.dir))?;
        let alone = shared.is_none();
        let lock = lock(&options.dir, shared)?;
        let mut closed = VecDeque::from(segments::list(&options.dir).map_err(at(&options.dir))?);
        let mut report = OpenReport {
            backend,
            segments: closed.len(),
            bytes: closed.iter().map(|segment| segment.bytes).sum(),
            torn_bytes: 0,
        };
        let next_number = closed.back().map_or(1, |last| last.number + 1);
        let mut current = None;
        if let Some(mut segment) = closed
            .pop_back_if(|last| alone && last.format == Format::Packed && last.bytes < options.segment_bytes)
        {
            let (file, torn) = segments::resume(&mut segment).map_err(at(&segment.path))?;
            report.torn_bytes = torn;
            report.bytes -= torn;
            current = Some(Current { segment, file: SegmentFile::new(file, backend), dirty: false });
        }
        let appender = Appender {
            dir: options.dir.clone(),
            backend,
            max_bytes: options.max_bytes,
            segment_bytes: options.segment_bytes,
            closed_bytes: closed.iter().map(|segment| segment.bytes).sum(),
            closed,
            current,
            next_number,
            lock,
        };
        Ok((appender, report))
    }

    /// The lock, for a process that is to write beside this one and then without it.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    /// Bytes in all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed_bytes + self.current.as_ref().map_or(0, |current| current.segment.bytes)
    }

    /// Segment files.
    pub(crate) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.current.is_some())
    }

    /// Bytes that the open segment has room for; without one, those of a new one.
    pub(crate) fn room(&self) -> u64 {
        let used = self.current.as_ref().map_or(0, |current| current.segment.bytes);
        self.segment_bytes.saturating_sub(used)
    }

    /// Appends `frames`, whole ones that there is [room](Self::room) for, opening a new segment and removing the oldest
    /// ones as needed. After an error nothing of `frames` counts as written, and the next call begins a new segment.
    /// The buffer comes back emptied.
    pub(crate) async fn append(&mut self, frames: Vec<u8>, now: UnixMillis) -> (io::Result<()>, Vec<u8>) {
        let length = frames.len() as u64;
        debug_assert!(length <= self.room());
        if let Err(error) = self.make_room(length, now).await {
            return (Err(error), emptied(frames));
        }
        let Some(current) = self.current.as_mut() else {
            return (Err(io::Error::other("no segment is open")), emptied(frames));
        };
        let (result, buffer) = current.file.write_all_at(frames, current.segment.bytes).await;
        match result {
            Ok(()) => {
                current.segment.bytes += length;
                current.dirty = true;
                (Ok(()), emptied(buffer))
            }
            Err(error) => {
                self.abandon_current().await;
                (Err(error), emptied(buffer))
            }
        }
    }

    /// Puts on the device what is not there yet.
    pub(crate) async fn sync(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.as_mut().filter(|current| current.dirty) {
            current.file.sync_data().await?;
            current.dirty = false;
        }
        Ok(())
    }

    /// Syncs and closes the open segment.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.close_current().await
    }

    async fn make_room(&mut self, length: u64, now: UnixMillis) -> io::Result<()> {
        if self.current.is_none() {
            self.look_again().await?;
        }
        let mut surplus = Vec::new();
        while (self.bytes() + length > self.max_bytes || self.closed.len() >= MAX_SEGMENTS)
            && let Some(oldest) = self.closed.pop_front()
        {
            self.closed_bytes -= oldest.bytes;
            surplus.push(oldest.path);
        }
        let fresh = self.current.is_none().then_some(self.next_number);
        if surplus.is_empty() && fresh.is_none() {
            return Ok(());
        }
        let dir = self.dir.clone();
        let opened = tokio::task::spawn_blocking(move || {
            for path in surplus {
                remove(&path)?;
            }
            fresh.map(|number| create(&dir, number, now)).transpose()
        })
        .await
        .map_err(io::Error::other)??;
        if let Some((segment, file)) = opened {
            self.next_number = segment.number + 1;
            let file = SegmentFile::new(file, self.backend);
            self.current = Some(Current { segment, file, dirty: false });
        }
        Ok(())
    }

    /// Reads from the directory which segments there are: in an upgrade two processes add and remove some.
    async fn look_again(&mut self) -> io::Result<()> {
        let dir = self.dir.clone();
        let listed =
            tokio::task::spawn_blocking(move || segments::list(&dir)).await.map_err(io::Error::other)?;
        self.closed = VecDeque::from(listed?);
        self.closed_bytes = self.closed.iter().map(|segment| segment.bytes).sum();
        let last = self.closed.back().map_or(0, |last| last.number);
        self.next_number = self.next_number.max(last + 1);
        Ok(())
    }

    /// Syncs and closes the open segment; the next append begins another.
    pub(crate) async fn close_current(&mut self) -> io::Result<()> {
        let synced = self.sync().await;
        if let Some(current) = self.current.take() {
            self.closed_bytes += current.segment.bytes;
            self.closed.push_back(current.segment);
            current.file.close().await?;
        }
        synced
    }

    /// Gives up the open segment after a failed write, cutting off what the write may have left. The next
    /// append opens a new one, so that a fault of this file cannot repeat for ever.
    async fn abandon_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        let (path, keep) = (current.segment.path.clone(), current.segment.bytes);
        if keep > 0 {
            self.closed_bytes += keep;
            self.closed.push_back(current.segment);
        }
        let closed = current.file.close().await;
        let cut = tokio::task::spawn_blocking(move || match keep {
            0 => remove(&path),
            _ => OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(keep)),
        })
        .await
        .map_err(io::Error::other)
        .flatten();
        if let Err(error) = closed.and(cut) {
            tracing::warn!(%error, "journal segment could not be cut back after a failed write");
        }
    }
}

/// Creates the segment `number`, or the next one that no other process has just taken.
fn create(dir: &Path, number: u64, now: UnixMillis) -> io::Result<(Segment, File)> {
    let mut taken = None;
    for number in number..number + NUMBERS_TRIED {
        let segment = Segment::new(dir, number, now);
        match segments::create(dir, &segment) {
            Ok(file) => return Ok((segment, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock(dir: &Path, shared: Option<OwnedFd>) -> Result<File, JournalError> {
    let path = dir.join(LOCK_FILE);
    let at = |source| JournalError::Io { path: path.clone(), source };
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
    let mut file = opened.map_err(at)?;
    if let Some(shared) = shared.map(File::from) {
        // The right lock makes this process one of its holders; any other leaves that to be found out below.
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        if same(&shared.metadata().map_err(at)?, &file.metadata().map_err(at)?) {
            file = shared;
        }
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(JournalError::Io { path, source }),
    }
}
