//! One core's share of the data plane: listeners, connections, upstream pool, deadlines.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pintle_routing::flow_id::FlowIds;
use pintle_routing::live::LiveSignals;
use pintle_routing::session::economics::Habits;
use tracing::{info, warn};

use crate::connection;
use crate::floor::{Floor, LoadCell, OPEN, STREAM};
use crate::io::bell::Tower;
use crate::io::gate::Gate;
use crate::io::listener::Listener;
use crate::io::watchdog::{TICK, Watchdog};
use crate::io::{Gather, Stream, runtime, socket};
use crate::json::Spans;
use crate::listening::Listening;
use crate::settings::ListenerSettings;
use crate::shared::{Life, Shared, now};
use crate::upstream::{Balancer, Pool};

/// Buffers kept for reuse, per worker.
const SPARE_BUFFERS: usize = 128;
/// A buffer that grew beyond this is not kept.
const LARGEST_SPARE: usize = 256 * 1024;
/// Capacity of a fresh buffer.
pub(crate) const BUFFER: usize = 16 * 1024;
/// Ticks between two sweeps of idle upstream connections.
const POOL_SWEEP_TICKS: u32 = 20;
/// Ticks between two looks at latency samples.
const LATENCY_TICKS: u32 = 20;
/// Wait before accepting again when the process is out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Connections accepted before those that are there get their turn.
const ACCEPTED_AT_ONCE: usize = 16;
/// How long a client that is idle when another process takes over may take to send its next request, which
/// is answered with `Connection: close`. A client whose request meets a close on its way has lost it.
const RETIRED_IDLE: Duration = Duration::from_secs(5);

/// State of one worker thread. Never leaves it.
pub struct Worker {
    pub(crate) id: u16,
    pub(crate) shared: Arc<Shared>,
    pub(crate) dog: Rc<Watchdog>,
    pub(crate) pool: Pool,
    pub(crate) balancer: RefCell<Balancer>,
    pub(crate) ids: RefCell<FlowIds>,
    pub(crate) spans: RefCell<Spans>,
    pub(crate) live: RefCell<LiveSignals>,
    /// Where other threads ring when they have something for a task here.
    pub(crate) tower: Rc<Tower>,
    /// What the turns served here taught about sessions. Each worker learns for itself, so that none waits.
    pub(crate) habits: RefCell<Habits>,
    floor: Arc<Floor>,
    /// Where the kernel reads this worker's load, while it gives connections by that.
    cell: RefCell<Option<Box<dyn LoadCell>>>,
    connections: Cell<usize>,
    in_flight: Cell<usize>,
    spare: RefCell<Vec<Vec<u8>>>,
    gathers: RefCell<Vec<Gather>>,
    generation: Cell<u64>,
    turn: Cell<usize>,
    ticks: Cell<u32>,
    latencies_read: RefCell<Vec<usize>>,
}

/// Starts the workers on their sockets. `cells` has one per worker where the kernel gives connections by load, and
/// is empty elsewhere.
///
/// # Errors
/// A thread that cannot be started.
pub fn start(
    shared: &Arc<Shared>,
    listening: Listening,
    floor: &Arc<Floor>,
    cells: Vec<Box<dyn LoadCell>>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut cells = cells.into_iter();
    let workers = listening.workers.into_iter().enumerate();
    workers
        .map(|(id, sockets)| {
            let (shared, floor, cell) = (shared.clone(), floor.clone(), cells.next());
            std::thread::Builder::new()
                .name(format!("pintle-worker-{id}"))
                .spawn(move || run(id as u16, shared, floor, cell, sockets))
        })
        .collect()
}

fn run(
    id: u16,
    shared: Arc<Shared>,
    floor: Arc<Floor>,
    cell: Option<Box<dyn LoadCell>>,
    sockets: Vec<(usize, TcpListener)>,
) {
    let core = shared.startup.workers[usize::from(id)];
    if let Some(core) = core
        && let Err(error) = monoio::utils::bind_to_cpu_set([core])
    {
        warn!(worker = id, core, %error, "cannot pin worker to its core");
    }
    let choice = shared.startup.driver;
    let ended = shared.clone();
    let result = runtime::run(choice, |driver, refused| {
        match refused {
            Some(error) => {
                info!(worker = id, core, %driver, refused = %error, "worker runs without io_uring")
            }
            None => info!(worker = id, core, %driver, "worker runs"),
        }
        async move { serve(Rc::new(Worker::new(id, shared, floor, cell)?), sockets).await }
    });
    match result {
        Ok(Ok(())) => {
            info!(worker = id, "worker ended");
            ended.ended.fetch_add(1, Ordering::Release);
        }
        Ok(Err(error)) | Err(error) => {
            tracing::error!(worker = id, %error, "worker failed");
            // A gateway that silently lost a core would look healthy and answer a share of its
            // connections with silence: end, and let the service manager start it again.
            std::process::exit(70);
        }
    }
}

async fn serve(worker: Rc<Worker>, sockets: Vec<(usize, TcpListener)>) -> io::Result<()> {
    // Before the first connection: otherwise what comes within the first tick is decided without backends' states and
    // lessons, and the turns that backends take begin anew after it.
    worker.refresh(&worker.shared.generation.load());
    monoio::spawn(take_in(worker.clone()));
    let gate = Rc::new(Gate::default());
    let mut descriptors: Vec<(usize, RawFd)> = Vec::new();
    for (index, socket) in sockets {
        let listener = Listener::adopt(socket)?;
        descriptors.push((index, listener.descriptor()));
        monoio::spawn(accept_loop(worker.clone(), listener, index, gate.clone()));
    }
    worker.shared.listening.fetch_add(1, Ordering::AcqRel);
    let mut leaving: Option<Leaving> = None;
    loop {
        monoio::time::sleep(TICK).await;
        worker.dog.sweep();
        let generation = worker.shared.generation.load();
        worker.refresh(&generation);
        if worker.ticks.get().is_multiple_of(POOL_SWEEP_TICKS) {
            let idle = generation.settings.pool.idle.as_millis() as u64;
            worker.pool.sweep(worker.dog.now_ms(), idle);
            if let Some(cell) = worker.cell.borrow_mut().as_mut() {
                cell.settle();
            }
        }
        if worker.shared.life() != Life::Draining {
            continue;
        }
        let retiring = worker.shared.is_retiring();
        let since = match &leaving {
            None => {
                for (index, descriptor) in descriptors.drain(..) {
                    // Another process has these queues too, and empties them.
                    if !worker.shared.has_successor() {
                        worker.accept_queued(descriptor, index)?;
                    }
                }
                worker.floor.close(worker.id.into());
                gate.close();
                worker.pool.clear();
                // A process that takes over publishes there now.
                worker.cell.take();
                Instant::now()
            }
            Some(leaving) if leaving.retiring == retiring => leaving.since,
            Some(_) => Instant::now(),
        };
        // In the tick after the last connection was handed to anyone.
        let last = leaving.replace(Leaving { since, retiring }).is_some();
        let timeouts = &generation.settings.timeouts;
        let patience = if retiring { timeouts.retire } else { timeouts.drain };
        if last && worker.connections.get() == 0 && worker.floor.is_empty(worker.id.into()) {
            return Ok(());
        }
        if since.elapsed() >= patience {
            warn!(worker = worker.id, connections = worker.connections.get(), "drain deadline passed");
            worker.dog.end_all();
            // One more tick lets the tasks see it and record their flows.
            monoio::time::sleep(TICK * 2).await;
            return Ok(());
        }
        if !retiring || since.elapsed() >= RETIRED_IDLE {
            worker.dog.end_idle();
        }
    }
}

/// The end of a worker.
struct Leaving {
    /// When it began, or began to be urgent.
    since: Instant,
    retiring: bool,
}

/// Serves what other workers hand over.
async fn take_in(worker: Rc<Worker>) {
    let own = usize::from(worker.id);
    let waiting = worker.tower.enter();
    worker.floor.open(own, worker.tower.bell().clone(), waiting.task());
    loop {
        let (socket, index) = waiting.until(|| worker.floor.take(own)).await;
        // Workers may run on different drivers where the kernel refused a ring to some.
        let adopted = socket
            .set_nonblocking(!runtime::on_io_uring())
            .and_then(|()| monoio::net::TcpStream::from_std(socket));
        match adopted {
            Ok(socket) => worker.adopt(Stream::accepted(socket, &worker.dog), index),
            Err(error) => warn!(worker = worker.id, %error, "a connection could not be taken over"),
        }
    }
}

async fn accept_loop(worker: Rc<Worker>, listener: Listener, index: usize, gate: Rc<Gate>) {
    while let Some(ready) = gate.while_open(listener.ready()).await {
        let accepted = ready.and_then(|()| worker.accept_some(&listener, index));
        if let Err(error) = accepted
            && worker.shared.life() != Life::Draining
        {
            warn!(worker = worker.id, %error, "accept failed");
            monoio::time::sleep(ACCEPT_REST).await;
        }
    }
}

impl Worker {
    fn new(
        id: u16,
        shared: Arc<Shared>,
        floor: Arc<Floor>,
        cell: Option<Box<dyn LoadCell>>,
    ) -> io::Result<Self> {
        let ids = FlowIds::new(id, shared.startup.process_random);
        Ok(Self {
            id,
            shared,
            dog: Watchdog::new(),
            pool: Pool::default(),
            balancer: RefCell::default(),
            ids: RefCell::new(ids),
            spans: RefCell::default(),
            live: RefCell::default(),
            tower: Tower::raise()?,
            habits: RefCell::default(),
            floor,
            cell: RefCell::new(cell),
            connections: Cell::new(0),
            in_flight: Cell::new(0),
            spare: RefCell::default(),
            gathers: RefCell::default(),
            generation: Cell::new(0),
            turn: Cell::new(usize::from(id)),
            ticks: Cell::new(0),
            latencies_read: RefCell::default(),
        })
    }

    /// Takes up a new generation if there is one, and what was measured since the last tick.
    fn refresh(&self, generation: &crate::shared::Generation) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
        if self.generation.replace(generation.serial) != generation.serial {
            self.balancer.borrow_mut().reset(generation.settings.prefers_near);
            self.latencies_read.borrow_mut().clear();
            self.live.borrow_mut().models.clear();
            self.dog.set_half_closed_ms(generation.settings.timeouts.half_closed.as_millis() as u64);
        }
        let now = now().get();
        self.shared.heartbeats[usize::from(self.id)].store(now, Ordering::Relaxed);
        let mut live = self.live.borrow_mut();
        live.experience = self.shared.experience.load_full();
        live.models.resize_with(generation.upstreams.models.len(), Default::default);
        let mut read = self.latencies_read.borrow_mut();
        read.resize(live.models.len(), 0);
        let sorts = self.ticks.get().is_multiple_of(LATENCY_TICKS);
        for (index, live) in live.models.iter_mut().enumerate() {
            let model = &generation.upstreams.models[index];
            live.available = model.is_up(now);
            live.in_flight = model.in_flight();
            if sorts {
                read[index] = generation.meters.models[index].latency.read(read[index], live);
            }
        }
    }

    /// A number that differs from call to call, to spread over equal choices.
    pub(crate) fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.set(self.in_flight.get() + 1);
        self.weigh();
    }

    /// A request has ended.
    pub(crate) fn end(&self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.set(self.in_flight.get() - 1);
        self.weigh();
    }

    /// Says how busy this worker is.
    fn weigh(&self) {
        let load = self.in_flight.get() * STREAM as usize + self.connections.get() * OPEN as usize;
        let load = u32::try_from(load).unwrap_or(u32::MAX);
        self.floor.publish(self.id.into(), load);
        if let Some(cell) = self.cell.borrow().as_ref() {
            cell.publish(load);
        }
    }

    /// Serves a connection in a task of its own.
    fn adopt(self: &Rc<Self>, stream: Stream, listener: usize) {
        let open = self.shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
        let full = open > self.shared.generation.load().settings.limits.max_connections;
        self.connections.set(self.connections.get() + 1);
        self.weigh();
        let worker = self.clone();
        monoio::spawn(async move {
            let guard = ConnectionGuard(worker.clone());
            if full {
                connection::refuse_full(&worker, stream).await;
            } else if let Err(Panicked) = contain(connection::serve(worker, stream, listener)).await {
                metrics::counter!("pintle_panics_total").increment(1);
                tracing::error!("a connection was ended by a defect in this program");
            }
            drop(guard);
        });
    }

    /// Accepts what waits, but no more than a share: the connections that are there want their turn too.
    fn accept_some(self: &Rc<Self>, listener: &Listener, index: usize) -> io::Result<()> {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(socket) = listener.take()? else { break };
            if let Some(cell) = self.cell.borrow().as_ref() {
                cell.accepted(1);
            }
            let draining = self.shared.life() == Life::Draining;
            let draw = self.next_turn() as u64;
            let kept = match draining {
                true => Some((socket, index)),
                false => self.floor.pass(self.id.into(), draw, socket, index),
            };
            let Some((socket, index)) = kept else { continue };
            let socket = monoio::net::TcpStream::from_std(socket)?;
            self.adopt(Stream::accepted(socket, &self.dog), index);
        }
        Ok(())
    }

    /// Accepts what already waits in a listener's queue, so that closing it resets nobody, and ends it.
    fn accept_queued(self: &Rc<Self>, descriptor: RawFd, index: usize) -> io::Result<()> {
        while let Some(socket) = socket::accept_now(descriptor, !runtime::on_io_uring())? {
            let socket = monoio::net::TcpStream::from_std(socket)?;
            self.adopt(Stream::accepted(socket, &self.dog), index);
        }
        Ok(())
    }

    pub(crate) fn listener(&self, index: usize) -> &ListenerSettings {
        &self.shared.startup.listeners[index]
    }

    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS && (BUFFER..=LARGEST_SPARE).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }

    pub(crate) fn gather(&self) -> Gather {
        self.gathers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn recycle_gather(&self, mut gather: Gather) {
        gather.release();
        gather.head.clear();
        let mut gathers = self.gathers.borrow_mut();
        if gathers.len() < SPARE_BUFFERS {
            gathers.push(gather);
        }
    }
}

/// A future panicked; the panic message is on standard error.
struct Panicked;

/// Confines a panic to the connection that it happened on.
///
/// The future is dropped after it: its sockets close, its buffers go, and what it shares with others is
/// either counters or cells that are only borrowed between two awaits.
async fn contain<F: Future<Output = ()>>(future: F) -> Result<(), Panicked> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

struct ConnectionGuard(Rc<Worker>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.weigh();
        self.0.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
