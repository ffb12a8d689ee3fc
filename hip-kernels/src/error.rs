//! What goes wrong between the host and a GPU.

/// A call of the HIP library that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {name} ({code})")]
pub struct HipError {
    /// The function, as `hipMalloc`.
    pub call: &'static str,
    /// Its `hipError_t`.
    pub code: u32,
    /// What the library calls that code.
    pub name: String,
}

/// What an error says about the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Its memory, or the host's pinned memory, is used up. The device works.
    OutOfMemory,
    /// This library or this device cannot do that.
    NotSupported,
    /// The device is dead for this process until it is reset: every call fails from now on.
    DeviceFault,
    /// Anything else: a wrong argument, a busy resource.
    Other,
}

pub(crate) const SUCCESS: u32 = 0;
pub(crate) const NO_DEVICE: u32 = 100;
pub(crate) const NOT_READY: u32 = 600;
const OUT_OF_MEMORY: u32 = 2;
const NO_BINARY_FOR_GPU: u32 = 209;
const NOT_SUPPORTED: u32 = 801;
/// Deinitialized, PriorLaunchFailure, ECCNotCorrectable, IllegalAddress, LaunchTimeOut, ContextIsDestroyed, Assert,
/// LaunchFailure.
const FAULTS: [u32; 8] = [4, 53, 214, 700, 702, 709, 710, 719];

impl HipError {
    /// What it says about the device.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.code {
            OUT_OF_MEMORY => Class::OutOfMemory,
            NOT_SUPPORTED | NO_BINARY_FOR_GPU => Class::NotSupported,
            code if FAULTS.contains(&code) => Class::DeviceFault,
            _ => Class::Other,
        }
    }
}

/// Why something could not be done on a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library refused.
    #[error(transparent)]
    Hip(#[from] HipError),
    /// More device memory than Pintle may take.
    #[error("{wanted} bytes of device memory, but {used} of the {limit} that are allowed are taken")]
    MemoryLimit {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that are taken.
        used: u64,
        /// Bytes that may be taken.
        limit: u64,
    },
    /// No kernels are built in for this architecture.
    #[error("there are no kernels for {arch}; there are for {known}")]
    NoKernels {
        /// As the device names it, without features.
        arch: String,
        /// Architectures that there are kernels for.
        known: String,
    },
    /// No kernels are built in for this architecture, or none may be used, and hipRTC made none.
    #[error("there are no kernels for {arch}; there are for {known}; hipRTC did not compile them: {why}")]
    NotCompiled {
        /// As the device names it, without features.
        arch: String,
        /// Architectures that there are kernels for.
        known: String,
        /// What the library or its compiler said.
        why: String,
    },
    /// The kernels that are built in are not those that were committed.
    #[error("the kernels for {arch} are damaged: their digest is not the one noted beside them")]
    Damaged {
        /// The architecture.
        arch: &'static str,
    },
    /// A copy would pass the end of what is copied from or to.
    #[error("a copy of {count} items at {at}, but there are {len}")]
    Range {
        /// First item.
        at: usize,
        /// Items.
        count: usize,
        /// Items that there are.
        len: usize,
    },
    /// The device is open already, or the thread has another one open.
    #[error("device {0} is in use")]
    InUse(u32),
    /// A model does not go with what it is asked or with this device.
    #[error("{0}")]
    Program(String),
}

impl Error {
    /// What it says about the device.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Hip(error) => error.class(),
            Self::MemoryLimit { .. } => Class::OutOfMemory,
            Self::NoKernels { .. } | Self::NotCompiled { .. } => Class::NotSupported,
            Self::Damaged { .. } | Self::Range { .. } | Self::InUse(_) | Self::Program(_) => Class::Other,
        }
    }
}

/// Why there is no HIP here. Nothing else is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// No library by any of the names.
    #[error("no libamdhip64: {0}")]
    NoLibrary(String),
    /// A library, but not one of HIP 6 or later.
    #[error("{library} is not HIP 6 or later: {why}")]
    TooOld {
        /// Its name or path.
        library: String,
        /// What it lacks.
        why: String,
    },
    /// A library, but no device that it can use.
    #[error("no GPU that HIP can use")]
    NoDevice,
    /// No device of this number.
    #[error("no device {index}: there are {count}")]
    NoSuchDevice {
        /// The number asked for.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// A library whose device properties are laid out otherwise than those of HIP 6 and 7.
    #[error("the library describes its devices in a way that is not known here: {0}")]
    Layout(String),
    /// The library refused a first call.
    #[error(transparent)]
    Hip(#[from] HipError),
}
