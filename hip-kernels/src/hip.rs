//! The HIP library, if there is one, and the devices that it knows.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::ffi::{CStr, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::{ATTRIBUTE_PROCESSORS, ATTRIBUTE_WAVE, EntryPoints};
use crate::error::{HipError, NO_DEVICE, Unavailable};
use crate::kernels::{Kernels, Store};

/// HIP 6 laid device properties out anew, under a name of its own.
const LEAST_MAJOR: c_int = 6;
/// `hipRuntimeGetVersion` is major * 10^7 + minor * 10^5 + patch.
const MAJOR_UNIT: c_int = 10_000_000;

/// Which library to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// With the feature `hip-rs` the one that the program is linked with, else the system's, opened at run time.
    #[default]
    Default,
    /// This file, opened at run time.
    File(PathBuf),
}

/// A HIP library. Cheap to clone; may be used by several threads.
#[derive(Clone)]
pub struct Hip {
    pub(crate) entry: Arc<EntryPoints>,
    pub(crate) kernels: Arc<Store>,
    version: c_int,
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number in this process, from 0.
    pub index: u32,
    /// What its maker calls it.
    pub name: String,
    /// Instruction set with features, as `gfx942:sramecc+:xnack-`; `sm_90` through the CUDA shim.
    pub isa: String,
    /// Processors as the library counts them: compute units, or pairs of them on gfx10 and later.
    pub compute_units: u32,
    /// Threads of a wave: 64 or 32.
    pub wave: u32,
    /// Memory in bytes.
    pub memory: u64,
}

impl DeviceInfo {
    /// Instruction set without features, as `gfx942`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.isa.split(':').next().unwrap_or_default()
    }
}

/// `hipDeviceProp_tR0600`, 1472 bytes in HIP 7.1, as far as it is read. Room behind it for fields that later versions
/// may add.
#[repr(C, align(8))]
struct Properties {
    name: [u8; 256],
    _identity: [u8; 32],
    memory: u64,
    _shared: u64,
    _registers: u32,
    wave: c_int,
    _unread: [u8; 848],
    isa: [u8; 256],
    _room: [u8; 4096 - 1416],
}

const _: () = assert!(std::mem::offset_of!(Properties, wave) == 308);
const _: () = assert!(std::mem::offset_of!(Properties, isa) == 1160);
const _: () = assert!(size_of::<Properties>() == 4096);

impl Hip {
    /// Opens the library and asks it for its version and for a first sign of a device.
    ///
    /// # Errors
    ///
    /// [`Unavailable`], which is the usual case: most machines have no such library.
    pub fn open(source: &Source) -> Result<Self, Unavailable> {
        let entry = Arc::new(match source {
            #[cfg(feature = "hip-rs")]
            Source::Default => EntryPoints::linked(),
            #[cfg(not(feature = "hip-rs"))]
            Source::Default => open_any()?,
            Source::File(path) => EntryPoints::open(&path.to_string_lossy())?,
        });
        // SAFETY: no flags are defined; the version is written to the integer given.
        let version = unsafe {
            entry.hipInit(0).map_err(no_device)?;
            let mut version = 0;
            entry.hipRuntimeGetVersion(&mut version)?;
            version
        };
        if version / MAJOR_UNIT < LEAST_MAJOR {
            let why = format!("its version is {}", Version(version));
            return Err(Unavailable::TooOld { library: "libamdhip64".to_owned(), why });
        }
        let library = match source {
            Source::Default => None,
            Source::File(path) => Some(path.clone()),
        };
        let kernels = Arc::new(Store::new(Kernels::default(), library));
        let hip = Self { entry, kernels, version };
        if hip.devices()? == 0 {
            return Err(Unavailable::NoDevice);
        }
        Ok(hip)
    }

    /// The same library; devices that are opened through what is returned take their machine code from `kernels`.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = Arc::new(Store::new(kernels, self.kernels.library().map(Path::to_owned)));
        self
    }

    /// How many devices there are.
    ///
    /// # Errors
    ///
    /// When the library has none, or cannot say.
    pub fn devices(&self) -> Result<u32, Unavailable> {
        let mut count = 0;
        // SAFETY: the count is written to the integer given.
        unsafe { self.entry.hipGetDeviceCount(&mut count) }.map_err(no_device)?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// What a device is.
    ///
    /// # Errors
    ///
    /// When there is no such device, or the library describes it in a way that is not known here.
    pub fn describe(&self, index: u32) -> Result<DeviceInfo, Unavailable> {
        let count = self.devices()?;
        if index >= count {
            return Err(Unavailable::NoSuchDevice { index, count });
        }
        let device = index as c_int;
        // SAFETY: all bytes zero is a value of it.
        let mut properties: Box<Properties> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: there is room for the struct and more; it is plain numbers.
        unsafe { self.entry.hipGetDevicePropertiesR0600((&raw mut *properties).cast(), device)? };
        let wave = self.attribute(ATTRIBUTE_WAVE, device)?;
        if wave != properties.wave || (wave != 64 && wave != 32) {
            return Err(Unavailable::Layout(format!("waves of {} and of {wave} threads", properties.wave)));
        }
        let isa = text(&properties.isa);
        // "sm_" is what the CUDA shim of `cuda-shim` calls an NVIDIA GPU.
        let known = isa.starts_with("gfx") || wave == 32 && isa.starts_with("sm_");
        if !known {
            return Err(Unavailable::Layout(format!("an instruction set called {isa:?}")));
        }
        Ok(DeviceInfo {
            index,
            name: text(&properties.name),
            isa,
            compute_units: self.attribute(ATTRIBUTE_PROCESSORS, device)?.unsigned_abs(),
            wave: wave.unsigned_abs(),
            memory: properties.memory,
        })
    }

    fn attribute(&self, attribute: u32, device: c_int) -> Result<c_int, HipError> {
        let mut value = 0;
        // SAFETY: the value is written to the integer given.
        unsafe { self.entry.hipDeviceGetAttribute(&mut value, attribute, device)? };
        Ok(value)
    }

    /// The library's version, as `7.1`.
    #[must_use]
    pub fn version(&self) -> String {
        Version(self.version).to_string()
    }
}

impl fmt::Debug for Hip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hip").field("version", &self.version()).finish_non_exhaustive()
    }
}

struct Version(c_int);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / MAJOR_UNIT, self.0 / 100_000 % 100)
    }
}

#[cfg(not(feature = "hip-rs"))]
fn open_any() -> Result<EntryPoints, Unavailable> {
    // Newest first; and where ROCm puts them when the system's loader has not been told.
    let names = ["libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"];
    let mut why = Vec::new();
    for folder in [None, Some("/opt/rocm/lib")] {
        for name in names {
            let name = folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
            match EntryPoints::open(&name) {
                Err(Unavailable::NoLibrary(error)) => why.push(error),
                opened => return opened,
            }
        }
    }
    Err(Unavailable::NoLibrary(why.join("; ")))
}

fn no_device(error: HipError) -> Unavailable {
    if error.code == NO_DEVICE { Unavailable::NoDevice } else { Unavailable::Hip(error) }
}

/// Up to the first zero byte.
fn text(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
