//! Configuration files for tests, written as an operator would write them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use pintle_standin::StandIn;

/// A backend of a model.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its address.
    pub address: SocketAddr,
    /// Its share among the model's backends.
    pub weight: u32,
    /// YAML in place of `endpoint: ADDRESS`, indented by ten.
    pub place: Option<String>,
}

impl Backend {
    /// At an address, spoken to in plain HTTP.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, weight: 1, place: None }
    }
}

/// A model and where it is served.
#[derive(Debug, Clone)]
pub struct Model {
    /// Logical name, which is also the name upstream.
    pub name: String,
    /// Dollars per million prompt tokens; completion costs four times, cached input a tenth of it.
    pub price: f64,
    /// Quality in [0,1].
    pub quality: f64,
    /// Sent to every backend as a bearer token.
    pub api_key: Option<String>,
    /// At least one.
    pub backends: Vec<Backend>,
    /// Further YAML of the provider's entry, e.g. `reasoning_family: qwen3`.
    pub provider: String,
}

impl Model {
    /// A model served by stand-ins of its name.
    pub fn on(stand_ins: &[&StandIn], price: f64, quality: f64) -> Self {
        let backends = stand_ins.iter().map(|s| Backend::at(s.address())).collect();
        Self {
            name: stand_ins[0].model().to_owned(),
            price,
            quality,
            api_key: None,
            backends,
            provider: String::new(),
        }
    }
}

/// A configuration, in parts that tests vary.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// Models; the first is the default.
    pub models: Vec<Model>,
    /// YAML under `routing:` (`signals`, `decisions`); [`ConfigFile::tempting`] by default.
    pub routing: String,
    /// YAML under `providers.defaults:`, indented by four.
    pub defaults: String,
    /// YAML under `global:`, indented by two.
    pub global: String,
    /// YAML under `global.pintle:`, indented by four.
    pub pintle: String,
}

impl ConfigFile {
    /// These models, with a policy that tempts a session to leave its model at every turn.
    pub fn tempting(models: Vec<Model>) -> Self {
        let (first, last) = (models[0].name.clone(), models[models.len() - 1].name.clone());
        Self { routing: tempting(&first, &last), models, ..Self::default() }
    }

    /// These models, with one catch-all decision that takes the first.
    pub fn plain(models: Vec<Model>) -> Self {
        let routing = format!(
            "  decisions:\n    - name: everything\n      description: all requests\n      priority: 1\n      \
             rules: {{operator: AND, conditions: []}}\n      modelRefs:\n        - model: {}\n",
            models[0].name
        );
        Self { routing, models, ..Self::default() }
    }

    /// Adds YAML under `global.pintle`, e.g. `timeouts: {head_ms: 300}`.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        let _ = writeln!(self.pintle, "    {line}");
        self
    }

    /// The file for a gateway on these ports.
    pub fn render(&self, port: u16, admin: u16, folder: &std::path::Path) -> String {
        let mut text = format!(
            "version: v0.3\nlisteners:\n  - name: main\n    address: 127.0.0.1\n    port: {port}\n\
             providers:\n  defaults:\n    default_model: {}\n{}  models:\n",
            self.models[0].name, self.defaults
        );
        for model in &self.models {
            let (name, price) = (&model.name, model.price);
            let _ = write!(
                text,
                "    - name: {name}\n      provider_model_id: {name}\n      pricing:\n        currency: USD\n        \
                 prompt_per_1m: {price}\n        completion_per_1m: {}\n        cached_input_per_1m: {}\n      \
                 backend_refs:\n",
                price * 4.0,
                price / 10.0
            );
            if !model.provider.is_empty() {
                // Before `backend_refs`, whose list follows.
                let key = "      backend_refs:\n";
                text.truncate(text.len() - key.len());
                let _ = write!(text, "      {}\n{key}", model.provider);
            }
            for (n, backend) in model.backends.iter().enumerate() {
                let Backend { address, weight, place } = backend;
                let endpoint = format!("endpoint: {address}");
                let place = place.as_deref().unwrap_or(&endpoint);
                let _ = write!(
                    text,
                    "        - name: backend-{n}\n          {place}\n          weight: {weight}\n"
                );
                if let Some(key) = &model.api_key {
                    let _ = writeln!(text, "          api_key: {key}");
                }
            }
        }
        text.push_str("routing:\n  modelCards:\n");
        for model in &self.models {
            let _ = write!(
                text,
                "    - name: {}\n      context_window_size: 131072\n      quality_score: {}\n",
                model.name, model.quality
            );
        }
        text.push_str(&self.routing);
        let folder = folder.display();
        let _ = write!(
            text,
            "global:\n{}  pintle:\n    state_dir: {folder}/state\n    admin:\n      listen: 127.0.0.1:{admin}\n      \
             socket: {folder}/admin.sock\n{}",
            self.global, self.pintle
        );
        if !self.pintle.contains("workers:") {
            text.push_str("    workers: 1\n");
        }
        if !self.pintle.contains("session:") {
            // The default holds a million sessions, in some 350 MB of file.
            text.push_str("    session: {capacity: 4096}\n");
        }
        // The defaults are a production machine's; a test machine may be busy for longer.
        if !self.pintle.contains("timeouts:") {
            text.push_str("    timeouts: {connect_ms: 20000}\n");
        }
        if !self.pintle.contains("classifier:") {
            text.push_str("    classifier: {deadline_ms: 20000}\n");
        }
        text
    }
}

/// Everyday turns go to `first`, hard ones to `last`, and every turn that carries a tool result to `last`
/// alone: without a lock, each tool loop of `first` would break.
fn tempting(first: &str, last: &str) -> String {
    format!(
        "  signals:
    keywords:
      - name: hard
        operator: OR
        keywords: [prove, derive, deadlock]
    conversation:
      - name: results
        feature:
          type: count
          source: {{type: assistant_tool_cycle}}
        predicate: {{gte: 1}}
  decisions:
    - name: results
      description: a tempting way out of a tool loop
      priority: 300
      rules: {{operator: AND, conditions: [{{type: conversation, name: results}}]}}
      modelRefs:
        - model: {last}
      algorithm: {{type: session_aware, session_aware: {{base_method: static, min_turns_before_switch: 0}}}}
    - name: hard
      description: hard questions
      priority: 200
      rules: {{operator: OR, conditions: [{{type: keyword, name: hard}}]}}
      modelRefs:
        - model: {last}
        - model: {first}
      algorithm: {{type: session_aware, session_aware: {{base_method: static, min_turns_before_switch: 0}}}}
    - name: everyday
      description: everything else
      priority: 100
      rules: {{operator: AND, conditions: []}}
      modelRefs:
        - model: {first}
        - model: {last}
      algorithm: {{type: session_aware, session_aware: {{base_method: static, min_turns_before_switch: 0}}}}
"
    )
}
