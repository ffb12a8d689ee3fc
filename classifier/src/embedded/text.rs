//! Text to words, pieces and hashes. `classifier/training/text.py` does the same, and tests compare them.
//!
//! Characters are decomposed (Unicode NFD), made lower case and freed of their marks. Letters and digits in a row
//! are a word; an ideograph is a word; so is a punctuation mark; space and control characters part words. A word
//! is cut into pieces, the longest known one first; a character that begins no known piece is skipped.

use unicode_normalization::char::{decompose_canonical, is_combining_mark};

pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
const CONTINUED_BASIS: u64 = FNV_BASIS ^ GOLDEN;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const MAX_PIECE_CHARS: usize = 20;
const MAX_WORD_CHARS: usize = 64;

/// One step of FNV-1a.
pub(super) const fn fnv_step(state: u64, byte: u8) -> u64 {
    (state ^ byte as u64).wrapping_mul(FNV_PRIME)
}

/// FNV-1a.
pub(super) const fn fnv(bytes: &[u8]) -> u64 {
    let (mut state, mut at) = (FNV_BASIS, 0);
    while at < bytes.len() {
        state = fnv_step(state, bytes[at]);
        at += 1;
    }
    state
}

/// The finaliser of MurmurHash3.
pub(super) const fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// Of two words in their order.
pub(super) const fn pair_hash(first: u64, second: u64) -> u64 {
    mix(first.wrapping_mul(GOLDEN).wrapping_add(second))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Alone,
    Space,
    Mark,
}

fn kind(c: char) -> Kind {
    let at = u32::from(c);
    if at < 128 {
        return match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => Kind::Letter,
            '!'..='~' => Kind::Mark,
            _ => Kind::Space,
        };
    }
    match at {
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x2fa1f => Kind::Alone,
        _ if c.is_alphanumeric() => Kind::Letter,
        _ if c.is_whitespace() || c.is_control() || is_ignorable(at) => Kind::Space,
        _ => Kind::Mark,
    }
}

/// Format characters, surrogates' place, private use and line separators: general categories Cf, Co, Zl, Zp.
const fn is_ignorable(at: u32) -> bool {
    matches!(
        at,
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xe0000..=0xe0fff
            | 0xf0000..=0x10ffff
    )
}

/// Calls `each` with every word of `text`. `word` is working memory.
pub(super) fn words(text: &str, word: &mut String, mut each: impl FnMut(&str)) {
    word.clear();
    let mut mark = [0; 4];
    let mut take = |c: char, word: &mut String| match kind(c) {
        Kind::Letter => word.push(c),
        Kind::Space => flush(word, &mut each),
        Kind::Alone | Kind::Mark => {
            flush(word, &mut each);
            each(c.encode_utf8(&mut mark));
        }
    };
    for c in text.chars() {
        if c.is_ascii() {
            take(c.to_ascii_lowercase(), word);
        } else {
            fold(c, |c| take(c, word));
        }
    }
    flush(word, &mut each);
}

fn flush(word: &mut String, each: &mut impl FnMut(&str)) {
    if !word.is_empty() {
        each(word);
        word.clear();
    }
}

/// Decomposed, lower case, without marks.
pub(super) fn fold(c: char, mut each: impl FnMut(char)) {
    decompose_canonical(c, |part| {
        for lower in part.to_lowercase() {
            decompose_canonical(lower, |c| {
                if !is_combining_mark(c) {
                    each(c);
                }
            });
        }
    });
}

/// Known pieces by hash.
#[derive(Debug)]
pub(super) struct Pieces {
    slots: Vec<(u64, u32)>,
}

const EMPTY: u32 = u32::MAX;

impl Pieces {
    /// From the hash of every piece, by id.
    pub(super) fn new(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let mut slots = vec![(0, EMPTY); (hashes.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (id, hash) in (0u32..).zip(hashes) {
            let mut at = hash as usize & mask;
            while slots[at].1 != EMPTY {
                at = (at + 1) & mask;
            }
            slots[at] = (hash, id);
        }
        Self { slots }
    }

    fn get(&self, hash: u64) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                (_, EMPTY) => return None,
                (known, id) if known == hash => return Some(id),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Calls `each` with the id of every piece of a folded word.
    pub(super) fn of_word(&self, word: &str, mut each: impl FnMut(u32)) {
        let end = word.char_indices().nth(MAX_WORD_CHARS).map_or(word.len(), |(at, _)| at);
        let word = &word[..end];
        let mut at = 0;
        while at < word.len() {
            let mut state = if at == 0 { FNV_BASIS } else { CONTINUED_BASIS };
            let (mut longest, mut first) = (None, 0);
            for (offset, c) in word[at..].char_indices().take(MAX_PIECE_CHARS) {
                let next = at + offset + c.len_utf8();
                if offset == 0 {
                    first = next;
                }
                for byte in &word.as_bytes()[at + offset..next] {
                    state = fnv_step(state, *byte);
                }
                if let Some(id) = self.get(state) {
                    longest = Some((id, next));
                }
            }
            at = match longest {
                Some((id, next)) => {
                    each(id);
                    next
                }
                None => first,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        words(text, &mut String::new(), |word| out.push(word.to_owned()));
        out
    }

    #[test]
    fn words_are_folded_and_parted() {
        assert_eq!(split("Déjà-vu, 3x!"), ["deja", "-", "vu", ",", "3x", "!"]);
        assert_eq!(split("東京tower\u{200b}Ωm"), ["東", "京", "tower", "ωm"]);
        assert_eq!(split(" \t\r\n"), [""; 0]);
        assert_eq!(split("İSTANBUL"), ["istanbul"]);
    }

    #[test]
    fn the_longest_piece_wins_and_unknown_characters_are_skipped() {
        let continued = |text: &str| text.bytes().fold(CONTINUED_BASIS, fnv_step);
        let known = [fnv(b"un"), fnv(b"unable"), continued("s"), continued("le"), fnv(b"x")];
        let pieces = Pieces::new(known.into_iter());
        let of = |word: &str| {
            let mut ids = Vec::new();
            pieces.of_word(word, |id| ids.push(id));
            ids
        };
        assert_eq!(of("unables"), [1, 2]);
        assert_eq!(of("unzle"), [0, 3]);
        assert_eq!(of("xx"), [4]);
        assert_eq!(of(""), [0; 0]);
        assert_eq!(of(&"x".repeat(1000)), [4]);
    }
}
