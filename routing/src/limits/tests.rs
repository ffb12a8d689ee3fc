use pintle_config::Profile;
use proptest::prelude::*;

use super::{Admission, Buckets, Counted, Limited, Limits, MAX_PER_UNIT, Ticket};
use crate::facts::Identity;
use crate::testing::config;
use crate::units::{Tokens, UnixMillis};

fn limits(rules: &str) -> Limits {
    let global = format!(
        "global: {{services: {{ratelimit: {{providers: [{{type: local-limiter, rules: [{rules}]}}]}}}}}}"
    );
    Limits::compile(&config("", &global, Profile::Pintle))
}

const ADA: Identity<'static> = Identity { user: "ada", groups: "research, staff" };
const BOB: Identity<'static> = Identity { user: "bob", groups: "staff" };
const NOBODY: Identity<'static> = Identity { user: "", groups: "" };

struct Bench {
    limits: Limits,
    buckets: Buckets,
    now: u64,
}

impl Bench {
    fn new(rules: &str) -> Self {
        Self { limits: limits(rules), buckets: Buckets::new(64), now: 1_800_000_000_000 }
    }

    fn ask(&mut self, who: Identity<'_>, model: &str, tokens: u64) -> Result<Ticket, Limited<'_>> {
        match self.limits.check(&mut self.buckets, who, model, Tokens(tokens), UnixMillis(self.now)) {
            Admission::Allowed(ticket) => Ok(ticket),
            Admission::Limited(limited) => Err(limited),
        }
    }

    fn settle(&mut self, ticket: Ticket, tokens: u64) {
        self.buckets.settle(ticket, Tokens(tokens), UnixMillis(self.now));
    }

    fn refund(&mut self, ticket: Ticket) {
        self.buckets.refund(ticket, UnixMillis(self.now));
    }
}

#[test]
fn requests_pass_up_to_the_limit_and_then_one_by_one() {
    let mut bench = Bench::new("{name: rpm, requests_per_unit: 3, unit: minute}");
    for _ in 0..3 {
        let _ = bench.ask(ADA, "m", 0).expect("within the limit");
    }
    let limited = bench.ask(ADA, "m", 0).expect_err("the fourth");
    let expected = Limited {
        rule: "rpm",
        counted: Counted::Requests,
        limit: 3,
        remaining: 0,
        retry_after_ms: 20_000,
        reset_ms: 60_000,
        oversized: false,
    };
    assert_eq!(limited, expected);
    let headers = [
        ("retry-after", 20),
        ("x-ratelimit-limit", 3),
        ("x-ratelimit-remaining", 0),
        ("x-ratelimit-reset", 60),
    ];
    assert_eq!(limited.headers(), headers);
    assert_eq!(limited.refusal().status, 429);
    bench.now += 19_999;
    assert_eq!(bench.ask(ADA, "m", 0).expect_err("not yet").retry_after_ms, 1);
    bench.now += 1;
    let _ = bench.ask(ADA, "m", 0).expect("a third of a minute later");
    assert!(bench.ask(ADA, "m", 0).is_err());
}

#[test]
fn users_and_models_have_their_own_buckets_and_a_group_has_one() {
    let mut bench = Bench::new("{name: each, requests_per_unit: 1}");
    let _ = bench.ask(ADA, "m", 0).expect("ada");
    let _ = bench.ask(BOB, "m", 0).expect("bob has his own");
    let _ = bench.ask(ADA, "n", 0).expect("the other model has its own");
    let _ = bench.ask(NOBODY, "m", 0).expect("all the unnamed share one");
    assert!(bench.ask(NOBODY, "m", 0).is_err());
    assert!(bench.ask(ADA, "m", 0).is_err());

    let mut bench = Bench::new("{name: staff, match: {group: staff}, requests_per_unit: 1}");
    let _ = bench.ask(ADA, "m", 0).expect("the first of the group");
    assert!(bench.ask(BOB, "m", 0).is_err());
    let _ = bench.ask(NOBODY, "m", 0).expect("no member");
}

#[test]
fn a_rule_concerns_whom_it_names() {
    let rules = "{name: a, match: {user: ada, model: big}, requests_per_unit: 1}";
    let mut bench = Bench::new(rules);
    for (who, model, bounded) in
        [(ADA, "big", true), (ADA, "small", false), (BOB, "big", false), (NOBODY, "big", false)]
    {
        let _ = bench.ask(who, model, 0).expect("the first");
        assert_eq!(bench.ask(who, model, 0).is_err(), bounded, "{who:?} {model}");
    }
    let mut bench = Bench::new("{name: r, match: {user: '*', group: research}, requests_per_unit: 1}");
    let near = Identity { user: "x", groups: "research2,Research" };
    let _ = bench.ask(near, "m", 0).expect("no member");
    let _ = bench.ask(near, "m", 0).expect("nor now");
}

#[test]
fn tokens_are_charged_as_estimated_and_made_good() {
    let mut bench = Bench::new("{name: tpm, tokens_per_unit: 1000, unit: minute}");
    let ticket = bench.ask(ADA, "m", 600).expect("600 of 1000");
    let limited = bench.ask(ADA, "m", 600).expect_err("only 400 left");
    assert_eq!((limited.counted, limited.remaining, limited.retry_after_ms), (Counted::Tokens, 400, 12_000));
    bench.settle(ticket, 100);
    let ticket = bench.ask(ADA, "m", 900).expect("900 left");
    bench.settle(ticket, 1500);
    let limited = bench.ask(ADA, "m", 1).expect_err("600 in debt");
    assert_eq!((limited.remaining, limited.retry_after_ms), (0, 36_060));
    assert_eq!(limited.reset_ms, 96_000);
}

#[test]
fn a_refund_gives_everything_back() {
    let mut bench = Bench::new("{name: both, requests_per_unit: 1, tokens_per_unit: 100}");
    let ticket = bench.ask(ADA, "m", 100).expect("all of both");
    assert!(bench.ask(ADA, "m", 1).is_err());
    bench.refund(ticket);
    let _ = bench.ask(ADA, "m", 100).expect("all of both again");
    assert!(bench.ask(ADA, "m", 1).is_err());
}

#[test]
fn a_refused_request_costs_nothing() {
    let rules = "{name: wide, requests_per_unit: 5}, {name: narrow, tokens_per_unit: 10}";
    let mut bench = Bench::new(rules);
    for _ in 0..20 {
        assert_eq!(bench.ask(ADA, "m", 11).expect_err("too large").rule, "narrow");
    }
    for _ in 0..5 {
        let _ = bench.ask(ADA, "m", 2).expect("none of the five was spent");
    }
}

#[test]
fn a_request_beyond_the_limit_alone_never_passes_and_is_told_so() {
    let mut bench = Bench::new("{name: tpm, tokens_per_unit: 10, unit: hour}");
    let limited = bench.ask(ADA, "m", 11).expect_err("more than a full bucket");
    assert!(limited.oversized);
    assert_eq!(limited.retry_after_ms, 3_600_000);
    assert_eq!(
        limited.refusal().message,
        "The request needs more than the 10 tokens that its limit admits at once."
    );
    assert!(bench.ask(ADA, "m", u64::MAX).is_err());
}

#[test]
fn of_several_limits_the_longest_wait_is_told() {
    let rules = "{name: s, requests_per_unit: 1, unit: second}, {name: d, requests_per_unit: 1, unit: day}, \
                 {name: h, requests_per_unit: 1, unit: hour}";
    let mut bench = Bench::new(rules);
    let _ = bench.ask(ADA, "m", 0).expect("the first");
    let limited = bench.ask(ADA, "m", 0).expect_err("the second");
    assert_eq!((limited.rule, limited.retry_after_ms), ("d", 86_400_000));
}

#[test]
fn rules_without_bounds_and_other_limiters_are_told() {
    let global = "global: {services: {ratelimit: {providers: [
      {type: envoy-ratelimit, address: 'rls:8081'},
      {type: local-limiter, rules: [{name: idle}, {name: one, requests_per_unit: 1, unit: fortnight}]}]}}}";
    let limits = Limits::compile(&config("", global, Profile::Pintle));
    let at: Vec<&str> = limits.notes().iter().map(|note| note.at.as_str()).collect();
    assert_eq!(
        at,
        ["global.services.ratelimit.providers[0]", "global.services.ratelimit.providers[1].rules[0]"]
    );
    assert!(!limits.is_empty());
    let none = Limits::compile(&config("", "", Profile::Pintle));
    assert!(none.is_empty());
    let mut buckets = Buckets::default();
    let admission = none.check(&mut buckets, ADA, "m", Tokens(u64::MAX), UnixMillis(0));
    assert!(matches!(admission, Admission::Allowed(_)));
}

#[test]
fn what_was_consumed_survives_a_change_of_rules() {
    let mut bench = Bench::new("{name: a, requests_per_unit: 2, unit: hour}");
    let _ = bench.ask(ADA, "m", 0).expect("one of two");
    bench.limits = limits("{name: new, requests_per_unit: 9}, {name: a, requests_per_unit: 2, unit: hour}");
    let _ = bench.ask(ADA, "m", 0).expect("two of two");
    assert_eq!(bench.ask(ADA, "m", 0).expect_err("none left").rule, "a");
    bench.limits = limits("{name: a, requests_per_unit: 1, unit: second}");
    let _ = bench.ask(ADA, "m", 0).expect("another unit begins anew");
    assert!(bench.ask(ADA, "m", 0).is_err());
}

#[test]
fn a_full_table_forgets_full_buckets_first_and_counts_the_others() {
    let limits = limits("{name: a, requests_per_unit: 10, unit: minute}");
    let mut buckets = Buckets::new(8);
    let mut ask = |user: String, now: u64| {
        let who = Identity { user: &user, groups: "" };
        let _ = limits.check(&mut buckets, who, "m", Tokens(0), UnixMillis(now));
        buckets.forgotten()
    };
    for user in 0..8 {
        assert_eq!(ask(format!("u{user}"), 1_000_000), 0);
    }
    assert_eq!(ask("one more".into(), 1_000_000), 1);
    for user in 0..8 {
        assert_eq!(ask(format!("late{user}"), 1_006_000), 1, "all are full again by then");
    }
}

#[test]
fn a_clock_that_goes_backwards_refills_nothing_and_does_not_stop_refilling() {
    let mut bench = Bench::new("{name: a, requests_per_unit: 2, unit: second}");
    let _ = bench.ask(ADA, "m", 0).expect("one");
    bench.now -= 3_600_000;
    let _ = bench.ask(ADA, "m", 0).expect("two");
    assert!(bench.ask(ADA, "m", 0).is_err());
    bench.now += 500;
    let _ = bench.ask(ADA, "m", 0).expect("half a second of the new time later");
}

#[test]
fn the_largest_limits_do_not_overflow() {
    let rules = format!("{{name: a, tokens_per_unit: {}, unit: day}}", i64::MAX);
    let mut bench = Bench::new(&rules);
    for _ in 0..40 {
        if let Ok(ticket) = bench.ask(ADA, "m", u64::MAX) {
            bench.settle(ticket, u64::MAX);
        }
        if let Ok(ticket) = bench.ask(ADA, "m", 0) {
            bench.settle(ticket, u64::MAX);
        }
        bench.now = bench.now.wrapping_mul(3);
    }
    assert_eq!(bench.limits.rules[0].tokens.map(|rate| rate.per_unit), Some(MAX_PER_UNIT));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// In any stretch of time no more passes than the bucket held at its beginning and gained since.
    #[test]
    fn never_more_than_the_bucket_and_its_gain(
        per_unit in 1i64..50,
        steps in prop::collection::vec((0u64..5000, 0u64..30), 1..200),
    ) {
        let mut bench = Bench::new(&format!("{{name: a, tokens_per_unit: {per_unit}, unit: second}}"));
        let start = bench.now;
        let mut passed = 0;
        for (wait, tokens) in steps {
            bench.now += wait;
            if bench.ask(ADA, "m", tokens).is_ok() {
                passed += tokens;
            }
            let gained = (bench.now - start) * per_unit.unsigned_abs() / 1000;
            prop_assert!(passed <= per_unit.unsigned_abs() + gained);
        }
    }

    /// What a 429 tells to wait is enough, and a millisecond less is not.
    #[test]
    fn the_wait_that_is_told_is_exact(per_unit in 1i64..1000, taken in 1u64..1000, wanted in 1u64..1000) {
        let mut bench = Bench::new(&format!("{{name: a, tokens_per_unit: {per_unit}, unit: minute}}"));
        let _ = bench.ask(ADA, "m", taken);
        if let Err(limited) = bench.ask(ADA, "m", wanted).map(drop) {
            prop_assume!(!limited.oversized);
            let wait = limited.retry_after_ms;
            bench.now += wait - 1;
            prop_assert!(bench.ask(ADA, "m", wanted).is_err());
            bench.now += 1;
            prop_assert!(bench.ask(ADA, "m", wanted).is_ok());
        }
    }

    /// A ticket that is refunded leaves the buckets as if the request had not been.
    #[test]
    fn a_refund_undoes(tokens in prop::collection::vec(0u64..100, 1..20), extra in 0u64..100) {
        let rules = "{name: a, requests_per_unit: 30, tokens_per_unit: 500}";
        let (mut with, mut without) = (Bench::new(rules), Bench::new(rules));
        for tokens in tokens {
            if let Ok(ticket) = with.ask(ADA, "m", extra) {
                with.refund(ticket);
            }
            let a = with.ask(ADA, "m", tokens).map(drop).map_err(|limited| limited.retry_after_ms);
            let b = without.ask(ADA, "m", tokens).map(drop).map_err(|limited| limited.retry_after_ms);
            prop_assert_eq!(a, b);
        }
    }
}
