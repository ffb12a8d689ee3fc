//! A flow document for a person: the answer in one sentence first, then what it rests on.

use pintle_routing::flow::FlowDocument;

mod answer;
mod format;
mod page;
mod sections;

use page::Page;

/// How the text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns to fill; at least [`Style::MIN_WIDTH`] are used.
    pub width: usize,
    /// Marks with terminal colours.
    pub colour: bool,
}

impl Style {
    /// Columns without a terminal.
    pub const DEFAULT_WIDTH: usize = 100;
    /// Narrower than this, lines are left to the terminal.
    pub const MIN_WIDTH: usize = 40;
    /// Wider lines are hard to read.
    pub const MAX_WIDTH: usize = 120;

    /// For standard output: its width and colours if it is a terminal, [`Style::DEFAULT_WIDTH`] without
    /// colours otherwise.
    pub fn for_stdout() -> Style {
        use std::io::IsTerminal;
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Style { width: Style::DEFAULT_WIDTH, colour: false };
        }
        let columns = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        let width = columns.map_or(Style::DEFAULT_WIDTH, |columns| columns.min(Style::MAX_WIDTH));
        Style { width, colour: true }
    }
}

/// The document as text. Whatever came from the client or a backend is shown with control characters
/// escaped, so that it cannot drive the reader's terminal.
pub fn explain(document: &FlowDocument, style: Style) -> String {
    let mut page = Page::new(style);
    answer::write(&mut page, document);
    write_decision(&mut page, document);
    sections::upstream::write(&mut page, document);
    page.finish()
}

/// A decision that was taken but not carried out, as text: [`explain`] without what only a served request has.
pub fn explain_plan(document: &FlowDocument, style: Style) -> String {
    let mut page = Page::new(style);
    answer::write_plan(&mut page, document);
    write_decision(&mut page, document);
    page.finish()
}

fn write_decision(page: &mut Page, document: &FlowDocument) {
    sections::request::write(page, document);
    sections::evidence::write(page, document);
    sections::decisions::write(page, document);
    sections::selection::write(page, document);
    sections::session::write(page, document);
}

/// The document as indented JSON, with every field.
///
/// # Errors
/// If it holds something that JSON cannot, which no document read from a journal does.
pub fn explain_json(document: &FlowDocument) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(document)
}

#[cfg(test)]
mod tests;
