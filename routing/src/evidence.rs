//! What is known about a request, one signal at a time, in three values.
//!
//! A signal is true, false, or unknown with a reason. Unknown is not false: a missing classifier must not
//! open a rule that says `NOT jailbreak`.

use serde::{Deserialize, Serialize};

/// Whether a signal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", content = "why", rename_all = "snake_case")]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It could not be determined.
    Unknown(Unknown),
}

impl Truth {
    /// It holds for certain.
    pub const fn is_true(self) -> bool {
        matches!(self, Self::True)
    }

    /// It could not be determined.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Negation: unknown stays unknown.
    #[must_use]
    pub const fn negate(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Why a signal is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The signal needs a learned classifier and none gave evidence.
    NoClassifier,
    /// The classifier failed or answered out of range.
    ClassifierFailed,
    /// The classifier missed its deadline.
    Deadline,
    /// The classifier had too much waiting to take the request.
    Overloaded,
    /// The caller's identity is not established.
    NoIdentity,
    /// The text is too short or too mixed to tell.
    Undetermined,
    /// The text is longer than the signal reads.
    TooLong,
    /// The request has nothing that the signal could be read from.
    NoInput,
    /// A rule names a signal that is not declared.
    Undeclared,
    /// A replayed recording does not have it.
    NotRecorded,
}

impl Unknown {
    /// A phrase for a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoClassifier => "no classifier",
            Self::ClassifierFailed => "classifier failed",
            Self::Deadline => "classifier missed its deadline",
            Self::Overloaded => "classifier overloaded",
            Self::NoIdentity => "no trusted identity",
            Self::Undetermined => "undetermined",
            Self::TooLong => "text too long",
            Self::NoInput => "nothing to read it from",
            Self::Undeclared => "not declared",
            Self::NotRecorded => "not recorded",
        }
    }
}

/// What is known of one signal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Whether it holds.
    pub truth: Truth,
    /// How sure the family is, in `[0,1]`; `None` for families that do not measure it. Decisions read
    /// `None`, and in the compat profile also 0, as 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f64>,
    /// The measured quantity behind it (a count, a similarity, a token estimate), if the family has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
}

impl Evidence {
    /// A signal that could not be determined.
    pub const fn unknown(why: Unknown) -> Self {
        Self { truth: Truth::Unknown(why), confidence: None, value: None }
    }

    /// A two-valued signal without a measure.
    pub fn plain(holds: bool) -> Self {
        Self { truth: holds.into(), confidence: None, value: None }
    }

    /// A two-valued signal with the quantity it was read from.
    pub fn measured(holds: bool, value: f64) -> Self {
        Self { truth: holds.into(), confidence: None, value: Some(value) }
    }

    /// A two-valued signal with confidence and quantity.
    pub fn scored(holds: bool, confidence: f64, value: f64) -> Self {
        Self { truth: holds.into(), confidence: Some(confidence), value: Some(value) }
    }
}
