//! What a verification found, as text.

use std::fmt::{self, Display};
use std::path::Path;

use super::{Capped, Listed, Tally};

/// What a verification says.
pub(super) struct Report<'r, 'p> {
    pub(super) tally: &'r Tally<'p>,
    pub(super) dir: &'r Path,
    pub(super) policy_file: &'r Path,
}

impl Display for Report<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.tally;
        let (file, dir) = (self.policy_file.display(), self.dir.display());
        writeln!(f, "Policy {} of {file}, on the flows in {dir}\n", t.digest)?;
        let own = t.identical + t.different.count;
        writeln!(f, "Recorded under this policy: {own}")?;
        writeln!(f, "  decided the same again: {}", t.identical)?;
        writeln!(f, "  decided differently: {}", t.different.count)?;
        write!(f, "{}", t.different)?;
        if t.others > 0 {
            self.what_if(f)?;
        }
        writeln!(f, "\nWithout a decision to take again: {}", t.undecided)?;
        if t.lost > 0 {
            writeln!(f, "Lost before they reached the journal: {}", t.lost)?;
        }
        if t.unreadable > 0 {
            writeln!(f, "Not readable by this version: {}", t.unreadable)?;
        }
        Ok(())
    }
}

impl Report<'_, '_> {
    fn what_if(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.tally;
        writeln!(f, "\nRecorded under other policies: {}. This policy would have changed", t.others)?;
        writeln!(f, "  the decision of {}", t.changed_decision)?;
        writeln!(f, "  the model of {}", t.changed_target)?;
        if t.changed_kind > 0 {
            writeln!(f, "  whether a model, the configuration or an error answers {}", t.changed_kind)?;
        }
        write!(f, "{}", t.changes)?;
        let c = &t.costs;
        if c.priced > 0 {
            let change = |after: f64| {
                if c.before > 0.0 {
                    format!(" ({:+.1} %)", 100.0 * (after / c.before - 1.0))
                } else {
                    String::new()
                }
            };
            let (warm, cold) = (change(c.after_warm), change(c.after_cold));
            writeln!(f, "  cost of {} turns, at this policy's prices", c.priced)?;
            writeln!(f, "    on the models that served: ${:.6}", c.before)?;
            writeln!(
                f,
                "    on the models of this policy: ${:.6}{warm} with prefix caches as warm",
                c.after_warm
            )?;
            writeln!(f, "    or ${:.6}{cold} with cold ones wherever the model differs", c.after_cold)?;
        }
        if c.unpriced > 0 {
            writeln!(f, "  turns on models without a price here: {}", c.unpriced)?;
        }
        writeln!(f, "  turns whose model a lock held: {}", t.locked)?;
        if t.locked_refused > 0 {
            writeln!(f, "    refused, because their model is missing: {}", t.locked_refused)?;
        }
        writeln!(f, "    on another model: {}", t.locked_moved.count)?;
        write!(f, "{}", t.locked_moved)?;
        if t.without_texts > 0 {
            writeln!(
                f,
                "  The texts of {} are not on record: signals were taken as they had been read, even if this policy\n  \
                 defines them otherwise.",
                t.without_texts
            )?;
        }
        if t.incomplete > 0 {
            writeln!(f, "  {} lack signals that this policy reads; those count as unknown.", t.incomplete)?;
        }
        Ok(())
    }
}

impl Display for Capped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Listed { id, what } in &self.kept {
            writeln!(f, "    {id}  {what}")?;
        }
        match self.count - self.kept.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "    and {more} more; --limit lists them"),
        }
    }
}
