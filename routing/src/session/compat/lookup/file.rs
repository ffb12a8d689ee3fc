//! How a table is kept in a file (`selection/lookuptable/file.go`).
//!
//! The rules are here, the file system is the caller's: a damaged file is set aside under `.corrupted` and
//! reported, a save goes to `.tmp` and is renamed over the old file, and changed tables are saved at an interval.

use std::io;

use super::LookupTable;

const CORRUPTED: &str = ".corrupted";
const TEMPORARY: &str = ".tmp";

/// The file operations that a store needs. Paths are the configured one, or that with a suffix.
pub trait Files {
    /// Whole content; `None` if there is no such file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Replaces or creates a file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn write(&mut self, path: &str, content: &[u8]) -> io::Result<()>;
    /// Renames a file over another.
    ///
    /// # Errors
    /// As the file system reports them.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
}

/// Why a table could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file system refused.
    #[error("cannot read lookup tables from {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// The content is no table; it was set aside.
    #[error("{path} holds no lookup tables ({source}); it was moved to {backup}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where it went.
        backup: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A table and the file that keeps it.
#[derive(Debug)]
pub struct FileStore<F> {
    files: F,
    path: String,
    table: LookupTable,
    dirty: bool,
    saved_at: f64,
}

impl<F: Files> FileStore<F> {
    /// Loads the table; a missing or empty file is an empty table.
    ///
    /// # Errors
    /// [`LoadError`]; after `Corrupt` the path is free and a second attempt begins empty.
    pub fn open(mut files: F, path: &str) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let content = files.read(path).map_err(io)?.unwrap_or_default();
        let table = if content.trim_ascii().is_empty() {
            LookupTable::default()
        } else {
            match serde_json::from_slice(&content) {
                Ok(table) => table,
                Err(source) => {
                    let backup = format!("{path}{CORRUPTED}");
                    files.rename(path, &backup).map_err(io)?;
                    return Err(LoadError::Corrupt { path: path.to_owned(), backup, source });
                }
            }
        };
        Ok(Self { files, path: path.to_owned(), table, dirty: false, saved_at: 0.0 })
    }

    /// The table.
    pub fn table(&self) -> &LookupTable {
        &self.table
    }

    /// The table, to be changed; the next [`FileStore::tick`] saves it.
    pub fn table_mut(&mut self) -> &mut LookupTable {
        self.dirty = true;
        &mut self.table
    }

    /// Saves at once.
    ///
    /// # Errors
    /// As the file system reports them; the old file is then still whole.
    pub fn save(&mut self) -> io::Result<()> {
        let content = serde_json::to_vec_pretty(&self.table)?;
        let temporary = format!("{}{TEMPORARY}", self.path);
        self.files.write(&temporary, &content)?;
        self.files.rename(&temporary, &self.path)?;
        self.dirty = false;
        Ok(())
    }

    /// Saves if the table has changed and the last save is `interval` seconds ago.
    ///
    /// # Errors
    /// As [`FileStore::save`].
    pub fn tick(&mut self, now: f64, interval: f64) -> io::Result<bool> {
        let due = self.dirty && now - self.saved_at >= interval;
        if due {
            self.save()?;
            self.saved_at = now;
        }
        Ok(due)
    }
}
