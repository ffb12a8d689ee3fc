//! Configurations that a simulated operator switches between.

use std::net::{Ipv4Addr, SocketAddr};

use pintle_config::Profile;
use pintle_routing::policy::Policy;

use crate::config::{Backend, ConfigFile, Model};

pub(super) const MODELS: [&str; 3] = ["small", "large", "frontier"];
const PRICES: [f64; 3] = [0.1, 1.0, 8.0];
const QUALITIES: [f64; 3] = [0.4, 0.7, 0.95];

/// One configuration. All of them have some model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setup {
    /// Which of [`MODELS`] are configured, one bit each.
    pub(super) models: u8,
    pub(super) refuse_tool_loop: bool,
    pub(super) refuse_provider_state: bool,
}

impl Setup {
    pub(super) const COUNT: usize = 7 * 4;

    pub(super) const fn number(at: usize) -> Self {
        let models = (at % 7 + 1) as u8;
        Self { models, refuse_tool_loop: at / 7 % 2 == 1, refuse_provider_state: at / 14 == 1 }
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.models - 1)
            + 7 * usize::from(self.refuse_tool_loop)
            + 14 * usize::from(self.refuse_provider_state)
    }

    /// Compiles the configuration as a file with this content would be.
    pub(super) fn policy(self) -> Policy {
        let chosen: Vec<usize> = (0..MODELS.len()).filter(|at| self.models >> at & 1 == 1).collect();
        let model = |at: &usize| Model {
            name: MODELS[*at].to_owned(),
            price: PRICES[*at],
            quality: QUALITIES[*at],
            api_key: None,
            backends: vec![Backend::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000 + *at as u16)))],
            provider: String::new(),
        };
        let setting = |refuse| if refuse { "refuse" } else { "release" };
        let names: Vec<&str> = chosen.iter().map(|at| MODELS[*at]).collect();
        let file = ConfigFile {
            models: chosen.iter().map(model).collect(),
            routing: routing(&names),
            ..ConfigFile::default()
        }
        .with(&format!(
            "session: {{on_missing_model: {{tool_loop: {}, provider_state: {}}}}}",
            setting(self.refuse_tool_loop),
            setting(self.refuse_provider_state)
        ));
        let text = file.render(8000, 8001, std::path::Path::new("/nonexistent"));
        let loaded = pintle_config::load(text.as_bytes(), "simulated.yaml", Profile::Pintle);
        let config = loaded.config.unwrap_or_else(|| panic!("{:#?}\n{text}", loaded.report));
        Policy::compile(&config, Profile::Pintle).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
    }
}

/// Words that make a decision match; no word is everyday talk.
pub(super) const WORDS: [&str; 4] = ["hello", "prove", "deadlock", "title"];

/// Each decision wants another model than its neighbours do, and one wants every tool result elsewhere.
fn routing(names: &[&str]) -> String {
    let (first, last) = (names[0], names[names.len() - 1]);
    let aware = "{type: session_aware, session_aware: {base_method: static, min_turns_before_switch: 0}}";
    let fixed = "{type: static}";
    let refs = |names: &[&str]| names.iter().map(|name| format!("{{model: {name}}}")).collect::<Vec<_>>();
    let backwards: Vec<&str> = names.iter().rev().copied().collect();
    let decision = |name: &str, priority: u32, rules: &str, models: &[&str], algorithm: &str| {
        format!(
            "    - name: {name}\n      description: {name}\n      priority: {priority}\n      rules: {rules}\n      \
             modelRefs: [{}]\n      algorithm: {algorithm}\n",
            refs(models).join(", ")
        )
    };
    let on =
        |kind: &str, name: &str| format!("{{operator: AND, conditions: [{{type: {kind}, name: {name}}}]}}");
    let mut text = String::from("  signals:\n    keywords:\n");
    for word in &WORDS[1..] {
        text.push_str(&format!("      - {{name: {word}, operator: OR, keywords: [{word}]}}\n"));
    }
    text.push_str(
        "    conversation:\n      - name: results\n        feature: {type: count, source: \
         {type: assistant_tool_cycle}}\n        predicate: {gte: 1}\n  decisions:\n",
    );
    text.push_str(&decision("title", 400, &on("keyword", "title"), &[first], fixed));
    text.push_str(&decision("prove", 350, &on("keyword", "prove"), &backwards, aware));
    text.push_str(&decision("results", 300, &on("conversation", "results"), &[last], aware));
    text.push_str(&decision("deadlock", 200, &on("keyword", "deadlock"), &backwards, fixed));
    text.push_str(&decision("everyday", 100, "{operator: AND, conditions: []}", names, aware));
    text
}
