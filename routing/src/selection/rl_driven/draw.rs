//! Numbers that look random and follow from a seed.

/// A splitmix64 sequence (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug)]
pub(super) struct Draw(u64);

/// Rejections before the mode is taken instead: each has a probability below 0.06, so this is never seen.
const ATTEMPTS: usize = 64;

impl Draw {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `(0,1)`.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Less than `bound`, which is not 0.
    pub(super) const fn below(&mut self, bound: usize) -> usize {
        ((self.next() as u128 * bound as u128) >> 64) as usize
    }

    /// From a Beta distribution: `X/(X + Y)` of two Gamma variates.
    pub(super) fn beta(&mut self, alpha: f64, beta: f64) -> f64 {
        let (x, y) = (self.gamma(alpha), self.gamma(beta));
        if x + y > 0.0 { x / (x + y) } else { 0.5 }
    }

    /// From a Gamma distribution of scale 1 (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.unit().powf(1.0 / shape.max(f64::MIN_POSITIVE));
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        for _ in 0..ATTEMPTS {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
        d
    }

    /// From the standard normal distribution (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_moments_of_their_distribution() {
        for (alpha, beta) in [(1.0, 1.0), (8.0, 2.0), (0.4, 0.9), (30.0, 50.0)] {
            let mut draw = Draw::new(7);
            let samples: Vec<f64> = (0..20_000).map(|_| draw.beta(alpha, beta)).collect();
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            let variance =
                samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / samples.len() as f64;
            let sum: f64 = alpha + beta;
            assert!((mean - alpha / sum).abs() < 0.01, "mean of Beta({alpha}, {beta}): {mean}");
            let expected = alpha * beta / (sum * sum * (sum + 1.0));
            assert!((variance - expected).abs() < 0.05 * expected + 1e-4, "variance: {variance} {expected}");
        }
    }

    #[test]
    fn a_seed_gives_one_sequence() {
        let sequence =
            |seed| (0..8).map(|_| 0).scan(Draw::new(seed), |d, _| Some(d.below(1000))).collect::<Vec<_>>();
        assert_eq!(sequence(3), sequence(3));
        assert_ne!(sequence(3), sequence(4));
    }
}
