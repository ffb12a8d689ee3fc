//! The kernel descriptors of a code object.

use std::collections::BTreeMap;

use crate::Fault;

/// What the hardware is told about a kernel (LLVM's AMDGPU usage guide, "Code Object V3 Kernel Descriptor").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptor {
    /// Bytes of shared memory.
    pub(crate) shared_bytes: u32,
    /// Bytes of private memory of each lane.
    pub(crate) private_bytes: u32,
    /// Bytes of arguments.
    pub(crate) argument_bytes: u32,
    /// Address of the first instruction.
    pub(crate) entry: u64,
    /// `COMPUTE_PGM_RSRC1` and `COMPUTE_PGM_RSRC2`.
    pub(crate) rsrc1: u32,
    pub(crate) rsrc2: u32,
    /// `KERNEL_CODE_PROPERTIES` and the kernel argument preload field.
    pub(crate) properties: u16,
    pub(crate) preload: u16,
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Result<[u8; N], Fault> {
        let at = usize::try_from(at).ok();
        at.and_then(|at| self.0.get(at..at.checked_add(N)?))
            .and_then(|b| b.try_into().ok())
            .ok_or_else(|| Fault::CodeObject("ends too early".to_owned()))
    }
    fn u16(&self, at: u64) -> Result<u16, Fault> {
        self.bytes(at).map(u16::from_le_bytes)
    }
    fn u32(&self, at: u64) -> Result<u32, Fault> {
        self.bytes(at).map(u32::from_le_bytes)
    }
    fn u64(&self, at: u64) -> Result<u64, Fault> {
        self.bytes(at).map(u64::from_le_bytes)
    }
    fn name(&self, at: u64) -> Result<String, Fault> {
        let from = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let end = from.iter().position(|&b| b == 0);
        let end = end.ok_or_else(|| Fault::CodeObject("a name does not end".to_owned()))?;
        Ok(String::from_utf8_lossy(&from[..end]).into_owned())
    }
}

struct Section {
    kind: u32,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
}

const EM_AMDGPU: u16 = 224;
const SHT_DYNSYM: u32 = 11;
const SYMBOL_BYTES: u64 = 24;

/// Kernel name to descriptor, of the dynamic symbols that end in `.kd`.
pub(crate) fn descriptors(file: &[u8]) -> Result<BTreeMap<String, Descriptor>, Fault> {
    let r = Reader(file);
    if r.bytes::<6>(0)? != *b"\x7fELF\x02\x01" || r.u16(18)? != EM_AMDGPU {
        return Err(Fault::CodeObject("not a 64-bit AMDGPU file".to_owned()));
    }
    let table = r.u64(40)?;
    let sections = (0..u64::from(r.u16(60)?))
        .map(|i| {
            let at = table + i * 64;
            Ok(Section {
                kind: r.u32(at + 4)?,
                address: r.u64(at + 16)?,
                offset: r.u64(at + 24)?,
                size: r.u64(at + 32)?,
                link: r.u32(at + 40)?,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    let section =
        |index: usize| sections.get(index).ok_or_else(|| Fault::CodeObject(format!("no section {index}")));
    let mut found = BTreeMap::new();
    for symbols in sections.iter().filter(|s| s.kind == SHT_DYNSYM) {
        let names = section(symbols.link as usize)?.offset;
        for i in 0..symbols.size / SYMBOL_BYTES {
            let at = symbols.offset + i * SYMBOL_BYTES;
            let name = r.name(names + u64::from(r.u32(at)?))?;
            let Some(kernel) = name.strip_suffix(".kd") else { continue };
            let home = section(usize::from(r.u16(at + 6)?))?;
            let value = r.u64(at + 8)?;
            let d = home.offset + value.wrapping_sub(home.address);
            let descriptor = Descriptor {
                shared_bytes: r.u32(d)?,
                private_bytes: r.u32(d + 4)?,
                argument_bytes: r.u32(d + 8)?,
                entry: value.wrapping_add(r.u64(d + 16)?),
                rsrc1: r.u32(d + 48)?,
                rsrc2: r.u32(d + 52)?,
                properties: r.u16(d + 56)?,
                preload: r.u16(d + 58)?,
            };
            found.insert(kernel.to_owned(), descriptor);
        }
    }
    Ok(found)
}
