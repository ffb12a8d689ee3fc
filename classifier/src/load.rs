//! A model's files, read: a network to be packed, or a graph that runs as it is.

use std::path::Path;
use std::sync::Arc;

use crate::cpu::{CpuEncoder, Precision};
use crate::encoder::{Encoder, EncoderInfo};
use crate::model::folder::{self, Files};
use crate::model::{Folder, LoadError, ONNX_FILE, Options};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxEncoder;

/// A model in memory.
pub enum Loaded {
    /// Weights that back ends pack for themselves.
    Network(Box<Folder>),
    /// A graph with its own back end.
    #[cfg(feature = "onnx")]
    Graph(Box<OnnxEncoder>),
}

impl Loaded {
    /// Reads a folder of either kind.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn read(folder: &Path, options: Options) -> Result<Self, LoadError> {
        let weights = folder::weights_file(folder);
        folder::with_files(folder, weights, |files| Self::parse(files, weights, options))
    }

    /// Reads files that are in memory already; `weights` names the one that `files.weights` is.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn parse(files: Files<'_>, weights: &str, options: Options) -> Result<Self, LoadError> {
        if weights != ONNX_FILE {
            return folder::parse(files, options).map(|folder| Self::Network(Box::new(folder)));
        }
        #[cfg(feature = "onnx")]
        return OnnxEncoder::parse(files, options).map(|encoder| Self::Graph(Box::new(encoder)));
        #[cfg(not(feature = "onnx"))]
        Err(LoadError::unsupported(ONNX_FILE, "this build reads no ONNX"))
    }

    /// What it is and gives.
    #[must_use]
    pub fn info(&self) -> &EncoderInfo {
        match self {
            Self::Network(folder) => &folder.info,
            #[cfg(feature = "onnx")]
            Self::Graph(encoder) => encoder.info(),
        }
    }

    /// The network, if it is one that back ends pack.
    #[must_use]
    pub fn network(&self) -> Option<&Folder> {
        match self {
            Self::Network(folder) => Some(folder),
            #[cfg(feature = "onnx")]
            Self::Graph(_) => None,
        }
    }

    /// The model on the CPU. A graph computes in whatever numbers it says.
    #[must_use]
    pub fn into_encoder(self, precision: Precision) -> Arc<dyn Encoder> {
        match self {
            Self::Network(folder) => Arc::new(CpuEncoder::new(*folder, precision)),
            #[cfg(feature = "onnx")]
            Self::Graph(encoder) => Arc::from(encoder as Box<dyn Encoder>),
        }
    }
}
