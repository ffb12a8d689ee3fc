//! Models as their authors publish them: Hugging Face folders of BERT and ModernBERT encoders.
//!
//! [`folder::read`] reads a folder into a [`Network`]: plain `f32` weights in their natural layout and the facts about
//! how they are applied, checked against each other. Back ends pack a network into whatever they compute on.

pub mod config;
pub mod folder;
pub mod network;
pub mod rope;
pub mod tokenizer;
mod weights;

pub use folder::{Folder, Options};

/// Weights of a network that this crate knows.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// A graph that says what to compute.
pub const ONNX_FILE: &str = "model.onnx";
pub use network::Network;

/// Why a model cannot be loaded. Every one names the file at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// Path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any that this loader reads.
    #[error("{file}: {bytes} bytes are more than the {limit} that are read")]
    TooLarge {
        /// Path.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is not what its name says.
    #[error("{file}: {reason}")]
    Malformed {
        /// Path.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A sound model that this loader has no network for.
    #[error("{file}: not supported: {reason}")]
    Unsupported {
        /// Path.
        file: String,
        /// What is missing here.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn malformed(file: &str, reason: impl ToString) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn unsupported(file: &str, reason: impl ToString) -> Self {
        Self::Unsupported { file: file.to_owned(), reason: reason.to_string() }
    }
}
