//! `language`: which language the text is written in.
//!
//! Detection reads the beginning of the text. Where its commonest words leave more than one language, it compares
//! the text to these. What it cannot tell for certain is unknown; v0.3.0 calls it English with confidence 0.5.

use pintle_config::{LanguageRule, Profile};
use whatlang::{Detector, Script};

use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use words::Said;

/// Bytes of text that are read.
const MAX_BYTES: usize = 384;
/// Text in ASCII of this length that has hardly a common word is no prose.
const PROSE_BYTES: usize = 192;
/// Confidence where a rule configures none.
const DEFAULT_THRESHOLD: f64 = 0.3;

mod nordic;
#[cfg(test)]
mod tests;
mod words;

#[derive(Debug)]
pub(super) struct Languages {
    rules: Vec<Rule>,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    code: String,
    threshold: f64,
}

impl Languages {
    pub(super) fn compile(rules: &[LanguageRule], c: &mut Compiler<'_>) -> Self {
        let rules = rules.iter().map(|rule| Rule {
            id: c.names.declare(SignalKind::Language, &rule.name),
            code: rule.name.to_ascii_lowercase(),
            threshold: if rule.threshold > 0.0 { f64::from(rule.threshold) } else { DEFAULT_THRESHOLD },
        });
        Self { rules: rules.collect(), profile: c.profile }
    }

    pub(super) fn evaluate(&self, text: &str, out: &mut EvidenceTable) {
        let floor = self.rules.iter().map(|rule| rule.threshold).fold(1.0, f64::min);
        let detected = detect(text).filter(|(_, confidence)| *confidence >= floor);
        let (code, confidence) = match (detected, self.profile) {
            (Some(detected), _) => detected,
            (None, Profile::Compat) => ("en", 0.5),
            (None, Profile::Pintle) => {
                super::unknown_all(self.rules.iter().map(|rule| rule.id), Unknown::Undetermined, out);
                return;
            }
        };
        for rule in &self.rules {
            let holds = rule.code == code && confidence >= rule.threshold;
            out[rule.id.index()] = match self.profile {
                Profile::Compat => Evidence::plain(holds),
                Profile::Pintle => Evidence::scored(holds, confidence, confidence),
            };
        }
    }
}

/// ISO 639-1 code and confidence in `[0,1]`.
fn detect(text: &str) -> Option<(&'static str, f64)> {
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let script = whatlang::detect_script(text)?;
    let said = if script == Script::Latin { words::said(text) } else { Said::Nothing };
    let mut leader = None;
    let detector = match (script, said) {
        (Script::Latin, Said::Language(language, sure)) => return Some((two_letters(language)?, sure)),
        (Script::Latin, Said::OneOf(languages, sure)) => {
            leader = Some((languages[0], sure));
            Detector::with_allowlist(languages)
        }
        // Prose of that length has common words: this is none, or in a language that nobody here knows.
        (Script::Latin, Said::Nothing) if text.is_ascii() && text.len() >= PROSE_BYTES => return None,
        (Script::Latin, Said::Nothing) if text.is_ascii() => {
            Detector::with_denylist(words::BEYOND_ASCII.to_vec())
        }
        _ => Detector::with_denylist(words::ruled_out(script, text).to_vec()),
    };
    let info = detector.detect(text)?;
    let compared = (info.lang(), info.confidence());
    // In a short text a word says more than its letters.
    let (language, sure) = leader.filter(|(_, sure)| *sure > compared.1).unwrap_or(compared);
    Some((two_letters(language)?, sure))
}

/// The codes of whatlang's languages, in ISO 639-1.
fn two_letters(lang: whatlang::Lang) -> Option<&'static str> {
    Some(match lang.code() {
        "afr" => "af",
        "aka" => "ak",
        "amh" => "am",
        "ara" => "ar",
        "aze" => "az",
        "bel" => "be",
        "ben" => "bn",
        "bul" => "bg",
        "cat" => "ca",
        "ces" => "cs",
        "cmn" => "zh",
        "cym" => "cy",
        "dan" => "da",
        "deu" => "de",
        "ell" => "el",
        "eng" => "en",
        "epo" => "eo",
        "est" => "et",
        "fin" => "fi",
        "fra" => "fr",
        "guj" => "gu",
        "heb" => "he",
        "hin" => "hi",
        "hrv" => "hr",
        "hun" => "hu",
        "hye" => "hy",
        "ind" => "id",
        "ita" => "it",
        "jav" => "jv",
        "jpn" => "ja",
        "kan" => "kn",
        "kat" => "ka",
        "khm" => "km",
        "kor" => "ko",
        "lat" => "la",
        "lav" => "lv",
        "lit" => "lt",
        "mal" => "ml",
        "mar" => "mr",
        "mkd" => "mk",
        "mya" => "my",
        "nep" => "ne",
        "nld" => "nl",
        "nob" => "nb",
        "ori" => "or",
        "pan" => "pa",
        "pes" => "fa",
        "pol" => "pl",
        "por" => "pt",
        "ron" => "ro",
        "rus" => "ru",
        "sin" => "si",
        "slk" => "sk",
        "slv" => "sl",
        "sna" => "sn",
        "spa" => "es",
        "srp" => "sr",
        "swe" => "sv",
        "tam" => "ta",
        "tel" => "te",
        "tgl" => "tl",
        "tha" => "th",
        "tuk" => "tk",
        "tur" => "tr",
        "ukr" => "uk",
        "urd" => "ur",
        "uzb" => "uz",
        "vie" => "vi",
        "yid" => "yi",
        "zul" => "zu",
        _ => return None,
    })
}
