//! The session that the demonstration plays: twelve turns of a coding agent.

use std::time::Duration;

/// The agent's instructions, the same on every turn as agents send them.
pub(super) const SYSTEM: &str = "You are a coding agent in a small Rust repository that imports CSV files. \
Work in small steps. Read a file before you change it, run the tests after you changed it, and say plainly \
when something did not work. Never invent the contents of a file: call a tool and look.";

/// Tools on offer: name, what it does, its required argument.
pub(super) const TOOLS: [(&str, &str, &str); 3] = [
    ("read_file", "Read one file of the repository.", "path"),
    ("edit_file", "Replace the text of one file.", "path"),
    ("run_tests", "Run the tests and return what they print.", "filter"),
];

/// What the agent sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// A new user message.
    Say(&'static str),
    /// The result of every tool call that is open.
    Result(&'static str),
}

/// One turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// For the table: what happens, in a few words.
    pub(super) what: &'static str,
    pub(super) act: Act,
    /// Silence before the turn.
    pub(super) pause: Duration,
}

const fn say(what: &'static str, text: &'static str) -> Step {
    Step { what, act: Act::Say(text), pause: Duration::ZERO }
}

const fn result(what: &'static str, text: &'static str) -> Step {
    Step { what, act: Act::Result(text), pause: Duration::ZERO }
}

/// A session idles out after this long in the demonstration, instead of minutes.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

const IDLE_GAP: Duration = Duration::from_secs(4);

/// The twelve turns. What the stand-ins answer follows from these words: a tool named here is called.
pub(super) const STEPS: [Step; 12] = [
    say(
        "asks for a plan",
        "Plan a fix, step by step: the CSV importer must accept quoted fields with line breaks. \
         Weigh a hand-written state machine against a parser library. [tokens:60]",
    ),
    say("asks for a look at a file", "Good. Begin: use read_file on src/import/csv.rs. [steps:2]"),
    result(
        "returns the file",
        "pub fn split(line: &str) -> Vec<&str> {\n    line.split(',').collect()\n}\n// 180 more lines",
    ),
    result("returns the second file", "#[test]\nfn quoted_comma() { /* ... */ }"),
    say("is terse", "fix it"),
    say("asks for a test run", "Now run_tests, only those of the importer."),
    result(
        "returns failing tests",
        "running 14 tests\ntest quoted_newline ... FAILED\n  left: [\"a\", \"b\"]\n right: [\"a\\nb\"]",
    ),
    say("changes the subject", "Other matter: write two friendly sentences for the release notes."),
    Step {
        what: "comes back after a break",
        act: Act::Say("Back to the importer. Rename `split` to `fields` everywhere."),
        pause: IDLE_GAP,
    },
    say(
        "asks a hard question",
        "Prove that the new parser is linear in the input even on adversarial quoting, and analyze step by \
         step whether two threads importing into one table can deadlock. Derive the worst case. [tokens:80]",
    ),
    say("asks for proof by test", "Show it: run_tests with the stress filter."),
    result("returns passing tests", "running 3 tests\ntest stress_quotes ... ok\n3 passed"),
];
