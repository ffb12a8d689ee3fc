//! The thread that owns the device.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::flight::{Flight, Order, Question, Registered};
use super::resident::{Resident, Trouble};
use super::shared::{Life, Shared};
use super::{Failure, Options};
use crate::device::Device;
use crate::hip::Hip;
use crate::program::Program;

/// Longest rest of a device that keeps dying, and the pause before a model that was refused is tried again.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// After progress the thread asks the device again and again for so long, since a batch takes hundreds of microseconds
/// and a nap is never as short as asked for.
const SPIN: Duration = Duration::from_micros(20);
/// Then it naps between one question and the next.
const NAP: Duration = Duration::from_micros(50);

pub(super) struct Owner<P: Program> {
    hip: Hip,
    shared: Arc<Shared>,
    questions: Receiver<Question<P>>,
    orders: Receiver<Order<P>>,
    models: Vec<Registered<P>>,
    /// Models that the device refused when it came back, and why: those that fit are used meanwhile.
    absent: HashMap<u64, Failure>,
    absent_until: Instant,
    waiting: VecDeque<Question<P>>,
    device: Option<Resident<P>>,
    deaths_in_a_row: u32,
    rests_until: Instant,
    progress: Instant,
    stopping: bool,
}

/// Says that nobody owns the device any more, however the thread ends.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.back_within(None);
        self.0.set_life(Life::Stopped);
    }
}

impl<P: Program> Owner<P> {
    pub(super) fn new(
        hip: Hip,
        shared: Arc<Shared>,
        questions: Receiver<Question<P>>,
        orders: Receiver<Order<P>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            hip,
            shared,
            questions,
            orders,
            models: Vec::new(),
            absent: HashMap::new(),
            absent_until: now,
            waiting: VecDeque::new(),
            device: None,
            deaths_in_a_row: 0,
            rests_until: now,
            progress: now,
            stopping: false,
        }
    }

    fn options(&self) -> Options {
        self.shared.options()
    }

    /// Opens the device, tells `started` how that went, and serves until it is told to stop.
    pub(super) fn run(mut self, started: &Sender<Result<(), Failure>>) {
        let _farewell = Farewell(self.shared.clone());
        self.shared.back_within(Some(self.options().load_limit));
        match Resident::open(&self.hip, self.shared.info(), &self.options()) {
            Ok(device) => self.device = Some(device),
            Err(error) => {
                let _ = started.send(Err(error.into()));
                return;
            }
        }
        let _ = started.send(Ok(()));
        while !self.stopping {
            self.turn();
        }
        self.end();
    }

    fn turn(&mut self) {
        self.shared.back_within(Some(self.options().watchdog));
        if self.device.is_some() && self.shared.alive().is_err() {
            self.die(Failure::Hung(self.options().watchdog));
        }
        self.take_orders();
        self.take_questions();
        if self.device.is_none() {
            self.refuse();
            if Instant::now() >= self.rests_until {
                self.revive();
            }
        } else {
            let done = self.collect().and_then(|()| self.dispatch());
            let due = !self.absent.is_empty() && Instant::now() >= self.absent_until;
            if let Err(trouble) = done.and_then(|()| if due { self.bring() } else { Ok(()) }) {
                self.die(trouble.failure());
            }
        }
        self.note();
        if !self.stopping {
            self.pause();
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order<P>) {
        match order {
            Order::Stop => self.stopping = true,
            Order::Follow => {
                if let Some(device) = &self.device {
                    device.limit_memory(self.options().memory_limit);
                }
                if let Err(trouble) = self.bring() {
                    self.die(trouble.failure());
                }
            }
            Order::Unload(id) => {
                self.models.retain(|model| model.id != id);
                self.absent.remove(&id);
                if let Err(trouble) = self.quiesce() {
                    self.die(trouble.failure());
                }
                if let Some(device) = &mut self.device {
                    device.unload(id);
                }
                if let Err(trouble) = self.bring() {
                    self.die(trouble.failure());
                }
            }
            Order::Load { model, reply } => {
                let loaded = self.quiesce().and_then(|()| self.load(model));
                let answer = loaded.map_err(|trouble| {
                    let dead = matches!(trouble, Trouble::Dead(_));
                    let failure = trouble.failure();
                    if dead {
                        self.die(failure.clone());
                    }
                    failure
                });
                self.note();
                let _ = reply.send(answer);
            }
        }
    }

    fn load(&mut self, model: Registered<P>) -> Result<(), Trouble> {
        let Some(device) = &mut self.device else {
            return Err(Trouble::Refused(self.shared.alive().err().unwrap_or(Failure::Stopped)));
        };
        self.shared.back_within(Some(self.shared.options().load_limit));
        let loaded = device.load(&model);
        self.shared.back_within(Some(self.shared.options().watchdog));
        loaded?;
        self.models.push(model);
        Ok(())
    }

    /// Tries the models again that the device has refused.
    fn bring(&mut self) -> Result<(), Trouble> {
        if self.absent.is_empty() {
            return Ok(());
        }
        self.quiesce()?;
        let Some(device) = &mut self.device else { return Ok(()) };
        self.shared.back_within(Some(self.shared.options().load_limit));
        for model in &self.models {
            if !self.absent.contains_key(&model.id) {
                continue;
            }
            match device.load(model) {
                Ok(()) => drop(self.absent.remove(&model.id)),
                Err(Trouble::Refused(why)) => drop(self.absent.insert(model.id, why)),
                Err(dead) => return Err(dead),
            }
        }
        self.shared.back_within(Some(self.shared.options().watchdog));
        self.absent_until = Instant::now() + LONGEST_REST;
        Ok(())
    }

    /// Sees through what is under way.
    fn quiesce(&mut self) -> Result<(), Trouble> {
        while self.device.as_ref().is_some_and(|device| device.under_way() > 0) {
            self.shared.back_within(Some(self.options().watchdog));
            self.collect()?;
            std::thread::park_timeout(NAP);
        }
        Ok(())
    }

    fn take_questions(&mut self) {
        self.waiting.extend(self.questions.try_iter());
    }

    /// Hands out what has come back.
    fn collect(&mut self) -> Result<(), Trouble> {
        let Some(device) = &mut self.device else { return Ok(()) };
        let counters = &self.shared.counters;
        for at in 0..device.slots.len() {
            let Some(flight) = &mut device.slots[at].flight else { continue };
            // Before the device is asked: it may answer late, but the batch was not late then.
            let late = flight.since.elapsed() > self.shared.options().watchdog;
            match device.finished(at) {
                Ok(true) => {}
                Ok(false) if late => {
                    return Err(Trouble::Dead(Failure::Hung(self.shared.options().watchdog)));
                }
                Ok(false) => continue,
                Err(Trouble::Refused(failure)) if !late => {
                    // The library does not say whether it is done. Nobody waits for it any more, the slot does.
                    if let Some(flight) = &mut device.slots[at].flight {
                        flight.fail(&failure, counters);
                    }
                    continue;
                }
                Err(trouble) => return Err(Trouble::Dead(trouble.failure())),
            }
            self.progress = Instant::now();
            let Some(mut flight) = device.slots[at].flight.take() else { continue };
            counters.under_way.fetch_sub(1, Ordering::Relaxed);
            if flight.replies.is_empty() {
                continue;
            }
            match device.answers(at, &flight) {
                Ok(answers) => {
                    self.deaths_in_a_row = 0;
                    flight.succeed(answers, counters);
                }
                Err(trouble) => {
                    let dead = matches!(trouble, Trouble::Dead(_));
                    let failure = trouble.failure();
                    flight.fail(&failure, counters);
                    if dead {
                        return Err(Trouble::Dead(failure));
                    }
                }
            }
        }
        Ok(())
    }

    /// Fills free slots with what waits.
    fn dispatch(&mut self) -> Result<(), Trouble> {
        while let Some(at) = self.device.as_ref().and_then(Resident::free) {
            let Some(batch) = self.gather() else { return Ok(()) };
            self.progress = Instant::now();
            let flight = Flight::of(batch);
            let Some(device) = &mut self.device else { return Ok(()) };
            device.launch(at, flight, &self.shared.counters)?;
        }
        Ok(())
    }

    /// The next batch, if it is time for one: the question that has waited longest, and all that go with it.
    fn gather(&mut self) -> Option<Vec<Question<P>>> {
        let (first, model) = loop {
            let first = self.waiting.front()?;
            let known = self.models.iter().find(|model| model.id == first.model);
            let why = match (known, self.absent.get(&first.model)) {
                (Some(model), None) => break (first, model),
                (Some(_), Some(why)) => why.clone(),
                // It has been taken off since it was asked.
                (None, _) => Failure::Stopped,
            };
            let gone = self.waiting.pop_front()?;
            self.shared.counters.failed(1);
            let _ = gone.reply.send(Err(why));
        };
        let (mut size, mut full) = (first.size, false);
        let mut chosen = vec![0];
        for (at, question) in self.waiting.iter().enumerate().skip(1) {
            if question.model != first.model || !P::together(&first.job, &question.job) {
                continue;
            }
            let more = size + question.size;
            if more.fits(model.room) {
                size = more;
                chosen.push(at);
            } else {
                full = true;
            }
        }
        full |= size.sequences == model.room.sequences || size.tokens == model.room.tokens;
        if !full && first.asked.elapsed() < self.options().wait {
            return None;
        }
        let mut batch = Vec::with_capacity(chosen.len());
        let mut chosen = chosen.into_iter().peekable();
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for (at, question) in self.waiting.drain(..).enumerate() {
            if chosen.next_if_eq(&at).is_some() {
                batch.push(question);
            } else {
                rest.push_back(question);
            }
        }
        self.waiting = rest;
        Some(batch)
    }

    /// Fails all that wait.
    fn refuse(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let failure = self.shared.alive().err().unwrap_or(Failure::Stopped);
        self.shared.counters.failed(self.waiting.len());
        for question in self.waiting.drain(..) {
            let _ = question.reply.send(Err(failure.clone()));
        }
    }

    /// Gives the device up and tells everybody.
    fn die(&mut self, failure: Failure) {
        let rest =
            self.options().retry_after.saturating_mul(1 << self.deaths_in_a_row.min(16)).min(LONGEST_REST);
        self.deaths_in_a_row = self.deaths_in_a_row.saturating_add(1);
        self.shared.counters.died();
        tracing::error!(
            device = self.shared.info().index,
            why = %failure,
            rest_ms = rest.as_millis() as u64,
            "the GPU failed; its models are loaded anew after a rest"
        );
        self.shared.set_life(Life::Resting(failure.to_string()));
        self.absent.clear();
        self.shared.counters.under_way.store(0, Ordering::Relaxed);
        if let Some(mut device) = self.device.take() {
            for flight in device.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
                flight.fail(&failure, &self.shared.counters);
            }
            self.refuse();
            // May take for ever on a device that hangs. Nobody waits for this thread now.
            drop(device);
        }
        self.rests_until = Instant::now() + rest;
    }

    /// Tries the device again, with all models that it takes.
    fn revive(&mut self) {
        self.shared.back_within(Some(self.options().load_limit));
        let reset = Device::reset(&self.hip, self.shared.info());
        let opened = reset.and_then(|()| Resident::open(&self.hip, self.shared.info(), &self.options()));
        let revived = opened.map_err(Trouble::from).and_then(|mut device| {
            let mut absent = HashMap::new();
            for model in &self.models {
                match device.load(model) {
                    Ok(()) => {}
                    // There may be less memory than when it came. The others need not suffer for it.
                    Err(Trouble::Refused(why)) => drop(absent.insert(model.id, why)),
                    Err(dead) => return Err(dead),
                }
            }
            Ok((device, absent))
        });
        match revived {
            Ok((device, absent)) => {
                self.device = Some(device);
                for why in absent.values() {
                    let device = self.shared.info().index;
                    tracing::error!(device, %why, "the GPU came back without one of its models; it is tried again");
                }
                self.absent = absent;
                self.absent_until = Instant::now() + LONGEST_REST;
                tracing::info!(device = self.shared.info().index, "the GPU is used again");
                self.shared.set_life(Life::Alive);
            }
            Err(trouble) => self.die(trouble.failure()),
        }
    }

    fn note(&self) {
        let counters = &self.shared.counters;
        let device = self.device.as_ref();
        counters.models.store(self.models.len() - self.absent.len(), Ordering::Relaxed);
        counters.memory_used.store(device.map_or(0, Resident::memory_used), Ordering::Relaxed);
    }

    /// Until something may have happened.
    fn pause(&mut self) {
        let Some(device) = &self.device else {
            self.sleep(Some(self.rests_until));
            return;
        };
        if device.under_way() == 0 {
            let oldest = self.waiting.front().map(|question| question.asked + self.options().wait);
            let again = (!self.absent.is_empty()).then_some(self.absent_until);
            self.sleep(oldest.into_iter().chain(again).min());
        } else if self.progress.elapsed() < SPIN {
            std::hint::spin_loop();
        } else if device.free().is_some() {
            // A new question is worth waking up for.
            self.sleep(Some(Instant::now() + NAP));
        } else {
            std::thread::park_timeout(NAP);
        }
    }

    /// Until a question or an order comes, or the time does.
    fn sleep(&mut self, until: Option<Instant>) {
        // Without a batch under way nobody waits for the library.
        if self.device.as_ref().is_none_or(|device| device.under_way() == 0) {
            self.shared.back_within(None);
        }
        let timer = until.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
        select! {
            recv(self.questions) -> question => self.waiting.extend(question),
            recv(self.orders) -> order => match order {
                Ok(order) => self.obey(order),
                Err(_) => self.stopping = true,
            },
            recv(timer) -> _ => {}
        }
    }

    /// Fails what waits, sees what is under way through, and gives everything back.
    fn end(&mut self) {
        self.shared.set_life(Life::Stopped);
        self.take_questions();
        self.refuse();
        let seen_through = self.quiesce();
        self.shared.back_within(Some(self.options().watchdog));
        self.shared.counters.under_way.store(0, Ordering::Relaxed);
        if let Some(mut device) = self.device.take() {
            let failure = seen_through.err().map_or(Failure::Stopped, Trouble::failure);
            for flight in device.slots.iter_mut().filter_map(|slot| slot.flight.as_mut()) {
                flight.fail(&failure, &self.shared.counters);
            }
        }
    }
}
