//! Memory on cache-line boundaries: a vector load that crosses a line costs two.

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LANES]);

const LANES: usize = 16;

/// Zeroed, growing memory of 32-bit lanes. A lane holds one `f32`, two `bf16` or `i16`, or four `i8`.
#[derive(Default)]
pub(super) struct Lanes {
    lines: Vec<Line>,
}

impl Lanes {
    /// At least `lanes` lanes of zero.
    pub(super) fn zeroed(lanes: usize) -> Self {
        Self { lines: vec![Line([0; LANES]); lanes.div_ceil(LANES)] }
    }

    /// Makes room for `lanes`; what is new is zero.
    pub(super) fn grow(&mut self, lanes: usize) {
        let lines = lanes.div_ceil(LANES);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; LANES]));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len() * LANES
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        // SAFETY: a `Line` is `LANES` u32 without padding, and the lines lie one after another.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len()) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u32] {
        let lanes = self.len();
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), lanes) }
    }

    pub(super) fn floats(&self) -> &[f32] {
        // SAFETY: as in `as_slice`; f32 has the size and alignment of u32 and admits every bit pattern.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len()) }
    }

    pub(super) fn floats_mut(&mut self) -> &mut [f32] {
        let lanes = self.len();
        // SAFETY: as in `floats`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), lanes) }
    }
}
