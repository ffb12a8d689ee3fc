//! One batch's way through a device: a stream, the event at its end, pinned memory at both.
//!
//! A lane is idle or not. It ceases to be with the first thing that is queued on it and is again when
//! [`Lane::finished`] sees that everything is done that was queued before [`Lane::seal`]. The host may touch a lane's
//! [`Staging`] memory only while the lane is idle; the device reads and writes it only while it is not. So no copy
//! ever races with the host, without anybody having to promise it.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;

use crate::abi::{Arguments, Plain};
use crate::device::{Device, DeviceBuffer};
use crate::entry::{CAPTURE_THREAD_LOCAL, DEVICE_TO_HOST, HOST_TO_DEVICE, Handle};
use crate::error::{Class, Error, HipError, NOT_READY};
use crate::module::Function;

mod handles;
mod staging;

pub use handles::Graph;
use handles::{Captured, Event, Stream};
pub use staging::Staging;

/// A queue of work on a device. Cheap to clone; what is queued is done in order.
#[derive(Clone)]
pub struct Lane(Rc<Inner>);

struct Inner {
    end: Event,
    stream: Stream,
    state: Cell<State>,
    device: Device,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    /// Something is queued, and nothing marks its end.
    Open,
    /// The event is recorded behind all that is queued.
    Sealed,
    Capturing,
}

/// Blocks of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, at least 1.
    pub x: u32,
    /// Blocks in y, at least 1.
    pub y: u32,
}

impl Lane {
    /// A new, idle lane.
    ///
    /// # Errors
    ///
    /// When the library refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let stream = Stream::new(device)?;
        let end = Event::new(device)?;
        Ok(Self(Rc::new(Inner { end, stream, state: Cell::new(State::Idle), device: device.clone() })))
    }

    /// Where its work is done.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Whether nothing is queued on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.state.get() == State::Idle
    }

    fn queueing(&self) -> Handle {
        if self.0.state.get() != State::Capturing {
            self.0.state.set(State::Open);
        }
        self.0.stream.handle
    }

    /// Queues a copy of the first `count` items of `from` to `to`, from item `at` on.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] before anything is queued; the library's refusal.
    ///
    /// # Panics
    ///
    /// While the lane captures, or if `from` belongs to another lane.
    pub fn upload<T: Plain>(
        &self,
        from: &Staging<T>,
        count: usize,
        to: &DeviceBuffer<T>,
        at: usize,
    ) -> Result<(), Error> {
        from.check(self, count)?;
        let to = to.range(at, count)?;
        let bytes = count * size_of::<T>();
        let stream = self.queueing();
        // SAFETY: both ranges are inside their memory. The staging memory is not touched by the host before the lane is
        // idle, nor freed: it waits for the lane. hipFree of the buffer waits for the copy.
        unsafe {
            let from = from.items.as_ptr().cast();
            self.device().entry().hipMemcpyAsync(to, from, bytes, HOST_TO_DEVICE, stream)?;
        }
        Ok(())
    }

    /// Queues a copy of `count` items of `from`, from item `at` on, to the beginning of `to`.
    ///
    /// # Errors
    ///
    /// As [`Self::upload`].
    ///
    /// # Panics
    ///
    /// As [`Self::upload`].
    pub fn download<T: Plain>(
        &self,
        from: &DeviceBuffer<T>,
        at: usize,
        count: usize,
        to: &mut Staging<T>,
    ) -> Result<(), Error> {
        to.check(self, count)?;
        let from = from.range(at, count)?;
        let bytes = count * size_of::<T>();
        let stream = self.queueing();
        // SAFETY: as in `upload`; the other way round.
        unsafe {
            let to = to.items.as_ptr().cast();
            self.device().entry().hipMemcpyAsync(to, from, bytes, DEVICE_TO_HOST, stream)?;
        }
        Ok(())
    }

    /// Queues a launch of `function`, which takes `arguments` by value.
    ///
    /// # Errors
    ///
    /// The library's refusal.
    ///
    /// # Safety
    ///
    /// `A` is the struct that `function` takes, and `arguments` keeps to what the header says of it: every address lies
    /// in a [`DeviceBuffer`] of this device that is as large as the kernel reads or writes, and that lives until the
    /// lane is idle again. So does the function. A launch that is captured is made at every replay: until the lane is
    /// idle after the last of them the same holds.
    pub unsafe fn launch<A: Arguments>(
        &self,
        function: &Function,
        grid: Grid,
        arguments: &A,
    ) -> Result<(), HipError> {
        let mut parameters = [std::ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        let stream = self.queueing();
        // SAFETY: the library copies the argument before it returns; the rest is the caller's.
        unsafe {
            self.device().entry().hipModuleLaunchKernel(
                function.handle(),
                grid.x,
                grid.y,
                1,
                function.threads(),
                1,
                1,
                0,
                stream,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
    }

    /// Makes a graph of the launches that `enqueue` queues on this lane; none of them is done now.
    ///
    /// # Errors
    ///
    /// `enqueue`'s, or the library's.
    ///
    /// # Panics
    ///
    /// If the lane is not idle. If `enqueue` copies.
    pub fn capture(&self, enqueue: impl FnOnce(&Self) -> Result<(), Error>) -> Result<Graph, Error> {
        assert!(self.is_idle(), "a capture begins on an idle lane");
        let entry = self.device().entry();
        // SAFETY: the stream lives and does not capture.
        unsafe { entry.hipStreamBeginCapture(self.0.stream.handle, CAPTURE_THREAD_LOCAL)? };
        self.0.state.set(State::Capturing);
        let capture = Capture { lane: self };
        let queued = enqueue(self);
        let captured = capture.end();
        queued?;
        let captured = captured?;
        Ok(Graph::of(self, &captured)?)
    }

    /// Queues everything that a graph was captured from.
    ///
    /// # Errors
    ///
    /// The library's refusal.
    ///
    /// # Panics
    ///
    /// While the lane captures, or if the graph was captured on another one.
    pub fn replay(&self, graph: &Graph) -> Result<(), HipError> {
        assert_ne!(self.0.state.get(), State::Capturing, "no graph is replayed within a capture");
        graph.launch(self)
    }

    /// Marks the end of what is queued, for [`Self::finished`].
    ///
    /// # Errors
    ///
    /// The library's refusal.
    ///
    /// # Panics
    ///
    /// While the lane captures.
    pub fn seal(&self) -> Result<(), HipError> {
        assert_ne!(self.0.state.get(), State::Capturing, "a capture has no end to wait for");
        let stream = self.queueing();
        // SAFETY: event and stream live and are of one device.
        unsafe { self.device().entry().hipEventRecord(self.0.end.handle, stream)? };
        self.0.state.set(State::Sealed);
        Ok(())
    }

    /// Whether the lane is idle: everything that was queued on it is done, [`Self::seal`] last. Does not wait.
    ///
    /// # Errors
    ///
    /// When the work failed.
    pub fn finished(&self) -> Result<bool, HipError> {
        if self.0.state.get() != State::Sealed {
            return Ok(self.is_idle());
        }
        // SAFETY: the event lives.
        let asked = unsafe { self.device().entry().hipEventQuery(self.0.end.handle) };
        if asked.as_ref().is_err_and(|error| error.code == NOT_READY) {
            return Ok(false);
        }
        self.settled(asked)?;
        Ok(true)
    }

    /// Waits until the lane is idle.
    ///
    /// # Errors
    ///
    /// When the work failed, or the library does not say.
    pub fn wait(&self) -> Result<(), HipError> {
        // SAFETY: the stream lives.
        self.settled(unsafe { self.device().entry().hipStreamSynchronize(self.0.stream.handle) })
    }

    /// The lane is idle if its work is done, or lost with its device. Another failure says nothing about the work.
    fn settled(&self, done: Result<(), HipError>) -> Result<(), HipError> {
        if done.as_ref().err().is_none_or(|error| error.class() == Class::DeviceFault) {
            self.0.state.set(State::Idle);
        }
        done
    }
}

/// Ends a capture however it is left.
struct Capture<'a> {
    lane: &'a Lane,
}

impl Capture<'_> {
    fn end(self) -> Result<Captured, HipError> {
        let lane = self.lane;
        std::mem::forget(self);
        lane.end_capture()
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let _ = self.lane.end_capture();
    }
}

impl Lane {
    fn end_capture(&self) -> Result<Captured, HipError> {
        self.0.state.set(State::Idle);
        let captured = Captured::end(self.device(), &self.0.stream);
        if captured.is_err() {
            // Usually the failure has ended it. Where it has not, the stream would take nothing any more.
            let _ = Captured::end(self.device(), &self.0.stream);
        }
        captured
    }
}
