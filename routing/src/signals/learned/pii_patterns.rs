//! Personal data that is recognised by its form.

use std::sync::LazyLock;

use regex::Regex;

/// Types, by position in [`PATTERNS`]; named as the classifier names them.
const TYPES: [&str; 5] = ["EMAIL_ADDRESS", "US_SSN", "IP_ADDRESS", "CREDIT_CARD", "IBAN_CODE"];

const PATTERNS: [&str; 5] = [
    r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}(?-u:\b)",
    r"(?-u:\b)(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])-(?:0[1-9]|[1-9][0-9])-(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})(?-u:\b)",
    r"(?-u:\b)(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})(?-u:\b)",
    r"(?-u:\b)[0-9](?:[ -]?[0-9]){12,18}(?-u:\b)",
    r"(?-u:\b)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?-u:\b)",
];

static EACH: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    PATTERNS.map(|pattern| Regex::new(pattern).expect("the patterns are constant and tested"))
});

/// Which types occur: one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found(u8);

impl Found {
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn types(self) -> impl Iterator<Item = &'static str> {
        TYPES.into_iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, kind)| kind)
    }
}

/// The types of personal data in a text. Numbers of cards and accounts count only with right check digits.
pub(crate) fn find(text: &str) -> Found {
    let mut found = Found::default();
    let has_digit = text.bytes().any(|b| b.is_ascii_digit());
    for at in 0..PATTERNS.len() {
        let possible = if TYPES[at] == "EMAIL_ADDRESS" { text.contains('@') } else { has_digit };
        if !possible {
            continue;
        }
        let valid = |candidate: &str| match TYPES[at] {
            "CREDIT_CARD" => luhn(candidate),
            "IBAN_CODE" => iban(candidate),
            _ => true,
        };
        if EACH[at].find_iter(text).any(|candidate| valid(candidate.as_str())) {
            found.0 |= 1 << at;
        }
    }
    found
}

/// ISO/IEC 7812: every second digit from the right doubled, digits summed, a multiple of ten.
fn luhn(number: &str) -> bool {
    let digits = number.bytes().rev().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'));
    let weigh = |(at, digit): (usize, u32)| match (at % 2, digit * 2) {
        (0, _) => digit,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    };
    digits.enumerate().map(weigh).sum::<u32>() % 10 == 0 && number.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

/// ISO 13616: with the first four characters moved to the end and letters as 10 to 35, 1 modulo 97.
fn iban(account: &str) -> bool {
    let compact: Vec<u8> = account.bytes().filter(|b| *b != b' ').collect();
    if !(15..=34).contains(&compact.len()) {
        return false;
    }
    let rotated = compact[4..].iter().chain(&compact[..4]);
    let remainder = rotated.fold(0u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(text: &str) -> Vec<&'static str> {
        find(text).types().collect()
    }

    #[test]
    fn forms_with_and_without_right_check_digits() {
        let table: [(&str, &[&str]); 12] = [
            ("nothing here", &[]),
            ("mail ada.l+x@example.co.uk please", &["EMAIL_ADDRESS"]),
            ("an @mention and a@b", &[]),
            ("ssn 078-05-1120", &["US_SSN"]),
            ("not 000-12-3456 nor 666-12-3456", &[]),
            ("from 192.168.0.255 to 10.0.0.1", &["IP_ADDRESS"]),
            ("version 1.2.3 and 300.1.1.1", &[]),
            ("card 4111 1111 1111 1111 ok", &["CREDIT_CARD"]),
            ("card 4111 1111 1111 1112 no", &[]),
            ("zeros 0000 0000 0000 0000", &[]),
            ("DE89 3704 0044 0532 0130 00", &["IBAN_CODE"]),
            ("DE88 3704 0044 0532 0130 00", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(types(text), expected, "{text}");
        }
    }
}
