//! The shared memory of a block, with a watch on who touched what since the last barrier.

/// Who last touched a byte, and in which interval between barriers.
#[derive(Clone, Copy, Default)]
struct Touch {
    interval: u32,
    wave: u32,
    /// Another wave did the same in the same interval.
    others: bool,
}

impl Touch {
    fn by_another(self, interval: u32, wave: u32) -> bool {
        self.interval == interval && (self.wave != wave || self.others)
    }
    fn renew(&mut self, interval: u32, wave: u32) {
        let others = self.by_another(interval, wave);
        *self = Self { interval, wave, others };
    }
}

pub(crate) struct Shared {
    bytes: Vec<u8>,
    written: Vec<Touch>,
    read: Vec<Touch>,
    /// Counted from 1: the first barrier ends interval 1. 0 in a `Touch` means never.
    interval: u32,
}

impl Shared {
    pub(crate) fn new(bytes: usize) -> Self {
        let never = vec![Touch::default(); bytes];
        Self { bytes: vec![0xff; bytes], written: never.clone(), read: never, interval: 1 }
    }

    pub(crate) fn barrier(&mut self) {
        self.interval += 1;
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, String> {
        let at = address as usize;
        if at + bytes > self.bytes.len() {
            return Err(format!("shared address {address:#x} of {:#x}", self.bytes.len()));
        }
        // ds_read_b128 and its kin need 16 bytes, b64 needs 8, unless unaligned access is switched on.
        if !at.is_multiple_of(bytes.min(16)) {
            return Err(format!("shared address {address:#x} is not aligned for {bytes} bytes"));
        }
        Ok(at..at + bytes)
    }

    pub(crate) fn load(&mut self, address: u64, bytes: usize, wave: u32) -> Result<&[u8], String> {
        let range = self.range(address, bytes)?;
        for at in range.clone() {
            if self.written[at].interval == 0 {
                return Err(format!("shared byte {at:#x} is read before anybody has written it"));
            }
            if self.written[at].by_another(self.interval, wave) {
                return Err(format!(
                    "shared byte {at:#x} is read with no barrier since another wave wrote it"
                ));
            }
            self.read[at].renew(self.interval, wave);
        }
        Ok(&self.bytes[range])
    }

    pub(crate) fn store(&mut self, address: u64, from: &[u8], wave: u32) -> Result<(), String> {
        let range = self.range(address, from.len())?;
        for at in range.clone() {
            if self.written[at].by_another(self.interval, wave)
                || self.read[at].by_another(self.interval, wave)
            {
                return Err(format!(
                    "shared byte {at:#x} is written with no barrier since another wave used it"
                ));
            }
            self.written[at].renew(self.interval, wave);
        }
        self.bytes[range].copy_from_slice(from);
        Ok(())
    }
}
