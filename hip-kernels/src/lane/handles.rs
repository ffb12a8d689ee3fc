//! What the library hands out for a lane, given back when it is dropped.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::rc::Rc;

use super::Lane;
use crate::device::Device;
use crate::entry::{EVENT_DISABLE_TIMING, Handle, STREAM_NON_BLOCKING};
use crate::error::HipError;

/// What a capture gives, before it can be launched.
pub(super) struct Captured {
    device: Device,
    handle: Handle,
}

impl Captured {
    /// Ends what `stream` captures.
    pub(super) fn end(device: &Device, stream: &Stream) -> Result<Self, HipError> {
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the stream lives; the handle is written to the pointer given.
        unsafe { device.entry().hipStreamEndCapture(stream.handle, &mut handle)? };
        Ok(Self { device: device.clone(), handle })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: made and not destroyed before. An error means that the device is dead.
        let _ = unsafe { self.device.entry().hipGraphDestroy(self.handle) };
    }
}

/// Launches that are queued by one call, on the lane that they were captured on.
pub struct Graph {
    lane: Lane,
    exec: Handle,
}

impl Graph {
    pub(super) fn of(lane: &Lane, captured: &Captured) -> Result<Self, HipError> {
        let mut exec: Handle = std::ptr::null_mut();
        // SAFETY: the graph lives; no node and no log is asked for; the handle is written to the pointer given.
        unsafe {
            let (node, log) = (std::ptr::null_mut(), std::ptr::null_mut());
            lane.device().entry().hipGraphInstantiate(&mut exec, captured.handle, node, log, 0)?;
        }
        Ok(Self { lane: lane.clone(), exec })
    }

    /// Queues it.
    pub(super) fn launch(&self, lane: &Lane) -> Result<(), HipError> {
        assert!(Rc::ptr_eq(&self.lane.0, &lane.0), "a graph belongs to one lane");
        // SAFETY: graph and stream live and are of one device; what the graph's launches need is promised by who
        // queued them.
        unsafe { lane.device().entry().hipGraphLaunch(self.exec, lane.queueing()) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !self.lane.is_idle() {
            let _ = self.lane.wait();
        }
        // SAFETY: made and not destroyed before; its lane is idle. An error means that the device is dead.
        let _ = unsafe { self.lane.device().entry().hipGraphExecDestroy(self.exec) };
    }
}

pub(super) struct Stream {
    device: Device,
    pub(super) handle: Handle,
}

impl Stream {
    pub(super) fn new(device: &Device) -> Result<Self, HipError> {
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the handle is written to the pointer given.
        unsafe { device.entry().hipStreamCreateWithFlags(&mut handle, STREAM_NON_BLOCKING)? };
        Ok(Self { device: device.clone(), handle })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made and not destroyed before. An error means that the device is dead.
        let _ = unsafe { self.device.entry().hipStreamDestroy(self.handle) };
    }
}

pub(super) struct Event {
    device: Device,
    pub(super) handle: Handle,
}

impl Event {
    pub(super) fn new(device: &Device) -> Result<Self, HipError> {
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the handle is written to the pointer given.
        unsafe { device.entry().hipEventCreateWithFlags(&mut handle, EVENT_DISABLE_TIMING)? };
        Ok(Self { device: device.clone(), handle })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made and not destroyed before. An error means that the device is dead.
        let _ = unsafe { self.device.entry().hipEventDestroy(self.handle) };
    }
}
