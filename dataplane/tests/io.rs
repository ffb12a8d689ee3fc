//! The I/O layer keeps its promises on both drivers: deadlines end operations, hang-ups end upstream work,
//! and no descriptor is left behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pintle_dataplane::io::listener::Listener;
use pintle_dataplane::io::runtime::{self, Driver, DriverChoice};
use pintle_dataplane::io::stream::Wait;
use pintle_dataplane::io::watchdog::{Shut, TICK, Watchdog};
use pintle_dataplane::io::{Gather, IoError, Stream, socket};
use pintle_dataplane::json::Span;

const SOON: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_millis(300);

fn on_both_drivers<F, Fut>(test: F)
where
    F: Fn(Rc<Watchdog>) -> Fut,
    Fut: Future<Output = ()>,
{
    for choice in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let ran = runtime::run(choice, |driver, _| {
            assert_eq!(driver == Driver::Epoll, choice == DriverChoice::Epoll);
            let dog = Watchdog::new();
            let sweeper = dog.clone();
            monoio::spawn(async move {
                loop {
                    monoio::time::sleep(TICK).await;
                    sweeper.sweep();
                }
            });
            test(dog)
        });
        match ran {
            Ok(()) => println!("ran on {choice:?}"),
            Err(error) if choice == DriverChoice::IoUring => println!("SKIP io_uring: {error}"),
            Err(error) => panic!("{choice:?}: {error}"),
        }
    }
}

async fn pair(dog: &Rc<Watchdog>) -> (Stream, TcpStream) {
    let socket = socket::listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener::adopt(socket).unwrap();
    let peer = TcpStream::connect(address).unwrap();
    let accepted = loop {
        listener.ready().await.unwrap();
        if let Some(accepted) = listener.take().unwrap() {
            break accepted;
        }
    };
    (Stream::accepted(monoio::net::TcpStream::from_std(accepted).unwrap(), dog), peer)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_silent_peer_meets_the_read_deadline_and_can_still_be_answered() {
    on_both_drivers(async |dog| {
        let (mut stream, mut peer) = pair(&dog).await;
        let start = Instant::now();
        let (result, buffer) = stream.read(Vec::with_capacity(64), SOON, Wait::More).await;
        assert!(matches!(result, Err(IoError::TimedOut)), "{result:?}");
        assert!(start.elapsed() >= SOON && start.elapsed() < LATE, "{:?}", start.elapsed());
        assert!(buffer.is_empty());
        let (result, _) = stream.write_all(b"408".to_vec(), SOON).await;
        // The read deadline marked the stream; what was written still went out.
        let _ = result;
        let mut text = [0; 3];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"408");
    });
}

#[test]
fn a_deadline_is_counted_from_its_wait_however_long_the_worker_was_busy_before() {
    on_both_drivers(async |dog| {
        let (mut stream, _peer) = pair(&dog).await;
        keep_busy(SOON * 2);
        let start = Instant::now();
        let (result, _) = stream.read(Vec::with_capacity(64), SOON, Wait::More).await;
        assert!(matches!(result, Err(IoError::TimedOut)), "{result:?}");
        assert!(start.elapsed() >= SOON, "{:?}", start.elapsed());
    });
}

#[test]
fn a_wait_that_is_armed_anew_between_sweeps_ends_when_no_time_is_left() {
    let dog = Watchdog::new();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let slot = dog.watch(socket.as_raw_fd());
    let left = Duration::from_millis(1);
    slot.arm(left, Shut::Read, false);
    keep_busy(left * 5);
    assert_eq!(dog.sweep(), 0, "counted from here");
    slot.arm(left, Shut::Read, false);
    assert_eq!(dog.sweep(), 0, "and from here");
    slot.arm(Duration::ZERO, Shut::Read, false);
    assert_eq!((dog.sweep(), slot.expired()), (1, true));
}

/// Computes for as long, as a worker does that reads a long request.
fn keep_busy(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn bytes_are_appended_and_a_close_is_told_from_a_deadline() {
    on_both_drivers(async |dog| {
        let (mut stream, mut peer) = pair(&dog).await;
        peer.write_all(b"abc").unwrap();
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"xy");
        let (result, buffer) = stream.read(buffer, LATE, Wait::More).await;
        assert_eq!(result.unwrap(), 3);
        assert_eq!(buffer, b"xyabc");
        drop(peer);
        let (result, _) = stream.read(buffer, LATE, Wait::More).await;
        assert!(matches!(result, Err(IoError::Closed)), "{result:?}");
    });
}

#[test]
fn a_peer_that_does_not_read_meets_the_write_deadline() {
    on_both_drivers(async |dog| {
        let (mut stream, _peer) = pair(&dog).await;
        let (result, _) = stream.write_all(vec![7; 64 << 20], SOON).await;
        assert!(matches!(result, Err(IoError::TimedOut)), "{result:?}");
    });
}

#[test]
fn a_refused_connect_says_so_and_a_lost_one_meets_its_deadline() {
    on_both_drivers(async |dog| {
        // A port that was free a moment ago may be anybody's by now; tcpmux is nobody's.
        let closed: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let result = Stream::connect(closed, LATE, &dog).await.map(drop);
        assert!(
            matches!(&result, Err(IoError::Os(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused),
            "{result:?}"
        );
        // A listener whose queue is full drops SYNs on the floor.
        let full = socket::listen("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let address: SocketAddr = full.local_addr().unwrap();
        let mut taken = Vec::new();
        let start = Instant::now();
        let late = loop {
            match Stream::connect(address, SOON, &dog).await {
                Ok(stream) => taken.push(stream),
                Err(error) => break error,
            }
            assert!(taken.len() < 64, "the queue never fills");
        };
        assert!(matches!(late, IoError::TimedOut), "{late:?}");
        assert!(start.elapsed() < LATE);
    });
}

#[test]
fn a_client_that_hangs_up_ends_the_upstream_read() {
    on_both_drivers(async |dog| {
        let (client, peer) = pair(&dog).await;
        let (mut upstream, _backend) = pair(&dog).await;
        dog.set_half_closed_ms(0);
        client.slot().client().couple(upstream.slot());
        drop(peer);
        let (result, _) = upstream.read(Vec::with_capacity(64), LATE, Wait::More).await;
        assert!(matches!(result, Err(IoError::Abandoned)), "{result:?}");
        client.slot().client().uncouple(upstream.slot());
    });
}

#[test]
fn a_half_closed_client_gets_its_grace() {
    on_both_drivers(async |dog| {
        let (client, peer) = pair(&dog).await;
        let (mut upstream, _backend) = pair(&dog).await;
        dog.set_half_closed_ms(GRACE.as_millis() as u64);
        client.slot().client().couple(upstream.slot());
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let start = Instant::now();
        let (result, _) = upstream.read(Vec::with_capacity(64), LATE, Wait::More).await;
        assert!(matches!(result, Err(IoError::Abandoned)), "{result:?}");
        // Both ends of the grace are cut off to whole milliseconds.
        assert!(start.elapsed() >= GRACE - Duration::from_millis(1), "{:?}", start.elapsed());
    });
}

#[test]
fn a_gather_writes_its_parts_in_order_whatever_their_size() {
    on_both_drivers(async |dog| {
        let (mut stream, mut peer) = pair(&dog).await;
        let body: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let mut expected = b"head".to_vec();
        expected.extend_from_slice(&body[10..1000]);
        expected.extend_from_slice(b"\"model\"");
        expected.extend_from_slice(&body[2000..2_999_990]);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        let mut gather = Gather::new();
        gather.head.extend_from_slice(b"head");
        gather.body = body;
        let model = Span { start: 990, end: 1990 };
        gather.patch.replace(model, |out| out.extend_from_slice(b"\"model\""));
        gather.lay_out(10..2_999_990).unwrap();
        assert_eq!(gather.remaining(), expected.len());
        let (result, _) = stream.write_gather(gather, LATE).await;
        result.unwrap();
        drop(stream);
        // The close is asynchronous on io_uring: give the driver its turn.
        while !reader.is_finished() {
            monoio::time::sleep(TICK).await;
        }
        assert!(reader.join().unwrap().unwrap() == expected);
    });
}

#[test]
fn nothing_is_left_open() {
    on_both_drivers(async |dog| {
        let before = descriptors();
        for _ in 0..100 {
            let (mut stream, peer) = pair(&dog).await;
            peer.shutdown(std::net::Shutdown::Both).unwrap();
            let (result, _) = stream.read(Vec::with_capacity(8), LATE, Wait::NextRequest).await;
            assert!(matches!(result, Err(IoError::Closed)));
        }
        let deadline = Instant::now() + LATE;
        while descriptors() > before && Instant::now() < deadline {
            monoio::time::sleep(TICK).await;
        }
        assert!(descriptors() <= before, "{} descriptors, {before} before", descriptors());
    });
}
