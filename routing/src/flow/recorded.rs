//! The inputs of one decision, owned and serialisable, so that it can be taken again.
//!
//! Texts are large and private, so they may be left out: the evidence read from them is recorded instead,
//! and that is enough to take the same decision under the same policy. A what-if under another policy
//! needs the texts wherever that policy has rules which the recording one had not.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::experience::Experience;
use crate::facts::{
    Dialect, Facts, Identity, MessageCounts, Metadata, ProviderState, SessionIdentity, SessionSnapshot,
    SessionSource, Texts, ToolFacts,
};
use crate::learned::QueryReading;
use crate::session::economics::Foresight;
use crate::units::{Tokens, UnixMillis};

/// Everything that [`Policy::decide`](crate::policy::Policy::decide) was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The request.
    pub facts: RecordedFacts,
    /// Every base signal as it was read, by `type:name`.
    pub evidence: Vec<(String, Evidence)>,
    /// Knowledge base, metric, value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kb_metrics: Vec<(String, String, f64)>,
    /// The session as it was.
    pub session: Option<RecordedSession>,
    /// The target that made the state which the request refers to.
    pub provider_owner: Option<String>,
    /// The clock.
    pub now: UnixMillis,
    /// Live state of the models, by name; a model that is not listed was up, idle and unmeasured.
    pub live: RecordedLive,
    /// What a learnt selector read of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Box<QueryReading>>,
    /// What feedback had taught, as far as the selector may have read it.
    #[serde(default, skip_serializing_if = "Experience::is_empty")]
    pub experience: Experience,
    /// Bytes per prompt token.
    pub bytes_per_token: f64,
    /// What habits expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foresight: Option<Foresight>,
}

/// [`LiveSignals`](crate::live::LiveSignals) by model name, so that a policy with other models can read them.
pub type RecordedLive = Vec<(String, crate::live::ModelLive)>;

/// Owned [`Facts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedFacts {
    /// The client's API.
    pub dialect: Dialect,
    /// The requested model.
    pub requested_model: String,
    /// The client asked for a streamed answer.
    pub stream: bool,
    /// The session key: 32 hexadecimal digits, and where it came from.
    pub session: Option<(String, SessionSource)>,
    /// Message counts.
    pub messages: MessageCounts,
    /// Tool counts.
    pub tools: ToolFacts,
    /// Provider state.
    pub provider_state: Option<RecordedProviderState>,
    /// The request carries an image.
    pub has_image: bool,
    /// Bytes of the whole envelope.
    pub envelope_bytes: u64,
    /// Bytes that v0.3.0 counts.
    pub compat_context_bytes: u64,
    /// Bytes before the last user turn.
    pub history_bytes: u64,
    /// The client's bound on the answer.
    pub max_completion: Option<Tokens>,
    /// A trusted identity was given.
    pub identified: bool,
    /// Texts and identity, if they may be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<RecordedPrivate>,
}

/// What a recording leaves out unless the operator wants it kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordedPrivate {
    /// User id.
    pub user: String,
    /// Groups.
    pub groups: String,
    /// Last user text.
    pub current_user: String,
    /// Earlier user texts.
    pub prior_user: Vec<String>,
    /// Other texts.
    pub non_user: Vec<String>,
    /// The request's `metadata`, if it was read.
    #[serde(default, skip_serializing_if = "RecordedMetadata::is_empty")]
    pub metadata: RecordedMetadata,
}

/// Owned [`Metadata`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordedMetadata {
    /// Name and text of each member.
    pub members: Vec<(String, Option<String>)>,
    /// Some were left out.
    pub truncated: bool,
}

impl RecordedMetadata {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(metadata: &Metadata<'_>) -> Self {
        let owned = |text: &Cow<'_, str>| text.to_string();
        let members = metadata.members.iter();
        Self {
            members: members.map(|(name, text)| (owned(name), text.as_ref().map(owned))).collect(),
            truncated: metadata.truncated,
        }
    }

    fn metadata(&self) -> Metadata<'_> {
        let members = self.members.iter();
        Metadata {
            members: members.map(|(name, text)| (name.into(), text.as_deref().map(Cow::Borrowed))).collect(),
            truncated: self.truncated,
        }
    }
}

/// Owned [`ProviderState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedProviderState {
    /// `previous_response_id`
    PreviousResponse(String),
    /// `conversation`
    Conversation(String),
}

/// Owned [`SessionSnapshot`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of SessionSnapshot")]
pub struct RecordedSession {
    pub model: String,
    pub decision: String,
    pub turns: u32,
    pub switches: u32,
    pub turns_on_model: u32,
    pub last_seen: UnixMillis,
    pub open_tool_loop: bool,
    pub provider_state: bool,
    pub last_prompt_tokens: Tokens,
    pub last_cached_tokens: Option<Tokens>,
    pub last_completion_tokens: Tokens,
    pub prompt_tokens: Tokens,
    pub cached_tokens: Tokens,
    pub completion_tokens: Tokens,
    pub demand: f32,
}

impl RecordedFacts {
    /// Copies facts; texts and identity only with `keep_private`.
    pub fn of(facts: &Facts<'_>, keep_private: bool) -> Self {
        let owned = |texts: &[Cow<'_, str>]| texts.iter().map(|text| text.to_string()).collect();
        Self {
            dialect: facts.dialect,
            requested_model: facts.requested_model.to_string(),
            stream: facts.stream,
            session: facts.session.map(|session| (format!("{:032x}", session.key), session.source)),
            messages: facts.messages,
            tools: facts.tools,
            provider_state: facts.provider_state.as_ref().map(|state| match state {
                ProviderState::PreviousResponse(id) => {
                    RecordedProviderState::PreviousResponse(id.to_string())
                }
                ProviderState::Conversation(id) => RecordedProviderState::Conversation(id.to_string()),
            }),
            has_image: facts.has_image,
            envelope_bytes: facts.envelope_bytes,
            compat_context_bytes: facts.compat_context_bytes,
            history_bytes: facts.history_bytes,
            max_completion: facts.max_completion,
            identified: !facts.identity.user.is_empty(),
            private: keep_private.then(|| RecordedPrivate {
                user: facts.identity.user.to_owned(),
                groups: facts.identity.groups.to_owned(),
                current_user: facts.texts.current_user.to_string(),
                prior_user: owned(&facts.texts.prior_user),
                non_user: owned(&facts.texts.non_user),
                metadata: RecordedMetadata::of(&facts.metadata),
            }),
        }
    }

    /// The facts again, borrowing from here. Texts and identity are empty if they were not kept.
    pub fn facts(&self) -> Facts<'_> {
        fn borrowed(texts: &[String]) -> Vec<Cow<'_, str>> {
            texts.iter().map(|text| Cow::Borrowed(text.as_str())).collect()
        }
        let private = self.private.as_ref();
        Facts {
            dialect: self.dialect,
            requested_model: Cow::Borrowed(&self.requested_model),
            stream: self.stream,
            session: self.session.as_ref().and_then(|(key, source)| {
                Some(SessionIdentity { key: u128::from_str_radix(key, 16).ok()?, source: *source })
            }),
            identity: private
                .map_or_else(Identity::default, |p| Identity { user: &p.user, groups: &p.groups }),
            messages: self.messages,
            tools: self.tools,
            provider_state: self.provider_state.as_ref().map(|state| match state {
                RecordedProviderState::PreviousResponse(id) => {
                    ProviderState::PreviousResponse(Cow::Borrowed(id))
                }
                RecordedProviderState::Conversation(id) => ProviderState::Conversation(Cow::Borrowed(id)),
            }),
            has_image: self.has_image,
            texts: private.map_or_else(Texts::default, |p| Texts {
                current_user: Cow::Borrowed(&p.current_user),
                prior_user: borrowed(&p.prior_user),
                non_user: borrowed(&p.non_user),
            }),
            metadata: private.map_or_else(Metadata::default, |p| p.metadata.metadata()),
            envelope_bytes: self.envelope_bytes,
            compat_context_bytes: self.compat_context_bytes,
            history_bytes: self.history_bytes,
            max_completion: self.max_completion,
        }
    }
}

impl From<&SessionSnapshot<'_>> for RecordedSession {
    fn from(s: &SessionSnapshot<'_>) -> Self {
        Self {
            model: s.model.to_owned(),
            decision: s.decision.to_owned(),
            turns: s.turns,
            switches: s.switches,
            turns_on_model: s.turns_on_model,
            last_seen: s.last_seen,
            open_tool_loop: s.open_tool_loop,
            provider_state: s.provider_state,
            last_prompt_tokens: s.last_prompt_tokens,
            last_cached_tokens: s.last_cached_tokens,
            last_completion_tokens: s.last_completion_tokens,
            prompt_tokens: s.prompt_tokens,
            cached_tokens: s.cached_tokens,
            completion_tokens: s.completion_tokens,
            demand: s.demand,
        }
    }
}

impl RecordedSession {
    /// The snapshot again, borrowing from here.
    pub fn snapshot(&self) -> SessionSnapshot<'_> {
        SessionSnapshot {
            model: &self.model,
            decision: &self.decision,
            turns: self.turns,
            switches: self.switches,
            turns_on_model: self.turns_on_model,
            last_seen: self.last_seen,
            open_tool_loop: self.open_tool_loop,
            provider_state: self.provider_state,
            last_prompt_tokens: self.last_prompt_tokens,
            last_cached_tokens: self.last_cached_tokens,
            last_completion_tokens: self.last_completion_tokens,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.completion_tokens,
            demand: self.demand,
        }
    }
}
