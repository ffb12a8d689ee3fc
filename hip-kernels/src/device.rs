//! A device as one thread uses it, and its memory.
//!
//! A [`Device`] is the thread's alone: HIP keeps the current device for each thread, and all that is made on a device
//! is used and dropped by the thread that made it. The types hold an `Rc` of the device, so the compiler sees to that:
//! none of them is `Send`. No two threads have the same device open, and no thread has two.
//!
//! Memory that is dropped while work on it is queued waits for that work: `hipFree` does so by its contract.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::{Address, Plain};
use crate::entry::{EntryPoints, HOST_TO_DEVICE};
use crate::error::{Error, HipError};
use crate::hip::{DeviceInfo, Hip};

/// What an allocation is rounded up to when it is counted against the limit: the least that the driver maps.
const GRANULE: u64 = 4096;

thread_local! {
    /// The device that this thread has open.
    static CURRENT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Devices that some thread of the process has open.
static OPEN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn open_devices() -> MutexGuard<'static, BTreeSet<u32>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this thread may open the device.
fn unused(open: &BTreeSet<u32>, index: u32) -> Result<(), Error> {
    match CURRENT.get().or(open.get(&index).copied()) {
        Some(used) => Err(Error::InUse(used)),
        None => Ok(()),
    }
}

/// A device. Cheap to clone.
#[derive(Clone)]
pub struct Device(Rc<Inner>);

struct Inner {
    hip: Hip,
    info: DeviceInfo,
    memory_limit: Cell<u64>,
    memory_used: Cell<u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        CURRENT.set(None);
        open_devices().remove(&self.info.index);
    }
}

impl Device {
    /// Makes the device `info` this thread's. At most `memory_limit` bytes of its memory are taken through what is
    /// returned.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when it is open already, or this thread has another one open; the library's refusal.
    pub fn open(hip: &Hip, info: DeviceInfo, memory_limit: u64) -> Result<Self, Error> {
        let mut open = open_devices();
        unused(&open, info.index)?;
        // SAFETY: takes a number.
        unsafe { hip.entry.hipSetDevice(info.index as c_int)? };
        open.insert(info.index);
        CURRENT.set(Some(info.index));
        Ok(Self(Rc::new(Inner {
            hip: hip.clone(),
            info,
            memory_limit: Cell::new(memory_limit),
            memory_used: Cell::new(0),
        })))
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Bytes of its memory that are taken.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.0.memory_used.get()
    }

    pub(crate) fn hip(&self) -> &Hip {
        &self.0.hip
    }

    /// Sets how much of its memory may be taken from now on; what is taken stays.
    pub fn limit_memory(&self, bytes: u64) {
        self.0.memory_limit.set(bytes);
    }

    pub(crate) fn entry(&self) -> &EntryPoints {
        &self.0.hip.entry
    }

    /// Waits until nothing is queued on it.
    ///
    /// # Errors
    ///
    /// When queued work failed.
    pub fn synchronize(&self) -> Result<(), HipError> {
        // SAFETY: takes nothing.
        unsafe { self.entry().hipDeviceSynchronize() }
    }

    /// Gives up all that this process has on a device, which makes a dead one usable again.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while it is open, or this thread has another one open; the library's refusal.
    pub fn reset(hip: &Hip, info: &DeviceInfo) -> Result<(), Error> {
        let open = open_devices();
        unused(&open, info.index)?;
        // SAFETY: takes a number. A dead device refuses; then it still is the one that this thread used last.
        let _ = unsafe { hip.entry.hipSetDevice(info.index as c_int) };
        // SAFETY: whatever is made on a device keeps it open, and it is not, nor can it be before the call returns: so
        // nothing is left that could be used.
        unsafe { hip.entry.hipDeviceReset()? };
        Ok(())
    }

    /// Room for `len` items; what lies in it is not defined.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryLimit`] before the device is asked, or its own refusal.
    pub fn allocate<T: Plain>(&self, len: usize) -> Result<DeviceBuffer<T>, Error> {
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let wanted = (bytes as u64).checked_next_multiple_of(GRANULE).unwrap_or(u64::MAX);
        let (used, limit) = (self.memory_used(), self.0.memory_limit.get());
        if wanted > limit.saturating_sub(used) {
            return Err(Error::MemoryLimit { wanted, used, limit });
        }
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: the address is written to the pointer given.
        unsafe { self.entry().hipMalloc(&mut memory, bytes)? };
        self.0.memory_used.set(used + wanted);
        Ok(DeviceBuffer { device: self.clone(), memory, len, counted: wanted, items: PhantomData })
    }

    /// Room with a copy of `items` in it.
    ///
    /// # Errors
    ///
    /// As [`Self::allocate`]; and the copy's.
    pub fn upload<T: Plain>(&self, items: &[T]) -> Result<DeviceBuffer<T>, Error> {
        let buffer = self.allocate(items.len())?;
        // SAFETY: both are as long as the slice, and the call returns when the slice has been read.
        unsafe {
            self.entry().hipMemcpy(
                buffer.memory,
                items.as_ptr().cast(),
                size_of_val(items),
                HOST_TO_DEVICE,
            )?;
        }
        // The copy of pageable memory may still be under way in the null stream, which other streams do not wait for.
        self.synchronize()?;
        Ok(buffer)
    }

    /// Room filled with zero bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::allocate`].
    pub fn zeroed<T: Plain>(&self, len: usize) -> Result<DeviceBuffer<T>, Error> {
        let buffer = self.allocate(len)?;
        // SAFETY: the buffer is this long.
        unsafe { self.entry().hipMemset(buffer.memory, 0, len * size_of::<T>())? };
        self.synchronize()?;
        Ok(buffer)
    }
}

/// Items in device memory, given back when it is dropped. The host cannot touch them.
pub struct DeviceBuffer<T: Plain> {
    device: Device,
    memory: *mut c_void,
    len: usize,
    counted: u64,
    items: PhantomData<T>,
}

impl<T: Plain> DeviceBuffer<T> {
    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where its first item lies; a multiple of 256.
    #[must_use]
    pub fn address(&self) -> Address {
        Address(self.memory as u64)
    }

    /// Where item `at` lies, if `count` items from there on are in it.
    pub(crate) fn range(&self, at: usize, count: usize) -> Result<*mut c_void, Error> {
        if at.checked_add(count).is_none_or(|end| end > self.len) {
            return Err(Error::Range { at, count, len: self.len });
        }
        Ok(self.memory.cast::<T>().wrapping_add(at).cast())
    }
}

impl<T: Plain> Drop for DeviceBuffer<T> {
    fn drop(&mut self) {
        self.device.0.memory_used.update(|used| used - self.counted);
        // SAFETY: allocated by this device and not freed before. The call waits for queued work that uses it. An error
        // means that the device is dead, and with it its memory.
        let _ = unsafe { self.device.entry().hipFree(self.memory) };
    }
}
