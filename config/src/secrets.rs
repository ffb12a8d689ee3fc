//! Keys: never shown, and read from the environment here only.
//!
//! A backend's key is written in the file (`api_key`), or named (`api_key_env`). A name is looked up among
//! the credentials that systemd passes in `$CREDENTIALS_DIRECTORY`, then among environment variables.
//! Inside `api_key`, and an external model's `access_key`, `$NAME` and `${NAME}` stand for such a value.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::codes;
use crate::contract::{BackendRef, Config, ProfileSetting};
use crate::report::{Finding, Severity};

/// Bytes of a credential file.
const MAX_CREDENTIAL: u64 = 64 << 10;

/// Text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// There is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(empty)" } else { "Secret(..)" })
    }
}

/// The keys of all backends and external models.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    keys: BTreeMap<(usize, usize), Secret>,
    external: BTreeMap<usize, Secret>,
}

impl Secrets {
    /// The key of `providers.models[model].backend_refs[backend]`.
    pub fn key(&self, model: usize, backend: usize) -> Option<&Secret> {
        self.keys.get(&(model, backend))
    }

    /// The key of `global.model_catalog.external[model]`.
    pub fn external(&self, model: usize) -> Option<&Secret> {
        self.external.get(&model)
    }
}

/// A name without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model `{model}`, {path}: neither a credential nor an environment variable `{name}` is set")]
pub struct UnsetKey {
    /// The provider model whose backend needs the key.
    pub model: String,
    /// Where the name is written.
    pub path: String,
    /// The name.
    pub name: String,
}

/// Every name without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnsetKeys(pub Vec<UnsetKey>);

impl UnsetKeys {
    /// The same as findings, to be shown with the others.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |key: &UnsetKey| Finding {
            severity: Severity::Error,
            code: codes::KEY_UNSET,
            path: key.path.clone(),
            line: 0,
            column: 0,
            message: key.to_string(),
            help: Some(format!("set the variable `{}`, or load it with systemd's LoadCredential", key.name)),
        };
        self.0.iter().map(finding).collect()
    }
}

impl fmt::Display for UnsetKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            key.fmt(f)?;
        }
        Ok(())
    }
}

/// Finds the key of every backend and external model. `lookup` gives the value of a name; see [`lookup`] for the real one.
///
/// With `global.pintle.profile: compat` an unset name is an empty key, and a backend without a key uses the
/// first one of its model, as v0.3.0 does. Otherwise a key never leaves the backend it was written for.
///
/// # Errors
/// Names all backends whose key is not set.
pub fn resolve(config: &Config, lookup: &impl Fn(&str) -> Option<String>) -> Result<Secrets, UnsetKeys> {
    let compat = config.global.pintle.profile == ProfileSetting::Compat;
    let mut secrets = Secrets::default();
    let mut unset = Vec::new();
    for (index, model) in config.providers.models.iter().enumerate() {
        let mut first: Option<Secret> = None;
        for (at, backend) in model.backend_refs.iter().enumerate() {
            let path = format!("providers.models[{index}].backend_refs[{at}]");
            let key = match key_of(backend, lookup) {
                Ok(key) => key,
                Err(_) if compat => None,
                Err(name) => {
                    unset.push(UnsetKey { model: model.name.clone(), path, name });
                    None
                }
            };
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                first.get_or_insert_with(|| key.clone());
                secrets.keys.insert((index, at), key);
            }
        }
        if let Some(first) = first.filter(|_| compat) {
            for at in 0..model.backend_refs.len() {
                secrets.keys.entry((index, at)).or_insert_with(|| first.clone());
            }
        }
    }
    for (index, model) in config.global.model_catalog.external.iter().enumerate() {
        match expand(model.access_key.expose(), lookup) {
            Ok(key) if key.is_empty() => {}
            Ok(key) => drop(secrets.external.insert(index, Secret::new(key))),
            Err(_) if compat => drop(secrets.external.insert(index, model.access_key.clone())),
            Err(name) => {
                let path = format!("global.model_catalog.external[{index}].access_key");
                unset.push(UnsetKey { model: model.llm_model_name.clone(), path, name });
            }
        }
    }
    if unset.is_empty() { Ok(secrets) } else { Err(UnsetKeys(unset)) }
}

/// The key, or the name that has no value.
fn key_of(backend: &BackendRef, lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, String> {
    if !backend.api_key.is_empty() {
        return expand(backend.api_key.expose(), lookup).map(|key| Some(Secret::new(key)));
    }
    let name = backend.api_key_env.trim();
    if name.is_empty() {
        return Ok(None);
    }
    match lookup(name) {
        Some(value) if !value.is_empty() => Ok(Some(Secret::new(value))),
        _ => Err(name.to_owned()),
    }
}

/// Replaces `$NAME` and `${NAME}`; any other `$` stays.
fn expand(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, tail) = match braced {
            Some((name, tail)) => (name, tail),
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push('$');
            rest = after;
            continue;
        }
        out.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of a name on this machine: a systemd credential, else an environment variable.
///
/// This function is the only place where the environment is read for keys.
pub fn lookup(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment for keys")]
    let (directory, variable) = (std::env::var_os("CREDENTIALS_DIRECTORY"), std::env::var(name));
    directory.and_then(|directory| credential(Path::new(&directory), name)).or(variable.ok())
}

/// A credential file's text without the line end that editors add.
fn credential(directory: &Path, name: &str) -> Option<String> {
    if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::open(directory.join(name)).ok()?;
    file.take(MAX_CREDENTIAL).read_to_string(&mut text).ok()?;
    let kept = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(kept);
    Some(text)
}

#[cfg(test)]
mod tests;
