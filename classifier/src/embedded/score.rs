//! One pass over a text: sums of rows of the tables, then heads on the sums.

use super::EmbeddedModel;
use super::features::Counts;
use super::text::{self, pair_hash};

/// Longest part that is looked at for attacks by itself.
pub(super) const WINDOW_BYTES: usize = 1536;

/// Of a longer text, the beginning and the end are read, this much together.
pub const MAX_TEXT_BYTES: usize = 128 << 10;

/// How much of [`MAX_TEXT_BYTES`] is the text's end.
const TAIL_BYTES: usize = 32 << 10;

/// Stands before a part's first word.
const START: u64 = text::fnv(b"\x02");

/// Sums over a part of a text.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) embedding: Vec<f32>,
    pub(super) tokens: Vec<i32>,
    pub(super) pairs: Vec<i32>,
    pub(super) pieces: u32,
    pub(super) counts: Counts,
}

impl Sums {
    pub(super) fn reset(&mut self, model: &EmbeddedModel) {
        self.embedding.clear();
        self.embedding.resize(model.axes, 0.0);
        self.tokens.clear();
        self.tokens.resize(model.token_scales.len(), 0);
        self.pairs.clear();
        self.pairs.resize(model.pair_scales.len(), 0);
        self.pieces = 0;
        self.counts = Counts::default();
    }

    fn add(&mut self, next: &Self) {
        let add = |into: &mut [i32], from: &[i32]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        self.embedding.iter_mut().zip(&next.embedding).for_each(|(a, b)| *a += b);
        add(&mut self.tokens, &next.tokens);
        add(&mut self.pairs, &next.pairs);
        self.pieces += next.pieces;
        self.counts.add(&next.counts);
    }

    /// Adds the rows of all words of `part`.
    fn read(&mut self, model: &EmbeddedModel, part: &str, word: &mut String) {
        self.reset(model);
        self.counts = Counts::of(part);
        let mut before = START;
        text::words(part, word, |word| {
            self.counts.note_word(word);
            model.pieces.of_word(word, |id| {
                self.pieces += 1;
                model.add_piece(id as usize, &mut self.embedding, &mut self.tokens);
            });
            let now = text::fnv(word.as_bytes());
            model.add_pair(pair_hash(before, now), &mut self.pairs);
            before = now;
        });
    }

    /// `1 / |embedding|`, or 0 where nothing is known.
    pub(super) fn inverse_length(&self) -> f32 {
        let square: f32 = self.embedding.iter().map(|value| value * value).sum();
        if square > 1e-12 { square.sqrt().recip() } else { 0.0 }
    }
}

/// Working memory of one thread. After its first texts, nothing is allocated for texts that are not longer.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub(super) total: Sums,
    part: Sums,
    pub(super) word: String,
    /// Highest score of an attack in any part.
    pub(super) attack: f32,
    /// Part of the text was not read.
    pub(super) truncated: bool,
    pub(super) tagger: super::tagger::Buffers,
}

/// Reads `text` into `scratch`.
pub(super) fn read(model: &EmbeddedModel, text: &str, scratch: &mut Scratch) {
    scratch.total.reset(model);
    scratch.attack = f32::NEG_INFINITY;
    let (head, tail) = bounded(text);
    scratch.truncated = head.len() + tail.len() < text.len();
    for part in windows(head).chain(windows(tail)) {
        scratch.part.read(model, part, &mut scratch.word);
        scratch.attack = scratch.attack.max(model.attack_score(&scratch.part));
        scratch.total.add(&scratch.part);
    }
    if scratch.attack == f32::NEG_INFINITY {
        scratch.attack = model.attack_score(&scratch.total);
    }
}

/// What is read of a text: its beginning and its end.
pub(super) fn bounded(text: &str) -> (&str, &str) {
    if text.len() <= MAX_TEXT_BYTES {
        return (text, "");
    }
    let head = text.floor_char_boundary(MAX_TEXT_BYTES - TAIL_BYTES);
    let tail = text.ceil_char_boundary(text.len() - TAIL_BYTES);
    (&text[..head], &text[tail..])
}

/// Parts of at most [`WINDOW_BYTES`], cut behind a space where there is one.
pub(super) fn windows(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if rest.len() <= WINDOW_BYTES {
            rest.len()
        } else {
            let end = rest.floor_char_boundary(WINDOW_BYTES);
            let space =
                rest.as_bytes()[..end].iter().rposition(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t'));
            space.map_or(end, |at| at + 1)
        };
        let (part, behind) = rest.split_at(end);
        rest = behind;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_text_and_part_no_character() {
        for text in [
            "",
            "a",
            &"word ".repeat(4000),
            &"é".repeat(9000),
            &format!("{}\n{}", "x".repeat(1530), "y".repeat(3000)),
        ] {
            let parts: Vec<&str> = windows(text).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= WINDOW_BYTES));
        }
    }

    #[test]
    fn long_texts_are_read_at_both_ends() {
        let text = "ü".repeat(MAX_TEXT_BYTES);
        let (head, tail) = bounded(&text);
        assert!(head.len() + tail.len() <= MAX_TEXT_BYTES);
        assert!(head.len() + tail.len() > MAX_TEXT_BYTES - 8);
    }
}
