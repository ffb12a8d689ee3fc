//! `remom`: rounds of answers, each round after the first written with those of the round before in view.

use super::{Ask, Conclusion, MAX_CALLS, Run};
use crate::ids::Target;

/// Bytes that stand for a token.
const BYTES_PER_TOKEN: usize = 4;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Remom {
    /// Calls per round; a last round of one follows.
    pub breadth: Vec<usize>,
    /// Only the first candidate is asked.
    pub first_only: bool,
    /// Replaces the client's; `None` leaves it.
    pub temperature: Option<f64>,
    /// Answers are shown with their reasoning.
    pub include_reasoning: bool,
    /// How much of an answer is shown.
    pub compaction: Compaction,
    /// Answers of a round that are shown; `None` shows all.
    pub shown: Option<usize>,
    /// A text with `{{question}}` and `{{answers}}`; empty for the built-in one.
    pub template: String,
    /// Of the order in which models are asked and answers shown.
    pub seed: u64,
    /// Answers of earlier rounds are part of the answer to the client.
    pub intermediate: bool,
}

/// How much of an answer the next round sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// All of it.
    Full,
    /// Its end, of about so many tokens.
    Last(usize),
}

impl Compaction {
    /// The part that is shown, beginning at a character.
    pub fn of(self, text: &str) -> &str {
        match self {
            Self::Full => text,
            Self::Last(tokens) => {
                let from = text.len().saturating_sub(tokens.saturating_mul(BYTES_PER_TOKEN));
                let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
                &text[from..]
            }
        }
    }
}

impl Remom {
    /// Whom a round of so many calls asks: every candidate equally often, the first ones once more where it does
    /// not come out even.
    pub fn distribute(&self, calls: usize, targets: &[Target]) -> Vec<Target> {
        let Some(first) = targets.first() else { return Vec::new() };
        if self.first_only {
            return vec![*first; calls];
        }
        let share = |at: usize| calls / targets.len() + usize::from(at < calls % targets.len());
        let mut asked: Vec<Target> =
            targets.iter().enumerate().flat_map(|(at, target)| vec![*target; share(at)]).collect();
        shuffle(&mut asked, self.seed);
        asked
    }

    /// The text that a round after the first asks.
    fn prompt(&self, question: &str, answers: &[(&str, &str)]) -> String {
        let mut shown = String::new();
        for (nth, (answer, reasoning)) in answers.iter().enumerate() {
            shown.push_str(&format!("Reference {}:\n", nth + 1));
            if self.include_reasoning && !reasoning.is_empty() {
                shown.push_str(&format!("Reasoning:\n{reasoning}\n\nAnswer:\n"));
            }
            shown.push_str(self.compaction.of(answer));
            shown.push_str("\n\n");
        }
        if self.template.is_empty() {
            return format!(
                "Several answers to one problem follow. Weigh them against each other and give an answer of your \
                 own.\n\nProblem:\n{question}\n\n{shown}Your answer, complete in itself:"
            );
        }
        // One pass, so that an answer which contains a placeholder is not filled in.
        let mut prompt = String::new();
        let mut rest = self.template.as_str();
        while let Some(at) = rest.find("{{") {
            prompt.push_str(&rest[..at]);
            let end = rest[at..].find("}}").map_or(rest.len(), |end| at + end + 2);
            match rest[at..end].trim_matches(['{', '}']).trim() {
                "question" | ".OriginalContent" => prompt.push_str(question),
                "answers" => prompt.push_str(&shown),
                _ => prompt.push_str(&rest[at..end]),
            }
            rest = &rest[end..];
        }
        prompt + rest
    }
}

impl Run<'_> {
    pub(super) fn next_round(&mut self, remom: &Remom) {
        let mut answers = self.answers(self.round_from());
        if self.step > 0 && answers.is_empty() {
            let reason = format!("No model answered in round {}.", self.step);
            self.conclusion = Some(Conclusion::Failed { reason });
            return;
        }
        if self.step > remom.breadth.len() {
            let choices = answers.last().copied().into_iter().collect();
            let reason = format!("Synthesised over {} rounds.", self.step);
            self.conclusion = Some(Conclusion::Answer { choices, reason });
            return;
        }
        let wanted = remom.breadth.get(self.step).copied().unwrap_or(1).max(1);
        let left = MAX_CALLS.saturating_sub(self.calls.len());
        if left == 0 {
            return self.conclude_with_what_is_there("No more calls are allowed.");
        }
        let temperature = remom.temperature;
        let ask = if self.step == 0 {
            Ask::Original { top_logprobs: None, temperature }
        } else {
            // Longest first, then mixed: the order says nothing about who answered first.
            answers.sort_by_key(|id| std::cmp::Reverse(self.answer(*id).map_or(0, |(_, a)| a.content.len())));
            shuffle(&mut answers, remom.seed);
            answers.truncate(remom.shown.unwrap_or(usize::MAX));
            let shown: Vec<(&str, &str)> = answers
                .iter()
                .filter_map(|id| self.answer(*id))
                .map(|(_, answer)| (answer.content.as_str(), answer.reasoning.as_str()))
                .collect();
            Ask::Synthesis { prompt: remom.prompt(&self.question, &shown), temperature }
        };
        self.begin_round();
        for target in remom.distribute(wanted.min(left), &self.plan.targets) {
            self.plan_call(target, ask.clone(), None);
        }
        if self.waiting.is_empty() {
            self.conclude_with_what_is_there("There is nobody to ask.");
        }
    }
}

/// Fisher and Yates' shuffle by a splitmix64 sequence. (v0.3.0's own order is Go's generator, which is not
/// reproduced; which answer stands where in a prompt is all that depends on it.)
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(last, ((u128::from(z ^ (z >> 31)) * (last as u128 + 1)) >> 64) as usize);
    }
}
