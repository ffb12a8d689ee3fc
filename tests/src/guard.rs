//! A guard model that somebody else serves, and that behaves as the text in question says.

use pintle_standin::endpoint::{Endpoint, Reply};
use serde_json::Value;

/// An OpenAI-style chat guard on the loopback interface. A text that contains `[unsafe]` is unsafe to it, `[garbage]`
/// makes it talk of something else, `[500]` fail, `[huge]` answer at great length, `[late]` never; everything else is
/// safe.
#[derive(Debug)]
pub struct Guard(Endpoint);

/// A mark in the text, and what it leads to.
type Behaviour = (&'static str, fn() -> Reply);

impl Guard {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let endpoint = Endpoint::start(|body| {
            let request: Value = serde_json::from_str(body).unwrap_or_default();
            let text = request["messages"][0]["content"].as_str().unwrap_or_default();
            let behaves: [Behaviour; 5] = [
                ("[unsafe]", || Reply::chat("Safety: Unsafe\nCategories: Jailbreak")),
                ("[garbage]", || Reply::chat("The weather is fine.")),
                ("[500]", || Reply::Says(500, "out of order".to_owned())),
                ("[huge]", || Reply::chat(&"Safety: Safe ".repeat(1 << 14))),
                ("[late]", || Reply::Silence),
            ];
            let found = behaves.iter().find(|(mark, _)| text.contains(mark));
            found.map_or_else(|| Reply::chat("Safety: Safe\nCategories: None"), |(_, reply)| reply())
        });
        Self(endpoint.expect("the loopback interface has a free port"))
    }

    /// The `global.model_catalog` that asks it, as v0.3 writes it.
    pub fn catalog(&self) -> String {
        let (host, port) = (self.0.address().ip(), self.0.address().port());
        format!(
            "  model_catalog:\n    modules: {{prompt_guard: {{use_vllm: true}}}}\n    external:\n      - llm_provider: vllm\n        \
             model_role: guardrail\n        llm_endpoint: {{address: {host}, port: {port}, name: guard, use_chat_template: true}}\n        \
             llm_model_name: Qwen3Guard-Gen-4B\n"
        )
    }

    /// Requests that it has had.
    pub fn asked(&self) -> usize {
        self.0.requests().len()
    }
}
