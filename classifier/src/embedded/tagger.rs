//! Personal data by its context: a linear classifier of words. `classifier/training/tagger.py` does the same.
//!
//! A word is a run of letters, digits and marks; every other visible character, and every line break, is a word of
//! its own. Each is judged by itself, its neighbours and their shapes; neighbours of one type make a span.

use super::PiiSpan;
use super::file::{File, FormatError};
use super::text::{FNV_BASIS, fnv, fnv_step, mix, pair_hash};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const KIND: u64 = 0xd1b5_4a32_d192_ed03;
/// Stands before the first word and behind the last.
const EDGE: Word = {
    let edge = fnv(b"\x02");
    Word { start: 0, end: 0, word: edge, shape: edge, prefix: edge, suffix3: edge, suffix2: edge }
};
pub(super) const FEATURES: usize = 18;
const MAX_LABELS: usize = 16;

/// Types of personal data that the tagger may name, as v0.3 spells them.
const TYPES: [&str; 10] = [
    "PERSON",
    "STREET_ADDRESS",
    "GPE",
    "ZIP_CODE",
    "ORGANIZATION",
    "AGE",
    "DATE_TIME",
    "NRP",
    "PHONE_NUMBER",
    "US_DRIVER_LICENSE",
];

#[derive(Debug, Clone, Copy)]
struct Word {
    start: u32,
    end: u32,
    word: u64,
    shape: u64,
    prefix: u64,
    suffix3: u64,
    suffix2: u64,
}

/// Working memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers {
    words: Vec<Word>,
    lower: Vec<char>,
}

pub(super) struct Tagger {
    /// By label; the first means nothing.
    labels: Vec<Option<&'static str>>,
    table: &'static [u8],
    scales: Vec<f32>,
    bias: Vec<f32>,
    mask: u64,
}

impl Tagger {
    pub(super) fn open(file: &File<'static>) -> Result<Self, FormatError> {
        let header = &file.header.tagger;
        let known = |label: &String| TYPES.into_iter().find(|known| known == label);
        let labels: Vec<Option<&'static str>> = header.labels.iter().map(known).collect();
        let count = labels.len();
        let in_place =
            count <= MAX_LABELS && labels.first() == Some(&None) && labels[1..].iter().all(Option::is_some);
        if !in_place || !header.buckets.is_power_of_two() {
            return Err(FormatError("the tagger's labels are not known".to_owned()));
        }
        let mut bias = file.floats("tagger.bias", count)?;
        bias[0] += header.caution;
        Ok(Self {
            labels,
            table: file.bytes("tagger", header.buckets * count)?,
            scales: file.floats("tagger.scales", count)?,
            bias,
            mask: header.buckets as u64 - 1,
        })
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.labels.iter().copied().flatten()
    }

    /// Appends what it finds in `text`.
    pub(super) fn find(&self, text: &str, buffers: &mut Buffers, out: &mut Vec<PiiSpan>) {
        split(text, buffers);
        let words = &buffers.words;
        let near =
            |at: usize, by: isize| at.checked_add_signed(by).and_then(|at| words.get(at)).unwrap_or(&EDGE);
        let mut open: Option<(PiiSpan, f32)> = None;
        for (at, word) in words.iter().enumerate() {
            let around = [near(at, -2), near(at, -1), word, near(at, 1), near(at, 2)];
            let (label, probability) = self.judge(around);
            let (start, end) = (word.start as usize, word.end as usize);
            match (&mut open, self.labels[label]) {
                (Some((span, count)), Some(label)) if span.label == label => {
                    span.end = end;
                    span.score += probability;
                    *count += 1.0;
                }
                (_, label) => {
                    close(&mut open, out);
                    open = label.map(|label| (PiiSpan { start, end, label, score: probability }, 1.0));
                }
            }
        }
        close(&mut open, out);
    }

    fn judge(&self, around: [&Word; 5]) -> (usize, f32) {
        let mut sums = [0i32; MAX_LABELS];
        let count = self.labels.len();
        for feature in features(around) {
            let at = (feature & self.mask) as usize * count;
            for (sum, value) in sums.iter_mut().zip(&self.table[at..at + count]) {
                *sum += i32::from(*value as i8);
            }
        }
        let mut scores = [f32::NEG_INFINITY; MAX_LABELS];
        for at in 0..count {
            scores[at] = sums[at] as f32 * self.scales[at] + self.bias[at];
        }
        let best = (0..count).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
        let total: f32 = scores[..count].iter().map(|score| (score - scores[best]).exp()).sum();
        (best, total.recip())
    }
}

fn close(open: &mut Option<(PiiSpan, f32)>, out: &mut Vec<PiiSpan>) {
    if let Some((mut span, count)) = open.take() {
        span.score /= count;
        out.push(span);
    }
}

fn features([b2, b1, w, a1, a2]: [&Word; 5]) -> [u64; FEATURES] {
    let of = |kind: u64, a: u64, b: u64| {
        mix(a.wrapping_mul(GOLDEN).wrapping_add(b).wrapping_add(kind.wrapping_mul(KIND)))
    };
    [
        of(1, w.word, 0),
        of(2, b1.word, 0),
        of(3, a1.word, 0),
        of(4, b2.word, 0),
        of(5, a2.word, 0),
        of(6, w.shape, 0),
        of(7, b1.shape, w.shape),
        of(8, w.shape, a1.shape),
        of(9, b1.word, w.shape),
        of(10, w.shape, a1.word),
        of(11, b1.word, w.word),
        of(12, w.word, a1.word),
        of(13, w.suffix3, w.shape),
        of(14, w.prefix, 0),
        of(15, pair_hash(b1.shape, a1.shape), w.shape),
        of(16, pair_hash(b2.word, b1.word), w.shape),
        of(17, w.suffix2, 0),
        of(18, pair_hash(a1.word, a2.word), w.shape),
    ]
}

fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

fn split(text: &str, buffers: &mut Buffers) {
    let Buffers { words, lower } = buffers;
    words.clear();
    let mut open: Option<usize> = None;
    for (at, c) in text.char_indices() {
        if is_inside(c) {
            open.get_or_insert(at);
            continue;
        }
        if let Some(start) = open.take() {
            words.push(word(text, start, at, lower));
        }
        if c == '\n' || !c.is_whitespace() {
            words.push(word(text, at, at + c.len_utf8(), lower));
        }
    }
    if let Some(start) = open {
        words.push(word(text, start, text.len(), lower));
    }
}

fn word(text: &str, start: usize, end: usize, lower: &mut Vec<char>) -> Word {
    lower.clear();
    let mut shape = Shape { state: FNV_BASIS, last: '\0', run: 0 };
    for c in text[start..end].chars() {
        shape.push(c);
        lower.extend(c.to_lowercase());
    }
    let hash = |chars: &[char]| {
        let mut buffer = [0; 4];
        chars.iter().fold(FNV_BASIS, |state, c| c.encode_utf8(&mut buffer).bytes().fold(state, fnv_step))
    };
    let last = |count: usize| &lower[lower.len().saturating_sub(count)..];
    Word {
        start: start as u32,
        end: end as u32,
        word: hash(lower),
        shape: shape.state,
        prefix: hash(&lower[..lower.len().min(3)]),
        suffix3: hash(last(3)),
        suffix2: hash(last(2)),
    }
}

/// Kinds of characters in their order: up to six digits, two capitals and one of anything else in a row.
struct Shape {
    state: u64,
    last: char,
    run: u32,
}

impl Shape {
    fn push(&mut self, c: char) {
        let (kind, most) = match c {
            '0'..='9' => ('d', 6),
            _ if c.is_uppercase() => ('X', 2),
            _ if c.is_lowercase() => ('x', 1),
            _ if is_inside(c) => ('o', 1),
            _ => (c, 1),
        };
        self.run = if kind == self.last { self.run + 1 } else { 1 };
        self.last = kind;
        if self.run <= most {
            let mut buffer = [0; 4];
            self.state = kind.encode_utf8(&mut buffer).bytes().fold(self.state, fnv_step);
        }
    }
}
