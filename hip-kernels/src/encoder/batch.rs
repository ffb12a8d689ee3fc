//! Texts on their way to the device: packed one after another, none padded.

use std::ops::Range;

use super::arena::At;
use super::pack::Packed;
use super::plan::{Bucket, Wants};
use crate::abi::{QUERY_TILE, Tile};

/// Fewest tokens of a bucket.
const SMALLEST_TOKENS: u32 = 64;
/// Fewest texts of a bucket.
const SMALLEST_TEXTS: u32 = 8;

impl Bucket {
    /// The smallest bucket within `limit` for so many tokens and texts, or `None` if that is too small. Tokens double
    /// from bucket to bucket, texts grow eightfold: a graph is recorded for each bucket that occurs.
    #[must_use]
    pub fn containing(tokens: usize, texts: usize, limit: Self) -> Option<Self> {
        let (tokens, texts) = (u32::try_from(tokens).ok()?, u32::try_from(texts).ok()?);
        if tokens > limit.tokens || texts > limit.texts {
            return None;
        }
        let mut bucket = Self { tokens: SMALLEST_TOKENS, texts: SMALLEST_TEXTS };
        while bucket.tokens < tokens {
            bucket.tokens = bucket.tokens.saturating_mul(2);
        }
        while bucket.texts < texts {
            bucket.texts = bucket.texts.saturating_mul(8);
        }
        Some(Self { tokens: bucket.tokens.min(limit.tokens), texts: bucket.texts.min(limit.texts) })
    }
}

impl Packed {
    /// Writes texts, each a slice of at least one token id, as a pass of `bucket` reads them, and returns how many
    /// bytes from the beginning are to be copied: what the texts do not fill need not be.
    ///
    /// # Panics
    ///
    /// If a text is empty or the texts do not fit the bucket, or its input `to`.
    pub fn write_input<'t>(
        &self,
        bucket: Bucket,
        texts: impl Iterator<Item = &'t [u32]>,
        to: &mut [u8],
    ) -> usize {
        let places = self.input(bucket);
        assert!(to.len() as u64 >= places.bytes, "the texts fit");
        let (mut tokens, mut count, mut tiles) = (0u32, 0u32, 0u32);
        let mut words = Words(to);
        words.put(places.offsets, 0, 0);
        for text in texts {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            assert!(length > 0 && length <= bucket.tokens - tokens && count < bucket.texts, "the texts fit");
            for (nth, id) in (0u32..).zip(text) {
                words.put(places.ids, tokens + nth, *id);
                if let Some(positions) = places.positions {
                    words.put(positions, tokens + nth, nth);
                }
            }
            for query in (0..length).step_by(QUERY_TILE as usize) {
                let tile = [tokens, length, query, 0];
                debug_assert_eq!(size_of_val(&tile), size_of::<Tile>());
                for (nth, value) in (0u32..).zip(tile) {
                    words.put(places.tile, 4 * tiles + nth, value);
                }
                tiles += 1;
            }
            tokens += length;
            count += 1;
            words.put(places.offsets, count, tokens);
        }
        words.put(places.tokens, 0, tokens);
        words.put(places.texts, 0, count);
        words.put(places.tiles, 0, tiles);
        places.tile.0 as usize + tiles as usize * size_of::<Tile>()
    }

    /// Bytes from the beginning of a pass's output that so many tokens in so many texts fill.
    #[must_use]
    pub fn used_output(&self, (bucket, wants): (Bucket, Wants), tokens: usize, texts: usize) -> usize {
        let output = self.output(bucket, wants);
        let end = |place: Option<At>, rows: usize, width: usize| {
            place.map_or(0, |place| place.0 as usize + 4 * rows * width)
        };
        let (per_text, per_token) = self.labels();
        let logits = if per_token > 0 { (tokens, per_token) } else { (texts, per_text) };
        end(output.embedding, texts, self.hidden()).max(end(output.logits, logits.0, logits.1))
    }

    /// Appends the embeddings of some of the texts that a pass was given.
    ///
    /// # Panics
    ///
    /// If the pass was not to give any, or had no room for those texts.
    pub fn read_embeddings(
        &self,
        (bucket, wants): (Bucket, Wants),
        output: &[u8],
        texts: Range<usize>,
        to: &mut Vec<f32>,
    ) {
        let place = self.output(bucket, wants).embedding.expect("the pass gives embeddings");
        assert!(texts.end <= bucket.texts as usize);
        read_rows(output, place, texts, self.hidden(), to);
    }

    /// Appends logits: a row for each of some texts, or, where the head classifies tokens, for each of some tokens.
    ///
    /// # Panics
    ///
    /// If the pass was not to give any, or had no room for those rows.
    pub fn read_logits(
        &self,
        (bucket, wants): (Bucket, Wants),
        output: &[u8],
        rows: Range<usize>,
        to: &mut Vec<f32>,
    ) {
        let place = self.output(bucket, wants).logits.expect("the pass gives logits");
        let (per_text, per_token) = self.labels();
        assert!(rows.end <= if per_token > 0 { bucket.tokens } else { bucket.texts } as usize);
        read_rows(output, place, rows, per_text + per_token, to);
    }
}

fn read_rows(output: &[u8], place: At, rows: Range<usize>, width: usize, to: &mut Vec<f32>) {
    let table = &output[place.0 as usize..];
    let row = 4 * width;
    let floats = table[rows.start * row..rows.end * row].as_chunks::<4>().0;
    to.extend(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)));
}

/// Memory as 32-bit words.
struct Words<'a>(&'a mut [u8]);

impl Words<'_> {
    fn put(&mut self, place: At, nth: u32, value: u32) {
        let at = place.0 as usize + 4 * nth as usize;
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}
