//! Writing to a segment file, by io_uring or by ordinary system calls on a helper thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How the control thread reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Writes are submitted to an io_uring.
    IoUring,
    /// Writes are ordinary system calls on a helper thread, so that a slow disk does not stop the admin
    /// API.
    Blocking,
}

impl Backend {
    /// Short name for logs and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Backend::IoUring => "io_uring",
            Backend::Blocking => "blocking",
        }
    }
}

pub(crate) enum SegmentFile {
    IoUring(tokio_uring::fs::File),
    Blocking(Arc<File>),
}

impl SegmentFile {
    /// For [`Backend::IoUring`], must run inside a tokio-uring runtime.
    pub(crate) fn new(file: File, backend: Backend) -> SegmentFile {
        match backend {
            Backend::IoUring => SegmentFile::IoUring(tokio_uring::fs::File::from_std(file)),
            Backend::Blocking => SegmentFile::Blocking(Arc::new(file)),
        }
    }

    /// Writes all of `buffer` at `offset` and gives the buffer back.
    pub(crate) async fn write_all_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<()>, Vec<u8>) {
        match self {
            SegmentFile::IoUring(file) => file.write_all_at(buffer, offset).await,
            SegmentFile::Blocking(file) => {
                let file = Arc::clone(file);
                let written = tokio::task::spawn_blocking(move || {
                    let result = file.write_all_at(&buffer, offset);
                    (result, buffer)
                })
                .await;
                written.unwrap_or_else(|error| (Err(io::Error::other(error)), Vec::new()))
            }
        }
    }

    /// Returns when everything written is on the device.
    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        match self {
            SegmentFile::IoUring(file) => file.sync_data().await,
            SegmentFile::Blocking(file) => {
                let file = Arc::clone(file);
                tokio::task::spawn_blocking(move || file.sync_data()).await.map_err(io::Error::other)?
            }
        }
    }

    pub(crate) async fn close(self) -> io::Result<()> {
        match self {
            SegmentFile::IoUring(file) => file.close().await,
            SegmentFile::Blocking(_) => Ok(()),
        }
    }
}
