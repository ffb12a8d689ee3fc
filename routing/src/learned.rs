//! What classifiers measured of one request.
//!
//! A classifier fills in numbers; what they mean (thresholds, margins, bands, groups) is configured and is
//! applied here, so that a decision can be explained and repeated without the classifier. A family that
//! nothing measured says why, and its signals are unknown.

use serde::{Deserialize, Serialize};

use crate::evidence::Unknown;
use crate::signals::SignalKind;

/// What a policy asks of classifiers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnedNeeds {
    families: u32,
    /// Earlier messages are read for attacks and personal data too.
    pub history: bool,
    /// [`Learned::query_embedding`] is read.
    pub query_embedding: bool,
    /// [`Learned::model_similarity`] is read.
    pub model_similarity: bool,
}

impl LearnedNeeds {
    /// Every learned family that `used` holds for.
    pub(crate) fn of(used: impl Fn(SignalKind) -> bool, history: bool) -> Self {
        let wanted = |kind: &SignalKind| kind.is_learned() && used(*kind);
        let families =
            SignalKind::ALL.into_iter().filter(wanted).fold(0, |bits, kind| bits | 1 << kind as u32);
        Self { families, history, query_embedding: false, model_similarity: false }
    }

    /// Vectors of texts and nothing else.
    pub fn vectors() -> Self {
        Self { query_embedding: true, ..Self::default() }
    }

    /// A classifier has to measure this family.
    pub const fn contains(self, family: SignalKind) -> bool {
        self.families & (1 << family as u32) != 0
    }

    /// No classifier is needed.
    pub const fn is_empty(self) -> bool {
        self.families == 0 && !self.query_embedding && !self.model_similarity
    }
}

/// One family's measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// It was measured.
    Given(T),
    /// It was not.
    Missing(Unknown),
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::Missing(Unknown::NoClassifier)
    }
}

impl<T> Reading<T> {
    pub(crate) const fn given(&self) -> Result<&T, Unknown> {
        match self {
            Self::Given(value) => Ok(value),
            Self::Missing(why) => Err(*why),
        }
    }
}

/// Measurements of all learned families. Lists "per rule" follow the order of the configuration; one that is
/// too short leaves the rest unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// Similarity of the request to each rule's bank of examples.
    pub embedding: Reading<Vec<f64>>,
    /// Probabilities of subject labels.
    pub domain: Reading<DomainReading>,
    /// Similarities to each rule's hard and easy examples.
    pub complexity: Reading<Vec<ComplexityReading>>,
    /// Similarity of the request to each rule's bank.
    pub preference: Reading<Vec<f64>>,
    /// Probability that the request needs fact checking.
    pub fact_check: Reading<f64>,
    /// What the user's turn says about the answer before it.
    pub user_feedback: Reading<LabelReading>,
    /// Probability of an attack, and similarities to examples.
    pub jailbreak: Reading<JailbreakReading>,
    /// Entities of personal data.
    pub pii: Reading<PiiReading>,
    /// Similarity to each label of each knowledge base.
    pub kb: Reading<Vec<KbReading>>,
    /// `AR`, `DIFFUSION` or `BOTH`.
    pub modality: Reading<LabelReading>,
    /// Similarity of the current user turn to the earlier ones, newest first.
    pub reask: Reading<Vec<f64>>,
    /// The embedding of the current user text by the model that selectors were trained with.
    pub query_embedding: Reading<Vec<f32>>,
    /// Cosine of the current user text and each of
    /// [`Policy::descriptions`](crate::policy::Policy::descriptions).
    pub model_similarity: Reading<Vec<f64>>,
}

/// What a learnt selector reads beside the evidence: recorded with the decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryReading {
    /// Of [`Learned`], if the selector reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Reading<Vec<f32>>>,
    /// Of [`Learned`], if the selector reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Reading<Vec<f64>>>,
    /// Hash of the user's id, if the selector reads what it taught.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
}

impl Learned {
    /// No classifier measured anything.
    pub const fn none() -> &'static Self {
        static NONE: Learned = Learned::missing(Unknown::NoClassifier);
        &NONE
    }

    /// Every family is unknown, for one reason.
    pub const fn missing(why: Unknown) -> Self {
        Self {
            embedding: Reading::Missing(why),
            domain: Reading::Missing(why),
            complexity: Reading::Missing(why),
            preference: Reading::Missing(why),
            fact_check: Reading::Missing(why),
            user_feedback: Reading::Missing(why),
            jailbreak: Reading::Missing(why),
            pii: Reading::Missing(why),
            kb: Reading::Missing(why),
            modality: Reading::Missing(why),
            reask: Reading::Missing(why),
            query_embedding: Reading::Missing(why),
            model_similarity: Reading::Missing(why),
        }
    }
}

/// A label and its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelReading {
    /// The likeliest label.
    pub label: String,
    /// In `[0,1]`.
    pub probability: f64,
}

/// Probabilities of subject labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainReading {
    /// Label and probability.
    pub labels: Vec<(String, f64)>,
    /// All labels are listed, so that the entropy of the distribution is known.
    pub complete: bool,
}

/// Similarities to hard and easy examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ComplexityReading {
    /// Text against hard and easy examples.
    pub text: (f64, f64),
    /// Image against hard and easy examples, where both sides have image examples.
    pub image: Option<(f64, f64)>,
}

/// Evidence of an attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JailbreakReading {
    /// Probability of an attack in the current text.
    pub current: f64,
    /// Highest probability in any earlier text, if they were read.
    pub history: Option<f64>,
    /// Per rule: the greatest similarity of any read text to attack examples and to harmless ones.
    pub contrastive: Vec<Option<(f64, f64)>>,
    /// A text was too long to be read whole: what was not found may still be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Entities of personal data: type and confidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PiiReading {
    /// In the current text.
    pub current: Vec<(String, f64)>,
    /// In earlier texts, if they were read.
    pub history: Option<Vec<(String, f64)>>,
    /// A text was too long to be read whole: what was not found may still be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Similarity to the labels of one knowledge base.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KbReading {
    /// The knowledge base.
    pub kb: String,
    /// Label and similarity.
    pub labels: Vec<(String, f64)>,
}
