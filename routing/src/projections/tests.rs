//! Partitions, scores and mappings on evidence given as data.

use pintle_config::{
    Calibration, Mapping, MappingOutput, Partition, Profile, Projections as Config, Score, ScoreInput,
};
use proptest::prelude::*;

use super::*;
use crate::evidence::Unknown;

fn input(kind: &str, name: &str, weight: f64, source: &str) -> ScoreInput {
    ScoreInput {
        kind: kind.into(),
        name: name.into(),
        weight,
        value_source: source.into(),
        ..ScoreInput::default()
    }
}

fn score(name: &str, inputs: Vec<ScoreInput>) -> Score {
    Score { name: name.into(), method: "weighted_sum".into(), inputs }
}

fn band(name: &str, gte: Option<f64>, lt: Option<f64>) -> MappingOutput {
    MappingOutput { name: name.into(), gte, lt, ..MappingOutput::default() }
}

fn mapping(name: &str, source: &str, method: &str, outputs: Vec<MappingOutput>) -> Mapping {
    Mapping {
        name: name.into(),
        source: source.into(),
        method: method.into(),
        calibration: Some(Calibration { method: "sigmoid_distance".into(), slope: 0.0 }),
        outputs,
    }
}

struct Bench {
    projections: Projections,
    names: SignalNames,
    table: EvidenceTable,
    errors: Vec<CompileError>,
}

impl Bench {
    /// Signals `keyword:a`, `keyword:b`, `domain:x`, `domain:y`, `domain:z`, all false.
    fn new(config: &Config, profile: Profile) -> Self {
        let mut names = SignalNames::default();
        for name in ["a", "b"] {
            names.declare(SignalKind::Keyword, name);
        }
        for name in ["x", "y", "z"] {
            names.declare(SignalKind::Domain, name);
        }
        let mut errors = Vec::new();
        let projections = Projections::compile(config, profile, &mut names, &mut errors);
        let table = names.defs.iter().map(|_| Evidence::plain(false)).collect();
        Self { projections, names, table, errors }
    }

    fn set(&mut self, kind: SignalKind, name: &str, evidence: Evidence) -> &mut Self {
        let id = self.names.get(kind, name).unwrap();
        self.table[id.index()] = evidence;
        self
    }

    fn run(&mut self) -> flow::Projections {
        let mut record = flow::Projections::default();
        self.projections.partition(&mut self.table, &self.names.defs, Some(&mut record));
        self.projections.score(&mut self.table, &[], Some(&mut record));
        record
    }

    fn get(&self, kind: SignalKind, name: &str) -> Evidence {
        self.table[self.names.get(kind, name).unwrap().index()]
    }
}

fn two_bands() -> Config {
    Config {
        scores: vec![score("s", vec![input("keyword", "a", 0.6, ""), input("keyword", "b", 0.4, "")])],
        mappings: vec![mapping(
            "m",
            "s",
            "",
            vec![band("low", None, Some(0.5)), band("high", Some(0.5), None)],
        )],
        ..Config::default()
    }
}

#[test]
fn a_score_falls_into_one_band() {
    for (a, b, band, total) in [
        (false, false, "low", 0.0),
        (false, true, "low", 0.4),
        (true, false, "high", 0.6),
        (true, true, "high", 1.0),
    ] {
        let mut bench = Bench::new(&two_bands(), Profile::Pintle);
        bench.set(SignalKind::Keyword, "a", Evidence::plain(a)).set(
            SignalKind::Keyword,
            "b",
            Evidence::plain(b),
        );
        let record = bench.run();
        assert!((record.scores[0].total.unwrap() - total).abs() < 1e-12);
        for name in ["low", "high"] {
            let emitted = bench.get(SignalKind::Projection, name);
            assert_eq!(emitted.truth, Truth::from(name == band));
            if name == band {
                let expected = 1.0 / (1.0 + (-12.0 * (total - 0.5f64).abs()).exp());
                assert!((emitted.confidence.unwrap() - expected).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn an_unknown_input_leaves_open_only_what_depends_on_it() {
    let unknown = Evidence::unknown(Unknown::NoClassifier);
    let mut bench = Bench::new(&two_bands(), Profile::Pintle);
    bench.set(SignalKind::Keyword, "a", Evidence::plain(true)).set(SignalKind::Keyword, "b", unknown);
    let record = bench.run();
    assert_eq!(record.scores[0].total, None);
    assert_eq!(bench.get(SignalKind::Projection, "high").truth, Truth::True, "at least 0.6 either way");
    assert_eq!(bench.get(SignalKind::Projection, "low").truth, Truth::False);
    bench.set(SignalKind::Keyword, "a", unknown);
    bench.run();
    assert!(bench.get(SignalKind::Projection, "high").truth.is_unknown());
    assert!(bench.get(SignalKind::Projection, "low").truth.is_unknown());
}

#[test]
fn value_sources() {
    let sources = [
        ("", Evidence::scored(true, 0.3, 7.0), 5.0),
        ("binary", Evidence::scored(false, 0.3, 7.0), -2.0),
        ("confidence", Evidence::scored(true, 0.3, 7.0), 0.3),
        ("confidence", Evidence::plain(true), 1.0),
        ("confidence", Evidence::scored(false, 0.3, 7.0), 0.0),
        ("raw", Evidence::scored(true, 0.3, 7.0), 7.0),
        ("raw", Evidence::scored(false, 0.3, 7.0), 7.0),
        ("raw", Evidence::plain(true), 0.0),
    ];
    for (source, evidence, value) in sources {
        let term = ScoreInput { r#match: 5.0, miss: -2.0, ..input("keyword", "a", 1.0, source) };
        let config = Config { scores: vec![score("s", vec![term])], ..Config::default() };
        let mut bench = Bench::new(&config, Profile::Pintle);
        bench.set(SignalKind::Keyword, "a", evidence);
        assert_eq!(bench.run().scores[0].total, Some(value), "{source:?} {evidence:?}");
    }
}

#[test]
fn multi_emit_emits_every_band_that_fits() {
    let outputs =
        vec![band("any", None, None), band("half", Some(0.5), None), band("never", Some(9.0), None)];
    let config = Config {
        scores: vec![score("s", vec![input("keyword", "a", 1.0, "")])],
        mappings: vec![mapping("m", "s", "multi_emit", outputs)],
        ..Config::default()
    };
    let mut bench = Bench::new(&config, Profile::Pintle);
    bench.set(SignalKind::Keyword, "a", Evidence::plain(true));
    bench.run();
    let truths = ["any", "half", "never"].map(|name| bench.get(SignalKind::Projection, name).truth);
    assert_eq!(truths, [Truth::True, Truth::True, Truth::False]);
    assert_eq!(bench.get(SignalKind::Projection, "any").confidence, Some(1.0), "unbounded");
}

#[test]
fn scores_run_behind_what_they_depend_on() {
    let config = Config {
        scores: vec![
            score(
                "top",
                vec![input("projection", "base", 2.0, ""), input("projection", "hi", 10.0, "confidence")],
            ),
            score("base", vec![input("keyword", "a", 3.0, "")]),
        ],
        mappings: vec![mapping("m", "base", "", vec![band("hi", Some(3.0), None)])],
        ..Config::default()
    };
    let mut bench = Bench::new(&config, Profile::Pintle);
    bench.set(SignalKind::Keyword, "a", Evidence::plain(true));
    let record = bench.run();
    let top = record.scores.iter().find(|score| score.name == "top").unwrap();
    assert_eq!(top.total, Some(2.0 * 3.0 + 10.0 * 0.5), "on its bound an output has confidence 0.5");
}

#[test]
fn a_cycle_is_an_error_and_in_compat_is_broken() {
    let config = Config {
        scores: vec![
            score("p", vec![input("projection", "q", 1.0, "")]),
            score("q", vec![input("projection", "p", 1.0, "")]),
        ],
        ..Config::default()
    };
    assert_eq!(Bench::new(&config, Profile::Pintle).errors.len(), 1);
    let mut compat = Bench::new(&config, Profile::Compat);
    assert!(compat.errors.is_empty());
    compat.run();
}

fn partition(semantics: &str) -> Config {
    Config {
        partitions: vec![Partition {
            name: "p".into(),
            semantics: semantics.into(),
            temperature: 0.5,
            members: vec!["x".into(), "y".into(), "z".into()],
            default: "z".into(),
        }],
        ..Config::default()
    }
}

#[test]
fn a_partition_keeps_the_best() {
    for (semantics, confidence) in [("exclusive", 0.8), ("softmax_exclusive", 1.0 / (1.0 + (-0.4f64).exp()))]
    {
        let mut bench = Bench::new(&partition(semantics), Profile::Pintle);
        bench.set(SignalKind::Domain, "x", Evidence::scored(true, 0.6, 0.6)).set(
            SignalKind::Domain,
            "y",
            Evidence::scored(true, 0.8, 0.8),
        );
        let record = bench.run();
        assert_eq!(bench.get(SignalKind::Domain, "x").truth, Truth::False);
        let winner = bench.get(SignalKind::Domain, "y");
        assert!((winner.confidence.unwrap() - confidence).abs() < 1e-12, "{semantics}");
        assert_eq!(record.partitions[0].winner.as_deref(), Some("y"));
        assert!((record.partitions[0].margin.unwrap() - 0.2).abs() < 1e-12);
    }
}

#[test]
fn one_contender_keeps_its_raw_score_and_none_gives_the_default() {
    let mut bench = Bench::new(&partition("softmax_exclusive"), Profile::Pintle);
    bench.set(SignalKind::Domain, "x", Evidence::scored(true, 0.6, 0.6)).run();
    assert_eq!(bench.get(SignalKind::Domain, "x").confidence, Some(0.6));
    for (profile, confidence) in [(Profile::Pintle, Some(0.0)), (Profile::Compat, None)] {
        let mut bench = Bench::new(&partition("exclusive"), profile);
        assert!(bench.run().partitions[0].default_used);
        let default = bench.get(SignalKind::Domain, "z");
        assert_eq!((default.truth, default.confidence), (Truth::True, confidence));
    }
}

#[test]
fn a_default_does_not_stand_in_for_the_unknown() {
    let mut bench = Bench::new(&partition("exclusive"), Profile::Pintle);
    bench.set(SignalKind::Domain, "x", Evidence::unknown(Unknown::NoClassifier));
    assert!(!bench.run().partitions[0].default_used);
    assert_eq!(bench.get(SignalKind::Domain, "z").truth, Truth::False);
}

proptest! {
    /// Whatever the unknown signals turn out to be, a band that was settled stays as it was.
    #[test]
    fn intervals_are_sound(
        weights in (-2.0..2.0f64, -2.0..2.0f64),
        known in any::<bool>(),
        later in any::<bool>(),
        bounds in (-2.0..2.0f64, -2.0..2.0f64),
    ) {
        let outputs = vec![band("one", Some(bounds.0), Some(bounds.1)), band("two", Some(bounds.1), None)];
        let config = Config {
            scores: vec![score("s", vec![input("keyword", "a", weights.0, ""), input("keyword", "b", weights.1, "")])],
            mappings: vec![mapping("m", "s", "", outputs)],
            ..Config::default()
        };
        let mut before = Bench::new(&config, Profile::Pintle);
        before
            .set(SignalKind::Keyword, "a", Evidence::plain(known))
            .set(SignalKind::Keyword, "b", Evidence::unknown(Unknown::Deadline))
            .run();
        let mut after = Bench::new(&config, Profile::Pintle);
        after
            .set(SignalKind::Keyword, "a", Evidence::plain(known))
            .set(SignalKind::Keyword, "b", Evidence::plain(later))
            .run();
        for name in ["one", "two"] {
            let settled = before.get(SignalKind::Projection, name).truth;
            prop_assert!(settled.is_unknown() || settled == after.get(SignalKind::Projection, name).truth);
        }
    }
}
