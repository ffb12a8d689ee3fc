//! Vector loads and stores, of device memory and of shared memory.

use crate::LANES;
use crate::code::Instruction;
use crate::memory::Heap;
use crate::operand::{Operand, Place};
use crate::shared::Shared;
use crate::wave::{Done, Wave};

/// Which bytes of a register a narrow store takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
}

pub(crate) enum Memory {
    GlobalLoad(usize),
    GlobalStore(usize),
    SharedLoad {
        bytes: usize,
        stride: Option<usize>,
    },
    SharedStore {
        bytes: usize,
        stride: Option<usize>,
        high: bool,
    },
    /// Each lane takes a register of the lane it names.
    Permute,
}

fn global_bytes(name: &str) -> Option<usize> {
    Some(match name {
        "dword" => 4,
        "dwordx2" => 8,
        "dwordx3" => 12,
        "dwordx4" => 16,
        _ => return None,
    })
}

pub(crate) fn decode(mnemonic: &str) -> Option<Memory> {
    if let Some(name) = mnemonic.strip_prefix("global_load_") {
        return global_bytes(name).map(Memory::GlobalLoad);
    }
    if let Some(name) = mnemonic.strip_prefix("global_store_") {
        return global_bytes(name).or((name == "short").then_some(2)).map(Memory::GlobalStore);
    }
    let rest = mnemonic.strip_prefix("ds_")?;
    if rest == "bpermute_b32" {
        return Some(Memory::Permute);
    }
    let (loads, rest) = match rest.strip_prefix("read") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix("write")?),
    };
    let (scale, rest) = if let Some(rest) = rest.strip_prefix("2st64_") {
        (Some(64), rest)
    } else if let Some(rest) = rest.strip_prefix("2_") {
        (Some(1), rest)
    } else {
        (None, rest.strip_prefix('_')?)
    };
    let (width, high) = match rest.strip_suffix("_d16_hi") {
        Some(width) => (width, true),
        None => (rest, false),
    };
    let bits: usize = width.strip_prefix('b')?.parse().ok()?;
    let (bytes, stride) = (bits / 8, scale.map(|s| s * bits / 8));
    match (loads, bytes) {
        (true, 4 | 8 | 16) if !high => Some(Memory::SharedLoad { bytes, stride }),
        (false, 4 | 8 | 16) if !high => Some(Memory::SharedStore { bytes, stride, high }),
        (false, 1 | 2) => Some(Memory::SharedStore { bytes, stride, high }),
        _ => None,
    }
}

fn vector(operand: &Operand, needed: usize) -> Result<usize, String> {
    match operand.place {
        Place::Vector { first, count } if count == needed && first + count <= 512 => Ok(first),
        _ => Err("a vector register was expected".to_owned()),
    }
}

/// Puts the bytes of a load into a lane's registers.
fn fill(w: &mut Wave, first: usize, lane: usize, from: &[u8]) {
    for (register, word) in w.vector[first..].iter_mut().zip(from.chunks_exact(4)) {
        register[lane] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    }
}

/// The bytes that a lane stores.
fn collect(w: &Wave, first: usize, lane: usize, bytes: usize, part: Part) -> Vec<u8> {
    if part == Part::High {
        return w.vector[first][lane].to_le_bytes()[2..2 + bytes].to_vec();
    }
    let registers = &w.vector[first..first + bytes.div_ceil(4)];
    let mut all: Vec<u8> = registers.iter().flat_map(|r| r[lane].to_le_bytes()).collect();
    all.truncate(bytes);
    all
}

fn global(i: &Instruction, w: &mut Wave, heap: &mut Heap, bytes: usize, store: bool) -> Done {
    let [first, second, base] = i.operands.as_slice() else { return Err("operands of an access".to_owned()) };
    let (address, data) = if store { (first, second) } else { (second, first) };
    let addresses = match base.place {
        Place::Off => w.lanes64(address)?,
        _ => {
            let base = w.scalar64(base)?;
            w.lanes_of(address)?.map(|v| base.wrapping_add(u64::from(v)))
        }
    };
    let register = vector(data, bytes.div_ceil(4))?;
    for (lane, address) in addresses.into_iter().enumerate() {
        if !w.active(lane) {
            continue;
        }
        let address = address.wrapping_add(i.modifiers.offset as u64);
        let done = if store {
            heap.store(address, &collect(w, register, lane, bytes, Part::Low))
        } else {
            heap.load(address, bytes).map(|from| fill(w, register, lane, from))
        };
        done.map_err(|e| format!("lane {lane}: {e}"))?;
    }
    Ok(())
}

/// Offsets in bytes of the one or two places that an instruction touches.
fn offsets(i: &Instruction, stride: Option<usize>) -> [Option<u64>; 2] {
    let m = &i.modifiers;
    match stride {
        None => [Some(m.offset as u64), None],
        Some(stride) => [Some(m.offset0 as u64 * stride as u64), Some(m.offset1 as u64 * stride as u64)],
    }
}

pub(crate) fn run(op: &Memory, i: &Instruction, w: &mut Wave, heap: &mut Heap, shared: &mut Shared) -> Done {
    let wave = w.index;
    match *op {
        Memory::GlobalLoad(bytes) => global(i, w, heap, bytes, false),
        Memory::GlobalStore(bytes) => global(i, w, heap, bytes, true),
        Memory::SharedLoad { bytes, stride } => {
            let [data, address] = i.operands.as_slice() else { return Err("operands of a load".to_owned()) };
            let words = bytes / 4;
            let register = vector(data, if stride.is_some() { 2 * words } else { words })?;
            // The address register may be among those loaded.
            let addresses = w.lanes_of(address)?;
            for (n, offset) in offsets(i, stride).into_iter().flatten().enumerate() {
                for (lane, &address) in
                    addresses.iter().enumerate().filter(|(l, _)| w.exec >> l & 1 != 0).collect::<Vec<_>>()
                {
                    let from = shared.load(u64::from(address) + offset, bytes, wave);
                    let from = from.map_err(|e| format!("lane {lane}: {e}"))?;
                    fill(w, register + n * words, lane, from);
                }
            }
            Ok(())
        }
        Memory::SharedStore { bytes, stride, high } => {
            let [address, data @ ..] = i.operands.as_slice() else {
                return Err("operands of a store".to_owned());
            };
            let part = if high { Part::High } else { Part::Low };
            let addresses = w.lanes_of(address)?;
            for (n, offset) in offsets(i, stride).into_iter().flatten().enumerate() {
                let register = vector(data.get(n).ok_or("nothing to store")?, bytes.div_ceil(4))?;
                for (lane, &address) in addresses.iter().enumerate().filter(|(l, _)| w.exec >> l & 1 != 0) {
                    let from = collect(w, register, lane, bytes, part);
                    let done = shared.store(u64::from(address) + offset, &from, wave);
                    done.map_err(|e| format!("lane {lane}: {e}"))?;
                }
            }
            Ok(())
        }
        Memory::Permute => {
            let (from, data) = (w.source(i, 0)?, w.source(i, 1)?);
            // A lane that is switched off gives zero.
            let given: [u32; LANES] = std::array::from_fn(|l| if w.active(l) { data[l] } else { 0 });
            let offset = i.modifiers.offset as u32;
            w.set(i, &from.map(|at| given[(at.wrapping_add(offset) / 4) as usize % LANES]))
        }
    }
}
