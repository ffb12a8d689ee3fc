//! The kernels, loaded on a device.
#![allow(unsafe_code, reason = "calls of the HIP library")]

use std::ffi::CString;
use std::rc::Rc;
use std::sync::Arc;

use crate::abi::WAVES;
use crate::device::Device;
use crate::entry::Handle;
use crate::error::Error;

/// The kernels on a device. Cheap to clone.
#[derive(Clone)]
pub struct Module(Rc<Loaded>);

struct Loaded {
    device: Device,
    handle: Handle,
    /// The library may refer to it for as long as the module is loaded.
    _code: Arc<[u8]>,
}

/// One kernel of a [`Module`], which it keeps loaded.
#[derive(Clone)]
pub struct Function {
    module: Module,
    handle: Handle,
}

impl Module {
    /// Loads the kernels for the device's architecture, from where the device's [`crate::Hip`] takes them.
    ///
    /// # Errors
    ///
    /// [`Error::NotCompiled`] for an architecture without any; the device's own refusal.
    pub fn load(device: &Device) -> Result<Self, Error> {
        let code = device.hip().kernels.get(device.info().architecture())?;
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: a whole code object, which lives longer than the module; the handle is written to the pointer given.
        unsafe { device.entry().hipModuleLoadData(&mut handle, code.as_ptr().cast())? };
        Ok(Self(Rc::new(Loaded { device: device.clone(), handle, _code: code })))
    }

    /// The kernel of this name, as `pk_gemm_fat_f16`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn function(&self, name: &str) -> Result<Function, Error> {
        let c_name =
            CString::new(name).map_err(|_| Error::Program(format!("no kernel is called {name:?}")))?;
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the module is loaded, the name ends with zero, the handle is written to the pointer given.
        unsafe { self.0.device.entry().hipModuleGetFunction(&mut handle, self.0.handle, c_name.as_ptr())? };
        Ok(Function { module: self.clone(), handle })
    }
}

impl Function {
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// Threads of a block: the same for every kernel.
    pub(crate) fn threads(&self) -> u32 {
        WAVES * self.module.0.device.info().wave
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: loaded and not unloaded before; functions and graphs that hold it are gone. An error means that the
        // device is dead.
        let _ = unsafe { self.device.entry().hipModuleUnload(self.handle) };
    }
}
