//! What is remembered of a session, and of a provider's response id.
//!
//! Both are plain data: fixed size, no pointers, little-endian on disk by rkyv's layout. Names are
//! interned ([`NameId`]); no string lives in a record.

use rkyv::rancor::{Error as RkyvError, Strategy};
use rkyv::ser::writer::Buffer;
use rkyv::util::Align;
use rkyv::{Archive, Archived, Deserialize, Serialize};

/// Number of an interned name; resolve it with [`Store::name`](crate::Store::name). Zero is the empty name.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
pub struct NameId(pub u32);

impl NameId {
    /// The empty name: no model, decision or backend.
    pub const NONE: NameId = NameId(0);
}

/// One session as it stood after its last committed turn.
///
/// All times are milliseconds since the Unix epoch as the caller's clock saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Archive, Serialize, Deserialize)]
pub struct Record {
    /// When the last turn was committed; what idle time and eviction order go by.
    pub last_seen_ms: u64,
    /// With [`Record::OPEN_TOOL_LOOP`]: the session is locked until then.
    pub tool_loop_until_ms: u64,
    /// With [`Record::PROVIDER_STATE`]: the session is locked until then.
    pub provider_state_until_ms: u64,
    /// Prompt tokens of all turns.
    pub prompt_tokens: u64,
    /// Of those, tokens the backends served from their prefix caches.
    pub cached_tokens: u64,
    /// Completion tokens of all turns.
    pub completion_tokens: u64,
    /// Target that served the last turn, by its canonical name.
    pub model: NameId,
    /// Decision that chose it; [`NameId::NONE`] when none had matched.
    pub decision: NameId,
    /// Backend that served the last turn.
    pub backend: NameId,
    /// Turns committed.
    pub turns: u32,
    /// Model changes.
    pub switches: u32,
    /// Turns in a row on `model`.
    pub turns_on_model: u32,
    /// Prompt tokens of the last turn.
    pub last_prompt_tokens: u32,
    /// Of those, tokens served from the prefix cache; [`Record::UNREPORTED`] when the backend does not say.
    pub last_cached_tokens: u32,
    /// Completion tokens of the last turn.
    pub last_completion_tokens: u32,
    /// Order of the turn this record comes from; a commit that finds a higher one arrived out of order.
    pub turn_sequence: u32,
    /// [`Record::OPEN_TOOL_LOOP`], [`Record::PROVIDER_STATE`]; [`Record::STALE`] on reading.
    pub flags: u32,
    /// Smoothed demand estimate in [0,1]; negative when unknown. Owned by the session policy.
    pub demand: f32,
    /// Eight more bytes that only the session policy gives a meaning to; 0 when it has none.
    pub policy: [u32; 2],
}

/// Where a provider's response id has to go back to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Pin {
    /// Key of the session that the response belongs to.
    pub session: SessionKey,
    /// When the pin ends.
    pub expires_ms: u64,
    /// When it was made.
    pub created_ms: u64,
    /// Target that produced the response.
    pub model: NameId,
    /// Backend that holds its state.
    pub backend: NameId,
}

/// A session's key, as two halves so that rkyv keeps 8-byte alignment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SessionKey {
    low: u64,
    high: u64,
}

impl From<u128> for SessionKey {
    fn from(key: u128) -> SessionKey {
        SessionKey { low: key as u64, high: (key >> 64) as u64 }
    }
}

impl From<SessionKey> for u128 {
    fn from(key: SessionKey) -> u128 {
        u128::from(key.low) | u128::from(key.high) << 64
    }
}

/// Words of an archived [`Record`].
pub(crate) const RECORD_WORDS: usize = size_of::<Archived<Record>>() / 8;
/// Words of an archived [`Pin`].
pub(crate) const PIN_WORDS: usize = size_of::<Archived<Pin>>() / 8;

const _: () = assert!(RECORD_WORDS == 13 && size_of::<Archived<Record>>().is_multiple_of(8));
const _: () = assert!(PIN_WORDS == 5 && size_of::<Archived<Pin>>().is_multiple_of(8));

impl Record {
    /// The last answer asked for tools: the next turn is inside a tool loop.
    pub const OPEN_TOOL_LOOP: u32 = 1;
    /// The last answer left state at the provider.
    pub const PROVIDER_STATE: u32 = 1 << 1;
    /// Set by the store on reading, never stored: damage was found, and this is the turn before it.
    pub const STALE: u32 = 1 << 31;
    /// `last_cached_tokens` of a backend that does not report them.
    pub const UNREPORTED: u32 = u32::MAX;

    /// The session is inside a tool loop whose lock has not run out.
    pub const fn is_in_tool_loop(&self, now_ms: u64) -> bool {
        self.flags & Record::OPEN_TOOL_LOOP != 0 && now_ms < self.tool_loop_until_ms
    }

    /// The session has state at its provider whose lock has not run out.
    pub const fn has_provider_state(&self, now_ms: u64) -> bool {
        self.flags & Record::PROVIDER_STATE != 0 && now_ms < self.provider_state_until_ms
    }

    /// Neither cost nor eviction may move the session.
    pub const fn is_locked(&self, now_ms: u64) -> bool {
        self.is_in_tool_loop(now_ms) || self.has_provider_state(now_ms)
    }

    /// Idle for longer than `ttl_ms`, and not locked.
    pub const fn is_expired(&self, now_ms: u64, ttl_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_seen_ms) > ttl_ms && !self.is_locked(now_ms)
    }

    /// Tokens of the last prompt that were served from the prefix cache, if the backend reported them.
    pub const fn last_cached(&self) -> Option<u32> {
        if self.last_cached_tokens == Record::UNREPORTED { None } else { Some(self.last_cached_tokens) }
    }

    #[inline]
    pub(crate) fn to_words(self) -> [u64; RECORD_WORDS] {
        to_words(&Record { flags: self.flags & !Record::STALE, ..self })
    }

    #[inline]
    pub(crate) fn from_words(words: &[u64; RECORD_WORDS]) -> Option<Record> {
        let bytes = to_bytes::<RECORD_WORDS, { RECORD_WORDS * 8 }>(words);
        let archived = rkyv::access::<ArchivedRecord, RkyvError>(&*bytes).ok()?;
        rkyv::deserialize::<Record, RkyvError>(archived).ok()
    }
}

impl Pin {
    pub(crate) fn to_words(self) -> [u64; PIN_WORDS] {
        to_words(&self)
    }

    pub(crate) fn from_words(words: &[u64; PIN_WORDS]) -> Option<Pin> {
        let bytes = to_bytes::<PIN_WORDS, { PIN_WORDS * 8 }>(words);
        let archived = rkyv::access::<ArchivedPin, RkyvError>(&*bytes).ok()?;
        rkyv::deserialize::<Pin, RkyvError>(archived).ok()
    }
}

#[inline]
fn to_bytes<const WORDS: usize, const BYTES: usize>(words: &[u64; WORDS]) -> Align<[u8; BYTES]> {
    let mut bytes = Align([0; BYTES]);
    for (place, word) in bytes.0.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Archives a value without pointers; there is nothing to allocate and nothing that can fail.
#[inline]
fn to_words<T, const WORDS: usize>(value: &T) -> [u64; WORDS]
where
    T: for<'a, 'b> Serialize<Strategy<Buffer<'b>, RkyvError>>,
{
    let mut bytes = Align([0; 8 * crate::table::MAX_PAYLOAD]);
    let mut writer = Buffer::from(&mut bytes.0[..8 * WORDS]);
    rkyv::api::serialize_using(value, Strategy::<_, RkyvError>::wrap(&mut writer)).expect("fits by its size");
    let mut words = [0; WORDS];
    for (word, place) in words.iter_mut().zip(bytes.0.chunks_exact(8)) {
        *word = u64::from_le_bytes(place.try_into().expect("eight bytes"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_archived() {
        let record = Record {
            last_seen_ms: u64::MAX,
            tool_loop_until_ms: 1,
            provider_state_until_ms: 2,
            prompt_tokens: 3,
            cached_tokens: 4,
            completion_tokens: 5,
            model: NameId(6),
            decision: NameId(7),
            backend: NameId(u32::MAX),
            turns: 9,
            switches: 10,
            turns_on_model: 11,
            last_prompt_tokens: 12,
            last_cached_tokens: Record::UNREPORTED,
            last_completion_tokens: 14,
            turn_sequence: 15,
            flags: Record::OPEN_TOOL_LOOP | Record::STALE,
            demand: -0.0,
            policy: [1, u32::MAX],
        };
        let read = Record::from_words(&record.to_words()).expect("plain data");
        assert_eq!(read, Record { flags: Record::OPEN_TOOL_LOOP, ..record }, "staleness is not stored");
        assert_eq!((read.demand.to_bits(), read.last_cached()), ((-0.0_f32).to_bits(), None));
    }

    #[test]
    fn any_words_are_some_record() {
        for word in [0, 1, u64::MAX, 0x7FF8_0000_7FC0_0001, 0x8000_0000_8000_0000] {
            let record = Record::from_words(&[word; RECORD_WORDS]).expect("plain data");
            assert_eq!(record.last_seen_ms, word);
            let pin = Pin::from_words(&[word; PIN_WORDS]).expect("plain data");
            assert_eq!(pin.to_words(), [word; PIN_WORDS]);
        }
    }

    #[test]
    fn a_pin_is_what_was_archived() {
        let session = 0x0123_4567_89AB_CDEF_0011_2233_4455_6677_u128;
        let pin = Pin {
            session: session.into(),
            expires_ms: 1,
            created_ms: 2,
            model: NameId(3),
            backend: NameId(4),
        };
        assert_eq!(Pin::from_words(&pin.to_words()), Some(pin));
        assert_eq!(u128::from(pin.session), session);
    }

    #[test]
    fn locks_end_by_themselves() {
        let record = Record {
            last_seen_ms: 1000,
            tool_loop_until_ms: 5000,
            provider_state_until_ms: 9000,
            flags: Record::OPEN_TOOL_LOOP,
            ..Record::default()
        };
        assert!(record.is_in_tool_loop(4999) && !record.is_in_tool_loop(5000));
        assert!(!record.has_provider_state(4999), "the flag is not set");
        assert!(!record.is_expired(4999, 10), "locked");
        assert!(record.is_expired(5000, 10) && !record.is_expired(5000, 4000));
        assert!(!record.is_expired(0, 10), "a clock that went back makes nothing older");
        let both = Record { flags: Record::OPEN_TOOL_LOOP | Record::PROVIDER_STATE, ..record };
        assert!(both.is_locked(8999) && !both.is_locked(9000));
    }
}
