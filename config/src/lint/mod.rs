//! What loads but is probably not meant: the traps of v0.3, each with a code.

mod global;
mod notes;
mod providers;
mod routing;
mod rules;
mod signals;

pub use providers::is_pseudo_listener;

use crate::contract::Config;
use crate::findings::Findings;
use crate::load::Profile;
use crate::node::Node;
use crate::report::Severity;
use crate::validate::{self, Context};

/// Runs every lint. `generated` names the domains that no one declared.
pub(crate) fn run(
    root: &Node,
    config: &Config,
    profile: Profile,
    generated: &[String],
    findings: &mut Findings,
) {
    let mut cx = validate::context(root, config, profile, findings);
    providers::lint(&mut cx);
    signals::lint(&mut cx);
    rules::lint(&mut cx, generated);
    routing::lint(&mut cx);
    global::lint(&mut cx);
    notes::lint(&mut cx);
}

/// A flaw of v0.3.0 that Pintle repairs: worth knowing here, a warning where upstream's behaviour counts.
fn repaired(cx: &Context<'_>) -> Severity {
    match cx.profile {
        Profile::Pintle => Severity::Note,
        Profile::Compat => Severity::Warning,
    }
}
