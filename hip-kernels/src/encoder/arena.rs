//! Places in a block of device memory.

/// Where something lies, in bytes from the block's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(pub(super) u64);

/// Every matrix begins at a multiple of this. Kernels ask for 16; lines of the caches are of 128.
const ALIGNMENT: u64 = 128;

/// Hands out places one after another, and remembers what lies there where it is asked to.
pub(super) struct Arena {
    bytes: Option<Vec<u8>>,
    next: u64,
}

impl Arena {
    /// Only counts.
    pub(super) fn counting() -> Self {
        Self { bytes: None, next: 0 }
    }

    /// Remembers contents, of `bytes` in all.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).expect("a model's size is bounded by its file");
        Self { bytes: Some(Vec::with_capacity(bytes)), next: 0 }
    }

    /// A place for `bytes`.
    pub(super) fn reserve(&mut self, bytes: u64) -> At {
        let at = self.next.next_multiple_of(ALIGNMENT);
        self.next = at + bytes;
        At(at)
    }

    /// A place with contents, `N` bytes for each of `count` items. `items` is not asked by an arena that counts.
    pub(super) fn put<const N: usize, I: Iterator<Item = [u8; N]>>(
        &mut self,
        count: usize,
        items: impl FnOnce() -> I,
    ) -> At {
        let at = self.reserve((count * N) as u64);
        if let Some(bytes) = &mut self.bytes {
            bytes.resize(at.0 as usize, 0);
            items().for_each(|item| bytes.extend_from_slice(&item));
            assert_eq!(bytes.len() as u64, self.next, "as many items as were announced");
        }
        at
    }

    pub(super) fn len(&self) -> u64 {
        self.next
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes.unwrap_or_default()
    }
}
