//! A device as one thread uses it, and its memory.
//!
//! A [`Device`] is the thread's alone: HIP keeps the current device for each thread, and all that is made on a device
//! is used and dropped by the thread that made it. The types hold an `Rc` of the device, so the compiler sees to that:
//! none of them is `Send`.
//!
//! Memory that is dropped while work on it is queued waits for that work: `hipFree` does so by its contract.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::rc::Rc;

use crate::abi::{Address, Plain};
use crate::entry::{EntryPoints, HOST_TO_DEVICE};
use crate::error::{Error, HipError};
use crate::hip::{DeviceInfo, Hip};

/// What an allocation is rounded up to when it is counted against the limit: the least that the driver maps.
const GRANULE: u64 = 4096;

thread_local! {
    /// Device of this thread and how many [`Device`]s it has made.
    static CURRENT: Cell<(u32, usize)> = const { Cell::new((0, 0)) };
}

/// A device. Cheap to clone.
#[derive(Clone)]
pub struct Device(Rc<Inner>);

struct Inner {
    hip: Hip,
    info: DeviceInfo,
    memory_limit: u64,
    memory_used: Cell<u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (index, open) = CURRENT.get();
        CURRENT.set((index, open - 1));
    }
}

impl Device {
    /// Makes the device `info` this thread's. At most `memory_limit` bytes of its memory are taken through what is
    /// returned.
    ///
    /// # Errors
    ///
    /// When the thread uses another device, or the library refuses.
    pub fn open(hip: &Hip, info: DeviceInfo, memory_limit: u64) -> Result<Self, Error> {
        let (index, open) = CURRENT.get();
        if open > 0 && index != info.index {
            return Err(Error::SecondDevice(index));
        }
        // SAFETY: takes a number.
        unsafe { hip.entry.hipSetDevice(info.index as c_int)? };
        CURRENT.set((info.index, open + 1));
        Ok(Self(Rc::new(Inner { hip: hip.clone(), info, memory_limit, memory_used: Cell::new(0) })))
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

    /// Gives up all that this process has on the device, which makes a dead one usable again. Does nothing while
    /// anything made on it is alive.
    ///
    /// # Errors
    ///
    /// When the library refuses.
    pub fn reset(self) -> Result<(), HipError> {
        match Rc::try_unwrap(self.0) {
            // SAFETY: whatever was made on the device has held a clone of it, so nothing is left to be used.
            Ok(last) => unsafe { last.hip.entry.hipDeviceReset() },
            Err(_) => Ok(()),
        }
    }

    /// Room for `len` items; what lies in it is not defined.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryLimit`] before the device is asked, or its own refusal.
    pub fn allocate<T: Plain>(&self, len: usize) -> Result<DeviceBuffer<T>, Error> {
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let wanted = (bytes as u64).checked_next_multiple_of(GRANULE).unwrap_or(u64::MAX);
        let (used, limit) = (self.memory_used(), self.0.memory_limit);
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
