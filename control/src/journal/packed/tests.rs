use std::collections::BTreeMap;

use pintle_routing::units::UnixMillis;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::value::{Undecodable, decode, encode};
use super::*;
use crate::journal::MAX_DOCUMENT_BYTES;
use crate::testing::{policy, record};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Size(f64),
    Pair(i64, String),
    Box { wide: Option<u32>, tags: Vec<Shape> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    single: f32,
    double: f64,
    signed: i64,
    whole: u64,
    yes: bool,
    letter: char,
    nothing: (),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maybe: Option<Box<Thing>>,
    shapes: Vec<Shape>,
    by_name: BTreeMap<String, f32>,
    by_number: BTreeMap<u64, Shape>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<f64>().prop_filter("compared", |x| !x.is_nan()).prop_map(Shape::Size),
        (any::<i64>(), ".{0,80}").prop_map(|(number, text)| Shape::Pair(number, text)),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        (any::<Option<u32>>(), prop::collection::vec(inner, 0..6))
            .prop_map(|(wide, tags)| Shape::Box { wide, tags })
    })
}

prop_compose! {
    fn thing()(
        name in ".{0,90}",
        single in any::<f32>().prop_filter("compared", |x| !x.is_nan()),
        double in prop_oneof![any::<f64>(), (-4..4i32).prop_map(f64::from)].prop_filter("compared", |x| !x.is_nan()),
        signed in any::<i64>(),
        whole in prop_oneof![any::<u64>(), 0..200u64],
        yes in any::<bool>(),
        letter in any::<char>(),
        shapes in prop::collection::vec(shape(), 0..5),
        by_name in prop::collection::btree_map(".{0,8}", -1e9f32..1e9, 0..4),
        by_number in prop::collection::btree_map(any::<u64>(), shape(), 0..4),
    ) -> Thing {
        Thing {
            name, single, double, signed, whole, yes, letter, nothing: (), maybe: None, shapes, by_name, by_number,
        }
    }
}

/// Encodes with numbers that earlier values have left behind.
fn round_trip(things: &[Thing]) {
    let mut names = Names::new();
    let encoded: Vec<Vec<u8>> = things
        .iter()
        .map(|thing| {
            let mut out = Vec::new();
            encode(thing, &mut names, &mut out).expect("has a form");
            out
        })
        .collect();
    let names: Vec<&str> = names.since(0).to_vec();
    for (thing, bytes) in things.iter().zip(&encoded) {
        assert_eq!(&decode::<Thing>(bytes, &names).expect("reads"), thing);
        let json = serde_json::to_value(thing).expect("JSON");
        let read: serde_json::Value = decode(bytes, &names).expect("describes itself");
        // Without a type, a 32-bit float has become a 64-bit one, and a map's numeric key is not a text.
        assert_eq!(read["shapes"], json["shapes"]);
        assert_eq!((&read["name"], &read["double"]), (&json["name"], &json["double"]));
        for cut in 0..bytes.len() {
            assert!(decode::<Thing>(&bytes[..cut], &names).is_err(), "cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(mut things in prop::collection::vec(thing(), 1..4)) {
        // JSON knows no other keys than texts.
        things.iter_mut().for_each(|thing| thing.by_number.clear());
        if let [outer, inner, ..] = things.as_mut_slice() {
            outer.maybe = Some(Box::new(inner.clone()));
        }
        round_trip(&things);
    }

    #[test]
    fn numeric_keys_are_read(thing in thing()) {
        let (mut names, mut out) = (Names::new(), Vec::new());
        encode(&thing, &mut names, &mut out).expect("has a form");
        prop_assert_eq!(decode::<Thing>(&out, names.since(0)), Ok(thing));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Thing>(&bytes, &["name", "shapes", "Box"]);
        let _ = Index::of(&bytes).entries.len();
    }
}

#[test]
fn nesting_has_an_end() {
    let bytes = vec![9; 100_000];
    assert_eq!(decode::<serde_json::Value>(&bytes, &[]), Err(Undecodable::Depth));
    assert!(decode::<serde::de::IgnoredAny>(&bytes, &[]).is_err());
}

fn ids(count: u128) -> impl Iterator<Item = FlowId> {
    (1..=count).map(|number| FlowId::from_bits(1_795_262_400_000 << 80 | number))
}

/// A segment of `count` flows, with a notice behind the second.
fn segment(count: u128) -> Vec<u8> {
    let (mut packer, mut frames) = (Packer::new(), Vec::new());
    for (at, id) in ids(count).enumerate() {
        let record = record(id, "Prove it.");
        packer.flow(&record, policy().legend(), MAX_DOCUMENT_BYTES, &mut frames).expect("packs");
        if at == 1 {
            lost(UnixMillis(5), 300, &mut frames);
        }
    }
    frames
}

fn read(content: &[u8]) -> Vec<Result<FlowId, &'static str>> {
    let index = Index::of(content);
    let entries = index.entries.iter().map(|entry| match entry {
        Entry::Flow(flow) => index.document(flow).map(|_| flow.id).map_err(|_| "unreadable"),
        Entry::Lost(300) => Err("300 lost"),
        Entry::Lost(_) => Err("lost"),
        Entry::Damaged => Err("damaged"),
    });
    entries.collect()
}

#[test]
fn a_document_is_the_one_that_would_have_been_written_at_once() {
    let content = segment(3);
    let index = Index::of(&content);
    assert_eq!(index.end, content.len());
    for (flow, id) in index.flows().zip(ids(3)) {
        let at_once = record(id, "Prove it.").document(policy().legend()).expect("its own legend");
        let read = index.document(flow).expect("readable");
        let json = |document| serde_json::to_string(document).expect("JSON");
        assert_eq!(json(&read), json(&at_once));
        assert_eq!(read.verdict.target.as_deref(), Some("large"));
    }
}

#[test]
fn damage_costs_what_it_hits() {
    let whole = segment(4);
    let ids: Vec<FlowId> = ids(4).collect();
    let all = [Ok(ids[0]), Ok(ids[1]), Err("300 lost"), Ok(ids[2]), Ok(ids[3])];
    assert_eq!(read(&whole), all);
    let starts: Vec<usize> = memchr::memmem::find_iter(&whole, &MARK).collect();
    let third = starts[starts.len() - 2];
    let mut hit = whole.clone();
    hit[third + 40] ^= 1;
    assert_eq!(read(&hit), [Ok(ids[0]), Ok(ids[1]), Err("300 lost"), Err("damaged"), Ok(ids[3])]);
    let mut cut = whole.clone();
    cut.drain(third + 3..third + 90);
    assert_eq!(read(&cut), [Ok(ids[0]), Ok(ids[1]), Err("300 lost"), Err("damaged"), Ok(ids[3])]);
    let torn = &whole[..whole.len() - 1];
    assert_eq!(read(torn), all[..4]);
    assert_eq!(Index::of(torn).end, starts[starts.len() - 1]);
}

#[test]
fn a_lost_legend_costs_its_stretch_and_no_more() {
    let (mut packer, mut frames) = (Packer::new(), Vec::new());
    let ids: Vec<FlowId> = ids(3).collect();
    let mut pack = |packer: &mut Packer, id: FlowId| {
        let record = record(id, "Hello.");
        packer.flow(&record, policy().legend(), MAX_DOCUMENT_BYTES, &mut frames).expect("packs");
    };
    pack(&mut packer, ids[0]);
    pack(&mut packer, ids[1]);
    packer.restart();
    pack(&mut packer, ids[2]);
    let legend = memchr::memmem::find(&frames, b"keyword:hard").expect("in the legend");
    frames[legend] ^= 1;
    assert_eq!(read(&frames), [Err("damaged"), Err("unreadable"), Err("unreadable"), Ok(ids[2])]);
}

#[test]
fn what_a_later_version_writes_is_not_guessed_at() {
    let mut frames = Vec::new();
    frame(&[START, VERSION + 1], &mut frames);
    frame(&[200, 1, 2, 3], &mut frames);
    let start = frames.len();
    frames.extend_from_slice(&segment(1));
    // The flow follows the later version's start instead of its own.
    let own = memchr::memmem::find_iter(&frames[start..], &MARK).nth(1).expect("a second frame");
    frames.drain(start..start + own);
    assert_eq!(read(&frames), [Err("unreadable")]);
}

#[test]
fn a_record_of_another_policy_is_refused() {
    let mut record = record(ids(1).next().expect("one"), "Prove it.");
    let decided = record.decided.as_mut().expect("decided");
    decided.outcome.trace.chosen = Some(pintle_routing::ids::DecisionId(7));
    assert!(record.document(policy().legend()).is_err());
}

/// Two flows and a notice as the first version of the format has them.
const FIRST_VERSION: &[u8] = include_bytes!("../../../../fuzz/corpus/journal/seed-first-version");

#[test]
fn segments_of_the_first_version_stay_readable() {
    let ids: Vec<FlowId> = ids(2).collect();
    assert_eq!(read(FIRST_VERSION), [Ok(ids[0]), Ok(ids[1]), Err("300 lost")]);
    let index = Index::of(FIRST_VERSION);
    let document = index.document(index.flows().next().expect("a flow")).expect("readable");
    assert_eq!(document.verdict.target.as_deref(), Some("large"));
    assert_eq!(
        (document.request.model.as_str(), document.evidence[0].signal.as_str()),
        ("auto", "keyword:hard")
    );
}

#[test]
fn a_flow_takes_few_bytes() {
    let content = segment(100);
    let index = Index::of(&content);
    let json: usize = index
        .flows()
        .map(|flow| serde_json::to_vec(&index.document(flow).expect("readable")).expect("JSON").len())
        .sum();
    assert!(content.len() * 3 < json, "{} bytes for {json} of JSON", content.len());
}
