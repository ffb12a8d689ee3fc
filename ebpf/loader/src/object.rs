//! The programs, as they were built beforehand, and loading them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// A descriptor of its own of each of the object's maps, in this order. The object keeps its own, by which its
/// programs find them when they are loaded.
pub(crate) fn descriptors(ebpf: &Ebpf, maps: &[&str]) -> Result<Vec<OwnedFd>, Unavailable> {
    let one = |name: &&str| {
        let data = match ebpf.map(name) {
            Some(
                Map::Array(data)
                | Map::ReusePortSockArray(data)
                | Map::HashMap(data)
                | Map::LruHashMap(data)
                | Map::LpmTrie(data)
                | Map::PerCpuArray(data)
                | Map::PerCpuHashMap(data)
                | Map::PerCpuLruHashMap(data)
                | Map::RingBuf(data),
            ) => data,
            _ => return Err(Unavailable::new(format!("the object has no map {name} of a known kind"))),
        };
        own(data)
    };
    maps.iter().map(one).collect()
}

/// A descriptor of its own of a map.
pub(crate) fn own(data: &MapData) -> Result<OwnedFd, Unavailable> {
    copy(MapData::fd(data).as_fd())
}

/// Another descriptor of the same.
pub(crate) fn copy(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, Unavailable> {
    descriptor
        .try_clone_to_owned()
        .map_err(|error| Unavailable::because("no descriptor is to be had", &error))
}

/// The map behind a descriptor, which may come from another process: one of another kind, or with keys or values
/// of another size, is refused.
pub(crate) fn map<M: TryFrom<Map>>(descriptor: &OwnedFd) -> Result<M, Unavailable> {
    let data = MapData::from_fd(copy(descriptor.as_fd())?).and_then(Map::from_map_data);
    let map = data.map_err(|error| Unavailable::because("a table cannot be used", &error))?;
    M::try_from(map).map_err(|_| Unavailable::new("a table is laid out differently"))
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
