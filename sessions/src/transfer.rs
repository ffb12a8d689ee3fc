//! Export and import, as JSON lines.
//!
//! The first line names the version and the hash key, without which the keys mean nothing: an export is as
//! secret as the file. Every further line is one session or one response id, with its names written out.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::error::TransferError;
use crate::record::{NameId, Pin, Record};
use crate::store::Store;

const VERSION: u32 = 1;

/// What an import took over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Sessions written.
    pub sessions: u64,
    /// Response ids written.
    pub pins: u64,
    /// Sessions that the memory holds in a newer state.
    pub older: u64,
    /// Sessions and response ids whose time is over.
    pub expired: u64,
    /// Sessions that found no room.
    pub full: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    pintle_sessions: u32,
    hash_key: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Session(SessionLine),
    Response(ResponseLine),
}

/// A 128-bit number as 32 hexadecimal digits: JSON numbers are too narrow.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hex(u128);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        number.map(Hex).ok_or_else(|| serde::de::Error::custom("a key is 32 hexadecimal digits"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionLine {
    key: Hex,
    model: String,
    decision: String,
    backend: String,
    turns: u32,
    switches: u32,
    turns_on_model: u32,
    turn_sequence: u32,
    last_seen_ms: u64,
    tool_loop_until_ms: Option<u64>,
    provider_state_until_ms: Option<u64>,
    last_prompt_tokens: u32,
    last_cached_tokens: Option<u32>,
    last_completion_tokens: u32,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    demand: f32,
    policy: [u32; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseLine {
    key: Hex,
    session: Hex,
    model: String,
    backend: String,
    created_ms: u64,
    expires_ms: u64,
}

impl Store {
    /// Writes every session and response id, expired ones included; returns how many lines that were.
    ///
    /// # Errors
    /// [`TransferError::Io`].
    pub fn export(&self, mut writer: impl Write) -> Result<u64, TransferError> {
        let head = Head { pintle_sessions: VERSION, hash_key: Hex(self.hash_key()) };
        let mut lines = 0;
        put(&mut writer, &mut lines, &head)?;
        for (key, record) in self.iter() {
            put(&mut writer, &mut lines, &Line::Session(self.session_line(key, &record)))?;
        }
        for (key, pin) in self.pins() {
            let line = ResponseLine {
                key: Hex(key),
                session: Hex(pin.session.into()),
                model: self.written_out(pin.model),
                backend: self.written_out(pin.backend),
                created_ms: pin.created_ms,
                expires_ms: pin.expires_ms,
            };
            put(&mut writer, &mut lines, &Line::Response(line))?;
        }
        writer.flush().map_err(|source| TransferError::Io { line: lines, source })?;
        Ok(lines)
    }

    /// Takes over what an export wrote. What the memory holds and is not older stays.
    ///
    /// An empty memory takes over the export's hash key as well, so that clients keep their sessions.
    ///
    /// # Errors
    /// [`TransferError`]; lines before the one it names are imported.
    pub fn import(&mut self, reader: impl BufRead, now_ms: u64) -> Result<Imported, TransferError> {
        let mut lines = (1..).zip(reader.lines()).map(|(line, text)| match text {
            Ok(text) => Ok((line, text)),
            Err(source) => Err(TransferError::Io { line, source }),
        });
        let (_, head) = lines.next().ok_or(TransferError::Head)??;
        let head: Head = serde_json::from_str(&head).map_err(|_| TransferError::Head)?;
        if head.pintle_sessions != VERSION {
            return Err(TransferError::Head);
        }
        self.take_hash_key(head.hash_key.0, now_ms)?;
        let mut imported = Imported::default();
        for line in lines {
            let (line, text) = line?;
            match serde_json::from_str(&text).map_err(|source| TransferError::Line { line, source })? {
                Line::Session(session) => self.import_session(line, &session, now_ms, &mut imported)?,
                Line::Response(response) => self.import_response(line, &response, now_ms, &mut imported)?,
            }
        }
        Ok(imported)
    }

    fn take_hash_key(&mut self, hash_key: u128, now_ms: u64) -> Result<(), TransferError> {
        if self.hash_key() == hash_key {
            return Ok(());
        }
        let stats = self.stats();
        if stats.sessions.occupied + stats.pins.occupied > 0 {
            return Err(TransferError::HashKey);
        }
        self.rekey(hash_key, now_ms).map_err(TransferError::Rebuild)
    }

    fn import_session(
        &self,
        line: u64,
        session: &SessionLine,
        now_ms: u64,
        imported: &mut Imported,
    ) -> Result<(), TransferError> {
        let mut flags = 0;
        flags |= session.tool_loop_until_ms.map_or(0, |_| Record::OPEN_TOOL_LOOP);
        flags |= session.provider_state_until_ms.map_or(0, |_| Record::PROVIDER_STATE);
        let record = Record {
            last_seen_ms: session.last_seen_ms,
            tool_loop_until_ms: session.tool_loop_until_ms.unwrap_or(0),
            provider_state_until_ms: session.provider_state_until_ms.unwrap_or(0),
            prompt_tokens: session.prompt_tokens,
            cached_tokens: session.cached_tokens,
            completion_tokens: session.completion_tokens,
            model: self.named(line, &session.model)?,
            decision: self.named(line, &session.decision)?,
            backend: self.named(line, &session.backend)?,
            turns: session.turns,
            switches: session.switches,
            turns_on_model: session.turns_on_model,
            last_prompt_tokens: session.last_prompt_tokens,
            last_cached_tokens: session.last_cached_tokens.unwrap_or(Record::UNREPORTED),
            last_completion_tokens: session.last_completion_tokens,
            turn_sequence: session.turn_sequence,
            flags,
            demand: session.demand,
            policy: session.policy,
        };
        if record.is_expired(now_ms, self.ttl_ms()) {
            imported.expired += 1;
            return Ok(());
        }
        let mut newer = false;
        let outcome = self.commit(
            session.key.0,
            |held| {
                newer = held.is_some_and(|held| held.last_seen_ms >= record.last_seen_ms);
                (!newer).then_some(record)
            },
            now_ms,
        );
        imported.older += u64::from(newer);
        imported.sessions += u64::from(outcome.is_remembered());
        imported.full += u64::from(!newer && !outcome.is_remembered());
        Ok(())
    }

    fn import_response(
        &self,
        line: u64,
        response: &ResponseLine,
        now_ms: u64,
        imported: &mut Imported,
    ) -> Result<(), TransferError> {
        if response.expires_ms <= now_ms {
            imported.expired += 1;
            return Ok(());
        }
        let pin = Pin {
            session: response.session.0.into(),
            expires_ms: response.expires_ms,
            created_ms: response.created_ms,
            model: self.named(line, &response.model)?,
            backend: self.named(line, &response.backend)?,
        };
        imported.pins += u64::from(self.pin_response(response.key.0, &pin, now_ms).is_remembered());
        Ok(())
    }

    fn session_line(&self, key: u128, record: &Record) -> SessionLine {
        let until = |flag: u32, until_ms: u64| (record.flags & flag != 0).then_some(until_ms);
        SessionLine {
            key: Hex(key),
            model: self.written_out(record.model),
            decision: self.written_out(record.decision),
            backend: self.written_out(record.backend),
            turns: record.turns,
            switches: record.switches,
            turns_on_model: record.turns_on_model,
            turn_sequence: record.turn_sequence,
            last_seen_ms: record.last_seen_ms,
            tool_loop_until_ms: until(Record::OPEN_TOOL_LOOP, record.tool_loop_until_ms),
            provider_state_until_ms: until(Record::PROVIDER_STATE, record.provider_state_until_ms),
            last_prompt_tokens: record.last_prompt_tokens,
            last_cached_tokens: record.last_cached(),
            last_completion_tokens: record.last_completion_tokens,
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            completion_tokens: record.completion_tokens,
            demand: record.demand,
            policy: record.policy,
        }
    }

    fn written_out(&self, id: NameId) -> String {
        self.name(id).unwrap_or_default().to_owned()
    }

    fn named(&self, line: u64, name: &str) -> Result<NameId, TransferError> {
        self.intern(name).map_err(|source| TransferError::Name { line, source })
    }
}

fn put(writer: &mut impl Write, lines: &mut u64, value: &impl Serialize) -> Result<(), TransferError> {
    *lines += 1;
    let io = |source| TransferError::Io { line: *lines, source };
    serde_json::to_writer(&mut *writer, value).map_err(|error| io(error.into()))?;
    writer.write_all(b"\n").map_err(io)
}
