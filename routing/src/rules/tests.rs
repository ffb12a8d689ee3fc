//! Truth tables, and what holds for every tree.

use pintle_config::Profile::{Compat, Pintle};
use proptest::prelude::*;

use super::*;

const SIGNALS: [&str; 4] = ["a", "b", "c", "d"];

fn leaf(name: &str) -> RuleNode {
    RuleNode { kind: " Keyword ".into(), name: name.into(), ..RuleNode::default() }
}

fn node(operator: &str, conditions: Vec<RuleNode>) -> RuleNode {
    RuleNode { operator: operator.into(), conditions, ..RuleNode::default() }
}

fn names() -> SignalNames {
    let mut names = SignalNames::default();
    for name in SIGNALS {
        names.declare(SignalKind::Keyword, name);
    }
    names
}

fn value(tree: &RuleNode, evidence: &[Evidence], profile: Profile) -> RuleValue {
    Rule::compile(tree, &mut names(), &mut Used::default()).unwrap().value(evidence, profile)
}

const YES: Truth = Truth::True;
const NO: Truth = Truth::False;
const MAYBE: Truth = Truth::Unknown(Unknown::Deadline);

fn of(truth: Truth) -> Evidence {
    Evidence { truth, confidence: None, value: None }
}

#[test]
fn three_values() {
    let all = [YES, NO, MAYBE];
    for a in all {
        for b in all {
            let evidence = [of(a), of(b)];
            let and = value(&node("and", vec![leaf("a"), leaf("b")]), &evidence, Pintle).truth;
            let or = value(&node("or", vec![leaf("a"), leaf("b")]), &evidence, Pintle).truth;
            assert_eq!(
                and,
                if a == NO || b == NO {
                    NO
                } else if a == YES {
                    b
                } else {
                    a
                },
                "{a:?} and {b:?}"
            );
            assert_eq!(
                or,
                if a == YES || b == YES {
                    YES
                } else if a == NO {
                    b
                } else {
                    a
                },
                "{a:?} or {b:?}"
            );
        }
        let not = node("NOT", vec![leaf("a")]);
        assert_eq!(value(&not, &[of(a)], Pintle).truth, a.negate());
        assert_eq!(value(&not, &[of(a)], Compat).truth, Truth::from(a != YES), "compat: unknown is false");
    }
}

#[test]
fn empty_and_malformed_nodes() {
    let empty = |operator: &str| value(&node(operator, vec![]), &[], Pintle);
    assert_eq!((empty("AND").truth, empty("AND").confidence), (YES, 0.0), "the documented catch-all");
    for operator in ["OR", "", "XOR", "NOT"] {
        assert_eq!(empty(operator).truth, NO, "{operator:?}");
    }
    let two = node("NOT", vec![leaf("a"), leaf("b")]);
    assert_eq!(value(&two, &[of(NO), of(NO)], Pintle).truth, NO);
    let other = node("NOR", vec![leaf("a")]);
    assert_eq!(value(&other, &[of(YES)], Pintle).truth, YES, "an unknown operator is OR");
}

#[test]
fn confidences() {
    let evidence = [
        Evidence::scored(true, 0.4, 0.0),
        Evidence::scored(true, 0.9, 0.0),
        Evidence::plain(true),
        Evidence::scored(true, 0.0, 0.0),
    ];
    let confidence = |tree: &RuleNode, profile| value(tree, &evidence, profile).confidence;
    let and = node("AND", vec![leaf("a"), leaf("b"), leaf("c")]);
    assert!((confidence(&and, Pintle) - 2.3 / 3.0).abs() < 1e-12, "the mean; without a measure 1");
    assert_eq!(confidence(&node("OR", vec![leaf("a"), leaf("b")]), Pintle), 0.9, "the best");
    assert_eq!(confidence(&node("NOT", vec![node("NOT", vec![leaf("a")])]), Pintle), 1.0);
    assert_eq!(confidence(&leaf("d"), Pintle), 0.0);
    assert_eq!(confidence(&leaf("d"), Compat), 1.0, "v0.3.0 reads a zero as nothing stored");
}

fn tree() -> impl Strategy<Value = RuleNode> {
    let leaves = prop::sample::select(SIGNALS.to_vec()).prop_map(leaf);
    leaves.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|children| node("AND", children)),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|children| node("OR", children)),
            inner.prop_map(|child| node("NOT", vec![child])),
        ]
    })
}

fn truth() -> impl Strategy<Value = Truth> {
    prop_oneof![Just(YES), Just(NO), Just(MAYBE)]
}

fn evidence() -> impl Strategy<Value = [Evidence; 4]> {
    [truth(), truth(), truth(), truth()].prop_map(|truths| truths.map(of))
}

proptest! {
    /// A tree is satisfied only if it would be, whatever the unknown signals turn out to be: so unknown opens
    /// no guard, however deep and however often negated.
    #[test]
    fn unknown_never_decides(tree in tree(), evidence in evidence(), fill in any::<[bool; 4]>()) {
        let settled = value(&tree, &evidence, Pintle).truth;
        let filled: Vec<Evidence> = evidence.iter().zip(fill).map(|(known, later)| {
            if known.truth.is_unknown() { Evidence::plain(later) } else { *known }
        }).collect();
        prop_assert!(settled.is_unknown() || settled == value(&tree, &filled, Pintle).truth);
    }

    #[test]
    fn without_unknowns_the_profiles_agree(tree in tree(), known in any::<[bool; 4]>()) {
        let evidence = known.map(Evidence::plain);
        prop_assert_eq!(value(&tree, &evidence, Pintle).truth, value(&tree, &evidence, Compat).truth);
    }

    /// More conditions make AND harder and OR easier to satisfy.
    #[test]
    fn and_and_or_are_monotone(
        children in prop::collection::vec(tree(), 0..4),
        more in tree(),
        evidence in evidence(),
    ) {
        let mut longer = children.clone();
        longer.push(more);
        let holds = |operator, children: &Vec<RuleNode>| value(&node(operator, children.clone()), &evidence, Pintle).truth == YES;
        prop_assert!(!holds("AND", &longer) || holds("AND", &children));
        prop_assert!(!holds("OR", &children) || holds("OR", &longer));
    }

    #[test]
    fn the_order_of_conditions_does_not_change_the_value(
        mut children in prop::collection::vec(tree(), 0..4),
        evidence in evidence(),
    ) {
        for operator in ["AND", "OR"] {
            let forwards = value(&node(operator, children.clone()), &evidence, Pintle).truth;
            children.reverse();
            let backwards = value(&node(operator, children.clone()), &evidence, Pintle).truth;
            prop_assert_eq!(forwards.is_true(), backwards.is_true());
            prop_assert_eq!(forwards.is_unknown(), backwards.is_unknown());
        }
    }

    #[test]
    fn a_record_has_the_same_value_as_the_tree(tree in tree(), evidence in evidence()) {
        let mut names = names();
        let rule = Rule::compile(&tree, &mut names, &mut Used::default()).unwrap();
        let value = rule.value(&evidence, Pintle);
        let keys: Vec<String> = names.defs.iter().map(|def| def.key.clone()).collect();
        let record = rule.record(&evidence, &keys, Pintle);
        prop_assert_eq!((record.truth, record.confidence), (value.truth, value.confidence));
        prop_assert!((0.0..=1.0).contains(&value.confidence));
    }
}
