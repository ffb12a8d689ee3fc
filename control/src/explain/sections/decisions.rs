//! Which decision was taken, and why the others were not.

use pintle_routing::evidence::Truth;
use pintle_routing::flow::{DecisionRecord, FlowDocument, RuleRecord};

use super::super::format::clean;
use super::super::page::Page;
use super::why;

/// Leaves that a reason names at most.
const NAMED_LEAVES: usize = 4;

pub(in super::super) fn write(page: &mut Page, document: &FlowDocument) {
    page.section("Decisions");
    let digest = clean(&document.policy_digest);
    if document.decisions.is_empty() {
        page.paragraph("None was evaluated.");
        page.pair("policy", &digest);
        return;
    }
    let chosen = document.decisions.iter().find(|decision| decision.chosen);
    match chosen {
        Some(decision) => write_chosen(page, decision),
        None => page.paragraph("No decision matched."),
    }
    for decision in document.decisions.iter().filter(|decision| !decision.chosen) {
        let mark = page.mark(decision.truth);
        let reason = lost(decision, chosen);
        page.item(0, &mark, &format!("{} {}", clean(&decision.name), page.dim(&reason)));
    }
    page.pair("policy", &digest);
}

fn write_chosen(page: &mut Page, decision: &DecisionRecord) {
    let mark = page.mark(decision.truth);
    let name = page.bold(&clean(&decision.name));
    let text = format!("{name} {}, confidence {:.4}: chosen", rank(decision), decision.confidence);
    page.item(0, &mark, &text);
    write_rule(page, &decision.rules, 1);
}

fn write_rule(page: &mut Page, rule: &RuleRecord, depth: usize) {
    let mark = page.mark(rule.truth);
    page.item(depth, &mark, &format!("{}{}", clean(&rule.node), why(rule.truth)));
    for child in &rule.children {
        write_rule(page, child, depth + 1);
    }
}

fn rank(decision: &DecisionRecord) -> String {
    match decision.tier {
        0 => format!("priority {}", decision.priority),
        tier => format!("tier {tier}, priority {}", decision.priority),
    }
}

fn lost(decision: &DecisionRecord, chosen: Option<&DecisionRecord>) -> String {
    match (decision.truth, chosen) {
        (Truth::True, Some(chosen)) => {
            format!("matched too, but {} goes before {}", rank_against(chosen, decision), rank(decision))
        }
        (Truth::True, None) => "matched, but was not taken".to_owned(),
        (Truth::False, _) => format!("did not match: {}", blame(&decision.rules)),
        (Truth::Unknown(_), _) => format!("could not be determined: {}", blame(&decision.rules)),
    }
}

/// The leaves that made a rule what it is.
fn blame(rule: &RuleRecord) -> String {
    let mut leaves = Vec::new();
    collect_causes(rule, &mut leaves);
    let more = leaves.len().saturating_sub(NAMED_LEAVES);
    leaves.truncate(NAMED_LEAVES);
    match more {
        0 => leaves.join(", "),
        more => format!("{}, and {more} more", leaves.join(", ")),
    }
}

/// A conjunction that fails does so by its false children, a disjunction by all of them; what is
/// undetermined is so by its undetermined children; a negation is what its child makes it.
fn collect_causes(rule: &RuleRecord, leaves: &mut Vec<String>) {
    if rule.children.is_empty() {
        let is = match rule.truth {
            Truth::True => "is true",
            Truth::False => "is false",
            Truth::Unknown(_) => "is unknown",
        };
        leaves.push(format!("{} {is}{}", clean(&rule.node), why(rule.truth)));
        return;
    }
    let negation = rule.node == "not";
    let same = |truth: Truth| std::mem::discriminant(&truth) == std::mem::discriminant(&rule.truth);
    for child in rule.children.iter().filter(|child| negation || same(child.truth)) {
        collect_causes(child, leaves);
    }
}

/// The chosen decision's rank in the terms in which it is ahead of `other`.
fn rank_against(chosen: &DecisionRecord, other: &DecisionRecord) -> String {
    let same_rank = chosen.tier == other.tier && chosen.priority == other.priority;
    if same_rank {
        format!(
            "{} (confidence {:.4} against {:.4})",
            clean(&chosen.name),
            chosen.confidence,
            other.confidence
        )
    } else {
        format!("{} of {}", rank(chosen), clean(&chosen.name))
    }
}
