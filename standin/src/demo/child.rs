//! Processes that do not outlive the demonstration, however it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Lines of a log shown when its process failed.
const LOG_TAIL: usize = 20;

/// A child process whose output goes to a log file; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, in a process group of its own so that Ctrl-C reaches only the demonstration,
    /// which then ends its children itself.
    pub(super) fn start(program: &Path, args: &[impl AsRef<OsStr>], log: &Path) -> io::Result<Self> {
        let out = File::create(log)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        die_with_parent(&mut command);
        Ok(Self { child: command.spawn()?, log: log.to_owned() })
    }

    /// Its exit status, if it has ended.
    pub(super) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The last lines that it wrote.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the kernel to kill the child when the thread that starts it ends, which here is the main thread.
fn die_with_parent(command: &mut Command) {
    let hook = || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes plain integers and touches no memory of ours.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the hook makes one system call and reads errno; it neither allocates
    // nor takes a lock, so it is sound even if another thread held one at the fork.
    unsafe { command.pre_exec(hook) };
}
