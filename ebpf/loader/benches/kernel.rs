//! What the programs do and cost on this machine, beside the kernel without them, in interleaved rounds.
//! Needs root; runs in namespaces of its own. `cargo bench -p pintle-ebpf`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pintle_ebpf::guard::{self, Guard, Hook};
use pintle_ebpf::loaded::loaded;
use pintle_ebpf::steer::{LoadCell, Program, STREAM};
use pintle_ebpf::telemetry::{self, Telemetry};

#[path = "../tests/room/mod.rs"]
mod room;

use room::frames::{self, PLAIN};
use room::{FAR, Far, Group, NEAR, statistics};

const WORKERS: usize = 8;
const RUNS: usize = 20;

fn main() {
    room::alone(balance);
    room::alone(dropped_syns);
    room::alone(telemetry_overhead);
}

/// Runs and nanoseconds per run of these programs.
fn cost(ids: &[u32]) -> (u64, u64) {
    let programs = loaded().expect("lists");
    let ours = programs.iter().filter(|program| ids.contains(&program.id));
    let (runs, time) = ours
        .fold((0, Duration::ZERO), |(runs, time), program| (runs + program.runs, time + program.run_time));
    (runs, time.as_nanos() as u64 / runs.max(1))
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Live connections per worker when `count` stay open; loads are published after every eighth.
fn spread(count: usize, steered: bool) -> (Vec<usize>, u64) {
    let listeners = room::listeners("127.0.0.1:0".parse().unwrap(), WORKERS);
    let mut ids = Vec::new();
    let cells: Option<Vec<LoadCell>> = steered.then(|| {
        let program = Program::load().expect("loads");
        ids = program.programs();
        let borrowed: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        let steering = program.attach(&[&borrowed]).expect("attaches");
        (0..WORKERS as u32).map(|slot| steering.load_cell(slot)).collect()
    });
    let mut live: Vec<Vec<TcpStream>> = (0..WORKERS).map(|_| Vec::new()).collect();
    let mut clients = Vec::new();
    let accept = |live: &mut Vec<Vec<TcpStream>>| {
        for (worker, listener) in listeners.iter().enumerate() {
            listener.set_nonblocking(true).unwrap();
            while let Ok((stream, _)) = listener.accept() {
                live[worker].push(stream);
                if let Some(cells) = &cells {
                    cells[worker].accepted(1);
                    cells[worker].set_load(live[worker].len() as u32 * STREAM as u32);
                }
            }
        }
    };
    for n in 1..=count {
        clients.push(TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap());
        if n % 8 == 0 {
            accept(&mut live);
        }
    }
    accept(&mut live);
    let per_pick = cost(&ids).1;
    (live.iter().map(Vec::len).collect(), per_pick)
}

fn balance() {
    let _statistics = statistics();
    println!("balance on {WORKERS} workers, {RUNS} runs: busiest / mean, on average and at worst");
    let mut per_pick = Vec::new();
    for count in [16, 64, 400] {
        let mut ratios = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            for (kind, ratios) in ratios.iter_mut().enumerate() {
                let (live, cost) = spread(count, kind == 1);
                assert_eq!(live.iter().sum::<usize>(), count);
                let busiest = live.iter().max().copied().unwrap_or_default();
                ratios.push(busiest as f64 * WORKERS as f64 / count as f64);
                per_pick.extend((kind == 1).then_some(cost));
            }
        }
        let [hash, steered] = ratios.map(|ratios| {
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            (ratios.iter().sum::<f64>() / ratios.len() as f64, worst)
        });
        println!(
            "  {count:>3} connections: kernel's hash {:.2} (worst {:.2}), steered {:.2} (worst {:.2})",
            hash.0, hash.1, steered.0, steered.1
        );
    }
    per_pick.sort_unstable();
    println!("  per pick: {} ns in the middle of {} runs", per_pick[per_pick.len() / 2], per_pick.len());
}

const SYNS: usize = 20_000;

fn dropped_syns() {
    let far = Far::make();
    room::ip("link set near0 address 02:00:00:00:00:01");
    // On frames::frame's port, with what SYNs cost when they are answered.
    let _listener = TcpListener::bind((NEAR[0], 443)).unwrap();
    let send = || {
        far.run(|| {
            let batch: Vec<Vec<u8>> = (0..1000_u16)
                .map(|n| {
                    let mut frame = frames::frame(FAR[0].parse().unwrap(), NEAR[0].parse().unwrap(), PLAIN);
                    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                    frame[34..36].copy_from_slice(&(1024 + n).to_be_bytes());
                    frames::checksums(&mut frame);
                    frame
                })
                .collect();
            let before = cpu_ns();
            for _ in 0..SYNS / 1000 {
                frames::send("far0", &batch).unwrap();
            }
            (cpu_ns() - before) / SYNS as u64
        })
    };
    let denied = |hook| {
        let deny = vec![FAR[0].parse().unwrap()];
        let mode = guard::Mode::Enforce;
        let interfaces = vec!["near0".into()];
        Guard::attach(&guard::Options { interfaces, hook, mode, deny, ..guard::Options::default() }).unwrap()
    };
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    let (mut xdp, mut tcx) = (0, 0);
    for _ in 0..7 {
        costs[0].push(send());
        for (index, hook) in [(1, Hook::Xdp), (2, Hook::Tcx)] {
            let guard = denied(hook);
            costs[index].push(send());
            *if index == 1 { &mut xdp } else { &mut tcx } += guard.counters().dropped_denied;
        }
    }
    let [stack, in_xdp, in_tcx] = costs.map(|mut costs| {
        costs.sort_unstable();
        costs[costs.len() / 2]
    });
    println!("SYNs over veth, CPU time of the sending side included, {SYNS} per round, middle of 7 rounds");
    println!(
        "  answered by the stack {stack} ns, dropped in XDP {in_xdp} ns, dropped in tcx {in_tcx} ns each"
    );
    println!("  dropped {xdp} of {} in XDP, {tcx} in tcx", 7 * SYNS);
}

const TURNS: u64 = 10_000;
const TELEMETRY_ROUNDS: usize = 11;

/// CPU time of questions and answers, both ends, on one connection or on one for each.
fn turns(fresh: bool) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        (client, server)
    };
    let (mut client, mut server) = pair();
    let mut buffer = [0; 512];
    let before = cpu_ns();
    for _ in 0..TURNS {
        if fresh {
            (client, server) = pair();
        }
        client.write_all(&buffer).unwrap();
        server.read_exact(&mut buffer).unwrap();
        server.write_all(&buffer).unwrap();
        client.read_exact(&mut buffer).unwrap();
    }
    (cpu_ns() - before) / TURNS
}

fn telemetry_overhead() {
    let group = Group::enter();
    let options = telemetry::Options { cgroup: Some(group.path().to_owned()), system_retransmits: true };
    println!(
        "telemetry: a question and an answer of 512 bytes over loopback, both ends in the control group, CPU time of \
         both; {TELEMETRY_ROUNDS} interleaved rounds of {TURNS}"
    );
    for (fresh, name) in [(false, "on a connection that stays"), (true, "on a connection each")] {
        let mut ratios = Vec::new();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..TELEMETRY_ROUNDS {
            without.push(turns(fresh));
            let telemetry = Telemetry::attach(&options).unwrap();
            with.push(turns(fresh));
            drop(telemetry);
            ratios.extend(with.last().zip(without.last()).map(|(with, without)| with * 10_000 / without));
        }
        // Counted apart, for counting itself costs.
        let telemetry = Telemetry::attach(&options).unwrap();
        let statistics = statistics();
        turns(fresh);
        drop(statistics);
        let (runs, ns) = cost(telemetry.programs());
        let middle = |mut costs: Vec<u64>| {
            costs.sort_unstable();
            costs[costs.len() / 2]
        };
        println!(
            "  {name}: without {} ns, with {} ns, ratio {:.3}; {:.2} runs a turn of {ns} ns each: {} ns",
            middle(without),
            middle(with),
            middle(ratios) as f64 / 1e4,
            runs as f64 / TURNS as f64,
            runs * ns / TURNS
        );
    }
}
