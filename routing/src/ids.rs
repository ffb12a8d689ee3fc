//! Small indexes into one policy's tables.
//!
//! They are meaningful only together with the [`Policy`](crate::policy::Policy) that issued them: after a
//! reload the same number may name something else, so anything stored goes by name.

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl $name {
            /// The position in the policy's table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A model: a `routing.modelCards` entry, in file order.
    ModelId
);
index!(
    /// A LoRA adapter, numbered within its base model's card.
    LoraId
);
index!(
    /// A decision, in file order.
    DecisionId
);
index!(
    /// One named signal, for example `keyword:code` or `projection:hard`.
    SignalId
);

/// What serves a turn: a base model, or a base model with an adapter.
///
/// The pair is the identity that session memory keeps; the adapter's name alone is only how the upstream
/// is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The base model.
    pub model: ModelId,
    /// The adapter on it.
    pub lora: Option<LoraId>,
}

impl Target {
    /// The base model without an adapter.
    pub const fn base(model: ModelId) -> Self {
        Self { model, lora: None }
    }
}
