//! The language signal, asked as a policy asks it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use pintle_config::Profile;
use pintle_routing::facts::Facts;
use pintle_routing::live::LiveSignals;
use pintle_routing::policy::Policy;
use pintle_routing::units::UnixMillis;

use super::{BySource, share};

pub(super) fn table(sources: &BySource<'_>, out: &mut String) -> Result<(), Box<dyn Error>> {
    let _ = writeln!(out, "\nlanguage: accuracy on single sentences; then of the least certain languages");
    for (source, cases) in sources {
        let codes: Vec<&str> = {
            let all: BTreeMap<&str, ()> = cases.iter().map(|case| (case.label.as_str(), ())).collect();
            all.into_keys().collect()
        };
        let policy = policy(&codes)?;
        let mut of_code: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for case in cases {
            let (right, all) = of_code.entry(&case.label).or_default();
            let told = told(&policy, &case.text).and_then(|at| codes.get(at).copied());
            *right += u32::from(told == Some(case.label.as_str()));
            *all += 1;
        }
        let right: u32 = of_code.values().map(|(right, _)| right).sum();
        let mut worst: Vec<(f64, &str)> =
            of_code.iter().map(|(code, (right, all))| (share(*right, *all), *code)).collect();
        worst.sort_by(|a, b| a.0.total_cmp(&b.0));
        let worst: Vec<String> =
            worst.iter().take(6).map(|(share, code)| format!("{code} {share:.3}")).collect();
        let count = cases.len() as u32;
        let _ = writeln!(
            out,
            "  {source:28} {count:5}  {:.3}  {} languages; {}",
            share(right, count),
            codes.len(),
            worst.join(", ")
        );
    }
    Ok(())
}

/// A policy with one rule per language, in the order of `codes`.
fn policy(codes: &[&str]) -> Result<Policy, Box<dyn Error>> {
    let mut text = String::from(
        "version: v0.3\nlisteners: [{name: l, address: 127.0.0.1, port: 1}]\n\
         providers: {defaults: {default_model: m}, models: [{name: m, backend_refs: [{endpoint: \"127.0.0.1:2\"}]}]}\n\
         routing:\n  modelCards: [{name: m}]\n  signals:\n    language:\n",
    );
    for code in codes {
        let _ = writeln!(text, "      - {{name: {code:?}}}");
    }
    text.push_str("  decisions:\n");
    for code in codes {
        let _ = writeln!(
            text,
            "    - {{name: {code:?}, priority: 1, rules: {{type: language, name: {code:?}}}, modelRefs: [{{model: m}}]}}"
        );
    }
    let loaded = pintle_config::load(text.as_bytes(), "languages", Profile::Pintle);
    let config = loaded.config.ok_or_else(|| format!("{:?}", loaded.report.findings))?;
    Policy::compile(&config, Profile::Pintle)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ").into())
}

/// The rule that holds.
fn told(policy: &Policy, text: &str) -> Option<usize> {
    let outcome = policy.decide(&Facts::of_text(text), None, UnixMillis(0), &LiveSignals::default());
    outcome.trace.base.iter().position(|evidence| evidence.truth.is_true())
}
