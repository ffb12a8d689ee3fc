//! A model's whole answer in any of the three APIs, to be judged: what it says, and how sure its tokens were.
//!
//! Other than [`usage`](super::usage), which watches answers that pass, this reads one that stays here.

mod arguments;
mod messages;
mod responses;
#[cfg(test)]
mod tests;

use pintle_routing::facts::Dialect;

use super::blocks::Native;
use super::cursor::{Cursor, Scanned};
use super::spans::{Span, StringSpan};

/// Deepest nesting of an answer that is read.
const DEPTH: u32 = 128;

/// What an answer says. Of a chat completion, its first choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completion {
    /// The choice, whole; in APIs without choices, the answer.
    pub choice: Span,
    /// What it says; empty beside tool calls, or where it is no text.
    pub content: String,
    /// `reasoning_content`, or `reasoning` as newer servers call it.
    pub reasoning: String,
    /// Of its content's tokens, if they came with log probabilities.
    pub tokens: Vec<Token>,
}

/// One token of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    text: StringSpan,
    /// Log probability.
    pub logprob: f64,
    /// By how much the likeliest token is likelier than the next, in log probability; `None` where there is none to
    /// compare it with.
    pub margin: Option<f64>,
}

/// Averages over an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Of the log probabilities.
    pub logprob: f64,
    /// Of the margins, over the tokens that have one.
    pub margin: Option<f64>,
}

impl Completion {
    /// Reads an answer's body; `None` if it is no answer of this API.
    pub fn read(body: &str, dialect: Dialect) -> Option<Self> {
        match dialect {
            Dialect::OpenAiChat => Self::read_chat(body),
            Dialect::OpenAiResponses => responses::read(body),
            Dialect::AnthropicMessages => messages::read(body),
        }
    }

    fn read_chat(body: &str) -> Option<Self> {
        let mut completion = Self::default();
        let mut answered = false;
        let mut cursor = Cursor::<Native>::new(body.as_bytes(), DEPTH);
        cursor.white_space();
        (cursor.peek() == b'{').then_some(())?;
        let walked = cursor.members(|cursor, name| match name {
            b"choices" if cursor.peek() == b'[' && !answered => cursor.elements(|cursor| {
                if answered || cursor.peek() != b'{' {
                    return cursor.skip();
                }
                let start = cursor.at();
                answered = completion.read_choice(cursor, body)?;
                completion.choice = Span::new(start, cursor.at());
                Ok(())
            }),
            _ => cursor.skip(),
        });
        (walked.is_ok() && answered).then_some(completion)
    }

    /// Says whether there is a message.
    fn read_choice(&mut self, cursor: &mut Cursor<'_, Native>, body: &str) -> Scanned<bool> {
        let mut answered = false;
        cursor.members(|cursor, name| match name {
            b"message" if cursor.peek() == b'{' => {
                answered = true;
                cursor.members(|cursor, name| match name {
                    b"content" => take(cursor, body, &mut self.content),
                    b"reasoning_content" | b"reasoning" => take(cursor, body, &mut self.reasoning),
                    _ => cursor.skip(),
                })
            }
            b"logprobs" if cursor.peek() == b'{' => cursor.members(|cursor, name| match name {
                b"content" if cursor.peek() == b'[' => cursor.elements(|cursor| match cursor.peek() {
                    b'{' => self.read_token(cursor, body),
                    _ => cursor.skip(),
                }),
                _ => cursor.skip(),
            }),
            _ => cursor.skip(),
        })?;
        Ok(answered)
    }

    fn read_token(&mut self, cursor: &mut Cursor<'_, Native>, body: &str) -> Scanned<()> {
        let (mut text, mut logprob) = (StringSpan::default(), None);
        let mut likeliest = [None; 2];
        cursor.members(|cursor, name| {
            match name {
                b"token" => text = cursor.string_or_skip()?.unwrap_or_default(),
                b"logprob" => logprob = number(cursor, body)?,
                b"top_logprobs" if cursor.peek() == b'[' => {
                    let mut nth = 0;
                    cursor.elements(|cursor| {
                        let mut found = None;
                        match cursor.peek() {
                            b'{' => cursor.members(|cursor, name| match name {
                                b"logprob" => number(cursor, body).map(|number| found = number),
                                _ => cursor.skip(),
                            })?,
                            _ => cursor.skip()?,
                        }
                        if let Some(place) = likeliest.get_mut(nth) {
                            *place = found;
                        }
                        nth += 1;
                        Ok(())
                    })?;
                }
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        if let Some(logprob) = logprob {
            let margin = likeliest[0].zip(likeliest[1]).map(|(first, second)| first - second);
            self.tokens.push(Token { text, logprob, margin });
        }
        Ok(())
    }

    /// Averages over all tokens; `None` without tokens. A token without a margin counts with `lone`, if that is
    /// given.
    pub fn means(&self, lone: Option<f64>) -> Option<Means> {
        means(self.tokens.iter(), lone)
    }

    /// The same over the tokens that make up the values of a tool call's arguments; `None` where there are none.
    pub fn means_of_arguments(&self, body: &str, lone: Option<f64>) -> Option<Means> {
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(self.tokens.len()));
        for token in &self.tokens {
            token.text.decode_into(body, &mut text);
            ends.push(text.len());
        }
        let values = arguments::values(&text);
        let mut from = 0;
        let within = self.tokens.iter().zip(ends).filter_map(|(token, end)| {
            let start = std::mem::replace(&mut from, end);
            values.iter().any(|value| value.start < end && start < value.end).then_some(token)
        });
        means(within, lone)
    }
}

fn means<'t>(tokens: impl Iterator<Item = &'t Token>, lone: Option<f64>) -> Option<Means> {
    let (mut count, mut sum, mut compared, mut margins) = (0u32, 0.0, 0u32, 0.0);
    for token in tokens {
        count += 1;
        sum += token.logprob;
        if let Some(margin) = token.margin.or(lone) {
            compared += 1;
            margins += margin;
        }
    }
    (count > 0).then(|| Means {
        logprob: sum / f64::from(count),
        margin: (compared > 0).then(|| margins / f64::from(compared)),
    })
}

/// Takes a string's text; anything else counts as empty.
fn take(cursor: &mut Cursor<'_, Native>, body: &str, text: &mut String) -> Scanned<()> {
    if let Some(string) = cursor.string_or_skip()? {
        text.clear();
        string.decode_into(body, text);
    }
    Ok(())
}

fn number(cursor: &mut Cursor<'_, Native>, body: &str) -> Scanned<Option<f64>> {
    let span = cursor.span()?;
    Ok(body
        .get(span.range())
        .and_then(|digits| digits.parse().ok())
        .filter(|number: &f64| number.is_finite()))
}
