//! The second implementation: no sharing, no order of evaluation, no attention to cost.

use std::collections::HashMap;

use pintle_config::Profile;

use crate::generate::{Case, Decision, Keyword, Node, Request};

/// What is known of a signal: `None` is unknown.
#[derive(Clone, Copy)]
struct Known {
    holds: Option<bool>,
    confidence: f64,
}

/// What was concluded.
pub(crate) struct Concluded {
    /// By decision: whether its rules hold, and how surely.
    pub(crate) decisions: Vec<(Option<bool>, f64)>,
    pub(crate) chosen: Option<String>,
    pub(crate) model: String,
}

pub(crate) fn decide(case: &Case, request: &Request, profile: Profile) -> Concluded {
    let compat = profile == Profile::Compat;
    let signals = signals(case, request, compat);
    let results: Vec<(Option<bool>, f64)> =
        case.decisions.iter().map(|decision| value(&decision.rules, &signals, compat)).collect();
    // v0.3.0 decides nothing about a request without text.
    if compat && request.text.is_empty() {
        return Concluded { decisions: Vec::new(), chosen: None, model: "gamma".into() };
    }
    let mut matching: Vec<(&Decision, f64)> = case
        .decisions
        .iter()
        .zip(&results)
        .filter(|(_, (holds, _))| *holds == Some(true))
        .map(|(decision, (_, confidence))| (decision, *confidence))
        .collect();
    let tiered = matching.iter().any(|(decision, _)| decision.tier > 0);
    matching.sort_by(|(a, sure_a), (b, sure_b)| {
        let tier = |decision: &Decision| match decision.tier {
            0 if !compat => i64::MAX,
            tier => tier,
        };
        let by_tier = if tiered { tier(a).cmp(&tier(b)) } else { std::cmp::Ordering::Equal };
        let by_confidence = sure_b.total_cmp(sure_a);
        let by_priority = b.priority.cmp(&a.priority);
        let by_both = match tiered || case.by_confidence {
            true => by_confidence.then(by_priority),
            false => by_priority.then(by_confidence),
        };
        by_tier.then(by_both).then(a.name.cmp(&b.name))
    });
    let chosen = matching.first().map(|(decision, _)| *decision);
    let model = chosen.and_then(|decision| decision.models.first()).copied().unwrap_or("gamma");
    Concluded {
        decisions: results,
        chosen: chosen.map(|decision| decision.name.clone()),
        model: model.into(),
    }
}

fn signals(case: &Case, request: &Request, compat: bool) -> HashMap<(String, String), Known> {
    let mut signals = HashMap::new();
    let mut tell = |kind: &str, name: &str, holds: Option<bool>, confidence: f64| {
        signals.insert((kind.to_owned(), name.to_owned()), Known { holds, confidence });
    };
    let mut matched = Vec::new();
    for keyword in &case.keywords {
        // At most one keyword rule matches in v0.3.0: the first.
        let masked = compat && !matched.is_empty();
        let holds = !masked && keyword_holds(keyword, &request.text, compat);
        if holds {
            matched.push(keyword.name.clone());
        }
        tell("keyword", &keyword.name, Some(holds), 1.0);
    }
    let bytes = request.text.len() as u64 + if compat { 0 } else { request.more_bytes };
    let tokens = bytes.div_ceil(4).max(1);
    for (name, least, most) in &case.contexts {
        let open = *most == 0;
        tell("context", name, Some(tokens >= *least && (open || tokens <= *most)), 1.0);
    }
    for (name, least) in &case.turns {
        tell("conversation", name, Some(request.user_messages >= *least), 1.0);
    }
    match request.attack {
        Some(probability) => tell("jailbreak", "attack", Some(probability >= case.attack), probability),
        None => tell("jailbreak", "attack", None, 0.0),
    }
    let score: i32 =
        case.score.iter().filter(|(name, _)| matched.contains(name)).map(|(_, weight)| weight).sum();
    let distance = f64::from((score - case.band).abs());
    let sure = 1.0 / (1.0 + (-12.0 * distance).exp());
    tell("projection", "high", Some(score >= case.band), sure);
    tell("projection", "low", Some(score < case.band), sure);
    signals
}

fn keyword_holds(keyword: &Keyword, text: &str, compat: bool) -> bool {
    let found = |word: &&&str| {
        let plain = |text: &str| if keyword.case_sensitive { text.to_owned() } else { text.to_lowercase() };
        occurs(&plain(word), &plain(text), compat)
    };
    let count = keyword.words.iter().filter(found).count();
    match keyword.operator {
        "AND" => count == keyword.words.len(),
        "OR" => count > 0,
        _ => count == 0,
    }
}

fn occurs(word: &str, text: &str, compat: bool) -> bool {
    let text: Vec<char> = text.chars().collect();
    let word: Vec<char> = word.chars().collect();
    let han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    let continues = |c: char| match compat {
        true => c.is_ascii_alphanumeric() || c == '_',
        false => (c.is_alphanumeric() || c == '_') && !han(c),
    };
    (0..(text.len() + 1).saturating_sub(word.len())).any(|at| {
        let end = at + word.len();
        if text[at..end] != word[..] {
            return false;
        }
        let before = at.checked_sub(1).map(|at| text[at]).is_some_and(continues);
        let after = text.get(end).copied().is_some_and(continues);
        if compat {
            // \b on both sides, which is a change between ASCII word and anything else.
            let bounded =
                word.iter().any(|c| c.is_alphanumeric() || *c == '_') && !word.iter().any(|c| han(*c));
            !bounded || (before != continues(word[0]) && after != continues(word[word.len() - 1]))
        } else {
            (!continues(word[0]) || !before) && (!continues(word[word.len() - 1]) || !after)
        }
    })
}

/// Whether a tree holds, and how surely. What is unknown is tried both ways, one node at a time.
fn value(node: &Node, signals: &HashMap<(String, String), Known>, compat: bool) -> (Option<bool>, f64) {
    match node {
        Node::Leaf(kind, name) => match signals.get(&(kind.clone(), name.clone())) {
            Some(Known { holds: Some(holds), confidence }) => {
                let sure = if compat && *confidence <= 0.0 { 1.0 } else { *confidence };
                (Some(*holds), sure)
            }
            _ if compat => (Some(false), 0.0),
            _ => (None, 0.0),
        },
        Node::And(children) => {
            let values: Vec<_> = children.iter().map(|child| value(child, signals, compat)).collect();
            let sum: f64 = values.iter().map(|(_, sure)| sure).sum();
            let mean = if values.is_empty() { 0.0 } else { sum / values.len() as f64 };
            if values.iter().any(|(holds, _)| *holds == Some(false)) {
                (Some(false), 0.0)
            } else if values.iter().any(|(holds, _)| holds.is_none()) {
                (None, 0.0)
            } else {
                (Some(true), mean)
            }
        }
        Node::Or(children) => {
            let values: Vec<_> = children.iter().map(|child| value(child, signals, compat)).collect();
            let holding = values.iter().filter(|(holds, _)| *holds == Some(true));
            match holding.map(|(_, sure)| *sure).reduce(f64::max) {
                Some(most) => (Some(true), most),
                None if values.iter().any(|(holds, _)| holds.is_none()) => (None, 0.0),
                None => (Some(false), 0.0),
            }
        }
        Node::Not(children) => match children.as_slice() {
            [one] => match value(one, signals, compat).0 {
                Some(true) => (Some(false), 0.0),
                Some(false) => (Some(true), 1.0),
                None => (None, 0.0),
            },
            _ => (Some(false), 0.0),
        },
    }
}
