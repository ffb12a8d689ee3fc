//! Messages with file descriptors, between two processes of this program and to the service manager.
//!
//! A [`Door`] is a unix socket in the state directory, for the owner of the process alone. What goes through it
//! keeps its bounds (SOCK_SEQPACKET), so that a message and its descriptors arrive together or not at all.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Descriptors in one message; the kernel takes 253.
pub const MOST_DESCRIPTORS: usize = 250;
/// Bytes of one message.
pub const MOST_BYTES: usize = 32 * 1024;
/// Connections that may wait at a door.
const BACKLOG: i32 = 8;

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Knocks at the door at `path`. Every later wait on this channel ends after `patience` with
    /// [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// What the system said: `NotFound` or `ConnectionRefused` if nobody lives there.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Channel> {
        let channel = Channel { socket: seqpacket()? };
        channel.set_patience(Some(patience))?;
        rustix::net::connect(&channel.socket, &address(path)?)?;
        Ok(channel)
    }

    /// How long a wait may take from now on; `None` for ever.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.socket, Timeout::Recv, patience)?;
        set_socket_timeout(&self.socket, Timeout::Send, patience)?;
        Ok(())
    }

    /// Sends one message of at most [`MOST_BYTES`] with at most [`MOST_DESCRIPTORS`] descriptors.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_to(&self.socket, message, descriptors)
    }

    /// Waits for a message; an empty one if the other end is gone.
    ///
    /// # Errors
    /// What the system said, or a message that is too large.
    pub fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = vec![0; MOST_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, &mut slices, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        let descriptors = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
        }
        bytes.truncate(received.bytes);
        Ok((bytes, descriptors))
    }

    /// Process at the other end.
    ///
    /// # Errors
    /// What the system said.
    pub fn peer(&self) -> io::Result<u32> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.socket)?;
        Ok(credentials.pid.as_raw_nonzero().get().unsigned_abs())
    }
}

/// A place where other processes of the same user find this one.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
    path: PathBuf,
    built: PathBuf,
}

impl Door {
    /// Builds a door that nobody finds before it is [opened](Door::open) as `path`.
    ///
    /// # Errors
    /// What the system said, for example that `path` is longer than the 108 bytes of a socket's name.
    pub fn build(path: &Path) -> io::Result<Door> {
        let mut built = path.as_os_str().to_owned();
        built.push(format!(".{}", std::process::id()));
        let built = PathBuf::from(built);
        let socket = seqpacket()?;
        match fs::remove_file(&built) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        rustix::net::bind(&socket, &address(&built)?)?;
        let door = Door { socket, path: path.to_owned(), built };
        fs::set_permissions(&door.built, Permissions::from_mode(0o600))?;
        rustix::net::listen(&door.socket, BACKLOG)?;
        Ok(door)
    }

    /// Puts the door in its place, also in place of another's.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(&self) -> io::Result<()> {
        fs::rename(&self.built, &self.path)
    }

    /// Waits for someone.
    ///
    /// # Errors
    /// What the system said.
    pub fn answer(&self, patience: Duration) -> io::Result<Channel> {
        loop {
            match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                accepted => {
                    let channel = Channel { socket: accepted? };
                    channel.set_patience(Some(patience))?;
                    return Ok(channel);
                }
            }
        }
    }

    /// Removes the door from its place. For the process that nobody takes over from.
    pub fn remove(path: &Path) {
        // Nobody has to find it gone: a door without an owner refuses to be knocked at.
        let _ = fs::remove_file(path);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Gone already if it was opened.
        let _ = fs::remove_file(&self.built);
    }
}

/// Gives listening sockets to the service manager at `notify_socket` (`NOTIFY_SOCKET`) for its fd store, so
/// that connections wait in them while the service is restarted. It keeps them only if the unit has
/// `FileDescriptorStoreMax=`.
///
/// # Errors
/// What the system said.
pub fn store(notify_socket: &OsStr, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let socket = to_service_manager(notify_socket)?;
    for some in descriptors.chunks(MOST_DESCRIPTORS) {
        send_to(&socket, format!("FDSTORE=1\nFDNAME={name}").as_bytes(), some)?;
    }
    Ok(())
}

/// Takes the sockets of this name out of the service manager's fd store.
///
/// # Errors
/// What the system said.
pub fn unstore(notify_socket: &OsStr, name: &str) -> io::Result<()> {
    send_to(&to_service_manager(notify_socket)?, format!("FDSTOREREMOVE=1\nFDNAME={name}").as_bytes(), &[])
}

fn to_service_manager(notify_socket: &OsStr) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let address = match notify_socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name)?,
        _ => address(Path::new(notify_socket))?,
    };
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

fn send_to(socket: &OwnedFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    loop {
        let slices = [IoSlice::new(message)];
        match rustix::net::sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(drop).map_err(io::Error::from),
        }
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_message_and_its_descriptors_arrive_together() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("door.sock");
        assert_eq!(Channel::connect(&path, SOON).err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
        let door = Door::build(&path).expect("built");
        assert!(Channel::connect(&path, SOON).is_err(), "not open yet");
        door.open().expect("opened");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let here = Channel::connect(&path, SOON).expect("connected");
        let there = door.answer(SOON).expect("answered");
        assert_eq!(there.peer().expect("known"), std::process::id());
        let file = tempfile::tempfile().expect("a file");
        here.send(b"two", &[file.as_fd(), file.as_fd()]).expect("sent");
        here.send(b"none", &[]).expect("sent");
        let (text, descriptors) = there.receive().expect("received");
        assert_eq!((&text[..], descriptors.len()), (&b"two"[..], 2));
        let mut copy = fs::File::from(descriptors.into_iter().next().expect("two"));
        copy.write_all(b"written").expect("the same file");
        assert_eq!(file.metadata().expect("open").len(), 7);
        assert_eq!(there.receive().expect("received").0, b"none");
        drop(here);
        assert_eq!(there.receive().expect("the end").0, b"");
        let second = Door::build(&path).expect("built");
        second.open().expect("in place of the first");
        drop(door);
        Channel::connect(&path, SOON).expect("the second's");
    }

    #[test]
    fn waiting_has_an_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let door = Door::build(&dir.path().join("door.sock")).expect("built");
        door.open().expect("opened");
        let here =
            Channel::connect(&dir.path().join("door.sock"), Duration::from_millis(20)).expect("connected");
        assert_eq!(here.receive().err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn the_service_manager_gets_the_sockets_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let many = vec![listener.as_fd(); MOST_DESCRIPTORS + 1];
        store(path.as_os_str(), "pintle-l0", &many).expect("sent");
        unstore(path.as_os_str(), "pintle-l0").expect("sent");
        let mut texts = Vec::new();
        for _ in 0..3 {
            let mut bytes = [0; 100];
            let length = manager.recv(&mut bytes).expect("received");
            texts.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        let stored = "FDSTORE=1\nFDNAME=pintle-l0";
        assert_eq!(texts, [stored, stored, "FDSTOREREMOVE=1\nFDNAME=pintle-l0"]);
    }
}
