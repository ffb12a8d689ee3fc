//! Rotary positions: how fast each pair of a head's components turns from one token to the next.
//!
//! # YaRN
//!
//! Stretches a network that was trained on short texts over longer ones (Peng et al., "YaRN: Efficient Context Window
//! Extension of Large Language Models", 2023), as `modeling_rope_utils.py` of transformers computes it: pairs that turn
//! often within the trained length keep their rate, those that turn less than once get it divided by the factor, and
//! between the two there is a ramp. What is longer is also sharpened, by a scale on cosines and sines.

use std::f64::consts::TAU;

use serde::Deserialize;

use super::LoadError;

const FILE: &str = "config.json";
/// Most times the trained length.
const MAX_FACTOR: f64 = 1e6;
/// Turns within the trained length from which on a rate stays, if the configuration does not say.
const BETA_FAST: f64 = 32.0;
/// Turns below which a rate is divided by the whole factor.
const BETA_SLOW: f64 = 1.0;

/// Rotary positions of one kind of layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the rates' geometric progression.
    pub theta: f64,
    /// How they are stretched.
    pub yarn: Option<Yarn>,
}

/// Parameters of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How many times longer texts may be than those of the training.
    pub factor: f64,
    /// Scale of cosines and sines.
    pub attention: f64,
    /// Turns from which on a rate stays.
    pub beta_fast: f64,
    /// Turns below which a rate is divided by the whole factor.
    pub beta_slow: f64,
    /// Length of the training's texts, in tokens.
    pub trained: f64,
}

/// What `config.json` says about one kind of layer, or about both (`rope_scaling`).
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) rope_theta: Option<f64>,
    rope_type: Option<Kind>,
    /// Its older name; files that were written in between have both.
    #[serde(rename = "type")]
    older_type: Option<Kind>,
    factor: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f64>,
}

impl Raw {
    /// Member by member, what `own` says where this says nothing.
    fn or(self, own: Self) -> Self {
        Self {
            rope_theta: self.rope_theta.or(own.rope_theta),
            rope_type: self.kind().or(own.kind()),
            older_type: None,
            factor: self.factor.or(own.factor),
            attention_factor: self.attention_factor.or(own.attention_factor),
            mscale: self.mscale.or(own.mscale),
            mscale_all_dim: self.mscale_all_dim.or(own.mscale_all_dim),
            beta_fast: self.beta_fast.or(own.beta_fast),
            beta_slow: self.beta_slow.or(own.beta_slow),
            original_max_position_embeddings: self
                .original_max_position_embeddings
                .or(own.original_max_position_embeddings),
            truncate: self.truncate.or(own.truncate),
            partial_rotary_factor: self.partial_rotary_factor.or(own.partial_rotary_factor),
        }
    }

    fn kind(&self) -> Option<Kind> {
        self.rope_type.or(self.older_type)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Default,
    Yarn,
    /// Known to transformers, and not computed here.
    Linear,
    Dynamic,
    LongRope,
    Llama3,
}

impl Rope {
    /// `over`, where it says something, goes before what `own` says.
    pub(super) fn parse(
        own: Option<Raw>,
        over: Option<Raw>,
        theta: f64,
        positions: usize,
    ) -> Result<Self, LoadError> {
        let raw = over.unwrap_or_default().or(own.unwrap_or_default());
        let theta = raw.rope_theta.unwrap_or(theta);
        if !theta.is_finite() || theta <= 1.0 {
            return Err(LoadError::malformed(FILE, format!("a rotary base of {theta}")));
        }
        if raw.partial_rotary_factor.is_some_and(|part| part != 1.0) {
            return Err(LoadError::unsupported(FILE, "rotary positions of a part of a head"));
        }
        let yarn = match raw.kind().unwrap_or(Kind::Default) {
            Kind::Default => None,
            Kind::Yarn => Some(Yarn::parse(raw, positions)?),
            other => return Err(LoadError::unsupported(FILE, format!("rotary positions of type {other:?}"))),
        };
        Ok(Self { theta, yarn })
    }

    /// Of the `half` pairs of a head's components, the angle from one token to the next, in radians.
    pub fn rates(&self, half: usize) -> Vec<f32> {
        let rate = |i: usize| 1.0 / self.theta.powf(i as f64 / half as f64);
        let Some(yarn) = self.yarn else { return (0..half).map(|i| rate(i) as f32).collect() };
        let width = 2.0 * half as f64;
        // The pair, as a real number, that turns so many times within the trained length.
        let pair = |turns: f64| width * (yarn.trained / (turns * TAU)).ln() / (2.0 * self.theta.ln());
        let low = pair(yarn.beta_fast).floor().max(0.0);
        let high = pair(yarn.beta_slow).ceil().min(width - 1.0);
        let high = if low == high { high + 0.001 } else { high };
        let stretched = |i: usize| {
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            rate(i) * (ramp / yarn.factor + 1.0 - ramp)
        };
        (0..half).map(|i| stretched(i) as f32).collect()
    }

    /// By what cosines and sines are multiplied.
    pub fn scale(&self) -> f64 {
        self.yarn.map_or(1.0, |yarn| yarn.attention)
    }
}

impl Yarn {
    fn parse(raw: Raw, positions: usize) -> Result<Self, LoadError> {
        let within = |name: &str, value: f64, most: f64| {
            if value > 0.0 && value <= most {
                Ok(value)
            } else {
                Err(LoadError::malformed(FILE, format!("yarn: {name} is {value}")))
            }
        };
        if raw.truncate == Some(false) {
            return Err(LoadError::unsupported(FILE, "yarn without truncate"));
        }
        let trained = raw.original_max_position_embeddings.unwrap_or(positions as f64);
        let trained = within("original_max_position_embeddings", trained, 1e9)?;
        let factor = within("factor", raw.factor.unwrap_or(positions as f64 / trained), MAX_FACTOR)?;
        let sharpened = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
        let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let attention = match (raw.attention_factor, given(raw.mscale), given(raw.mscale_all_dim)) {
            (Some(factor), _, _) => factor,
            (None, Some(over), Some(under)) => sharpened(over) / sharpened(under),
            _ => sharpened(1.0),
        };
        Ok(Self {
            factor,
            attention: within("attention_factor", attention, MAX_FACTOR)?,
            beta_fast: within("beta_fast", given(raw.beta_fast).unwrap_or(BETA_FAST), 1e9)?,
            beta_slow: within("beta_slow", given(raw.beta_slow).unwrap_or(BETA_SLOW), 1e9)?,
            trained,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates that transformers 5.0.0 computes for these parameters (`_compute_yarn_parameters`).
    #[derive(Deserialize)]
    struct Golden {
        head: usize,
        positions: usize,
        rope: Raw,
        rates: Vec<f32>,
        attention: f64,
    }

    #[test]
    fn rates_are_those_of_transformers() {
        let goldens: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/yarn.json")).expect("golden");
        assert_eq!(goldens.len(), 5);
        for (nth, golden) in goldens.iter().enumerate() {
            let rope = Rope::parse(Some(golden.rope), None, 2.0, golden.positions).expect("good");
            assert!((rope.scale() - golden.attention).abs() < 1e-12, "{nth}: {rope:?}");
            let rates = rope.rates(golden.head / 2);
            assert_eq!(rates.len(), golden.rates.len());
            for (i, (got, wanted)) in rates.iter().zip(&golden.rates).enumerate() {
                assert!((got / wanted - 1.0).abs() < 1e-5, "{nth}, pair {i}: {got}, not {wanted}");
            }
        }
    }

    #[test]
    fn without_scaling_rates_are_a_geometric_progression() {
        let rope = Rope { theta: 10_000.0, yarn: None };
        assert_eq!((rope.rates(4), rope.scale()), (vec![1.0, 0.1, 0.01, 0.001], 1.0));
    }

    fn yarn(members: &str) -> Result<Rope, LoadError> {
        let raw = serde_json::from_str(&format!("{{\"rope_type\": \"yarn\", {members}}}"));
        Rope::parse(Some(raw.expect("a document")), None, 10_000.0, 1024)
    }

    fn both(own: &str, over: &str) -> Result<Rope, LoadError> {
        let raw = |text| Some(serde_json::from_str(text).expect("a document"));
        Rope::parse(raw(own), raw(over), 10_000.0, 1024)
    }

    #[test]
    fn older_files_name_the_type_otherwise_or_twice() {
        let numbers = "\"factor\": 4, \"original_max_position_embeddings\": 256";
        let named = |names: &str| both("{}", &format!("{{{names}, {numbers}}}"));
        let one = named("\"rope_type\": \"yarn\"").expect("good");
        assert!(one.yarn.is_some());
        assert_eq!(named("\"type\": \"yarn\"").expect("good"), one);
        assert_eq!(named("\"type\": \"yarn\", \"rope_type\": \"yarn\"").expect("good"), one);
    }

    #[test]
    fn what_is_said_for_both_kinds_of_layers_goes_before_what_one_says_member_by_member() {
        let own = "{\"rope_type\": \"yarn\", \"rope_theta\": 500, \"factor\": 2, \"beta_fast\": 8}";
        let rope = both(own, "{\"factor\": 4}").expect("good");
        let yarn = rope.yarn.expect("yarn");
        assert_eq!((rope.theta, yarn.factor, yarn.beta_fast), (500.0, 4.0, 8.0));
        let rope = both(own, "{\"rope_type\": \"yarn\", \"beta_fast\": 16}").expect("good");
        let yarn = rope.yarn.expect("yarn");
        assert_eq!((yarn.factor, yarn.beta_fast), (2.0, 16.0));
        assert!(both(own, "{\"partial_rotary_factor\": 0.5}").is_err(), "no part of a head turns here");
    }

    #[test]
    fn what_is_not_said_follows_from_the_length_and_what_cannot_be_is_refused() {
        let stretched = yarn("\"original_max_position_embeddings\": 256").expect("good").yarn.expect("yarn");
        assert_eq!((stretched.factor, stretched.beta_fast, stretched.beta_slow), (4.0, 32.0, 1.0));
        assert_eq!(yarn("\"factor\": 2").expect("good").yarn.expect("yarn").trained, 1024.0);
        for wrong in [
            "\"factor\": 0",
            "\"factor\": -1",
            "\"factor\": 1e9",
            "\"factor\": 2, \"original_max_position_embeddings\": 0",
            "\"factor\": 2, \"attention_factor\": -1",
            "\"factor\": 2, \"beta_slow\": -3",
            "\"factor\": 2, \"truncate\": false",
        ] {
            assert!(yarn(wrong).is_err(), "{wrong}");
        }
    }
}
