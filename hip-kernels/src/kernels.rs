//! Where a device's machine code comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::{images, rtc};

/// Which machine code devices are given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kernels {
    /// What is built in; for a device that nothing is built in for, what hipRTC makes of the same source.
    #[default]
    Automatic,
    /// Always what hipRTC makes, with the compiler of this machine's ROCm.
    Compiled,
    /// Files of this folder, each called after its architecture, as `gfx942.co`: what hipcc made of the same source.
    Folder(PathBuf),
}

/// Code by architecture, got once in the life of a [`crate::Hip`].
#[derive(Debug, Default)]
pub(crate) struct Store {
    kernels: Kernels,
    /// The HIP library's file, where one was named: hipRTC lies beside it.
    library: Option<PathBuf>,
    compiled: Mutex<BTreeMap<String, Arc<[u8]>>>,
}

impl Store {
    pub(crate) fn new(kernels: Kernels, library: Option<PathBuf>) -> Self {
        Self { kernels, library, compiled: Mutex::default() }
    }

    /// Where the HIP library is, if that was named.
    pub(crate) fn library(&self) -> Option<&Path> {
        self.library.as_deref()
    }

    /// The code for an architecture. Takes seconds where it is compiled, the first time.
    pub(crate) fn get(&self, architecture: &str) -> Result<Arc<[u8]>, Error> {
        match &self.kernels {
            Kernels::Automatic => match images::find(architecture) {
                Ok(code) => Ok(code.into()),
                Err(Error::NoKernels { arch, known }) => {
                    self.compile(architecture).map_err(|why| Error::NotCompiled { arch, known, why })
                }
                Err(error) => Err(error),
            },
            Kernels::Compiled => self.compile(architecture).map_err(|why| {
                let known = "none that may be used".to_owned();
                Error::NotCompiled { arch: architecture.to_owned(), known, why }
            }),
            Kernels::Folder(folder) => {
                let path = folder.join(format!("{architecture}.co"));
                let why = |error: std::io::Error| Error::Program(format!("{}: {error}", path.display()));
                Ok(std::fs::read(&path).map_err(why)?.into())
            }
        }
    }

    fn compile(&self, architecture: &str) -> Result<Arc<[u8]>, String> {
        // Held while compiling: a second device of the same kind waits for the same code.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = compiled.get(architecture) {
            return Ok(code.clone());
        }
        let start = std::time::Instant::now();
        let code: Arc<[u8]> = rtc::compile(self.library(), architecture)?.into();
        tracing::info!(
            architecture,
            bytes = code.len(),
            milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            "compiled the kernels with hipRTC"
        );
        compiled.insert(architecture.to_owned(), code.clone());
        Ok(code)
    }
}
