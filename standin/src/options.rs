//! How a stand-in behaves.

use std::net::SocketAddr;

/// Settings of one stand-in model server; also its command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:18001", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,

    /// Name of the model that this server plays.
    #[arg(long, default_value = "stand-in", value_name = "NAME")]
    pub model: String,

    /// Tokens per second while an answer streams; 0 sends as fast as the client reads.
    #[arg(long, default_value_t = 0.0, value_name = "RATE", value_parser = non_negative)]
    pub tokens_per_second: f64,

    /// Milliseconds from the request to the first token.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub first_token_ms: u64,

    /// Tokens of a text answer, unless the request asks for fewer.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub answer_tokens: u32,

    /// Share of requests that fail (0 to 1): by status 500 or 503, or by a connection cut in mid-answer.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub error_rate: f64,

    /// Seed of everything that looks random.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub seed: u64,

    /// Prefixes that the simulated prefix cache holds (one per message seen); 0 turns it off.
    #[arg(long, default_value_t = 65_536, value_name = "N")]
    pub prefix_cache: usize,

    /// Log probability of every token of an answer, for requests that ask for it; without it there are none.
    #[arg(long, value_name = "LOGPROB", allow_hyphen_values = true)]
    pub logprob: Option<f64>,

    /// Answer for any model name; otherwise another model's name gets 404, as from vLLM.
    #[arg(long)]
    pub any_model: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            model: "stand-in".to_owned(),
            tokens_per_second: 0.0,
            first_token_ms: 0,
            answer_tokens: 32,
            error_rate: 0.0,
            seed: 1,
            prefix_cache: 65_536,
            logprob: None,
            any_model: false,
        }
    }
}

impl Options {
    /// Defaults for a model of this name on a free loopback port.
    pub fn for_model(model: impl Into<String>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }
}

/// The part of [`Options`] that may change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// As [`Options::tokens_per_second`].
    pub tokens_per_second: f64,
    /// As [`Options::first_token_ms`].
    pub first_token_ms: u64,
    /// As [`Options::answer_tokens`].
    pub answer_tokens: u32,
    /// As [`Options::error_rate`].
    pub error_rate: f64,
}

impl From<&Options> for Pace {
    fn from(o: &Options) -> Self {
        Self {
            tokens_per_second: o.tokens_per_second,
            first_token_ms: o.first_token_ms,
            answer_tokens: o.answer_tokens,
            error_rate: o.error_rate,
        }
    }
}

fn non_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.0..=1.0).contains(&v) => Ok(v),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}
