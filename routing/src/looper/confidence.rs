//! `confidence`: ask the least model first, and a greater one while the answer is not sure enough.

use serde::Deserialize;

use super::{Answered, Ask, Conclusion, DEFAULT_LOGPROB_THRESHOLD, Kind, MAX_CALLS, Profile, Run};

/// Mean log probabilities at and below this count as no confidence.
const LEAST_LOGPROB: f64 = -3.0;
/// Margin, in log probability, that gives a confidence of `1 − 1/e`.
const MARGIN_SCALE: f64 = 3.0;
/// What v0.3.0 takes for the confidence of an answer that could not be judged.
const UNJUDGED: f64 = 0.5;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Confidence {
    /// How an answer's confidence is measured.
    pub method: Method,
    /// Least confidence of an answer that is accepted.
    pub threshold: f64,
    /// Which tokens count.
    pub tokens: TokenFilter,
}

/// How an answer's confidence is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// `(mean log probability + 3)/3`, within `[0,1]`.
    AverageLogprob,
    /// `1 − e^(−m/3)` for the mean margin `m` between the two likeliest tokens.
    Margin,
    /// A weighted sum of the two.
    Hybrid {
        /// Weight of the first.
        logprob: f64,
        /// Weight of the second.
        margin: f64,
    },
    /// The model judges its own answer.
    SelfVerify,
    /// A server judges it.
    Entailment,
}

/// Which tokens count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenFilter {
    /// All.
    #[default]
    All,
    /// Those of tool calls' arguments; where there are none, all.
    ToolCallArguments,
}

/// Of an answer's tokens. `filtered` is over the tokens of tool calls' arguments, if there are any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Logprobs {
    /// Mean log probability.
    pub average: f64,
    /// Mean difference of the two likeliest tokens' log probabilities.
    pub margin: Option<f64>,
    /// Mean log probability of the filtered tokens.
    pub filtered_average: Option<f64>,
    /// Mean margin of the filtered tokens.
    pub filtered_margin: Option<f64>,
}

/// A model's judgement of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// In `[0,1]`.
    pub confidence: f64,
}

impl Method {
    /// The threshold where none is configured.
    pub(super) const fn default_threshold(self, profile: Profile) -> f64 {
        match (self, profile) {
            (Self::AverageLogprob, Profile::Compat) => -1.0,
            (Self::AverageLogprob, Profile::Pintle) => DEFAULT_LOGPROB_THRESHOLD,
            (Self::Margin | Self::Hybrid { .. }, _) => 0.5,
            (Self::SelfVerify | Self::Entailment, _) => 0.7,
        }
    }

    /// `top_logprobs` to ask for; `None` needs no log probabilities.
    pub(super) const fn top_logprobs(self) -> Option<u8> {
        match self {
            Self::AverageLogprob => Some(1),
            Self::Margin | Self::Hybrid { .. } => Some(2),
            Self::SelfVerify | Self::Entailment => None,
        }
    }
}

impl Confidence {
    /// Confidence by log probabilities; `None` where they were not given, or the method does not use them.
    pub fn measure(&self, given: Option<&Logprobs>, profile: Profile) -> Option<f64> {
        // v0.3.0 reads what is missing as zero.
        let absent = Logprobs { margin: Some(0.0), ..Logprobs::default() };
        let given = given.or((profile == Profile::Compat).then_some(&absent))?;
        let filtered = self.tokens == TokenFilter::ToolCallArguments;
        let average = given.filtered_average.filter(|_| filtered).unwrap_or(given.average);
        let margin = given.filtered_margin.filter(|_| filtered).or(given.margin);
        let by_average = ((average - LEAST_LOGPROB) / -LEAST_LOGPROB).clamp(0.0, 1.0);
        let by_margin = margin.map(|margin| 1.0 - (-margin.max(0.0) / MARGIN_SCALE).exp());
        let confidence = match self.method {
            Method::AverageLogprob => by_average,
            Method::Margin => by_margin?,
            Method::Hybrid { logprob, margin } => logprob * by_average + margin * by_margin?,
            Method::SelfVerify | Method::Entailment => return None,
        };
        confidence.is_finite().then(|| confidence.clamp(0.0, 1.0))
    }
}

impl Judgement {
    /// Reads a judgement: the outermost JSON object's `confidence`, or where there is no object the first number,
    /// which then must lie in `[0,1]`. v0.3.0 takes more than 1 in an object for 1, and the 1 of `1 out of 10` too;
    /// only the compat profile does.
    pub fn read(text: &str, profile: Profile) -> Option<Self> {
        let compat = profile == Profile::Compat;
        #[derive(Deserialize)]
        struct Stated {
            #[serde(default)]
            confidence: f64,
        }
        let confidence = match (text.find('{'), text.rfind('}')) {
            (Some(from), Some(to)) if from < to => {
                let stated = serde_json::from_str::<Stated>(&text[from..=to]).ok()?.confidence;
                Some(stated.clamp(0.0, 1.0)).filter(|bounded| compat || *bounded == stated)?
            }
            _ => {
                let from = text.find(|c: char| c.is_ascii_digit())?;
                let digits = text[from..].find(|c: char| !c.is_ascii_digit() && c != '.');
                let (number, rest) = text[from..].split_at(digits.unwrap_or(text.len() - from));
                if !compat
                    && !number.trim_end_matches('.').contains('.')
                    && rest.contains(|c: char| c.is_alphanumeric() || c == '%')
                {
                    return None;
                }
                // A full stop may end the sentence.
                number.trim_end_matches('.').parse().ok().filter(|number| (0.0..=1.0).contains(number))?
            }
        };
        Some(Self { confidence })
    }
}

/// What a model is asked to judge an answer by.
pub fn verification_prompt(question: &str, answer: &str) -> String {
    format!(
        "Judge an assistant's answer.\n\nQuestion:\n{question}\n\nAnswer:\n{answer}\n\n\
         How likely is it that the answer is correct and complete? 1.0 means certainly, 0.5 partly, 0.0 not at \
         all.\nAnswer with nothing but a JSON object: {{\"confidence\": NUMBER, \"reason\": \"a few words\"}}\n"
    )
}

impl Run<'_> {
    pub(super) fn self_verifies(&self) -> bool {
        matches!(&self.plan.kind, Kind::Confidence(confidence) if confidence.method == Method::SelfVerify)
    }

    /// Notes how sure an answer is, by itself or by the call that judged it.
    pub(super) fn judge(&mut self, id: usize) {
        let Kind::Confidence(confidence) = &self.plan.kind else { return };
        let Some(outcome) = &self.calls[id].outcome else { return };
        let Some(judged) = self.calls[id].judges else {
            let logprobs = outcome.as_ref().ok().and_then(|answer| answer.logprobs.as_ref());
            if outcome.is_ok() {
                self.calls[id].confidence = confidence.measure(logprobs, self.plan.profile);
            }
            return;
        };
        let compat = self.plan.profile == Profile::Compat;
        let profile = self.plan.profile;
        let by_text =
            |answer: &Answered| Judgement::read(&answer.content, profile).map(|verdict| verdict.confidence);
        let by_tokens = |answer: &Answered| {
            // How sure a judge is of words that are no judgement says nothing of the answer.
            let given = answer.logprobs.as_ref().filter(|given| compat && given.average != 0.0)?;
            let average = Confidence { method: Method::AverageLogprob, ..confidence.clone() };
            average.measure(Some(given), self.plan.profile)
        };
        let found = outcome.as_ref().ok().and_then(|answer| by_text(answer).or_else(|| by_tokens(answer)));
        self.calls[judged].confidence = found.or(compat.then_some(UNJUDGED));
    }

    /// Accepts the last answer, has it judged, or asks the next model.
    pub(super) fn escalate(&mut self, confidence: &Confidence) {
        if let Some(last) = self.answers(self.round_from()).last().copied() {
            let judged = self.calls.iter().any(|made| made.judges == Some(last));
            let content = |run: &Self| run.answer(last).map(|(_, answer)| answer.content.clone());
            if !judged && self.calls.len() < MAX_CALLS {
                let (question, answer) = (self.question.clone(), content(self).unwrap_or_default());
                let ask = match confidence.method {
                    Method::SelfVerify => {
                        Some(Ask::Verification { prompt: verification_prompt(&question, &answer) })
                    }
                    Method::Entailment => {
                        Some(Ask::Entailment { question, answer, threshold: confidence.threshold })
                    }
                    _ => None,
                };
                if let Some(ask) = ask {
                    return self.plan_call(self.calls[last].target, ask, Some(last));
                }
            }
            if let Some(sure) = self.calls[last].confidence.filter(|sure| *sure >= confidence.threshold) {
                let threshold = confidence.threshold;
                self.conclusion = Some(Conclusion::Answer {
                    choices: [last].into_iter().collect(),
                    reason: format!("Accepted with confidence {sure:.2}, threshold {threshold:.2}."),
                });
                return;
            }
        }
        let next = self.plan.targets.get(self.step).copied().filter(|_| self.calls.len() < MAX_CALLS);
        let Some(target) = next else {
            return self.conclude_with_what_is_there("No answer was sure enough; the last one stands.");
        };
        self.begin_round();
        let top_logprobs = confidence.method.top_logprobs();
        self.plan_call(target, Ask::Original { top_logprobs, temperature: None }, None);
    }
}
