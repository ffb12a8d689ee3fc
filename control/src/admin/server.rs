//! Listening and serving.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use super::{AdminBindError, AdminOptions, HEAD_BYTES, HEAD_TIMEOUT, MAX_CONNECTIONS, Shared, router};

/// Headers in one request.
const MAX_HEADERS: usize = 64;

/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

const SOCKET_MODE: u32 = 0o660;

/// The listeners, bound but not yet served.
pub(crate) struct BoundAdmin {
    tcp: Option<(TcpListener, SocketAddr)>,
    unix: Option<(UnixListener, SocketPath)>,
    shared: SharedAdmin,
}

/// Descriptors of the listeners, from the process before or for the one that takes over.
#[derive(Debug, Default)]
pub(crate) struct SharedAdmin {
    pub(crate) tcp: Option<OwnedFd>,
    pub(crate) unix: Option<OwnedFd>,
}

/// Removes the socket file when serving ends, unless it is another process's then.
struct SocketPath {
    path: PathBuf,
    ours: bool,
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody else may have removed it, and there is nobody left to tell.
        if self.ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds what `options` asks for, or takes it from `inherited` where that has it. Must run inside a tokio
/// runtime.
pub(crate) fn bind(options: &AdminOptions, inherited: SharedAdmin) -> Result<BoundAdmin, AdminBindError> {
    let mut shared = SharedAdmin::default();
    let tcp = match options.listen {
        None => None,
        Some(address) => {
            let socket = bind_tcp(address, options.allow_remote, inherited.tcp)?;
            let failed = |source| AdminBindError::Tcp { address, source };
            let address = socket.local_addr().map_err(failed)?;
            shared.tcp = Some(socket.try_clone().map_err(failed)?.into());
            Some((TcpListener::from_std(socket).map_err(failed)?, address))
        }
    };
    let unix = match options.socket.as_deref() {
        None => None,
        Some(path) => {
            // A path that was inherited is this process's own once it has taken over.
            let (socket, inherited) = bind_unix(path, inherited.unix)?;
            let ours = !inherited;
            let guard = SocketPath { path: path.to_path_buf(), ours };
            let failed = |source| AdminBindError::Unix { path: path.to_path_buf(), source };
            shared.unix = Some(socket.try_clone().map_err(failed)?.into());
            Some((UnixListener::from_std(socket).map_err(failed)?, guard))
        }
    };
    Ok(BoundAdmin { tcp, unix, shared })
}

impl BoundAdmin {
    /// The TCP address in use, with the port that the system chose if the configured one was 0.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// Further descriptors of the listeners, for a process that takes over.
    pub(crate) fn share(&mut self) -> SharedAdmin {
        std::mem::take(&mut self.shared)
    }

    /// Serves while `answers` holds: from the beginning, or from when this process has taken over, until another
    /// one takes over or the task is dropped. Then it waits for those who have connected here already to be answered.
    /// Must run inside a local task set.
    pub(crate) async fn serve(mut self, admin: Shared, mut answers: watch::Receiver<bool>) {
        if answers.wait_for(|ours| *ours).await.is_err() {
            return;
        }
        if let Some((_, path)) = &mut self.unix {
            path.ours = true;
        }
        let over = answers.clone();
        let places = [(); 2].map(|()| Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        let [tcp_places, unix_places] = &places;
        let tcp = async {
            let Some((listener, address)) = &self.tcp else { return };
            let router = router(Arc::clone(&admin), address.ip().is_loopback());
            accept(router, &over, tcp_places, async || listener.accept().await.map(|(stream, _)| stream))
                .await;
        };
        let unix = async {
            let Some((listener, _path)) = &self.unix else { return };
            let router = router(Arc::clone(&admin), false);
            accept(router, &over, unix_places, async || listener.accept().await.map(|(stream, _)| stream))
                .await;
        };
        let both = async { tokio::join!(tcp, unix) };
        tokio::select! {
            _ = both => {}
            // An error means that nobody is left to say so, which comes to the same.
            _ = answers.wait_for(|ours| !*ours) => {
                if let Some((_, path)) = &mut self.unix {
                    path.ours = false;
                }
            }
        }
        for places in &places {
            // All of them are free when nobody is connected; nobody closes the semaphore.
            let _ = places.acquire_many(MAX_CONNECTIONS as u32).await;
        }
    }
}

fn bind_tcp(
    address: SocketAddr,
    allow_remote: bool,
    inherited: Option<OwnedFd>,
) -> Result<std::net::TcpListener, AdminBindError> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(AdminBindError::NotLoopback(address));
    }
    let suits = |listener: &std::net::TcpListener| {
        let there = listener.local_addr().ok();
        there.is_some_and(|there| there.ip() == address.ip() && [0, there.port()].contains(&address.port()))
    };
    let bound = match inherited.map(std::net::TcpListener::from).filter(suits) {
        Some(listener) => Ok(listener),
        None => std::net::TcpListener::bind(address),
    };
    bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| AdminBindError::Tcp { address, source })
}

/// The listener, and whether it was inherited.
fn bind_unix(
    path: &Path,
    inherited: Option<OwnedFd>,
) -> Result<(std::os::unix::net::UnixListener, bool), AdminBindError> {
    let failed = |source| AdminBindError::Unix { path: path.to_path_buf(), source };
    let suits = |listener: &std::os::unix::net::UnixListener| {
        listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
    };
    if let Some(listener) = inherited.map(std::os::unix::net::UnixListener::from).filter(suits) {
        listener.set_nonblocking(true).map_err(failed)?;
        return Ok((listener, true));
    }
    if is_socket(path) {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(AdminBindError::InUse(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    let set = std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE));
    if let Err(error) = set.and_then(|()| listener.set_nonblocking(true)) {
        let _ = std::fs::remove_file(path);
        return Err(failed(error));
    }
    Ok((listener, false))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

async fn accept<S>(
    router: Router,
    answers: &watch::Receiver<bool>,
    places: &Arc<Semaphore>,
    mut next: impl AsyncFnMut() -> io::Result<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin API cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let inner = TowerToHyperService::new(router.clone());
        let (begun, mut has_begun) = watch::channel(false);
        let service = service_fn(move |request| {
            begun.send_replace(true);
            inner.call(request)
        });
        let mut answers = answers.clone();
        tokio::task::spawn_local(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            let mut served = std::pin::pin!(served);
            let served = tokio::select! {
                served = served.as_mut() => served,
                // The next question on this connection is for the process that has taken over. The first one is
                // on its way: hyper would close the connection on it.
                () = async {
                    let _ = answers.wait_for(|ours| !*ours).await;
                    let _ = has_begun.wait_for(|begun| *begun).await;
                } => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}
