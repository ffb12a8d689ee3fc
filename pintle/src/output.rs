//! Standard output that may be closed early, as by `| head`.

use std::io::{self, Write};

/// Writes text to standard output. A reader that has gone away is no error.
///
/// # Errors
/// Anything else that keeps the text from being written.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
