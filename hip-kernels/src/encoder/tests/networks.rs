//! Small networks with random weights, one of each shape that packing treats in its own way.

use super::super::spec::{Activation, BlockSpec, EncoderSpec, HeadSpec, Linear, Norm, Pooling};

pub(super) const VOCABULARY: usize = 50;
const POSITIONS: usize = 80;

/// A shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    hidden: usize,
    heads: usize,
    intermediate: usize,
    rotary: bool,
    head: Option<Kind>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Product and activation, then labels of a text by its first token.
    Pooler,
    /// Product, activation and norm, then labels of a text by its mean.
    Predictor,
    /// The same for each token.
    Tokens,
    /// Labels of each token at once.
    Bare,
}

impl Network {
    /// Heads that are padded to 32 components, and an inner width that is padded.
    pub(super) const BERT_TEXTS: Self =
        Self { hidden: 64, heads: 4, intermediate: 40, rotary: false, head: Some(Kind::Pooler) };
    /// Rotary heads that are padded from 16 to 64 components, gates that are padded.
    pub(super) const ROTARY_TOKENS: Self =
        Self { hidden: 64, heads: 4, intermediate: 24, rotary: true, head: Some(Kind::Tokens) };
    pub(super) const ALL: [Self; 6] = [
        Self::BERT_TEXTS,
        Self::ROTARY_TOKENS,
        // Heads as the kernels have them.
        Self { hidden: 64, heads: 2, intermediate: 128, rotary: false, head: Some(Kind::Bare) },
        Self { hidden: 128, heads: 2, intermediate: 96, rotary: true, head: Some(Kind::Predictor) },
        // 48 components, which are padded to 64.
        Self { hidden: 96, heads: 2, intermediate: 64, rotary: false, head: None },
        Self { hidden: 96, heads: 2, intermediate: 64, rotary: true, head: None },
    ];

    /// The same weights each time.
    pub(super) fn spec(self) -> EncoderSpec<'static> {
        let mut random = Random(self.hidden as u64 ^ 0x9e37);
        let (hidden, inner) = (self.hidden, self.intermediate);
        let blocks = (0..3).map(|layer| BlockSpec {
            attention_norm: (!self.rotary || layer > 0).then(|| random.norm(hidden, !self.rotary)),
            qkv: random.linear(3 * hidden, hidden, !self.rotary),
            output: random.linear(hidden, hidden, !self.rotary),
            mlp_norm: random.norm(hidden, !self.rotary),
            up: random.linear(if self.rotary { 2 * inner } else { inner }, hidden, !self.rotary),
            down: random.linear(hidden, inner, !self.rotary),
            reach: (self.rotary && layer != 1).then_some(3),
            theta: self.rotary.then_some(if layer == 1 { 160_000.0 } else { 10_000.0 }),
        });
        let blocks = blocks.collect();
        EncoderSpec {
            hidden,
            heads: self.heads,
            intermediate: inner,
            positions: POSITIONS,
            gated: self.rotary,
            pre_norm: self.rotary,
            words: random.floats(VOCABULARY * hidden, 1.0, 0.0),
            places: if self.rotary { &[] } else { random.floats(POSITIONS * hidden, 0.5, 0.0) },
            embedding_norm: random.norm(hidden, !self.rotary),
            blocks,
            final_norm: self.rotary.then(|| random.norm(hidden, false)),
            pooling: if self.rotary { Pooling::First } else { Pooling::Mean },
            head: self.head.map(|kind| random.head(kind, hidden)),
        }
    }
}

struct Random(u64);

impl Random {
    /// Uniform around `center`. Leaked: a test ends soon.
    fn floats(&mut self, count: usize, spread: f32, center: f32) -> &'static [f32] {
        let next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            center + spread * ((self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        };
        std::iter::repeat_with(next).take(count).collect::<Vec<_>>().leak()
    }

    fn linear(&mut self, outputs: usize, inputs: usize, bias: bool) -> Linear<'static> {
        let spread = 1.5 / (inputs as f32).sqrt();
        Linear {
            outputs,
            inputs,
            weight: self.floats(outputs * inputs, spread, 0.0),
            bias: if bias { self.floats(outputs, 0.2, 0.0) } else { &[] },
        }
    }

    fn norm(&mut self, hidden: usize, bias: bool) -> Norm<'static> {
        Norm {
            gain: self.floats(hidden, 0.3, 1.0),
            bias: if bias { self.floats(hidden, 0.3, 0.0) } else { &[] },
            epsilon: 1e-5,
        }
    }

    fn head(&mut self, kind: Kind, hidden: usize) -> HeadSpec<'static> {
        HeadSpec {
            per_token: matches!(kind, Kind::Tokens | Kind::Bare),
            pooling: if matches!(kind, Kind::Predictor) { Pooling::Mean } else { Pooling::First },
            dense: match kind {
                Kind::Bare => None,
                Kind::Pooler => Some((self.linear(hidden, hidden, true), Activation::Tanh)),
                Kind::Predictor | Kind::Tokens => {
                    Some((self.linear(hidden, hidden, false), Activation::Gelu))
                }
            },
            norm: matches!(kind, Kind::Predictor | Kind::Tokens).then(|| self.norm(hidden, false)),
            classifier: self.linear(5, hidden, true),
        }
    }
}
