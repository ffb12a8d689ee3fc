//! A GPU for tests: the HIP library whose kernels run on the CPU, and the faults that it can play.
//!
//! The library's state is the process's. An [`Emulator`] is a test's turn with it: whoever comes next waits.

use std::ffi::{CString, c_char, c_int, c_uint, c_ulong};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libloading::Library;

/// The device that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Waves of 64, MFMA.
    Gfx942,
    /// Waves of 32, WMMA.
    Gfx1100,
    /// An NVIDIA GPU: the library is the CUDA shim over an emulated CUDA driver, and faults are those of the driver.
    Sm90,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Gfx942 => "gfx942",
            Self::Gfx1100 => "gfx1100",
            Self::Sm90 => "sm_90",
        }
    }
}

/// Codes of `hipError_t` to fail with.
pub mod codes {
    /// `hipErrorInvalidValue`
    pub const INVALID_VALUE: u32 = 1;
    /// `hipErrorOutOfMemory`
    pub const OUT_OF_MEMORY: u32 = 2;
    /// `hipErrorNoDevice`
    pub const NO_DEVICE: u32 = 100;
    /// `hipErrorIllegalAddress`: kills the device
    pub const ILLEGAL_ADDRESS: u32 = 700;
    /// `hipErrorLaunchFailure`: kills the device
    pub const LAUNCH_FAILURE: u32 = 719;
    /// `hipErrorNotSupported`
    pub const NOT_SUPPORTED: u32 = 801;
}

/// The emulated library, as one test at a time has it. Dropping it checks that nothing made through the library is left.
pub struct Emulator {
    /// What has the controls.
    library: Library,
    /// The HIP library.
    path: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Emulator {
    /// Takes a turn, with everything as at the start. `None`, and a line that says why the test is skipped, where the
    /// library could not be built.
    ///
    /// # Panics
    ///
    /// If the library was built and cannot be opened.
    #[must_use]
    pub fn take(target: Target) -> Option<Self> {
        if env!("PINTLE_EMULATOR_PATH").is_empty() {
            println!("SKIP {}", env!("PINTLE_EMULATOR_WHY"));
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Path::new(env!("PINTLE_EMULATOR_PATH")).join(target.name());
        let path = folder.join("libamdhip64.so.6");
        // The shim opens the driver by its name, which the loader knows from then on.
        let controlled = if target == Target::Sm90 { folder.join("libcuda.so.1") } else { path.clone() };
        // SAFETY: the library's initialisers fill tables of its own.
        let library = unsafe { Library::new(&controlled) }.expect("the emulator was built");
        let emulator = Self { library, path, _turn: turn };
        emulator.reset();
        Some(emulator)
    }

    /// The library's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The HIP function named returns `code` after `after` more calls that go through, once. [`codes::LAUNCH_FAILURE`]
    /// and [`codes::ILLEGAL_ADDRESS`] kill the device until it is reset; of a launch they do so when it is executed.
    pub fn fail(&self, call: &str, after: u32, code: u32) {
        let call = CString::new(call).expect("a function's name");
        // SAFETY: the library's own function of this type; it copies the name.
        unsafe {
            let fail =
                self.function::<unsafe extern "C" fn(*const c_char, c_uint, c_int)>("pintle_emu_fail\0");
            fail(call.as_ptr(), after, code.cast_signed());
        }
    }

    /// While on, nothing queued is executed, and who waits for it waits.
    pub fn hang(&self, on: bool) {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn(c_int)>("pintle_emu_hang\0")(on.into()) }
    }

    /// Bytes of device memory. 4 GiB at the start.
    pub fn memory(&self, bytes: usize) {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn(usize)>("pintle_emu_memory\0")(bytes) }
    }

    /// The device's instruction set, with features.
    pub fn isa(&self, name: &str) {
        let name = CString::new(name).expect("an instruction set's name");
        // SAFETY: the library's own function of this type; it copies the name.
        unsafe {
            self.function::<unsafe extern "C" fn(*const c_char)>("pintle_emu_isa\0")(name.as_ptr());
        }
    }

    /// The hipRTC beside the library.
    ///
    /// # Panics
    ///
    /// If it cannot be opened.
    #[must_use]
    pub fn compiler(&self) -> Compiler {
        let path = self.path.with_file_name("libhiprtc.so.6");
        // SAFETY: the library's initialisers fill tables of its own.
        Compiler(unsafe { Library::new(path) }.expect("the emulator was built"))
    }

    /// Calls of a HIP function since the last reset.
    #[must_use]
    pub fn calls(&self, call: &str) -> u64 {
        let call = CString::new(call).expect("a function's name");
        // SAFETY: the library's own function of this type; it copies the name.
        unsafe {
            self.function::<unsafe extern "C" fn(*const c_char) -> c_ulong>("pintle_emu_calls\0")(
                call.as_ptr(),
            )
        }
    }

    /// Allocations, streams, events, modules and graphs that are alive.
    #[must_use]
    pub fn alive(&self) -> u64 {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn() -> c_ulong>("pintle_emu_alive\0")() }
    }

    /// Forgets faults, the hang, the memory limit and the counts; a dead device lives again.
    pub fn reset(&self) {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn()>("pintle_emu_reset\0")() }
    }

    /// # Safety
    ///
    /// `T` is the type of the function of this name, which ends with a zero byte.
    unsafe fn function<T: Copy>(&self, name: &str) -> T {
        // SAFETY: the caller's.
        *unsafe { self.library.get::<T>(name) }.expect("the emulator exports its controls")
    }
}

/// A hipRTC that compiles nothing and gives code that the emulated device takes.
pub struct Compiler(Library);

impl Compiler {
    /// The function named returns `code`, once.
    pub fn fail(&self, call: &str, code: i32) {
        let call = CString::new(call).expect("a function's name");
        // SAFETY: the library's own function of this type; it copies the name.
        unsafe {
            self.function::<unsafe extern "C" fn(*const c_char, c_int)>("pintle_rtc_fail\0")(
                call.as_ptr(),
                code,
            );
        }
    }

    /// Compilations in the life of the process.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn() -> c_ulong>("pintle_rtc_compilations\0")() }
    }

    /// Programs that are alive.
    #[must_use]
    pub fn alive(&self) -> u64 {
        // SAFETY: the library's own function of this type.
        unsafe { self.function::<unsafe extern "C" fn() -> c_ulong>("pintle_rtc_alive\0")() }
    }

    /// # Safety
    ///
    /// `T` is the type of the function of this name, which ends with a zero byte.
    unsafe fn function<T: Copy>(&self, name: &str) -> T {
        // SAFETY: the caller's.
        *unsafe { self.0.get::<T>(name) }.expect("the compiler exports its controls")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let alive = self.alive();
        self.reset();
        if !std::thread::panicking() {
            assert_eq!(alive, 0, "of what was made through the HIP library, something is left");
        }
    }
}
