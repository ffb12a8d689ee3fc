//! Running a stand-in: as a process of its own, or inside a test.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::options::{Options, Pace};
use crate::service::{self, Shared};
use crate::stats::{Seen, Stats};

/// A request head must be complete within this time.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Wait before accepting again when no connection can be taken (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until SIGINT or SIGTERM; the address goes to standard error first.
///
/// # Errors
/// The address cannot be bound, or the runtime cannot start.
pub fn run(options: Options) -> io::Result<()> {
    let (runtime, listener, shared) = prepare(options)?;
    let model = shared.options.model.clone();
    eprintln!("stand-in model {model} listens on http://{}", listener.local_addr()?);
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            served = serve(listener, shared) => served,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// A stand-in that serves from a thread of this process until it is dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Binds and starts serving; requests are answered as soon as this returns.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread or its runtime cannot start.
    pub fn spawn(options: Options) -> io::Result<Self> {
        let (runtime, listener, shared) = prepare(options)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("stand-in".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, served) => {
                        if let Err(error) = served {
                            eprintln!("stand-in stopped: {error}");
                        }
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The model it plays.
    pub fn model(&self) -> &str {
        &self.shared.options.model
    }

    /// Its counters now.
    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    /// The last requests, oldest first, at most [`crate::stats::SEEN_KEPT`].
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.ledger.seen()
    }

    /// Changes its pace for the requests to come.
    pub fn set_pace(&self, change: impl FnOnce(&mut Pace)) {
        change(&mut self.shared.pace.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Closes the listener and every connection, and waits until that is done. The counters stay readable.
    pub fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed by its hook and must not hide the test's own outcome.
            let _ = thread.join();
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

fn prepare(options: Options) -> io::Result<(Runtime, TcpListener, Arc<Shared>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = StdListener::bind(options.listen)?;
    listener.set_nonblocking(true)?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    Ok((runtime, listener, Arc::new(Shared::new(options))))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Err(error),
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A client that has already left cannot take the option; its connection ends by itself.
        let _ = stream.set_nodelay(true);
        shared.ledger.with(|s| s.connections += 1);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| service::answer(Arc::clone(&shared), request));
            // A connection ends in an error whenever a peer leaves or a fault is injected; both are counted.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
