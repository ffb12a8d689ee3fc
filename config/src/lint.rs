//! What loads but is probably not meant.

use crate::contract::Config;
use crate::findings::Findings;
use crate::load::Profile;
use crate::node::Node;
use crate::validate::{self, Context};

pub(crate) fn run(
    root: &Node,
    config: &Config,
    profile: Profile,
    generated: &[String],
    findings: &mut Findings,
) {
    let _cx: Context<'_> = validate::context(root, config, profile, findings);
    let _ = generated;
}
