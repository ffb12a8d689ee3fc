//! The kernels' contract, word for word and slowly: what a plan does to memory.

use super::super::numbers::Number;
use super::super::plan::{Argument, Launch};
use super::reference;
use crate::abi::{self, Address, AttentionArgs, EmbedArgs, GemmArgs, HeadArgs, NormArgs, PoolArgs};

/// Device memory that begins at an address of its own, so that an offset taken for an address is noticed.
pub(super) struct Device {
    base: u64,
    bytes: Vec<u8>,
    number: Number,
}

impl Device {
    /// Whatever nobody has written is NaN, and no index of anything.
    pub(super) fn new(number: Number) -> Self {
        Self { base: 0x7000_0000, bytes: Vec::new(), number }
    }

    pub(super) fn reserve(&mut self, bytes: u64) -> Address {
        let at = self.bytes.len().next_multiple_of(128);
        self.bytes.resize(at + bytes as usize, 0xff);
        Address(self.base + at as u64)
    }

    pub(super) fn slice(&mut self, at: Address, bytes: u64) -> &mut [u8] {
        let at = (at.0 - self.base) as usize;
        &mut self.bytes[at..at + bytes as usize]
    }

    pub(super) fn run(&mut self, launch: &Launch) {
        let kernel =
            launch.kernel.strip_prefix("pk_").and_then(|name| name.strip_suffix(self.number.suffix()));
        let kernel = kernel.and_then(|name| name.strip_suffix('_')).expect("a kernel of this kind of number");
        let [x, y] = launch.grid;
        match (kernel, launch.argument) {
            ("embed", Argument::Embed(args)) => self.embed(&args, x * 4),
            ("norm", Argument::Norm(args)) => self.norm(&args, x * 4),
            ("gemm_skinny", Argument::Gemm(args)) => self.gemm(&args, [x * 32, y * 16]),
            ("gemm_mid", Argument::Gemm(args)) => self.gemm(&args, [x * 64, y * 64]),
            ("gemm_fat", Argument::Gemm(args)) => self.gemm(&args, [x * 128, y * 128]),
            ("attention32", Argument::Attention(args)) => self.attention(&args, 32, [x, y]),
            ("attention64", Argument::Attention(args)) => self.attention(&args, 64, [x, y]),
            ("pool", Argument::Pool(args)) => self.pool(&args, x),
            ("head", Argument::Head(args)) => self.head(&args, x),
            other => panic!("no kernel takes {other:?}"),
        }
    }

    fn word(&self, at: Address, nth: u32) -> u32 {
        let at = (at.0 - self.base) as usize + 4 * nth as usize;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    /// Rows that a launch covers; all there are.
    fn rows(&self, count: Address, covered: u32) -> u32 {
        let rows = self.word(count, 0);
        assert!(rows <= covered, "{rows} rows in a grid of {covered}");
        rows
    }

    fn float(&self, at: Address, nth: u32) -> f64 {
        f64::from(f32::from_bits(self.word(at, nth)))
    }

    fn put_float(&mut self, at: Address, nth: u32, x: f64) {
        let to = self.slice(at.offset(4 * u64::from(nth)), 4);
        to.copy_from_slice(&(x as f32).to_le_bytes());
    }

    fn typed(&self, at: Address, nth: u32) -> f64 {
        let at = (at.0 - self.base) as usize + 2 * nth as usize;
        let bits = u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap());
        match self.number {
            Number::Bf16 => f64::from(f32::from_bits(u32::from(bits) << 16)),
            Number::F16 => {
                let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
                let magnitude = match exponent {
                    0 => fraction * 2f64.powi(-24),
                    31 => f64::NAN,
                    _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
                };
                if bits >> 15 == 1 { -magnitude } else { magnitude }
            }
        }
    }

    fn put_typed(&mut self, at: Address, nth: u32, x: f64) {
        let bits = self.number.narrow(x as f32);
        self.slice(at.offset(2 * u64::from(nth)), 2).copy_from_slice(&bits.to_le_bytes());
    }

    fn typed_rows(&self, at: Address, rows: u32, width: u32) -> Vec<Vec<f64>> {
        (0..rows).map(|row| (0..width).map(|i| self.typed(at, row * width + i)).collect()).collect()
    }

    fn optional(&self, at: Address, read: impl FnOnce(&Self, Address) -> f64) -> f64 {
        if at == Address::NULL { 0.0 } else { read(self, at) }
    }

    fn normalized(
        &mut self,
        row: &[f64],
        gamma: Address,
        beta: Address,
        epsilon: f32,
        out: Address,
        first: u32,
    ) {
        let normed = reference::layer_norm(row, f64::from(epsilon));
        for (i, x) in (0..).zip(normed) {
            let x = x * self.float(gamma, i) + self.optional(beta, |device, at| device.float(at, i));
            self.put_typed(out, first + i, x);
        }
    }

    fn embed(&mut self, a: &EmbedArgs, covered: u32) {
        assert_eq!((a.types, a.r#type), (Address::NULL, Address::NULL));
        for row in 0..self.rows(a.rows, covered) {
            let id = self.word(a.ids, row).min(a.vocabulary - 1);
            let sum = (0..a.hidden).map(|i| {
                let place = self.optional(a.position, |device, at| {
                    let position = device.word(a.positions, row).min(a.position_limit - 1);
                    device.typed(at, position * a.hidden + i)
                });
                self.typed(a.word, id * a.hidden + i) + place
            });
            let sum: Vec<f64> = sum.collect();
            self.normalized(&sum, a.gamma, a.beta, a.epsilon, a.out, row * a.hidden);
        }
    }

    fn norm(&mut self, a: &NormArgs, covered: u32) {
        assert_eq!((a.residual, a.sum), (Address::NULL, Address::NULL));
        for row in 0..self.rows(a.rows, covered) {
            let x: Vec<f64> = (0..a.hidden).map(|i| self.typed(a.x, row * a.hidden + i)).collect();
            self.normalized(&x, a.gamma, a.beta, a.epsilon, a.out, row * a.hidden);
        }
    }

    fn gemm(&mut self, a: &GemmArgs, covered: [u32; 2]) {
        assert!(
            a.n <= covered[0] && a.n.is_multiple_of(abi::GEMM_N) && a.k.is_multiple_of(abi::GEMM_K),
            "{a:?}"
        );
        let columns = if a.activation == abi::GEGLU { a.n / 2 } else { a.n };
        let weights = self.typed_rows(a.w, a.n, a.k);
        let rows = self.typed_rows(a.a, self.rows(a.rows, covered[1]), a.k);
        for (row, x) in (0..).zip(rows) {
            let sum = |(n, weights): (u32, &Vec<f64>)| {
                reference::dot(&x, weights) + self.optional(a.bias, |device, at| device.float(at, n))
            };
            let sums: Vec<f64> = (0..).zip(&weights).map(sum).collect();
            for column in 0..columns {
                let at = |n: u32| sums[n as usize];
                let x = match a.activation {
                    abi::NONE => at(column),
                    abi::GELU => reference::gelu(at(column)),
                    abi::TANH => at(column).tanh(),
                    _ => {
                        let gate = column / 16 * 32 + column % 16;
                        reference::gelu(at(gate)) * at(gate + 16)
                    }
                };
                let place = row * columns + column;
                let residual = self.optional(a.residual, |device, at| device.typed(at, place));
                self.put_typed(a.out, place, x + residual);
            }
        }
    }

    fn attention(&mut self, a: &AttentionArgs, d: u32, covered: [u32; 2]) {
        assert_eq!(a.heads, covered[1]);
        for tile in 0..self.rows(a.tile_count, covered[0]) {
            let field = |nth| self.word(a.tiles, 4 * tile + nth);
            let (first, length, query) = (field(0), field(1), field(2));
            for head in 0..a.heads {
                let part = |device: &Self, token: u32, part: u32, i: u32| {
                    device.typed(a.qkv, (((first + token) * 3 + part) * a.heads + head) * d + i)
                };
                let turned = |device: &Self, token: u32, which: u32| -> Vec<f64> {
                    let x = |i| part(device, token, which, i);
                    if a.rope == Address::NULL {
                        return (0..d).map(x).collect();
                    }
                    let (half, row) = (d / 2, token.min(a.rope_limit - 1) * d);
                    let turn = |i: u32| {
                        let (cos, sin) = (
                            device.float(a.rope, row + i % half),
                            device.float(a.rope, row + half + i % half),
                        );
                        if i < half { x(i) * cos - x(i + half) * sin } else { x(i) * cos + x(i - half) * sin }
                    };
                    (0..d).map(turn).collect()
                };
                let keys: Vec<_> = (0..length).map(|k| turned(self, k, 1)).collect();
                for q in query..length.min(query + abi::QUERY_TILE) {
                    let seen: Vec<u32> =
                        (0..length).filter(|k| a.window == 0 || q.abs_diff(*k) <= a.window).collect();
                    let asking = turned(self, q, 0);
                    let weight =
                        |k: &u32| (reference::dot(&asking, &keys[*k as usize]) * f64::from(a.scale)).exp();
                    let weights: Vec<f64> = seen.iter().map(weight).collect();
                    let total: f64 = weights.iter().sum();
                    for i in 0..d {
                        let mixed = seen.iter().zip(&weights).map(|(k, w)| w / total * part(self, *k, 2, i));
                        let mixed = mixed.sum();
                        self.put_typed(a.out, ((first + q) * a.heads + head) * d + i, mixed);
                    }
                }
            }
        }
    }

    fn pool(&mut self, a: &PoolArgs, covered: u32) {
        for text in 0..self.rows(a.sequences, covered) {
            let (first, end) = (self.word(a.offsets, text), self.word(a.offsets, text + 1));
            let end = if a.mode == abi::POOL_CLS { first + 1 } else { end };
            let mean = |i| {
                (first..end).map(|t| self.typed(a.x, t * a.hidden + i)).sum::<f64>() / f64::from(end - first)
            };
            let mut mean: Vec<f64> = (0..a.hidden).map(mean).collect();
            if a.normalize == 1 {
                reference::normalise(&mut mean);
            }
            for (i, x) in (0..).zip(mean) {
                self.put_float(a.embedding, text * a.hidden + i, x);
                if a.typed != Address::NULL {
                    self.put_typed(a.typed, text * a.hidden + i, x);
                }
            }
        }
    }

    fn head(&mut self, a: &HeadArgs, covered: u32) {
        assert_eq!(a.mode, abi::LOGITS);
        for row in 0..self.rows(a.rows, covered) {
            for class in 0..a.classes {
                let at = |matrix: Address, row: u32, i: u32| self.typed(matrix, row * a.hidden + i);
                let sum: f64 = (0..a.hidden).map(|i| at(a.x, row, i) * at(a.w, class, i)).sum();
                let sum = sum + self.optional(a.bias, |device, at| device.float(at, class));
                self.put_float(a.probs, row * a.classes + class, sum);
            }
        }
    }
}
