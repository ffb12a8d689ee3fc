//! `pintle guard`: look at the running guard and change its rules, through the kernel.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use pintle_ebpf::guard::{Counters, Guard, Mode, Origin, RuleView, SourceView, Verdict};
use serde_json::json;

use crate::cli::{GuardChange, GuardCommand, GuardList};
use crate::output::print;

pub(super) fn run(command: GuardCommand) -> Result<ExitCode, Box<dyn Error>> {
    let guards = Guard::running()?;
    if guards.is_empty() {
        return Err(
            "no guard runs on this machine: global.pintle.guard.interfaces names where it should".into()
        );
    }
    match command {
        GuardCommand::Ls(options) => list(&guards, &options)?,
        GuardCommand::Deny(change) => make(&guards, &change, Verdict::Deny)?,
        GuardCommand::Allow(change) => make(&guards, &change, Verdict::Allow)?,
        GuardCommand::Rm { prefix } => {
            let mut found = false;
            for guard in &guards {
                found |= guard.remove(prefix)?;
            }
            if !found {
                return Err(format!("there is no rule on exactly {prefix}").into());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn make(guards: &[Guard], change: &GuardChange, verdict: Verdict) -> Result<(), Box<dyn Error>> {
    let lasting = change.lasting.map(Into::into);
    for guard in guards {
        match verdict {
            Verdict::Deny => guard.deny(change.prefix, lasting)?,
            Verdict::Allow => guard.allow(change.prefix, lasting)?,
        }
        if guard.mode() != Mode::Enforce {
            eprintln!("pintle: the guard {}: nothing is dropped", guard.mode().does());
        }
    }
    Ok(())
}

fn list(guards: &[Guard], options: &GuardList) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    for guard in guards {
        let (rules, sources, counters) = (guard.rules(), guard.sources(options.sources), guard.counters());
        if options.json {
            let document = json!({
                "mode": guard.mode(),
                "counters": {
                    "syns": counters.syns,
                    "denied": counters.denied,
                    "allowed": counters.allowed,
                    "over_rate": counters.over_rate,
                    "dropped_denied": counters.dropped_denied,
                    "dropped_over_rate": counters.dropped_over_rate,
                    "unreadable": counters.unreadable,
                    "unremembered": counters.unremembered,
                },
                "rules": rules,
                "sources": sources,
            });
            writeln!(text, "{document}")?;
        } else {
            describe(&mut text, guard.mode(), &counters, &rules, &sources)?;
        }
    }
    print(&text)?;
    Ok(())
}

fn describe(
    text: &mut String,
    mode: Mode,
    counters: &Counters,
    rules: &[RuleView],
    sources: &[SourceView],
) -> std::fmt::Result {
    writeln!(
        text,
        "the guard {}: {} SYNs, {} denied, {} allowed by rule, {} above their rate, {} dropped",
        mode.does(),
        counters.syns,
        counters.denied,
        counters.allowed,
        counters.over_rate,
        counters.dropped_denied + counters.dropped_over_rate
    )?;
    if !rules.is_empty() {
        writeln!(text, "\n{:<6} {:<43} {:>12} {:<14} ENDS", "RULE", "PREFIX", "HITS", "FROM")?;
    }
    for rule in rules {
        let verdict = match rule.verdict {
            Verdict::Deny => "deny",
            Verdict::Allow => "allow",
        };
        let from = match rule.origin {
            Origin::Configuration => "configuration",
            Origin::Operator => "operator",
        };
        let ends = rule.expires_in_s.map_or_else(|| "never".to_owned(), |seconds| format!("in {seconds} s"));
        let prefix = rule.prefix.to_string();
        writeln!(text, "{verdict:<6} {prefix:<43} {:>12} {from:<14} {ends}", rule.hits)?;
    }
    if !sources.is_empty() {
        writeln!(text, "\n{:<50} {:>12} {:>12}", "SOURCE", "SYNS", "ABOVE RATE")?;
    }
    for source in sources {
        writeln!(text, "{:<50} {:>12} {:>12}", source.prefix.to_string(), source.syns, source.over_rate)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_happened_and_why() {
        let counters = Counters { syns: 12, denied: 7, dropped_denied: 7, ..Counters::default() };
        let rule = RuleView {
            prefix: "2001:db8::/32".parse().unwrap(),
            verdict: Verdict::Deny,
            origin: Origin::Operator,
            hits: 7,
            expires_in_s: Some(60),
        };
        let source = SourceView { prefix: "192.0.2.1".parse().unwrap(), syns: 5, over_rate: 2 };
        let mut text = String::new();
        describe(&mut text, Mode::Enforce, &counters, &[rule], &[source]).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("the guard enforces: 12 SYNs, 7 denied,"), "{text}");
        assert_eq!(lines[3], ["deny", "2001:db8::/32", "7", "operator", "in", "60", "s"]);
        assert_eq!(lines[6], ["192.0.2.1", "5", "2"]);
    }
}
