//! The routing core against a second implementation that was written from the description of v0.3's behaviour alone,
//! by maps and loops, over generated configurations and requests; and decisions taken again from their records.

mod generate;
mod naive;

use generate::{Case, Draw};
use pintle_config::Profile;
use pintle_routing::evidence::{Truth, Unknown};
use pintle_routing::flow::{Decided, Fault, FlowDocument, FlowRecord};
use pintle_routing::flow_id::FlowId;
use pintle_routing::learned::{JailbreakReading, Learned, Reading};
use pintle_routing::live::LiveSignals;
use pintle_routing::outcome::{Outcome, Verdict};
use pintle_routing::policy::{Inputs, Legend, Policy, Record};
use pintle_routing::units::UnixMillis;
use serde::Serialize;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const REQUESTS_PER_POLICY: u64 = 12;

fn compile(case: &Case, profile: Profile) -> Policy {
    let yaml = case.yaml();
    let loaded = pintle_config::load(yaml.as_bytes(), "generated.yaml", profile);
    let config = loaded.config.unwrap_or_else(|| panic!("{:#?}\n{yaml}", loaded.report));
    Policy::compile(&config, profile).unwrap_or_else(|errors| panic!("{errors:#?}\n{yaml}"))
}

fn learned(attack: Option<f64>) -> Learned {
    let jailbreak = match attack {
        Some(current) => Reading::Given(JailbreakReading { current, ..JailbreakReading::default() }),
        None => Reading::Missing(Unknown::Deadline),
    };
    Learned { jailbreak, ..Learned::default() }
}

/// Compares everything that both implementations conclude about `policies` generated policies.
fn compare(from: u64, policies: u64) {
    for seed in from..from + policies {
        let case = Case::generate(&mut Draw::new(seed));
        for profile in [Profile::Pintle, Profile::Compat] {
            let policy = compile(&case, profile);
            for nth in 0..REQUESTS_PER_POLICY {
                let request = generate::Request::generate(&mut Draw::new(seed * 1000 + nth));
                let facts = request.facts();
                let live = LiveSignals::default();
                let inputs = Inputs {
                    facts: &facts,
                    session: None,
                    provider_owner: None,
                    now: NOW,
                    live: &live,
                    foresight: None,
                };
                let outcome = policy.decide_measured(&inputs, &learned(request.attack));
                let expected = naive::decide(&case, &request, profile);
                let say =
                    || format!("seed {seed}, request {nth}, {profile:?}\n{request:#?}\n{}", case.yaml());

                let results = policy.results(&outcome);
                let found: Vec<_> = results
                    .iter()
                    .map(|result| match result.truth {
                        Truth::True => Some(true),
                        Truth::False => Some(false),
                        Truth::Unknown(_) => None,
                    })
                    .collect();
                let truths: Vec<_> = expected.decisions.iter().map(|(truth, _)| *truth).collect();
                assert_eq!(found, truths, "{}", say());
                for (result, (truth, confidence)) in results.iter().zip(&expected.decisions) {
                    let confidence = if *truth == Some(true) { *confidence } else { 0.0 };
                    assert!((result.confidence - confidence).abs() < 1e-9, "{} {confidence}", say());
                }
                let chosen = outcome.trace.chosen.map(|decision| policy.decision_name(decision).to_owned());
                assert_eq!(chosen, expected.chosen, "{}", say());
                let Verdict::Route(route) = &outcome.verdict else { panic!("not routed: {}", say()) };
                assert_eq!(policy.target_name(route.target), expected.model, "{}", say());
            }
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// The document that is made of a record and a legend which have been written and read.
fn from_record(policy: &Policy, inputs: &Inputs<'_>, outcome: Outcome, keep_private: bool) -> FlowDocument {
    let mut record = FlowRecord::begin(FlowId::from_bits(7), NOW, 0);
    record.decided = Some(Decided::of(inputs, outcome, keep_private));
    // What nobody has told the record yet.
    record.ending.fault = Fault::None;
    record.complete(policy);
    let legend: Legend = serde_json::from_str(&json(policy.legend().as_ref())).expect("read as written");
    legend.check().expect("it holds together");
    let mut read: FlowRecord = serde_json::from_str(&json(&record)).expect("read as written");
    read.id = record.id;
    read.document(&legend).expect("its own legend")
}

/// Takes `requests` generated decisions again from their records, by way of the journal's records and of JSON, and compares bit for bit.
fn replay(requests: u64) {
    for seed in 0..requests.div_ceil(REQUESTS_PER_POLICY) {
        let case = Case::generate(&mut Draw::new(seed));
        let profile = if seed % 2 == 0 { Profile::Pintle } else { Profile::Compat };
        let policy = compile(&case, profile);
        for nth in 0..REQUESTS_PER_POLICY {
            let mut draw = Draw::new(seed * 7919 + nth);
            let request = generate::Request::generate(&mut draw);
            let facts = request.facts();
            let snapshot = request.session();
            let live = LiveSignals { bytes_per_token: 3.0 + draw.unit(), ..LiveSignals::default() };
            let inputs = Inputs {
                facts: &facts,
                session: snapshot.as_ref(),
                provider_owner: None,
                now: NOW,
                live: &live,
                foresight: None,
            };
            let outcome = policy.decide_measured(&inputs, &learned(request.attack));
            let keep_private = draw.below(2) == 0;
            let document = from_record(&policy, &inputs, outcome.clone(), keep_private);
            let mut at_once = FlowDocument { id: document.id.clone(), at: NOW, ..FlowDocument::default() };
            let record = if keep_private { Record::Everything } else { Record::Evidence };
            policy.describe(&inputs, &outcome, record, &mut at_once);
            assert_eq!(json(&document), json(&at_once), "seed {seed}, request {nth}\n{}", case.yaml());
            let read: FlowDocument =
                serde_json::from_str(&json(&document)).expect("what was written is read");
            let again = policy.replay(&read.inputs.expect("it was decided"));
            assert_eq!(
                format!("{again:?}"),
                format!("{outcome:?}"),
                "seed {seed}, request {nth}\n{}",
                case.yaml()
            );
        }
    }
}

#[test]
fn both_implementations_decide_alike() {
    compare(0, 250);
}

#[test]
#[ignore = "takes minutes unoptimised; the sample above is of the same generator"]
fn both_implementations_decide_alike_over_ten_thousand_policies() {
    compare(250, 10_000);
}

#[test]
fn a_sample_of_decisions_is_taken_again() {
    replay(3_000);
}

#[test]
#[ignore = "takes minutes unoptimised; the sample above is of the same generator"]
fn a_hundred_thousand_decisions_are_taken_again() {
    replay(100_000);
}
