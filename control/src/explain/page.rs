//! Sections, labelled lines and lists, wrapped to a width.

use std::fmt::Write;

use pintle_routing::evidence::Truth;
use textwrap::{Options, WordSplitter};

use super::Style;

const BODY: &str = "  ";
const LABEL_WIDTH: usize = 16;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

pub(super) struct Page {
    style: Style,
    text: String,
}

impl Page {
    pub(super) fn new(style: Style) -> Page {
        Page { style, text: String::new() }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// A line at the left edge.
    pub(super) fn title(&mut self, title: &str) {
        let title = self.bold(title);
        self.wrapped("", "", &title);
    }

    /// The head of a section, after an empty line.
    pub(super) fn section(&mut self, name: &str) {
        self.text.push('\n');
        let name = self.bold(name);
        self.wrapped("", "", &name);
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.wrapped(BODY, BODY, text);
    }

    /// A label and what it says; nothing if that is empty.
    pub(super) fn pair(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            let first = format!("{BODY}{label:<LABEL_WIDTH$}");
            self.wrapped(&first, &" ".repeat(BODY.len() + LABEL_WIDTH), text);
        }
    }

    /// A line `depth` steps into a list, with a mark before it.
    pub(super) fn item(&mut self, depth: usize, mark: &str, text: &str) {
        let indent = BODY.repeat(depth + 1);
        self.wrapped(&format!("{indent}{mark} "), &format!("{indent}{BODY}"), text);
    }

    fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let width = self.style.width.max(Style::MIN_WIDTH);
        let options = Options::new(width)
            .initial_indent(first)
            .subsequent_indent(rest)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        for line in textwrap::wrap(text, options) {
            let _ = writeln!(self.text, "{}", line.trim_end());
        }
    }

    /// The mark of a three-valued truth.
    pub(super) fn mark(&self, truth: Truth) -> String {
        match truth {
            Truth::True => self.paint(GREEN, "✓"),
            Truth::False => self.paint(RED, "✗"),
            Truth::Unknown(_) => self.paint(YELLOW, "?"),
        }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint(DIM, text)
    }

    pub(super) fn good(&self, text: &str) -> String {
        self.paint(GREEN, text)
    }

    pub(super) fn bad(&self, text: &str) -> String {
        self.paint(RED, text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.style.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
