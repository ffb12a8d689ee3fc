//! Collects findings while a document is checked.

use crate::parse::Place;
use crate::report::{Finding, Report, Severity};

/// Findings kept; a document that earns more is not helped by more.
const MAX_FINDINGS: usize = 1_000;

/// Findings so far.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    dropped: usize,
    /// Receives what is written beyond the bound.
    spill: Option<Finding>,
}

/// A finding that can still be completed.
pub(crate) struct Pushed<'a>(&'a mut Finding);

impl Pushed<'_> {
    /// Says what to do.
    pub(crate) fn help(self, help: impl Into<String>) {
        self.0.help = Some(help.into());
    }

    /// Says what to do, if there is something.
    pub(crate) fn help_maybe(self, help: Option<String>) {
        self.0.help = help;
    }

    /// Says what to do, under a condition.
    pub(crate) fn help_if(self, condition: bool, help: &str) {
        if condition {
            self.0.help = Some(help.to_owned());
        }
    }
}

impl Findings {
    /// Adds one.
    pub(crate) fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: impl Into<String>,
        place: impl Into<Place>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        let place = place.into();
        let finding = Finding {
            severity,
            code,
            path: path.into(),
            line: place.line,
            column: place.column,
            message: message.into(),
            help: None,
        };
        if self.list.len() < MAX_FINDINGS || severity == Severity::Error && self.list.len() < 2 * MAX_FINDINGS
        {
            self.list.push(finding);
            return Pushed(self.list.last_mut().expect("just pushed"));
        }
        self.dropped += 1;
        Pushed(self.spill.insert(finding))
    }

    /// An error was found.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
            || self.spill.as_ref().is_some_and(|finding| finding.severity == Severity::Error)
    }

    /// The findings so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// Takes out what a filter refuses.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Finding) -> bool) {
        self.list.retain(keep);
    }

    /// In order of lines, worst first within one.
    pub(crate) fn into_report(mut self, source_name: &str) -> Report {
        self.list.sort_by(|a, b| {
            (a.line, a.column, std::cmp::Reverse(a.severity), a.code).cmp(&(
                b.line,
                b.column,
                std::cmp::Reverse(b.severity),
                b.code,
            ))
        });
        self.list.dedup();
        if self.dropped > 0 {
            self.list.push(Finding {
                severity: if self.spill.is_some_and(|last| last.severity == Severity::Error) {
                    Severity::Error
                } else {
                    Severity::Note
                },
                code: crate::codes::LIMIT,
                path: String::new(),
                line: 0,
                column: 0,
                message: format!("{} more findings are not shown", self.dropped),
                help: None,
            });
        }
        Report { source_name: source_name.to_owned(), findings: self.list }
    }
}
