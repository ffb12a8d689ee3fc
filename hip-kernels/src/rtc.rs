//! Compiling the kernels on this machine: hipRTC, opened when it is needed.
//!
//! For devices that no machine code is built in for, and for who asks for it. The source is the one that the built-in
//! code comes from; a device without matrix instructions that it knows is refused by the compiler.
#![allow(unsafe_code, non_snake_case, reason = "a foreign interface as it is")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use libloading::Library;

use crate::entry::whole;

/// The kernels with all their headers, as `build.rs` put them together; deflated.
static SOURCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.hip.deflate"));
/// Of machine code that is taken; all kernels are some hundred kilobytes.
const MAX_CODE: usize = 64 << 20;
/// Of a compiler's messages that are told.
const MAX_LOG: usize = 2000;

type ProgramHandle = *mut c_void;

macro_rules! entry_points {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        struct EntryPoints {
            $($name: unsafe extern "C" fn($($kind),*) -> c_uint,)*
            hiprtcGetErrorString: unsafe extern "C" fn(c_uint) -> *const c_char,
            _library: Library,
        }

        impl EntryPoints {
            fn of(library: Library) -> Result<Self, String> {
                let lacks = |error| whole(&error);
                // SAFETY: these names have these types since HIP 4.2; the symbols are kept no longer than the library.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0")).map_err(lacks)?,)*
                        hiprtcGetErrorString: *library.get("hiprtcGetErrorString\0").map_err(lacks)?,
                        _library: library,
                    })
                }
            }

            $(
                /// # Safety
                /// As the function of this name.
                unsafe fn $name(&self, $($argument: $kind),*) -> Result<(), String> {
                    // SAFETY: the caller's.
                    let status = unsafe { (self.$name)($($argument),*) };
                    self.check(stringify!($name), status)
                }
            )*
        }
    };
}

entry_points! {
    hiprtcCreateProgram(
        program: *mut ProgramHandle,
        source: *const c_char,
        name: *const c_char,
        headers: c_int,
        header_sources: *mut *const c_char,
        header_names: *mut *const c_char
    );
    hiprtcCompileProgram(program: ProgramHandle, count: c_int, options: *mut *const c_char);
    hiprtcGetProgramLogSize(program: ProgramHandle, bytes: *mut usize);
    hiprtcGetProgramLog(program: ProgramHandle, log: *mut c_char);
    hiprtcGetCodeSize(program: ProgramHandle, bytes: *mut usize);
    hiprtcGetCode(program: ProgramHandle, code: *mut c_char);
    hiprtcDestroyProgram(program: *mut ProgramHandle);
}

impl EntryPoints {
    fn check(&self, call: &str, status: c_uint) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: any number may be asked for; the answer is a string literal of the library, or null.
        let name = unsafe {
            let name = (self.hiprtcGetErrorString)(status);
            if name.is_null() { "unnamed".into() } else { CStr::from_ptr(name).to_string_lossy() }
        };
        Err(format!("{call}: {name} ({status})"))
    }
}

/// Where the library may be: beside the HIP library that was named, or where the system and ROCm have it.
fn places(hip: Option<&Path>) -> Vec<PathBuf> {
    let names = ["libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so"];
    let beside = hip.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let folders = match beside {
        Some(folder) => vec![folder],
        None => vec![Path::new(""), Path::new("/opt/rocm/lib")],
    };
    folders.into_iter().flat_map(|folder| names.map(|name| folder.join(name))).collect()
}

/// Opens the first library that there is. `hip` is the HIP library, where one was named.
fn open(hip: Option<&Path>) -> Result<EntryPoints, String> {
    let mut why = Vec::new();
    for place in places(hip) {
        // SAFETY: loading runs the library's initialisers. It lies beside the HIP library that the operator named, or is
        // the system's.
        match unsafe { Library::new(&place) } {
            Ok(library) => return EntryPoints::of(library),
            Err(error) => why.push(whole(&error)),
        }
    }
    Err(format!("no libhiprtc: {}", why.join("; ")))
}

/// A program of the library, destroyed when it is dropped.
struct Program<'a> {
    library: &'a EntryPoints,
    handle: ProgramHandle,
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: made by this library and not destroyed before.
        let _ = unsafe { self.library.hiprtcDestroyProgram(&mut self.handle) };
    }
}

impl<'a> Program<'a> {
    fn new(library: &'a EntryPoints, source: &CStr) -> Result<Self, String> {
        let mut handle: ProgramHandle = std::ptr::null_mut();
        let nothing = std::ptr::null_mut();
        // SAFETY: both strings end with zero, there are no headers, the handle is written to the pointer given.
        unsafe {
            let name = c"pintle.hip".as_ptr();
            library.hiprtcCreateProgram(&mut handle, source.as_ptr(), name, 0, nothing, nothing)?;
        }
        Ok(Self { library, handle })
    }

    fn compile(&self, options: &[CString]) -> Result<(), String> {
        let mut pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let count = pointers.len() as c_int;
        // SAFETY: so many strings, which end with zero and live until the call returns.
        unsafe { self.library.hiprtcCompileProgram(self.handle, count, pointers.as_mut_ptr()) }
            .map_err(|error| format!("{error}; {}", self.log()))
    }

    /// The beginning of what the compiler has to say.
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the size is written to the integer given, and the log, so long, to the buffer.
        let log = unsafe {
            let asked = self.library.hiprtcGetProgramLogSize(self.handle, &mut size);
            let mut log = vec![0u8; size.min(MAX_CODE).saturating_add(1)];
            let fits = asked.is_ok() && size <= MAX_CODE;
            let got = fits.then(|| self.library.hiprtcGetProgramLog(self.handle, log.as_mut_ptr().cast()));
            if got.is_some_and(|got| got.is_ok()) { log } else { Vec::new() }
        };
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len()).min(MAX_LOG);
        String::from_utf8_lossy(&log[..end]).trim().to_owned()
    }

    fn code(&self) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the size is written to the integer given.
        unsafe { self.library.hiprtcGetCodeSize(self.handle, &mut size)? };
        if size == 0 || size > MAX_CODE {
            return Err(format!("the compiler's code has {size} bytes"));
        }
        let mut code = vec![0u8; size];
        // SAFETY: the buffer is as long as the library said.
        unsafe { self.library.hiprtcGetCode(self.handle, code.as_mut_ptr().cast())? };
        Ok(code)
    }
}

/// Compiles the kernels for an architecture, as `gfx1150`: seconds. `hip` is the HIP library, where one was named.
///
/// # Errors
///
/// Why there is no code, in one sentence and what the compiler said.
pub(crate) fn compile(hip: Option<&Path>, architecture: &str) -> Result<Vec<u8>, String> {
    let library = open(hip)?;
    let mut source = Vec::new();
    DeflateDecoder::new(SOURCE).read_to_end(&mut source).map_err(|error| error.to_string())?;
    let source = CString::new(source).map_err(|error| error.to_string())?;
    // Without its features an architecture's code runs whether or not they are switched on.
    let options = [format!("--offload-arch={architecture}"), "-O3".to_owned(), "-std=c++17".to_owned()];
    let options = options.map(CString::new).into_iter().collect::<Result<Vec<_>, _>>();
    let program = Program::new(&library, &source)?;
    program.compile(&options.map_err(|error| error.to_string())?)?;
    program.code()
}

#[cfg(test)]
mod tests;
