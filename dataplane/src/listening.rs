//! Which worker accepts from which socket: bound here, or taken over from another process.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::io::socket;
use crate::settings::Startup;

/// The listening sockets of every worker, bound.
pub struct Listening {
    /// Per worker: the listener's position in [`Startup::listeners`], and a socket.
    pub(crate) workers: Vec<Vec<(usize, TcpListener)>>,
    /// How many sockets came from elsewhere.
    inherited: usize,
    surplus: Vec<SocketAddr>,
}

impl Listening {
    /// Gives every worker a socket on every address of `startup`.
    ///
    /// Sockets in `inherited` (from the process before, or from the service manager) are used first, all of
    /// them: connections wait in the queue of each, so a worker may get several. Those of other addresses are
    /// closed. What is missing is bound beside them.
    ///
    /// # Errors
    /// An address that cannot be bound; the error names it.
    pub fn bind(startup: &Startup, inherited: Vec<TcpListener>) -> io::Result<Self> {
        let count = startup.workers.len();
        let mut inherited: Vec<(SocketAddr, TcpListener)> =
            inherited.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket))).collect();
        let workers = (0..count).map(|_| Vec::new()).collect();
        let mut listening = Self { workers, inherited: 0, surplus: Vec::new() };
        for (index, listener) in startup.listeners.iter().enumerate() {
            let wanted = |(address, _): &mut (SocketAddr, TcpListener)| {
                (address.ip(), address.port()) == (listener.address.ip(), listener.address.port())
            };
            let here: Vec<TcpListener> = inherited.extract_if(.., wanted).map(|(_, socket)| socket).collect();
            let given = here.len();
            listening.inherited += given;
            for (place, socket) in here.into_iter().enumerate() {
                listening.workers[place % count].push((index, socket));
            }
            for worker in given..count {
                let bound = match socket::listen(listener.address, startup.backlog) {
                    // One that another program bound for us, without letting others in: the workers share it.
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && given > 0 => {
                        listening.share(index, worker % given)
                    }
                    bound => bound,
                };
                let socket = bound.map_err(|error| {
                    let place = format!("cannot listen on {} ({}): {error}", listener.address, listener.name);
                    io::Error::new(error.kind(), place)
                })?;
                listening.workers[worker].push((index, socket));
            }
        }
        listening.surplus.extend(inherited.into_iter().map(|(address, _)| address));
        Ok(listening)
    }

    fn share(&self, index: usize, worker: usize) -> io::Result<TcpListener> {
        let shared = self.workers[worker].iter().find(|(listener, _)| *listener == index);
        shared.map_or_else(|| Err(io::ErrorKind::AddrInUse.into()), |(_, socket)| socket.try_clone())
    }

    /// How many sockets came from elsewhere.
    pub fn inherited(&self) -> usize {
        self.inherited
    }

    /// Addresses of sockets that came from elsewhere and that nobody listens on any more.
    pub fn surplus(&self) -> &[SocketAddr] {
        &self.surplus
    }

    /// Every socket and its address.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &TcpListener)> {
        let own = self.workers.iter().flatten();
        own.filter_map(|(_, socket)| Some((socket.local_addr().ok()?, socket)))
    }

    /// Per address, the socket of each worker in order; `None` unless every worker has exactly one on each.
    pub fn groups(&self) -> Option<Vec<Vec<&TcpListener>>> {
        let addresses = self.workers.first()?.len();
        let group = |index: usize| {
            let own = |sockets: &'_ [(usize, TcpListener)]| {
                sockets.iter().filter(|(listener, _)| *listener == index).count() == 1
            };
            self.workers.iter().all(|sockets| sockets.len() == addresses && own(sockets)).then(|| {
                let of = self.workers.iter().flatten().filter(|(listener, _)| *listener == index);
                of.map(|(_, socket)| socket).collect()
            })
        };
        (0..addresses).map(group).collect()
    }

    /// Further descriptors of all sockets, for whoever takes over.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn duplicates(&self) -> io::Result<Vec<TcpListener>> {
        self.workers.iter().flatten().map(|(_, socket)| socket.try_clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::settings::ListenerSettings;

    fn startup(addresses: &[SocketAddr], workers: usize) -> Startup {
        let listener = |(index, address): (usize, &SocketAddr)| ListenerSettings {
            name: format!("l{index}"),
            address: *address,
            api_keys: Vec::new(),
        };
        Startup {
            listeners: addresses.iter().enumerate().map(listener).collect(),
            workers: vec![None; workers],
            driver: Default::default(),
            backlog: 16,
            process_random: 0,
        }
    }

    fn bound() -> (SocketAddr, TcpListener) {
        let socket = socket::listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    fn shape(listening: &Listening) -> Vec<Vec<usize>> {
        listening.workers.iter().map(|own| own.iter().map(|(index, _)| *index).collect()).collect()
    }

    #[test]
    fn every_inherited_socket_finds_a_worker_and_what_is_missing_is_bound() {
        let (first, socket) = bound();
        let twin = socket::listen(first, 16).unwrap();
        let third = socket::listen(first, 16).unwrap();
        let (second, other) = bound();
        let (surplus, foreign) = bound();
        let before = [socket.as_raw_fd(), twin.as_raw_fd(), third.as_raw_fd(), other.as_raw_fd()];
        let given = vec![socket, foreign, twin, other, third];
        let listening = Listening::bind(&startup(&[first, second], 2), given).unwrap();
        assert_eq!(shape(&listening), [[0, 0, 1].to_vec(), [0, 1].to_vec()]);
        assert_eq!(listening.inherited(), 4);
        let kept: Vec<_> = listening.workers.iter().flatten().map(|(_, socket)| socket.as_raw_fd()).collect();
        assert!(before.iter().all(|fd| kept.contains(fd)), "{before:?} {kept:?}");
        assert_eq!(listening.duplicates().unwrap().len(), 5);
        assert!(listening.groups().is_none(), "one worker has two");
        let even = Listening::bind(&startup(&[second], 2), Vec::new()).unwrap();
        assert_eq!(even.groups().unwrap()[0].len(), 2);
        assert_eq!(listening.surplus(), [surplus]);
        assert_eq!(listening.sockets().filter(|(address, _)| *address == first).count(), 3);
    }

    #[test]
    fn a_socket_that_cannot_be_joined_is_shared() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listening = Listening::bind(&startup(&[address], 3), vec![socket]).unwrap();
        assert_eq!(shape(&listening), [[0], [0], [0]]);
        let client = TcpStream::connect(address).unwrap();
        let (_, any) = &listening.workers[2][0];
        assert_eq!(any.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[test]
    fn a_taken_address_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Listening::bind(&startup(&[address], 1), Vec::new()).err().unwrap().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("l0"), "{error}");
    }
}
