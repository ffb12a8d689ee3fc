//! Steering on a real kernel.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use pintle_ebpf::steer::{LoadCell, Program, STREAM, Steering};

mod room;

const LOOPBACK: &str = "127.0.0.1:0";

fn borrowed(listeners: &[TcpListener]) -> Vec<BorrowedFd<'_>> {
    listeners.iter().map(AsFd::as_fd).collect()
}

fn attach(listeners: &[TcpListener]) -> Steering {
    Program::load().expect("loads").attach(&[&borrowed(listeners)]).expect("attaches")
}

fn cells(steering: &Steering, count: u32) -> Vec<LoadCell> {
    (0..count).map(|slot| steering.load_cell(slot)).collect()
}

fn connect(to: &TcpListener, count: usize) -> Vec<TcpStream> {
    let address = to.local_addr().expect("address");
    (0..count).map(|_| TcpStream::connect(address).expect("connects")).collect()
}

fn picked(cells: &[LoadCell]) -> Vec<u64> {
    cells.iter().map(LoadCell::picked).collect()
}

#[test]
fn a_burst_is_spread_by_what_is_pending() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 8);
        let steering = attach(&listeners);
        let cells = cells(&steering, 8);
        // Nobody accepts and nobody publishes a load: only the kernel's own count tells workers apart.
        let _clients = connect(&listeners[0], 400);
        let picks = picked(&cells);
        assert_eq!(picks.iter().sum::<u64>(), 400, "{picks:?}");
        // The kernel's hash leaves the busiest of 8 at 1.2 times the mean or more; two choices stay within 5.
        assert!(picks.iter().all(|picked| (44..=56).contains(picked)), "{picks:?}");
        assert_eq!(cells.iter().map(LoadCell::pending).sum::<u64>(), 400);
    });
}

#[test]
fn a_loaded_worker_gets_nothing() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let steering = attach(&listeners);
        let cells = cells(&steering, 2);
        cells[0].set_load(1000 * STREAM as u32);
        let _clients = connect(&listeners[0], 50);
        assert_eq!(picked(&cells), [0, 50]);
        cells[0].set_load(0);
        cells[1].set_load(1000 * STREAM as u32);
        let _more = connect(&listeners[0], 50);
        assert_eq!(picked(&cells), [50, 50]);
    });
}

#[test]
fn the_picked_worker_is_the_one_that_accepts() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 4);
        let steering = attach(&listeners);
        let cells = cells(&steering, 4);
        let _clients = connect(&listeners[0], 40);
        for (listener, cell) in listeners.iter().zip(&cells) {
            listener.set_nonblocking(true).unwrap();
            let mut accepted = 0;
            while listener.accept().is_ok() {
                accepted += 1;
                cell.accepted(1);
            }
            assert_eq!(accepted, cell.picked());
            assert_eq!(cell.pending(), 0);
        }
    });
}

#[test]
fn slots_left_out_are_drained() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 4);
        let steering = attach(&listeners);
        let cells = cells(&steering, 4);
        steering.set_active(&[2]).unwrap();
        assert_eq!(steering.active(), [2]);
        let _clients = connect(&listeners[0], 30);
        assert_eq!(picked(&cells), [0, 0, 30, 0]);
        steering.set_active(&[0, 3]).unwrap();
        let _more = connect(&listeners[0], 30);
        assert_eq!(cells[2].picked() + cells[1].picked(), 30);
        assert_eq!(cells[0].picked() + cells[3].picked(), 30);
        // Without slots the kernel's hash chooses, and all four get some.
        steering.set_active(&[]).unwrap();
        let _most = connect(&listeners[0], 100);
        assert_eq!(picked(&cells).iter().sum::<u64>(), 60);
        let waiting = listeners.iter().filter(|listener| {
            listener.set_nonblocking(true).unwrap();
            listener.accept().is_ok()
        });
        assert_eq!(waiting.count(), 4);
        assert!(steering.set_active(&[256]).is_err());
    });
}

#[test]
fn a_closed_listener_passes_its_queue_on() {
    room::alone(|| {
        let mut listeners = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let steering = attach(&listeners);
        let cells = cells(&steering, 2);
        steering.set_active(&[0]).unwrap();
        let mut clients = connect(&listeners[0], 20);
        steering.set_active(&[1]).unwrap();
        drop(listeners.remove(0));
        let mut served = HashSet::new();
        for _ in 0..20 {
            let (mut stream, peer) = listeners[0].accept().unwrap();
            stream.write_all(b"here").unwrap();
            served.insert(peer);
        }
        assert_eq!(served.len(), 20);
        for client in &mut clients {
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"here");
        }
        assert_eq!(cells[1].migrated(), 20);
    });
}

#[test]
fn handshakes_that_never_end_are_given_up() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let steering = attach(&listeners);
        let mut cells = cells(&steering, 2);
        let _clients = connect(&listeners[0], 10);
        cells.iter_mut().for_each(LoadCell::settle);
        assert_eq!(cells.iter().map(LoadCell::pending).sum::<u64>(), 10, "not yet a full period old");
        cells.iter_mut().for_each(LoadCell::settle);
        assert_eq!(cells.iter().map(LoadCell::pending).sum::<u64>(), 0);
        // One that comes late after all must not hide a later one.
        cells[0].accepted(3);
        cells[0].settle();
        let before = cells[0].picked();
        steering.set_active(&[0]).unwrap();
        let _late = connect(&listeners[0], 2);
        assert_eq!(cells[0].picked() - before, 2);
        assert_eq!(cells[0].pending(), 2);
    });
}

#[test]
fn several_addresses_share_one_load() {
    room::alone(|| {
        let v4 = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let v6 = room::listeners("[::1]:0".parse::<SocketAddr>().unwrap(), 2);
        let program = Program::load().unwrap();
        let steering = program.attach(&[&borrowed(&v4), &borrowed(&v6)]).unwrap();
        let cells = cells(&steering, 2);
        cells[0].set_load(500 * STREAM as u32);
        let _clients = (connect(&v4[0], 10), connect(&v6[0], 10));
        assert_eq!(picked(&cells), [0, 20]);
        v6[1].set_nonblocking(true).unwrap();
        assert_eq!(std::iter::from_fn(|| v6[1].accept().ok()).count(), 10);
    });
}

#[test]
fn another_process_goes_on_with_the_same_maps() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let old = attach(&listeners);
        let maps = old.descriptors().map(|map| map.try_clone_to_owned().unwrap());
        drop(old);
        let new = Steering::adopt(maps).unwrap();
        let address = listeners[0].local_addr().unwrap();
        // The new one's workers take slots of their own, the old ones' are emptied one by one.
        let own = [room::listener(address).unwrap(), room::listener(address).unwrap()];
        new.put(2, &[Some(own[0].as_fd())]).unwrap();
        new.put(3, &[Some(own[1].as_fd())]).unwrap();
        assert!(new.put(4, &[Some(own[0].as_fd())]).is_err(), "a socket is in one slot only");
        let cells = cells(&new, 4);
        new.set_active(&[2, 3]).unwrap();
        let _clients = connect(&listeners[0], 40);
        assert_eq!(cells[0].picked() + cells[1].picked(), 0);
        assert_eq!(cells[2].picked() + cells[3].picked(), 40);
        new.remove(0).unwrap();
        new.remove(0).unwrap();
        new.put(5, &[Some(listeners[0].as_fd())]).unwrap();
        new.set_active(&[5]).unwrap();
        let _more = connect(&listeners[0], 4);
        assert_eq!(new.load_cell(5).picked(), 4);
    });
}

#[test]
fn detached_listeners_are_hashed_again() {
    room::alone(|| {
        let listeners = room::listeners(LOOPBACK.parse().unwrap(), 2);
        let steering = attach(&listeners);
        let cells = cells(&steering, 2);
        Steering::detach(listeners[0].as_fd()).unwrap();
        let _clients = connect(&listeners[0], 10);
        assert_eq!(picked(&cells), [0, 0]);
    });
}

#[test]
fn a_socket_without_reuseport_is_refused_with_a_reason() {
    room::alone(|| {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = Program::load().unwrap().attach(&[&[plain.as_fd()]]).unwrap_err();
        assert!(error.why.contains("does not take part"), "{error}");
    });
}
