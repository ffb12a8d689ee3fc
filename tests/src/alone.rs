//! Tests that change the kernel: in network and mount namespaces of their own, one at a time, in a control group.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};

use crate::{setting, skip};

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "PINTLE_TEST_ALONE";
/// Where that process has mounted the control groups.
const GROUPS: &str = "/mnt";
/// What names of control groups begin with; a process number follows.
const GROUP: &str = "pintle-system-test-";

/// Runs `body` as the test of this name, as root in namespaces of its own with a loopback interface, or says why it
/// cannot. What it leaves in the network goes with its process. Programs are seen machine-wide, so such tests wait
/// for each other.
///
/// # Panics
/// The test failed.
pub fn alone(test: &str, body: impl FnOnce()) {
    if setting(INSIDE).is_some() {
        return body();
    }
    if let Some(why) = obstacle() {
        return skip(test, &why);
    }
    let turn = File::create(std::env::temp_dir().join("pintle-alone.lock")).expect("a lock file");
    turn.lock().expect("its turn");
    let output = unshare()
        .args(["sh", "-c", "ip link set lo up && mount -t cgroup2 none /mnt && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare was there a moment ago");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in its own namespaces: {}", output.status);
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--fork", "--kill-child", "--"]);
    command.stdin(Stdio::null());
    command
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let all = "ip link set lo up && mount -t cgroup2 none /mnt && setpriv --version";
    match unshare().args(["sh", "-c", all]).output() {
        Err(error) => Some(format!("no unshare(1): {error}")),
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Some(format!("no namespaces, control groups or setpriv(1): {why}"))
        }
        Ok(_) => None,
    }
}

/// A control group that this process, and those that it starts, are in until it is dropped.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// For a test that runs [`alone`].
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn enter() -> Self {
        for entry in fs::read_dir(GROUPS).expect("mounted").flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(GROUP));
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                // Left by a test that was killed.
                let _ = fs::remove_dir(entry.path());
            }
        }
        let group = Self(Path::new(GROUPS).join(format!("{GROUP}{}", id())));
        fs::create_dir(&group.0).expect("a control group");
        move_to(&group.0).expect("this process moves");
        group
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = move_to(Path::new(GROUPS));
        let _ = fs::remove_dir(&self.0);
    }
}

fn move_to(group: &Path) -> std::io::Result<()> {
    fs::write(group.join("cgroup.procs"), id().to_string())
}

/// Connects from a certain address, or gives up after `patience`.
///
/// # Errors
/// What the kernel said.
pub fn connect_from(from: SocketAddr, to: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    // How long connect(2) waits is the time-out of sending.
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    rustix::net::bind(&socket, &from)?;
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// The kernel's numbers of the attachments that a process holds.
pub fn links(pid: i32) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let mut links: Vec<u32> = descriptors
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("link_id:")?.trim().parse().ok()))
        .collect();
    links.sort_unstable();
    links.dedup();
    links
}
