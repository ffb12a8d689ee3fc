//! The programs, as they were built beforehand, and loading them.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};

use crate::caps;
use crate::status::Unavailable;

/// An object, from where the build script says.
macro_rules! object {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: &[u8] =
            aya::include_bytes_aligned!(concat!(env!("PINTLE_EBPF_OBJECTS"), "/", $file));
    };
}

object!(STEER, "steer.bpf.o");
object!(GUARD, "guard.bpf.o");
object!(TELEMETRY, "telemetry.bpf.o");
object!(RETRANSMIT, "retransmit.bpf.o");

/// Loads an object's maps. What the kernel lacks or forbids is said in the operator's words.
pub(crate) fn load(
    loader: &mut EbpfLoader<'_>,
    bytes: &[u8],
    needs: &[(u32, &str)],
) -> Result<Ebpf, Unavailable> {
    for (capability, name) in needs {
        if !caps::may(*capability) {
            return Err(Unavailable::new(format!("{name} is missing")));
        }
    }
    loader.load(bytes).map_err(|error| Unavailable::because("the kernel takes no maps", &error))
}

/// A descriptor of `map` of its own.
pub(crate) fn descriptor(ebpf: &mut Ebpf, map: &str) -> Result<OwnedFd, Unavailable> {
    let data = match ebpf.take_map(map) {
        Some(Map::Array(data) | Map::ReusePortSockArray(data)) => data,
        _ => return Err(Unavailable::new(format!("the object has no map {map} of its kind"))),
    };
    let fd = MapData::fd(&data).as_fd().try_clone_to_owned();
    fd.map_err(|error| Unavailable::because("out of descriptors", &error))
}

/// One of the object's maps, taken out of it.
pub(crate) fn map<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &str) -> Result<M, Unavailable> {
    ebpf.take_map(name)
        .and_then(|map| M::try_from(map).ok())
        .ok_or_else(|| Unavailable::new(format!("the object has no map {name} of its kind")))
}

/// One of the object's programs.
pub(crate) fn program<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut P, Unavailable>
where
    &'e mut P: TryFrom<&'e mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Unavailable::new(format!("the object has no program {name} of its kind")))
}
