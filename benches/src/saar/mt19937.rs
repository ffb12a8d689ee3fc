//! CPython's `random.Random`, as far as the published workload draws from it.
//!
//! The generator is MT19937 (Matsumoto and Nishimura, 1998); seeding by key and the derived draws follow
//! CPython's `_randommodule.c` and `random.py`, whose outputs are stable across versions for these calls.

const N: usize = 624;
const M: usize = 397;

/// A generator seeded by an integer.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    state: [u32; N],
    at: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` for a non-negative seed: the key is its 32-bit words, lowest first.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = mix(state[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            state[i] = (state[i] ^ mix(state[i - 1], 1_664_525)).wrapping_add(key[j]).wrapping_add(j as u32);
            i = next(&mut state, i);
            j = (j + 1) % key.len();
        }
        for _ in 0..N - 1 {
            state[i] = (state[i] ^ mix(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = next(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.at = 0;
    }

    /// One 32-bit output.
    pub fn next_u32(&mut self) -> u32 {
        if self.at == N {
            self.refill();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `random()`: 53 bits from two outputs, in [0,1).
    pub fn random(&mut self) -> f64 {
        let (a, b) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }

    /// `uniform(a, b)`
    pub fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.random()
    }

    /// An integer in `[0, n)` by rejection of `getrandbits(bit_length(n))`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a draw from nothing");
        let shift = n.leading_zeros();
        loop {
            let draw = self.next_u32() >> shift;
            if draw < n {
                return draw;
            }
        }
    }

    /// `randint(low, high)`, both included.
    pub fn randint(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// `choice(items)`
    pub fn choice<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u32) as usize]
    }
}

fn mix(previous: u32, factor: u32) -> u32 {
    (previous ^ (previous >> 30)).wrapping_mul(factor)
}

/// The next index; past the end the last word becomes the first and the walk goes on at 1.
fn next(state: &mut [u32; N], i: usize) -> usize {
    if i + 1 == N {
        state[0] = state[N - 1];
        1
    } else {
        i + 1
    }
}

#[cfg(test)]
mod tests {
    use super::PythonRandom;

    #[test]
    fn words_are_cpythons() {
        let draw = |seed| {
            let mut r = PythonRandom::new(seed);
            [r.next_u32(), r.next_u32(), r.next_u32()]
        };
        assert_eq!(draw(20_260_530), [879_404_161, 2_609_816_302, 2_914_510_522]);
        assert_eq!(draw(0), [3_626_764_237, 1_654_615_998, 3_255_389_356]);
        assert_eq!(draw((1 << 40) + 7), [2_635_837_658, 3_209_733_218, 3_500_038_837]);
    }

    #[test]
    fn derived_draws_are_cpythons() {
        let mut r = PythonRandom::new(20_260_530);
        assert_eq!([(); 5].map(|()| r.randint(512, 2048)), [931, 1756, 1901, 1043, 1149]);
        assert_eq!([(); 5].map(|()| r.choice(&[0, 9, 19])), [9, 9, 19, 9, 9]);
        assert_eq!(
            [(); 3].map(|()| r.uniform(-0.09, 0.09)),
            [0.040_650_805_799_104_02, -0.074_942_777_148_683_05, -0.066_349_180_594_591_8]
        );
        assert_eq!([r.random(), r.random()], [0.081_463_530_980_601_77, 0.232_689_853_069_561_7]);
    }
}
