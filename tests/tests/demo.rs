//! Promise: the demonstration plays its twelve turns, cleans up, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pintle_tests::gateway::binary;
use pintle_tests::until;
use rustix::process::{Pid, Signal, kill_process};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/agentic.yaml")
}

fn ports_are_free() -> bool {
    [8899, 18001, 18002, 18003].iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// Both tests use the fixed ports, so they are one.
#[test]
fn the_demonstration_runs_and_ctrl_c_ends_it_cleanly() {
    until("the demonstration's ports are free on this machine", ports_are_free);
    let output = pintle_tests::pintle(&["demo".as_ref(), "--config".as_ref(), example().as_os_str()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{progress}");
    let rows: Vec<&str> = text
        .lines()
        .filter(|l| l.trim_start().split(' ').next().is_some_and(|n| n.parse::<u8>().is_ok()))
        .collect();
    assert_eq!(rows.len(), 12, "{text}");
    assert!(rows.iter().filter(|r| r.contains("tool_loop")).count() >= 4, "{text}");
    assert!(text.contains("had not asked for them: 0"), "{text}");
    assert!(text.contains("pintle explain "), "{text}");
    until("the ports are free again", ports_are_free);

    let folders = || {
        let names = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|f| f.unwrap().file_name());
        names.filter(|n| n.to_string_lossy().starts_with("pintle-demo-")).count()
    };
    let before = folders();
    let mut command = Command::new(binary());
    command
        .arg("demo")
        .arg("--config")
        .arg(example())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("all four processes run", || {
        [8899, 18001, 18002, 18003]
            .iter()
            .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    until("it has ended", || child.try_wait().unwrap().is_some());
    until("the ports are free again", ports_are_free);
    assert_eq!(folders(), before);
}
