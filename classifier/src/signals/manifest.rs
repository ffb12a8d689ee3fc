//! Labels and examples of a knowledge base, from its manifest.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Examples of one label that are read.
const MAX_EXEMPLARS: usize = 4096;

/// `labels.json`, as v0.3 writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) labels: BTreeMap<String, Label>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Label {
    #[serde(default)]
    pub(super) exemplars: Vec<String>,
}

impl Manifest {
    /// # Errors
    /// One sentence with line and column.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if manifest.labels.is_empty() {
            return Err("it has no labels".into());
        }
        if let Some((label, _)) =
            manifest.labels.iter().find(|(_, label)| label.exemplars.len() > MAX_EXEMPLARS)
        {
            return Err(format!("label {label:?} has more than {MAX_EXEMPLARS} exemplars"));
        }
        Ok(manifest)
    }
}
