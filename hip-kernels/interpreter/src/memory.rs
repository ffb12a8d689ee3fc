//! Device memory with red zones, and a mark for bytes that nobody has written yet.

/// An address in device memory, as kernels see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// The null pointer.
    pub const NULL: Self = Self(0);
}

const BASE: u64 = 0x7f00_0000_0000;
const RED_ZONE: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Forbidden,
    Unwritten,
    Written,
}

/// Device memory.
pub struct Heap {
    bytes: Vec<u8>,
    state: Vec<State>,
}

impl Default for Heap {
    fn default() -> Self {
        Self { bytes: vec![0; RED_ZONE], state: vec![State::Forbidden; RED_ZONE] }
    }
}

impl Heap {
    /// Memory that a kernel may write, and may read where it has been written.
    pub fn reserve(&mut self, bytes: usize) -> Address {
        let at = self.bytes.len();
        let padded = (bytes + RED_ZONE).next_multiple_of(RED_ZONE);
        self.bytes.resize(at + padded, 0xa5);
        self.state.resize(at + bytes, State::Unwritten);
        self.state.resize(at + padded, State::Forbidden);
        Address(BASE + at as u64)
    }

    /// Memory that holds `from`.
    pub fn put(&mut self, from: &[u8]) -> Address {
        let address = self.reserve(from.len());
        let at = (address.0 - BASE) as usize;
        self.bytes[at..at + from.len()].copy_from_slice(from);
        self.state[at..at + from.len()].fill(State::Written);
        address
    }

    /// What a kernel has left at an address; `None` where a byte of it has not been written.
    pub fn get(&self, address: Address, bytes: usize) -> Option<&[u8]> {
        let at = usize::try_from(address.0.checked_sub(BASE)?).ok()?;
        let written = self.state.get(at..at + bytes)?.iter().all(|&s| s == State::Written);
        written.then(|| &self.bytes[at..at + bytes])
    }

    /// Whether nobody has written to any of these bytes.
    pub fn untouched(&self, address: Address, bytes: usize) -> bool {
        let at = (address.0 - BASE) as usize;
        self.state[at..at + bytes].iter().all(|&s| s == State::Unwritten)
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, String> {
        let at = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let range = at.filter(|&at| at + bytes <= self.bytes.len()).map(|at| at..at + bytes);
        let range = range.ok_or_else(|| format!("address {address:#x} is not device memory"))?;
        if !address.is_multiple_of(bytes.min(4) as u64) {
            return Err(format!("address {address:#x} is not aligned for {bytes} bytes"));
        }
        Ok(range)
    }

    pub(crate) fn load(&self, address: u64, bytes: usize) -> Result<&[u8], String> {
        let range = self.range(address, bytes)?;
        match self.state[range.clone()].iter().find(|&&s| s != State::Written) {
            None => Ok(&self.bytes[range]),
            Some(State::Forbidden) => {
                Err(format!("load of {bytes} bytes at {address:#x}, outside of every allocation"))
            }
            Some(_) => Err(format!("load of {bytes} bytes at {address:#x} that nobody has written")),
        }
    }

    pub(crate) fn store(&mut self, address: u64, from: &[u8]) -> Result<(), String> {
        let range = self.range(address, from.len())?;
        if self.state[range.clone()].contains(&State::Forbidden) {
            return Err(format!(
                "store of {} bytes at {address:#x}, outside of every allocation",
                from.len()
            ));
        }
        self.bytes[range.clone()].copy_from_slice(from);
        self.state[range].fill(State::Written);
        Ok(())
    }
}
