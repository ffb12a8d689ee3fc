//! Which driver moves the bytes: io_uring where the kernel allows it, epoll otherwise.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring if the kernel allows it, epoll otherwise.
    #[default]
    Auto,
    /// io_uring or a failure to start.
    IoUring,
    /// epoll.
    Epoll,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN: completions run only when the worker asks for them.
    IoUringDeferred,
    /// io_uring with COOP_TASKRUN, for kernels before 6.1.
    IoUringCooperative,
    /// io_uring with no flags, for kernels before 5.19.
    IoUringPlain,
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::IoUringDeferred => "io_uring (SINGLE_ISSUER, DEFER_TASKRUN)",
            Driver::IoUringCooperative => "io_uring (COOP_TASKRUN)",
            Driver::IoUringPlain => "io_uring",
            Driver::Epoll => "epoll",
        })
    }
}

thread_local! {
    static ON_IO_URING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's runtime is io_uring; sockets are then blocking, and the kernel waits.
pub fn on_io_uring() -> bool {
    ON_IO_URING.get()
}

/// Submission queue entries per worker.
const ENTRIES: u32 = 4096;

/// Builds this thread's runtime and runs `main` on it to its end.
///
/// `main` gets the driver that was chosen and, where io_uring was refused, why.
///
/// # Errors
/// Neither driver could be set up (or not the demanded one).
pub fn run<F, Fut>(choice: DriverChoice, main: F) -> io::Result<Fut::Output>
where
    F: FnOnce(Driver, Option<io::Error>) -> Fut,
    Fut: Future,
{
    let mut refused = None;
    if choice != DriverChoice::Epoll {
        for driver in [Driver::IoUringDeferred, Driver::IoUringCooperative, Driver::IoUringPlain] {
            let mut ring = io_uring::IoUring::builder();
            match driver {
                Driver::IoUringDeferred => ring.setup_single_issuer().setup_defer_taskrun(),
                Driver::IoUringCooperative => ring.setup_coop_taskrun(),
                Driver::IoUringPlain | Driver::Epoll => &mut ring,
            };
            let built = RuntimeBuilder::<IoUringDriver>::new()
                .uring_builder(ring)
                .with_entries(ENTRIES)
                .enable_timer()
                .build();
            match built {
                Ok(mut runtime) => {
                    ON_IO_URING.set(true);
                    return Ok(runtime.block_on(async { main(driver, None).await }));
                }
                Err(error) => refused = Some(error),
            }
        }
        if choice == DriverChoice::IoUring {
            return Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()));
        }
    }
    ON_IO_URING.set(false);
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().with_entries(ENTRIES).enable_timer().build()?;
    Ok(runtime.block_on(async { main(Driver::Epoll, refused).await }))
}
