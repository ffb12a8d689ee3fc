//! Tools that the gateway itself may offer (`tool_selection`, mode `add`), and what was measured of them.

use std::sync::OnceLock;

use pintle_routing::facts::Dialect;

/// Tools out of a database.
#[derive(Debug, Default)]
pub struct Toolbox {
    tools: Vec<Shelved>,
}

/// A tool that may be offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    /// The function's name.
    pub name: String,
    /// By which it is found.
    pub description: String,
    /// Its category; empty for none.
    pub category: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// A member of `tools` in chat completions.
    pub chat: String,
    /// The same in the Responses API.
    pub response: String,
    /// The same in Anthropic's Messages.
    pub message: String,
}

#[derive(Debug)]
pub(crate) struct Shelved {
    pub(crate) tool: Tool,
    /// Of the description, once it was measured. A toolbox lives no longer than the model that measures.
    vector: OnceLock<Vec<f32>>,
}

impl Toolbox {
    /// A toolbox of which nothing was measured yet.
    pub fn new(tools: Vec<Tool>) -> Self {
        let shelved = |tool| Shelved { tool, vector: OnceLock::new() };
        Self { tools: tools.into_iter().map(shelved).collect() }
    }

    /// Tools that it holds.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// It holds none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    pub(crate) fn tools(&self) -> &[Shelved] {
        &self.tools
    }
}

impl Tool {
    /// The tool as a member of a request's `tools`.
    pub(crate) fn literal(&self, dialect: Dialect) -> &str {
        match dialect {
            Dialect::OpenAiChat => &self.chat,
            Dialect::OpenAiResponses => &self.response,
            Dialect::AnthropicMessages => &self.message,
        }
    }
}

impl Shelved {
    /// What was measured of the description.
    pub(crate) fn vector(&self) -> Option<&[f32]> {
        self.vector.get().map(Vec::as_slice)
    }

    /// Keeps what was measured; the first measurement counts.
    pub(crate) fn measured(&self, vector: Vec<f32>) {
        let _ = self.vector.set(vector);
    }
}
