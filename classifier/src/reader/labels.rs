//! What a model's labels mean.
//!
//! Published classifiers call the same classes by different names: `INJECTION` and `jailbreak`, `SAT` and
//! `satisfied`, `LABEL_1`. Names are compared without case and punctuation; an unknown name means nothing.

/// Which side of a yes-or-no question a label is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// The class that the signal looks for.
    Yes,
    /// The other one.
    No,
}

const HARMLESS: [&str; 8] = ["benign", "safe", "negative", "harmless", "normal", "no", "none", "legit"];
const ATTACK: [&str; 10] = [
    "jailbreak",
    "injection",
    "promptinjection",
    "attack",
    "malicious",
    "unsafe",
    "positive",
    "harmful",
    "dataexfiltration",
    "modelattack",
];

impl Polarity {
    /// Of a label of an attack classifier. A class that is neither named here is an attack of some kind if the
    /// model has a harmless class.
    pub fn of_attack(label: &str, labels: &[String]) -> Option<Self> {
        let plain = plain(label);
        if HARMLESS.contains(&plain.as_str()) {
            return Some(Self::No);
        }
        let named = ATTACK.contains(&plain.as_str());
        let has_harmless = labels.iter().any(|other| HARMLESS.contains(&self::plain(other).as_str()));
        (named || has_harmless).then_some(Self::Yes)
    }

    /// Of a label of a classifier of requests that need facts: `FACT_CHECK_NEEDED`, `NO_FACT_CHECK_NEEDED`.
    pub fn of_fact_check(label: &str) -> Option<Self> {
        let plain = plain(label);
        if plain.starts_with("no") || plain.starts_with("not") || plain == "creative" {
            Some(Self::No)
        } else if plain.contains("need") || plain.contains("factcheck") || plain == "factual" {
            Some(Self::Yes)
        } else {
            None
        }
    }
}

/// v0.3's name of a feedback class.
pub(crate) fn feedback(label: &str) -> Option<&'static str> {
    let plain = plain(label);
    [
        ("satisfied", ["sat", "satisfied"]),
        ("need_clarification", ["needclarification", "clarification"]),
        ("wrong_answer", ["wronganswer", "wrong"]),
        ("want_different", ["wantdifferent", "different"]),
    ]
    .into_iter()
    .find(|(_, spellings)| spellings.contains(&plain.as_str()))
    .map(|(name, _)| name)
}

/// v0.3's name of a modality.
pub(crate) fn modality(label: &str) -> Option<&'static str> {
    match plain(label).as_str() {
        "ar" | "text" | "autoregressive" => Some("AR"),
        "diffusion" | "image" => Some("DIFFUSION"),
        "both" => Some("BOTH"),
        _ => None,
    }
}

/// Sum of the probabilities on the side that is looked for; `None` if no label is known to be on it.
pub(crate) fn yes_probability(
    labels: &[String],
    probabilities: &[f32],
    polarity: impl Fn(&str) -> Option<Polarity>,
) -> Option<f64> {
    let mut sum = None;
    for (label, probability) in labels.iter().zip(probabilities) {
        if polarity(label) == Some(Polarity::Yes) {
            sum = Some(sum.unwrap_or(0.0) + f64::from(*probability));
        }
    }
    sum.map(|sum: f64| sum.min(1.0))
}

fn plain(label: &str) -> String {
    label.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[test]
    fn spellings_of_published_models_are_known() {
        let two = owned(&["SAFE", "INJECTION"]);
        assert_eq!(Polarity::of_attack("SAFE", &two), Some(Polarity::No));
        assert_eq!(Polarity::of_attack("INJECTION", &two), Some(Polarity::Yes));
        let many = owned(&["benign", "prompt_injection", "social_engineering"]);
        assert_eq!(Polarity::of_attack("social_engineering", &many), Some(Polarity::Yes));
        let numbered = owned(&["LABEL_0", "LABEL_1"]);
        assert_eq!(Polarity::of_attack("LABEL_1", &numbered), None);
        assert_eq!(Polarity::of_fact_check("NO_FACT_CHECK_NEEDED"), Some(Polarity::No));
        assert_eq!(Polarity::of_fact_check("FACT_CHECK_NEEDED"), Some(Polarity::Yes));
        assert_eq!(Polarity::of_fact_check("needs_fact_check"), Some(Polarity::Yes));
        assert_eq!(feedback("NEED_CLARIFICATION"), Some("need_clarification"));
        assert_eq!(feedback("SAT"), Some("satisfied"));
        assert_eq!(modality("Diffusion"), Some("DIFFUSION"));
    }

    #[test]
    fn probabilities_of_one_side_add_up() {
        let labels = owned(&["benign", "jailbreak", "injection"]);
        let yes = yes_probability(&labels, &[0.2, 0.5, 0.3], |label| Polarity::of_attack(label, &labels));
        assert!((yes.unwrap() - 0.8).abs() < 1e-6);
        assert_eq!(yes_probability(&owned(&["LABEL_0"]), &[1.0], |_| None), None);
    }
}
