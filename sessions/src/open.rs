//! Opening: whose file it is, whether it can be used, and whether it has the size that is asked for.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::file::{self, Header, Layout, Map, PAGE, Unusable};
use crate::names::Names;
use crate::peers::{self, Peers};
use crate::rebuild::{Rebuilt, rebuild};
use crate::store::Store;

const FILE: &str = "sessions.pintle";
const UNFINISHED: &str = "sessions.pintle.new";
const LOCK: &str = "sessions.lock";

/// What a session memory is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Sessions to hold, within [`Options::CAPACITY`]. An existing file of another size is rebuilt.
    pub capacity: u64,
    /// Response ids to hold, within [`Options::CAPACITY`].
    pub pin_capacity: u64,
    /// Idle time after which an unlocked session is forgotten, in milliseconds.
    pub ttl_ms: u64,
}

impl Options {
    /// Capacities that can be asked for. At 293 bytes a session the upper end is 29 GB.
    pub const CAPACITY: RangeInclusive<u64> = 1..=100_000_000;

    /// A memory of `capacity` sessions, half as many response ids, and a day of idle time.
    pub const fn with_capacity(capacity: u64) -> Options {
        Options { capacity, pin_capacity: capacity.div_ceil(2), ttl_ms: 86_400_000 }
    }

    /// What the session memory in `dir` was made with (and a day of idle time), so that a tool can open it
    /// without changing its size. `None` if there is none that can be used.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn of_existing(dir: &Path) -> Result<Option<Options>, OpenError> {
        Ok(match existing(&Paths::new(dir).file)? {
            Existing::Usable(header, _) => Some(Options {
                capacity: header.capacity,
                pin_capacity: header.pin_capacity,
                ttl_ms: 86_400_000,
            }),
            Existing::None | Existing::Unusable(_) => None,
        })
    }

    /// Size of the file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        Layout::of(&self.header(0, 0)).bytes()
    }

    pub(crate) fn header(&self, hash_key: u128, created_ms: u64) -> Header {
        Header { capacity: self.capacity, pin_capacity: self.pin_capacity, hash_key, created_ms }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// There was no file to use; this one is new and empty.
    pub created: bool,
    /// A file that could not be used, and where it lies now.
    pub set_aside: Option<SetAside>,
    /// The file had another size and was copied.
    pub rebuilt: Option<Rebuilt>,
    /// The machine stopped while the file was open; every record was verified.
    pub verified: Option<Verified>,
    /// The memory is shared with a process that ends, so that it keeps its size until the next start.
    pub kept_capacity: Option<u64>,
    /// Names that were damaged; records that refer to them have no name there.
    pub damaged_names: u32,
}

/// A file put out of the way because it could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its new path.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// What verifying a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Slots and bucket heads found damaged.
    pub damaged: u64,
    /// Of those, records that went back to the turn before.
    pub stale: u64,
}

impl OpenReport {
    /// The report as sentences for a log, one each; empty if there is nothing to tell.
    pub fn messages(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(SetAside { path, reason }) = &self.set_aside {
            lines.push(format!("the session memory was set aside as {}: {reason}", path.display()));
        }
        if self.created {
            lines.push("a new, empty session memory was created".into());
        }
        if let Some(rebuilt) = &self.rebuilt {
            lines.push(rebuilt.to_string());
        }
        if let Some(Verified { damaged, stale }) = self.verified {
            lines.push(format!(
                "the machine stopped while the session memory was open: every record was verified, {damaged} \
                 were damaged, {stale} of them went back one turn"
            ));
        }
        if let Some(capacity) = self.kept_capacity {
            lines.push(format!(
                "the session memory keeps its capacity of {capacity} until the gateway is started anew: it was taken \
                 over in use"
            ));
        }
        if self.damaged_names > 0 {
            lines.push(format!("{} names in the session memory are damaged", self.damaged_names));
        }
        lines
    }
}

pub(crate) struct Paths {
    pub(crate) file: PathBuf,
    pub(crate) unfinished: PathBuf,
    lock: PathBuf,
}

impl Paths {
    fn new(dir: &Path) -> Paths {
        Paths { file: dir.join(FILE), unfinished: dir.join(UNFINISHED), lock: dir.join(LOCK) }
    }
}

impl Store {
    /// Opens the session memory in `dir`, creating both if they are missing.
    ///
    /// One process owns the files at a time. A file that cannot be used is renamed, with `now_ms` in its
    /// new name, and never written to. Records are not verified here but when they are read, except
    /// after the machine itself went down.
    ///
    /// # Errors
    /// [`OpenError`]; the files are as they were.
    pub fn open(dir: &Path, options: &Options, now_ms: u64) -> Result<(Store, OpenReport), OpenError> {
        for capacity in [options.capacity, options.pin_capacity] {
            if !Options::CAPACITY.contains(&capacity) {
                return Err(OpenError::Capacity(capacity));
            }
        }
        file::make_dir(dir)?;
        let paths = Paths::new(dir);
        let lock = lock(&paths.lock)?;
        peers::clear(dir);
        let mut report = OpenReport::default();
        let (header, map) = match existing(&paths.file)? {
            Existing::None => create(&paths, options, now_ms, &mut report)?,
            Existing::Unusable(unusable) => {
                let path = aside(&paths.file, now_ms);
                file::rename(&paths.file, &path)?;
                report.set_aside = Some(SetAside { path, reason: unusable.reason() });
                create(&paths, options, now_ms, &mut report)?
            }
            Existing::Usable(header, map) => (header, map),
        };
        let (names, damaged_names) = Names::load(&map.words()[Layout::of(&header).names]);
        report.damaged_names = damaged_names;
        let boot = boot().unwrap_or_else(random);
        let before = map.opened_in_boot();
        if before != boot {
            map.set_opened_in_boot(boot);
            map.sync_header().map_err(OpenError::io("write", &paths.file))?;
        }
        let peers = Peers::none(dir, random() as u32);
        let mut store = Store::assemble(lock, paths, header, map, names, options.ttl_ms, peers);
        if before != 0 && before != boot {
            report.verified = Some(store.verify_all());
        }
        if (header.capacity, header.pin_capacity) != (options.capacity, options.pin_capacity) {
            let wanted = options.header(header.hash_key, now_ms);
            report.rebuilt = Some(rebuild(&mut store, wanted, now_ms)?);
        }
        Ok((store, report))
    }

    /// Opens the session memory in `dir` beside the process that uses it and has [shared](Store::share) its
    /// lock. Both may read and commit from then on.
    ///
    /// Of `options` only the time to live counts: the file keeps its size.
    ///
    /// # Errors
    /// [`OpenError`]; the files are as they were.
    pub fn adopt(dir: &Path, options: &Options, lock: OwnedFd) -> Result<(Store, OpenReport), OpenError> {
        let paths = Paths::new(dir);
        let lock = File::from(lock);
        peers::check_shared(&lock, &paths.lock)?;
        let unshareable = |reason: String| OpenError::Unshareable { path: paths.file.clone(), reason };
        let (header, map) = match existing(&paths.file)? {
            Existing::None => return Err(unshareable("it is not there any more".into())),
            Existing::Unusable(unusable) => return Err(unshareable(unusable.reason())),
            Existing::Usable(header, map) => (header, map),
        };
        let (names, damaged_names) = Names::load(&map.words()[Layout::of(&header).names]);
        let sized = (header.capacity, header.pin_capacity) == (options.capacity, options.pin_capacity);
        let report = OpenReport {
            kept_capacity: (!sized).then_some(header.capacity),
            damaged_names,
            ..OpenReport::default()
        };
        let peers = Peers::none(dir, random() as u32);
        peers.share().map_err(OpenError::io("lock a marker in", dir))?;
        let store = Store::assemble(lock, paths, header, map, names, options.ttl_ms, peers);
        Ok((store, report))
    }

    /// Rewrites the file without expired records, freed slots and names that nothing refers to.
    ///
    /// # Errors
    /// [`OpenError`]; the file is as it was.
    pub fn compact(&mut self, now_ms: u64) -> Result<Rebuilt, OpenError> {
        let header = *self.header();
        rebuild(self, header, now_ms)
    }

    /// Changes the secret that keys are hashed under; what is in the file keeps its old addresses.
    pub(crate) fn rekey(&mut self, hash_key: u128, now_ms: u64) -> Result<(), OpenError> {
        let header = Header { hash_key, ..*self.header() };
        rebuild(self, header, now_ms).map(|_| ())
    }
}

enum Existing {
    None,
    Unusable(Unusable),
    Usable(Header, Map),
}

fn existing(path: &Path) -> Result<Existing, OpenError> {
    let Some(file) = file::open_existing(path)? else { return Ok(Existing::None) };
    let length = file.metadata().map_err(OpenError::io("examine", path))?.len();
    if length < PAGE as u64 {
        return Ok(Existing::Unusable(Unusable::NotOurs));
    }
    let map = Map::new(&file, path)?;
    Ok(match Header::read(map.words(), length) {
        Ok(header) => Existing::Usable(header, map),
        Err(unusable) => Existing::Unusable(unusable),
    })
}

fn create(
    paths: &Paths,
    options: &Options,
    now_ms: u64,
    report: &mut OpenReport,
) -> Result<(Header, Map), OpenError> {
    let header = options.header(u128::from(random()) << 64 | u128::from(random()), now_ms);
    let (file, map) = file::build(&paths.unfinished, &header)?;
    file::publish(&file, &paths.unfinished, &paths.file)?;
    report.created = true;
    Ok((header, map))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(OpenError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", path)(error)),
    }
}

/// A name that no file has yet.
fn aside(path: &Path, now_ms: u64) -> PathBuf {
    (0_u64..)
        .map(|n| path.with_extension(format!("pintle.set-aside-{}", now_ms.saturating_add(n))))
        .find(|path| !path.exists())
        .expect("a directory holds fewer files than there are numbers")
}

/// This boot of the machine; `None` where /proc does not tell.
fn boot() -> Option<u64> {
    let id = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    Some(xxhash_rust::xxh3::xxh3_64(&id) | 1)
}

/// A random number whose lower half is not zero.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    loop {
        // Fails only for lack of early-boot entropy or on a signal; both pass.
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let number = u64::from_le_bytes(bytes);
        if filled == Ok(bytes.len()) && number as u32 != 0 {
            return number;
        }
    }
}
