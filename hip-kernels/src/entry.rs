//! The functions of libamdhip64 that Pintle calls, in one table that is filled at run time or by the linker.
//!
//! Every function that can fail is a method that says so: a status other than success becomes a [`HipError`] with the
//! function's name. The methods are as unsafe as the functions are.
#![allow(unsafe_code, non_snake_case, clippy::too_many_arguments, reason = "a foreign interface as it is")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::error::{HipError, SUCCESS, Unavailable};

/// What the library hands out: streams, events, modules, functions, graphs.
pub(crate) type Handle = *mut c_void;

/// Host to device, for `hipMemcpyAsync`.
pub(crate) const HOST_TO_DEVICE: c_uint = 1;
/// Device to host.
pub(crate) const DEVICE_TO_HOST: c_uint = 2;
/// A stream that does not wait for the null stream.
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
/// An event without a time.
pub(crate) const EVENT_DISABLE_TIMING: c_uint = 2;
/// Other threads may go on calling HIP while this one captures.
pub(crate) const CAPTURE_THREAD_LOCAL: c_uint = 1;
/// `hipDeviceAttributeMultiprocessorCount`
pub(crate) const ATTRIBUTE_PROCESSORS: c_uint = 63;
/// `hipDeviceAttributeWarpSize`
pub(crate) const ATTRIBUTE_WAVE: c_uint = 87;

/// Keeps the library in memory while its functions may be called.
enum Keeper {
    Opened {
        _library: libloading::Library,
    },
    #[cfg(feature = "hip-rs")]
    Linked,
}

macro_rules! entry_points {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        pub(crate) struct EntryPoints {
            $($name: unsafe extern "C" fn($($kind),*) -> c_uint,)*
            hipGetErrorName: unsafe extern "C" fn(c_uint) -> *const c_char,
            _keeper: Keeper,
        }

        impl EntryPoints {
            /// Every function that is called.
            #[cfg(test)]
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            fn of(library: libloading::Library, name: &str) -> Result<Self, Unavailable> {
                let lacks = |error| Unavailable::TooOld { library: name.to_owned(), why: whole(&error) };
                // SAFETY: these names have these types in HIP 6 and 7; the symbols are kept no longer than the library.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0")).map_err(lacks)?,)*
                        hipGetErrorName: *library.get("hipGetErrorName\0").map_err(lacks)?,
                        _keeper: Keeper::Opened { _library: library },
                    })
                }
            }

            /// The functions that this program is linked with.
            #[cfg(feature = "hip-rs")]
            pub(crate) fn linked() -> Self {
                use hip_rs::sys;
                // SAFETY: the same C functions under the types that bindgen gives them: enums are 32-bit integers,
                // handles are pointers.
                unsafe {
                    Self {
                        $($name: std::mem::transmute::<
                            *const (),
                            unsafe extern "C" fn($($kind),*) -> c_uint,
                        >(sys::$name as *const ()),)*
                        hipGetErrorName: std::mem::transmute::<
                            *const (),
                            unsafe extern "C" fn(c_uint) -> *const c_char,
                        >(sys::hipGetErrorName as *const ()),
                        _keeper: Keeper::Linked,
                    }
                }
            }

            $(
                /// # Safety
                /// As the function of this name.
                pub(crate) unsafe fn $name(&self, $($argument: $kind),*) -> Result<(), HipError> {
                    // SAFETY: the caller's.
                    let status = unsafe { (self.$name)($($argument),*) };
                    self.check(stringify!($name), status)
                }
            )*
        }
    };
}

entry_points! {
    hipInit(flags: c_uint);
    hipRuntimeGetVersion(version: *mut c_int);
    hipGetDeviceCount(count: *mut c_int);
    hipSetDevice(device: c_int);
    hipDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int);
    hipGetDevicePropertiesR0600(properties: *mut c_void, device: c_int);
    hipDeviceSynchronize();
    hipDeviceReset();
    hipMalloc(memory: *mut *mut c_void, bytes: usize);
    hipFree(memory: *mut c_void);
    hipHostMalloc(memory: *mut *mut c_void, bytes: usize, flags: c_uint);
    hipHostFree(memory: *mut c_void);
    hipMemcpy(to: *mut c_void, from: *const c_void, bytes: usize, kind: c_uint);
    hipMemcpyAsync(to: *mut c_void, from: *const c_void, bytes: usize, kind: c_uint, stream: Handle);
    hipMemset(memory: *mut c_void, value: c_int, bytes: usize);
    hipStreamCreateWithFlags(stream: *mut Handle, flags: c_uint);
    hipStreamSynchronize(stream: Handle);
    hipStreamDestroy(stream: Handle);
    hipEventCreateWithFlags(event: *mut Handle, flags: c_uint);
    hipEventRecord(event: Handle, stream: Handle);
    hipEventQuery(event: Handle);
    hipEventDestroy(event: Handle);
    hipModuleLoadData(module: *mut Handle, image: *const c_void);
    hipModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char);
    hipModuleUnload(module: Handle);
    hipModuleLaunchKernel(
        function: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: Handle,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void
    );
    hipStreamBeginCapture(stream: Handle, mode: c_uint);
    hipStreamEndCapture(stream: Handle, graph: *mut Handle);
    hipGraphInstantiate(exec: *mut Handle, graph: Handle, node: *mut Handle, log: *mut c_char, log_bytes: usize);
    hipGraphDestroy(graph: Handle);
    hipGraphLaunch(exec: Handle, stream: Handle);
    hipGraphExecDestroy(exec: Handle);
}

impl EntryPoints {
    /// Opens a library by name or path.
    pub(crate) fn open(name: &str) -> Result<Self, Unavailable> {
        // SAFETY: loading runs the library's initialisers. It is the one that the operator named, or the system's
        // libamdhip64.
        let library = unsafe { libloading::Library::new(name) };
        let library = library.map_err(|error| Unavailable::NoLibrary(whole(&error)))?;
        Self::of(library, name)
    }

    pub(crate) fn check(&self, call: &'static str, code: c_uint) -> Result<(), HipError> {
        if code == SUCCESS {
            return Ok(());
        }
        // SAFETY: any number may be asked for; the answer is a string literal of the library, or null.
        let name = unsafe {
            let name = (self.hipGetErrorName)(code);
            if name.is_null() { None } else { Some(CStr::from_ptr(name).to_string_lossy().into_owned()) }
        };
        Err(HipError { call, code, name: name.unwrap_or_else(|| "unnamed".to_owned()) })
    }
}

/// The system's reason too, which names the file or the symbol.
pub(crate) fn whole(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(reason) => format!("{error}: {reason}"),
        None => error.to_string(),
    }
}
