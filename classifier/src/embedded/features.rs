//! What no token tells: lengths, and shares of kinds of characters. `classifier/training/features.py` does the same.

/// Number of features.
pub(super) const HAND: usize = 12;

/// Sums over a text, or over a part of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    bytes: u32,
    chars: u32,
    pub(super) words: u32,
    marks: u32,
    questions: u32,
    bangs: u32,
    digits: u32,
    upper: u32,
    newlines: u32,
    foreign: u32,
    code: u32,
    fence: bool,
    last: char,
}

impl Counts {
    pub(super) fn of(text: &str) -> Self {
        let mut counts = Self { bytes: text.len() as u32, ..Self::default() };
        for c in text.chars() {
            counts.chars += 1;
            match c {
                '?' | '？' => counts.questions += 1,
                '!' => counts.bangs += 1,
                '0'..='9' => counts.digits += 1,
                'A'..='Z' => counts.upper += 1,
                '\n' => counts.newlines += 1,
                '{' | '}' | '(' | ')' | '[' | ']' | ';' | '=' | '<' | '>' | '_' | '\\' | '/' | '|' | '`' => {
                    counts.code += 1;
                }
                _ => {}
            }
            counts.foreign += u32::from(!c.is_ascii());
            if !matches!(c, ' ' | '\n' | '\r' | '\t') {
                counts.last = c;
            }
        }
        counts.fence = has_fence(text.as_bytes());
        counts
    }

    pub(super) fn note_word(&mut self, word: &str) {
        self.words += 1;
        let first = word.as_bytes()[0];
        self.marks += u32::from(first.is_ascii() && !first.is_ascii_alphanumeric());
    }

    /// Takes in the part that follows.
    pub(super) fn add(&mut self, next: &Self) {
        self.bytes += next.bytes;
        self.chars += next.chars;
        self.words += next.words;
        self.marks += next.marks;
        self.questions += next.questions;
        self.bangs += next.bangs;
        self.digits += next.digits;
        self.upper += next.upper;
        self.newlines += next.newlines;
        self.foreign += next.foreign;
        self.code += next.code;
        self.fence |= next.fence;
        if next.last != '\0' {
            self.last = next.last;
        }
    }

    /// Each between 0 and about 1.
    pub(super) fn features(&self) -> [f32; HAND] {
        let share = |part: u32| part as f32 / self.chars.max(1) as f32;
        let logarithm = |count: u32, over: f32| (1.0 + count as f32).log2() / over;
        let flag = |holds: bool| f32::from(u8::from(holds));
        [
            logarithm(self.bytes, 16.0),
            logarithm(self.words, 16.0),
            flag(self.questions > 0),
            flag(matches!(self.last, '?' | '？')),
            (self.bangs as f32 / 8.0).min(1.0),
            share(self.digits),
            share(self.upper),
            logarithm(self.newlines, 8.0),
            self.marks as f32 / self.words.max(1) as f32,
            share(self.foreign),
            share(self.code),
            flag(self.fence),
        ]
    }
}

/// Signs of a document inside the text: a code fence, a closing tag, a heading, a rule.
fn has_fence(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"</")
        || bytes.windows(3).any(|three| matches!(three, b"```" | b"###" | b"---"))
}
