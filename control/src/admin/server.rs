//! Listening and serving.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

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
}

/// Removes the socket file when serving ends.
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody else may have removed it, and there is nobody left to tell.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds what `options` asks for. Must run inside a tokio runtime.
pub(crate) fn bind(options: &AdminOptions) -> Result<BoundAdmin, AdminBindError> {
    let tcp = options.listen.map(|address| bind_tcp(address, options.allow_remote)).transpose()?;
    let unix = options.socket.as_deref().map(bind_unix).transpose()?;
    Ok(BoundAdmin { tcp, unix })
}

impl BoundAdmin {
    /// The TCP address in use, with the port that the system chose if the configured one was 0.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// Serves until the task is dropped. Must run inside a local task set.
    pub(crate) async fn serve(self, admin: Shared) {
        let tcp = async {
            let Some((listener, address)) = self.tcp else { return };
            let router = router(Arc::clone(&admin), address.ip().is_loopback());
            accept(router, async || listener.accept().await.map(|(stream, _)| stream)).await;
        };
        let unix = async {
            let Some((listener, _path)) = self.unix else { return };
            let router = router(Arc::clone(&admin), false);
            accept(router, async || listener.accept().await.map(|(stream, _)| stream)).await;
        };
        tokio::join!(tcp, unix);
    }
}

fn bind_tcp(address: SocketAddr, allow_remote: bool) -> Result<(TcpListener, SocketAddr), AdminBindError> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(AdminBindError::NotLoopback(address));
    }
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    });
    bound.map_err(|source| AdminBindError::Tcp { address, source })
}

fn bind_unix(path: &Path) -> Result<(UnixListener, SocketPath), AdminBindError> {
    let failed = |source| AdminBindError::Unix { path: path.to_path_buf(), source };
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
    let listener = UnixListener::bind(path).map_err(failed)?;
    let guard = SocketPath(path.to_path_buf());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok((listener, guard))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

async fn accept<S>(router: Router, mut next: impl AsyncFnMut() -> io::Result<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin API cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::task::spawn_local(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}
