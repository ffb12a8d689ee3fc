//! The signals that an operator or service manager sends.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Terminate,
    /// SIGUSR1
    LogStatus,
    /// SIGUSR2
    Upgrade,
}

/// Signals from the moment it is made; equal ones that come close together may be seen as one.
pub(crate) struct Signals {
    streams: Option<Streams>,
}

struct Streams {
    hangup: Stream,
    terminate: Stream,
    interrupt: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    /// Takes over the signals; with `handle` false, leaves them alone and never yields any.
    pub(crate) fn new(handle: bool) -> io::Result<Signals> {
        let listen = || {
            io::Result::Ok(Streams {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            })
        };
        Ok(Signals { streams: handle.then(listen).transpose()? })
    }

    /// The next signal. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Signal {
        let Some(streams) = &mut self.streams else { return std::future::pending().await };
        tokio::select! {
            _ = streams.terminate.recv() => Signal::Terminate,
            _ = streams.interrupt.recv() => Signal::Terminate,
            _ = streams.hangup.recv() => Signal::Reload,
            _ = streams.user1.recv() => Signal::LogStatus,
            _ = streams.user2.recv() => Signal::Upgrade,
        }
    }
}
