//! How long a request waits for its first byte when streams are of very different length and connections stay, by who
//! gives connections to workers: the kernel's hash, the program, or the workers among themselves.
//!
//! The sockets, the program and the choice are real; a worker's work is not. It is a thread that serves its streams
//! turn by turn, and each turn takes it [`TURN`] of sleep, so that eight workers have eight cores' time on whatever
//! machine this runs on. Loads are published as the gateway does: a stream counts 256, an open connection half.
//!
//! Needs root; runs in namespaces of its own. `cargo bench -p pintle-ebpf --bench first_byte`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use pintle_ebpf::steer::{LoadCell, Program, STREAM};

#[path = "../tests/room/mod.rs"]
mod room;

const WORKERS: usize = 8;
/// What a worker needs for one piece of one stream.
const TURN: Duration = Duration::from_millis(4);
/// Share of all workers' time that the clients would ask for if they never waited.
const OFFERED: f64 = 0.6;
/// Pieces of a short stream, and of the one in [`LONG_EVERY`] that is long.
const SHORT: u8 = 4;
const LONG: u8 = 100;
const LONG_EVERY: u64 = 20;
/// How long one round lasts.
const ROUND: Duration = Duration::from_secs(8);
/// First part of a round, which does not count.
const WARM_UP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const OPEN: u32 = STREAM as u32 / 2;

#[derive(Clone, Copy, PartialEq)]
enum Road {
    Hash,
    Program,
    HandOver,
}

fn main() {
    room::alone(|| {
        in_front_of_others();
        println!(
            "first byte, {WORKERS} workers, streams of {SHORT} pieces and one in {LONG_EVERY} of {LONG}, {ROUNDS} rounds \
             of {} s in turn; ms at p50, p99; busiest / mean connections",
            (ROUND - WARM_UP).as_secs()
        );
        for connections in [16, 64, 400] {
            let roads = [Road::Hash, Road::Program, Road::HandOver];
            let mut waits = [const { Vec::new() }; 3];
            let mut spreads = [0.0; 3];
            for _ in 0..ROUNDS {
                for (at, road) in roads.into_iter().enumerate() {
                    let (wait, spread) = round(road, connections);
                    waits[at].extend(wait);
                    spreads[at] += spread / ROUNDS as f64;
                }
            }
            println!("  {connections} connections");
            for (at, name) in ["kernel's hash", "kernel's program", "handed over"].into_iter().enumerate() {
                let all = &mut waits[at];
                all.sort_unstable();
                let ms = |share: f64| all[(all.len() as f64 * share) as usize].as_secs_f64() * 1e3;
                println!(
                    "    {name:<17} p50 {:>6.1}  p99 {:>7.1}  {:.2}  ({} requests)",
                    ms(0.5),
                    ms(0.99),
                    spreads[at],
                    all.len()
                );
            }
        }
    });
}

/// Asks for the processor before the machine's other work: what is measured here mostly sleeps.
fn in_front_of_others() {
    let parameter = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameter lives through the call; concerns this thread and those that it starts.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameter) } < 0 {
        println!("  (beside the machine's other work: {})", std::io::Error::last_os_error());
    }
}

/// Not in steps with anything: the splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Exponentially distributed.
    fn wait(&mut self, mean: Duration) -> Duration {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64(-(1.0 - uniform).ln())
    }
}

/// What workers know of each other.
struct Floor {
    loads: [AtomicU32; WORKERS],
    inboxes: [Mutex<Vec<TcpStream>>; WORKERS],
    open: [AtomicU32; WORKERS],
    stop: AtomicBool,
}

fn round(road: Road, connections: usize) -> (Vec<Duration>, f64) {
    let listeners = room::listeners("127.0.0.1:0".parse().unwrap(), WORKERS);
    let address = listeners[0].local_addr().unwrap();
    let mut cells: Vec<Option<LoadCell>> = (0..WORKERS).map(|_| None).collect();
    if road == Road::Program {
        let borrowed: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        let steering = Program::load().expect("loads").attach(&[&borrowed]).expect("attaches");
        cells = (0..WORKERS as u32).map(|slot| Some(steering.load_cell(slot))).collect();
    }
    let floor = Arc::new(Floor {
        loads: [const { AtomicU32::new(0) }; WORKERS],
        inboxes: [const { Mutex::new(Vec::new()) }; WORKERS],
        open: [const { AtomicU32::new(0) }; WORKERS],
        stop: AtomicBool::new(false),
    });
    let workers: Vec<JoinHandle<()>> = listeners
        .into_iter()
        .zip(cells)
        .enumerate()
        .map(|(id, (listener, cell))| {
            let floor = floor.clone();
            std::thread::spawn(move || work(id, &listener, cell, &floor, road))
        })
        .collect();
    let end = Instant::now() + ROUND;
    let clients: Vec<JoinHandle<Vec<Duration>>> = (0..connections)
        .map(|client| {
            let client = move || ask(address, client as u64, connections, end);
            std::thread::Builder::new().stack_size(128 << 10).spawn(client).expect("a thread")
        })
        .collect();
    park_timeout(ROUND / 2);
    let open: Vec<f64> = floor.open.iter().map(|open| f64::from(open.load(Ordering::Relaxed))).collect();
    let spread = open.iter().copied().fold(0.0, f64::max) * WORKERS as f64 / open.iter().sum::<f64>();
    let waits = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    floor.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a worker");
    }
    (waits, spread)
}

/// Asks for one stream after the other, with pauses, and says how long each first byte took.
fn ask(address: SocketAddr, client: u64, clients: usize, end: Instant) -> Vec<Duration> {
    let begin = end - ROUND + WARM_UP;
    let mut random = Random(client << 32);
    let pieces = (f64::from(SHORT) * (LONG_EVERY - 1) as f64 + f64::from(LONG)) / LONG_EVERY as f64;
    let period = TURN.mul_f64(pieces * clients as f64 / (WORKERS as f64 * OFFERED));
    let service = TURN.mul_f64(pieces);
    let mut waits = Vec::new();
    park_timeout(random.wait(WARM_UP / 4));
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_nodelay(true).expect("TCP");
    loop {
        park_timeout(random.wait(period.saturating_sub(service)));
        let asked = Instant::now();
        if asked >= end {
            return waits;
        }
        let length = if random.next().is_multiple_of(LONG_EVERY) { LONG } else { SHORT };
        stream.write_all(&[length]).expect("the worker lives");
        for piece in 0..length {
            stream.read_exact(&mut [0]).expect("the worker answers");
            if piece == 0 && asked >= begin {
                waits.push(asked.elapsed());
            }
        }
    }
}

/// One connection of a worker.
struct Served {
    stream: TcpStream,
    /// Pieces still to be sent.
    left: u8,
}

fn work(id: usize, listener: &TcpListener, cell: Option<LoadCell>, floor: &Floor, road: Road) {
    listener.set_nonblocking(true).expect("a socket");
    let mut served: Vec<Served> = Vec::new();
    let mut random = Random(id as u64);
    let mut turn = 0;
    while !floor.stop.load(Ordering::Relaxed) {
        let take = |stream: TcpStream, served: &mut Vec<Served>| {
            stream.set_nonblocking(true).expect("a socket");
            stream.set_nodelay(true).expect("TCP");
            served.push(Served { stream, left: 0 });
            publish(id, served, cell.as_ref(), floor);
        };
        while let Ok((stream, _)) = listener.accept() {
            if let Some(cell) = &mut cell.as_ref() {
                cell.accepted(1);
            }
            // The rule of the gateway's workers: to another one drawn at random, if that has less to do.
            let drawn = (random.next() % (WORKERS as u64 - 1)) as usize;
            let other = if drawn < id { drawn } else { drawn + 1 };
            let load = |worker: usize| {
                let coming = floor.inboxes[worker].lock().expect("no panic").len() as u32;
                floor.loads[worker].load(Ordering::Relaxed) + coming * (STREAM as u32 + OPEN)
            };
            if road == Road::HandOver && load(other) + OPEN <= load(id) {
                floor.inboxes[other].lock().expect("no panic").push(stream);
            } else {
                take(stream, &mut served);
            }
        }
        for stream in std::mem::take(&mut *floor.inboxes[id].lock().expect("no panic")) {
            take(stream, &mut served);
        }
        served.retain_mut(|connection| connection.left > 0 || is_there(connection));
        publish(id, &served, cell.as_ref(), floor);
        let active = (0..served.len()).map(|n| (turn + n) % served.len()).find(|n| served[*n].left > 0);
        let Some(next) = active else {
            park_timeout(Duration::from_millis(1));
            continue;
        };
        park_timeout(TURN);
        turn = next + 1;
        let connection = &mut served[next];
        // A client that is gone is noticed when it has nothing more to get.
        let _ = connection.stream.write_all(&[1]);
        connection.left -= 1;
    }
}

/// Takes up the next request, and says whether the client is still there.
fn is_there(connection: &mut Served) -> bool {
    let mut length = [0];
    match connection.stream.read(&mut length) {
        Ok(0) => false,
        Ok(_) => {
            connection.left = length[0];
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn publish(id: usize, served: &[Served], cell: Option<&LoadCell>, floor: &Floor) {
    let active = served.iter().filter(|connection| connection.left > 0).count() as u32;
    let load = active * STREAM as u32 + served.len() as u32 * OPEN;
    floor.loads[id].store(load, Ordering::Relaxed);
    floor.open[id].store(served.len() as u32, Ordering::Relaxed);
    if let Some(cell) = cell {
        cell.set_load(load);
    }
}
