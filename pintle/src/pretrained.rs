//! Files of selectors that were trained elsewhere: read when a configuration is, for the policy itself reads nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pintle_config::{Config, Profile};
use pintle_routing::policy::Policy;
use pintle_routing::selection::pretrained::Pretrained;
use pintle_routing::signals::CompileError;

/// Bytes of one file.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Compiles a configuration with the files that it names. One that cannot be used is told, and its decisions
/// choose as by `static`, which the policy's notes say.
pub(crate) fn policy(config: &Config, profile: Profile) -> Result<Policy, Vec<CompileError>> {
    let mut pretrained = Pretrained::default();
    for (kind, path) in Pretrained::files(config) {
        let used = read(Path::new(&path))
            .map_err(|error| error.to_string())
            .and_then(|bytes| pretrained.read(kind, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = used {
            tracing::warn!(selector = kind.as_str(), path, error, "pretrained file not used");
        }
    }
    Policy::compile_with(config, profile, &pretrained)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 512 MiB"));
    }
    Ok(bytes)
}
