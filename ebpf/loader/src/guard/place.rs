//! Where the guard's programs sit.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::programs::{SchedClassifier, Xdp};

use super::Hook;
use crate::object;
use crate::status::Unavailable;
use crate::sys::{self, Place};

/// Attaches to an interface by a link that ends with its descriptor.
pub(super) fn place(ebpf: &mut Ebpf, interface: &str, hook: Hook) -> Result<(Hook, OwnedFd), String> {
    let name = CString::new(interface).map_err(|_| "not the name of an interface".to_owned())?;
    let index = sys::interface(&name).map_err(|error| error.to_string())?;
    let first = match hook {
        Hook::Auto | Hook::Xdp => xdp(ebpf, index),
        Hook::Tcx => Err(String::new()),
    };
    match (first, hook) {
        (Ok(link), _) => Ok((Hook::Xdp, link)),
        (Err(why), Hook::Xdp) => Err(format!("no XDP: {why}")),
        (Err(_), Hook::Tcx) => tcx(ebpf, index).map(|link| (Hook::Tcx, link)),
        (Err(why), Hook::Auto) => match tcx(ebpf, index) {
            Ok(link) => Ok((Hook::Tcx, link)),
            Err(error) => Err(format!("no XDP: {why}; no tcx: {error}")),
        },
    }
}

fn xdp(ebpf: &mut Ebpf, interface: u32) -> Result<OwnedFd, String> {
    let program: &mut Xdp = object::program(ebpf, "pintle_guard_xdp").map_err(|error| error.why)?;
    if program.fd().is_err() {
        program.load().map_err(|error| Unavailable::because("load", &error).why)?;
    }
    let fd = program.fd().map_err(|error| error.to_string())?;
    sys::attach(fd.as_fd(), Place::Xdp(interface)).map_err(|error| error.to_string())
}

fn tcx(ebpf: &mut Ebpf, interface: u32) -> Result<OwnedFd, String> {
    let program: &mut SchedClassifier =
        object::program(ebpf, "pintle_guard_tcx").map_err(|error| error.why)?;
    if program.fd().is_err() {
        program.load().map_err(|error| Unavailable::because("load", &error).why)?;
    }
    let fd = program.fd().map_err(|error| error.to_string())?;
    sys::attach(fd.as_fd(), Place::Tcx(interface)).map_err(|error| error.to_string())
}
