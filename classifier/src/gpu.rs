//! The back end that runs encoders on GPUs, through HIP where this machine has it.
//!
//! [`Gpus`] are the devices that one configuration names, each with the thread that owns it. A [`GpuEncoder`] is the
//! twin of an encoder on the CPU: the same tokens, the same outputs, computed on one of those devices. A session hands
//! its batch over and waits; what many sessions ask meanwhile goes through the device together.
//!
//! Weights and activations are 16-bit floats, sums are `f32`.

use std::fmt;
use std::time::Duration;

use pintle_config::ClassifierHip;
use pintle_hip::encoder::EncoderProgram;
use pintle_hip::engine::{Engine, Options, Status};
use pintle_hip::{Hip, Source, Unavailable};

mod encoder;
mod pool;
mod spec;

pub use encoder::GpuEncoder;
pub use pool::{GpuPool, GpuReport};
pub use spec::pack;

/// The GPUs that this process uses.
pub struct Gpus {
    hip: Hip,
    engines: Vec<Engine<EncoderProgram>>,
    /// Devices that were asked for and cannot be used, and why.
    refused: Vec<(u32, String)>,
    options: Options,
}

impl Gpus {
    /// Opens the library and the devices that are named; those that work are used.
    ///
    /// # Errors
    ///
    /// Why none can be used, in one sentence.
    pub fn open(settings: &ClassifierHip) -> Result<Self, String> {
        let source = match settings.library.as_str() {
            "" => Source::Default,
            path => Source::File(path.into()),
        };
        let hip = Hip::open(&source).map_err(|error| match error {
            // What the loader says of each name and place, most machines need not hear.
            Unavailable::NoLibrary(why) if settings.library.is_empty() => {
                tracing::debug!(why, "libamdhip64 cannot be opened");
                "this machine has no libamdhip64".to_owned()
            }
            other => other.to_string(),
        })?;
        let mut gpus = Self { hip, engines: Vec::new(), refused: Vec::new(), options: options(settings) };
        gpus.take(settings)?;
        Ok(gpus)
    }

    /// Takes other settings, but for the library and the number of batches under way, which stay. A device that is not
    /// named any more is given back when the last model on it goes; one that could not be used is tried again.
    ///
    /// # Errors
    ///
    /// Why none can be used any more, in one sentence.
    pub fn follow(&mut self, settings: &ClassifierHip) -> Result<(), String> {
        self.options = Options { slots: self.options.slots, ..options(settings) };
        self.engines.iter().for_each(|engine| engine.follow(self.options));
        self.take(settings)
    }

    /// Has the devices that are named, and no other.
    fn take(&mut self, settings: &ClassifierHip) -> Result<(), String> {
        let named = if settings.devices.is_empty() { &[0][..] } else { settings.devices.as_slice() };
        self.refused.clear();
        let mut engines = Vec::with_capacity(named.len());
        for (at, device) in named.iter().enumerate() {
            if named[..at].contains(device) {
                continue;
            }
            let known = self.engines.iter().find(|engine| engine.device() == *device).cloned();
            match known.map_or_else(|| Engine::start(&self.hip, *device, self.options), Ok) {
                Ok(engine) => engines.push(engine),
                Err(error) => self.refused.push((*device, error.to_string())),
            }
        }
        self.engines = engines;
        if self.engines.is_empty() {
            let say = |(device, why): &(u32, String)| format!("device {device}: {why}");
            return Err(self.refused.iter().map(say).collect::<Vec<_>>().join("; "));
        }
        Ok(())
    }

    /// What they are and do.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let refused = self.refused.iter().map(|(device, why)| Status::refused(*device, why));
        self.engines.iter().map(Engine::status).chain(refused).collect()
    }
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("engines", &self.engines).finish_non_exhaustive()
    }
}

fn options(settings: &ClassifierHip) -> Options {
    let milliseconds = |count: u32| Duration::from_millis(count.into());
    Options {
        memory_limit: settings.memory_bytes,
        slots: settings.batches.into(),
        queue: settings.queue as usize,
        wait: Duration::from_micros(settings.wait_us.into()),
        watchdog: milliseconds(settings.watchdog_ms),
        load_limit: milliseconds(settings.load_ms),
        retry_after: milliseconds(settings.retry_ms),
    }
}
