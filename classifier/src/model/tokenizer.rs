//! `tokenizer.json`, with our own truncation.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::LoadError;
use super::folder::TOKENIZER_FILE;
use crate::encoder::{TokenizeError, Tokens};

/// Bytes of text that are looked at first for every token that is wanted. Text in any script has fewer per token.
const BYTES_PER_TOKEN: usize = 16;

/// A cut through a word changes the tokens of that word only: WordPiece gives words beyond 100 characters up, and no
/// vocabulary in use has longer pieces. Tokens that end this far before a cut are those of the whole text.
const CUT_REACH: usize = 512;

/// Text to token ids, without padding, cut where the caller says.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Special tokens before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("prefix", &self.prefix).field("suffix", &self.suffix).finish()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let fail = |error: tokenizers::Error| LoadError::malformed(TOKENIZER_FILE, error);
        // The library indexes what the file says without checking all of it.
        let mut inner = catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|_| LoadError::malformed(TOKENIZER_FILE, "inconsistent"))?
            .map_err(fail)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(fail)?;
        // What surrounds any text surrounds the empty one; which of it comes before is seen around a letter.
        let around = catch_unwind(AssertUnwindSafe(|| inner.encode("a", true)))
            .map_err(|_| LoadError::malformed(TOKENIZER_FILE, "its rules fail on a letter"))?
            .map_err(fail)?;
        let special = around.get_special_tokens_mask();
        let before = special.iter().take_while(|mask| **mask == 1).count();
        let after = special[before..].iter().rev().take_while(|mask| **mask == 1).count();
        let ids = around.get_ids();
        let (prefix, suffix) = (ids[..before].to_vec(), ids[ids.len() - after..].to_vec());
        Ok(Self { inner, prefix, suffix })
    }

    /// One more than the largest id that it gives.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// See [`Encoder::tokenize`](crate::encoder::Encoder::tokenize).
    ///
    /// # Errors
    ///
    /// [`TokenizeError`].
    pub fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        out.clear();
        let special = self.prefix.len() + self.suffix.len();
        let room = max_tokens
            .checked_sub(special)
            .filter(|room| *room > 0)
            .ok_or(TokenizeError::TooFew { max_tokens, special })?;
        let mut look = room.saturating_mul(BYTES_PER_TOKEN).saturating_add(CUT_REACH);
        let (encoding, whole) = loop {
            let cut = if look >= text.len() { text.len() } else { text.floor_char_boundary(look) };
            let encoding = self
                .inner
                .encode(&text[..cut], false)
                .map_err(|error| TokenizeError::Tokenizer(error.to_string()))?;
            let settled = encoding.get_offsets().get(room - 1).is_some_and(|last| last.1 + CUT_REACH <= cut);
            if cut == text.len() || settled {
                break (encoding, cut == text.len());
            }
            look = look.saturating_mul(4);
        };
        let count = encoding.len().min(room);
        out.complete = whole && count == encoding.len();
        let offset = |(start, end): &(usize, usize)| (narrow(*start), narrow(*end));
        out.ids.extend_from_slice(&self.prefix);
        out.ids.extend_from_slice(&encoding.get_ids()[..count]);
        out.ids.extend_from_slice(&self.suffix);
        out.offsets.resize(self.prefix.len(), (0, 0));
        out.offsets.extend(encoding.get_offsets()[..count].iter().map(offset));
        out.offsets.resize(out.ids.len(), (0, 0));
        Ok(())
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of characters whose only entry leads beyond its end: it is read when a text is, not before.
    #[test]
    fn rules_that_fail_are_an_error() {
        let mut whole: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/tokenizer.json")).expect("a document");
        assert!(Tokenizer::parse(whole.to_string().as_bytes()).is_ok());
        whole["normalizer"] =
            serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAD8DwA="});
        assert!(Tokenizer::parse(whole.to_string().as_bytes()).is_err());
    }
}
