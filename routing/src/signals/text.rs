//! Case folding and word boundaries over Unicode text.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Folds case so that two texts that differ only in case become equal.
///
/// ASCII text is returned as it is: the scanner compares ASCII without case by itself. Other text is
/// lower-cased character by character, with the two foldings that lower-casing alone misses: final sigma
/// and sharp s.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(fold_into_lower(text)) }
}

/// As [`fold`], for text in compatibility form (NFKC): full-width letters, ligatures and letters with separate marks
/// become the ones that a keyword is written with.
pub(crate) fn fold_compatible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        Cow::Borrowed(text)
    } else if is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Owned(fold_into_lower(text))
    } else {
        Cow::Owned(fold_into_lower(&text.nfkc().collect::<String>()))
    }
}

/// Folds case and always lower-cases, for use as a pattern.
pub(crate) fn fold_into_lower(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ς' => folded.push('σ'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'ſ' => folded.push('s'),
            _ => folded.extend(c.to_lowercase()),
        }
    }
    folded
}

/// Letters, digits, connectors and marks: what continues a word (Unicode's `\w`).
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { regex_syntax::is_word_character(c) }
}

/// A character of a script that does not put spaces between words, or that hangs particles on them, so
/// that a neighbouring letter says nothing about where a word ends.
pub(crate) const fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0FFF}'    // Thai, Lao, Tibetan
        | '\u{1000}'..='\u{109F}'  // Myanmar
        | '\u{1100}'..='\u{11FF}'  // Hangul Jamo
        | '\u{1780}'..='\u{17FF}'  // Khmer
        | '\u{3005}'..='\u{3007}'  // ideographic iteration mark, closing mark, zero
        | '\u{3040}'..='\u{30FF}'  // Hiragana, Katakana
        | '\u{3130}'..='\u{318F}'  // Hangul compatibility Jamo
        | '\u{31F0}'..='\u{31FF}'  // Katakana extensions
        | '\u{3400}'..='\u{4DBF}'  // Han extension A
        | '\u{4E00}'..='\u{9FFF}'  // Han
        | '\u{A960}'..='\u{A97F}'  // Hangul Jamo extended A
        | '\u{AC00}'..='\u{D7FF}'  // Hangul syllables, Jamo extended B
        | '\u{F900}'..='\u{FAFF}'  // Han compatibility
        | '\u{FF66}'..='\u{FFDC}'  // half-width Katakana and Hangul
        | '\u{20000}'..='\u{323AF}' // Han extensions B to H
    )
}

/// A Han, Kana or Hangul character: a text unit of its own when densities are measured.
pub(crate) const fn is_cjk(c: char) -> bool {
    is_unspaced(c) && !matches!(c, '\u{0E00}'..='\u{109F}' | '\u{1780}'..='\u{17FF}')
}

/// A Han character, as v0.3.0 tests for it.
pub(crate) const fn is_han(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{2FD5}' | '\u{3005}' | '\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3038}'..='\u{303B}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAD9}' | '\u{20000}'..='\u{323AF}')
}

const fn is_ascii_word(byte: Option<&u8>) -> bool {
    match byte {
        Some(b) => b.is_ascii_alphanumeric() || *b == b'_',
        None => false,
    }
}

/// Which neighbours a match may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Boundary {
    /// Any.
    None,
    /// RE2's `\b` on both sides, which knows ASCII only: for the compat profile.
    AsciiBothSides,
    /// On each flagged side, no character that continues the word.
    Word { left: bool, right: bool },
}

impl Boundary {
    /// The boundary that a keyword needs: on each side on which it ends in a letter or digit of a spaced
    /// script. `c++` needs one on its left only.
    pub(crate) fn of_keyword(keyword: &str) -> Self {
        let needs = |c: Option<char>| c.is_some_and(|c| is_word(c) && !is_unspaced(c));
        match (needs(keyword.chars().next()), needs(keyword.chars().next_back())) {
            (false, false) => Self::None,
            (left, right) => Self::Word { left, right },
        }
    }

    /// As v0.3.0 decides it: `\b…\b` for a keyword with a letter, digit or underscore and without Han.
    pub(crate) fn of_keyword_compat(keyword: &str) -> Self {
        let wordy = keyword.chars().any(|c| c.is_alphanumeric() || c == '_');
        if wordy && !keyword.chars().any(is_han) { Self::AsciiBothSides } else { Self::None }
    }

    /// Whether a match at `start..end` of `text` stands free.
    pub(crate) fn holds(self, text: &str, start: usize, end: usize) -> bool {
        match self {
            Self::None => true,
            Self::AsciiBothSides => {
                let bytes = text.as_bytes();
                let before = start.checked_sub(1).and_then(|at| bytes.get(at));
                let last = end.checked_sub(1).and_then(|at| bytes.get(at));
                is_ascii_word(before) != is_ascii_word(bytes.get(start))
                    && is_ascii_word(last) != is_ascii_word(bytes.get(end))
            }
            Self::Word { left, right } => {
                let continues = |c: char| is_word(c) && !is_unspaced(c);
                (!left || !text[..start].chars().next_back().is_some_and(continues))
                    && (!right || !text[end..].chars().next().is_some_and(continues))
            }
        }
    }
}

/// Words of a text: maximal runs of letters and digits, as byte ranges; each character of an unspaced
/// CJK script is a word of its own.
pub(crate) fn units(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(|c: char| c.is_alphanumeric())?;
        let from = &rest[start..];
        let first = from.chars().next()?;
        let len = if is_cjk(first) {
            first.len_utf8()
        } else {
            from.find(|c: char| !c.is_alphanumeric() || is_cjk(c)).unwrap_or(from.len())
        };
        rest = &from[len..];
        Some(&from[..len])
    })
}

/// How many [`units`] a text has.
pub(crate) fn count_units(text: &str) -> usize {
    if !text.is_ascii() {
        return units(text).count();
    }
    let mut inside = false;
    let mut count = 0;
    for byte in text.bytes() {
        let word = byte.is_ascii_alphanumeric();
        count += usize::from(word && !inside);
        inside = word;
    }
    count
}

/// Runs of letters and digits, whatever the script.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Remembers words, to pass over those that were seen lately. Forgets when two words fall on one place, so it
/// saves work and promises nothing.
pub(crate) struct SeenWords([u64; 256]);

impl SeenWords {
    pub(crate) const fn new() -> Self {
        Self([0; 256])
    }

    /// Whether a word was seen lately; it is from now on.
    pub(crate) fn again(&mut self, word: &str) -> bool {
        let hash = xxhash_rust::xxh3::xxh3_64(word.as_bytes()) | 1;
        let slot = &mut self.0[(hash >> 56) as usize];
        std::mem::replace(slot, hash) == hash
    }
}
