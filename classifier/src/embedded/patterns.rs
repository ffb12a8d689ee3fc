//! Personal data by its form: addresses of mail, machines and sites, numbers of cards, accounts and telephones.

use std::sync::LazyLock;

use regex::Regex;

use super::PiiSpan;

struct Pattern {
    label: &'static str,
    regex: &'static str,
    /// A text without any of these bytes cannot match.
    needs: &'static [u8],
    valid: fn(&str) -> bool,
    score: f32,
}

const DIGITS: &[u8] = b"0123456789";

const PATTERNS: [Pattern; 8] = [
    Pattern {
        label: "EMAIL_ADDRESS",
        regex: r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,24}\b",
        needs: b"@",
        valid: |_| true,
        score: 1.0,
    },
    Pattern {
        label: "US_SSN",
        regex: r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
        needs: DIGITS,
        valid: social_security,
        score: 1.0,
    },
    Pattern {
        label: "IP_ADDRESS",
        regex: r"\b(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\b",
        needs: b".",
        valid: |_| true,
        score: 1.0,
    },
    Pattern {
        label: "IP_ADDRESS",
        regex: r"(?i)(?:\b[0-9a-f]{1,4}:|::)(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{0,4}",
        needs: b":",
        valid: |text| text.parse::<std::net::Ipv6Addr>().is_ok(),
        score: 1.0,
    },
    Pattern {
        label: "CREDIT_CARD",
        regex: r"\b[0-9](?:[ -]?[0-9]){11,18}\b",
        needs: DIGITS,
        valid: luhn,
        score: 1.0,
    },
    Pattern {
        label: "IBAN_CODE",
        regex: r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        needs: DIGITS,
        valid: iban,
        score: 1.0,
    },
    Pattern {
        label: "PHONE_NUMBER",
        regex: r"(?:\+|\b00|\()?[0-9]{1,4}(?:[ ./()-]{0,2}[0-9]{2,5}){2,5}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?\b",
        needs: DIGITS,
        valid: telephone,
        score: 0.9,
    },
    Pattern {
        label: "DOMAIN_NAME",
        regex: r"(?i)\b(?:https?://(?:[\p{L}\p{N}-]+\.)+\p{L}{2,24}|www\.(?:[\p{L}\p{N}-]+\.)+\p{L}{2,24})[^\s<>\x22]*",
        needs: b".",
        valid: |_| true,
        score: 1.0,
    },
];

static COMPILED: LazyLock<[Regex; PATTERNS.len()]> =
    LazyLock::new(|| PATTERNS.map(|pattern| Regex::new(pattern.regex).expect("constant and tested")));

/// Appends what occurs in `text`.
pub(super) fn find(text: &str, out: &mut Vec<PiiSpan>) {
    let mut present = [false; 256];
    text.bytes().for_each(|byte| present[byte as usize] = true);
    let from = out.len();
    for (pattern, regex) in PATTERNS.iter().zip(COMPILED.iter()) {
        if !pattern.needs.iter().any(|byte| present[*byte as usize]) {
            continue;
        }
        for found in regex.find_iter(text) {
            let (start, end) = (found.start(), found.end());
            let taken = pattern.label == "PHONE_NUMBER"
                && out[from..].iter().any(|span| span.start < end && start < span.end);
            if !taken && (pattern.valid)(found.as_str()) {
                out.push(PiiSpan { start, end, label: pattern.label, score: pattern.score });
            }
        }
    }
}

fn social_security(text: &str) -> bool {
    let area = &text[..3];
    area != "000" && area != "666" && !text.starts_with('9') && &text[4..6] != "00" && &text[7..] != "0000"
}

/// Check digit of card numbers (ISO/IEC 7812-1, annex B).
fn luhn(text: &str) -> bool {
    let digits = || text.bytes().rev().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit) {
            (1, 5..) => digit * 2 - 9,
            (1, _) => digit * 2,
            _ => digit,
        })
        .sum();
    sum.is_multiple_of(10) && digits().any(|digit| digit != 0)
}

/// Check digits of account numbers (ISO 13616).
fn iban(text: &str) -> bool {
    let compact = || text.bytes().filter(|byte| *byte != b' ');
    let length = compact().count();
    if !(15..=34).contains(&length) {
        return false;
    }
    let rotated = compact().skip(4).chain(compact().take(4));
    let remainder = rotated.fold(0u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Seven to fifteen digits (ITU-T E.164) that are not a date, a plain number, or a list of numbers.
fn telephone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let (main, extension) = match text.find(['x', 'e']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let main_digits = digits - extension.bytes().filter(u8::is_ascii_digit).count();
    let marked =
        main.starts_with(['+', '(']) || main.starts_with("00") || main.contains([' ', '-', '.', '/']);
    let is_date = {
        let mut parts = main.split(['-', '.', '/']);
        let sizes = [parts.next(), parts.next(), parts.next()].map(|part| part.map_or(0, str::len));
        parts.next().is_none() && matches!(sizes, [4, 1..=2, 1..=2] | [1..=2, 1..=2, 2 | 4])
    };
    (7..=15).contains(&main_digits) && (marked || main_digits == 10 || main_digits == 11) && !is_date
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(text: &str) -> Vec<(&'static str, &str)> {
        let mut out = Vec::new();
        find(text, &mut out);
        out.iter().map(|span| (span.label, &text[span.start..span.end])).collect()
    }

    #[test]
    fn forms_are_found_where_they_stand() {
        assert_eq!(types("mail ada.l+x@example.co.uk."), [("EMAIL_ADDRESS", "ada.l+x@example.co.uk")]);
        assert_eq!(types("ssn 078-05-1120, not 666-12-3456x"), [("US_SSN", "078-05-1120")]);
        assert_eq!(types("card 4111 1111 1111 1111 ok"), [("CREDIT_CARD", "4111 1111 1111 1111")]);
        assert_eq!(types("card 4111 1111 1111 1112 no"), []);
        assert_eq!(
            types("from 10.0.0.1 to fe80::1ff:fe23:4567:890a"),
            [("IP_ADDRESS", "10.0.0.1"), ("IP_ADDRESS", "fe80::1ff:fe23:4567:890a")]
        );
        assert_eq!(types("DE89 3704 0044 0532 0130 00"), [("IBAN_CODE", "DE89 3704 0044 0532 0130 00")]);
        for phone in
            ["+49 30 901820", "(212) 555-0143", "001-415-555-2671x123", "4155552671", "020 7946 0958"]
        {
            assert_eq!(types(&format!("call {phone} now")), [("PHONE_NUMBER", phone)], "{phone}");
        }
        for plain in ["on 2026-11-21 we", "on 21.11.2026 we", "about 1234567 people", "version 1.2.3"] {
            assert_eq!(types(plain), [], "{plain}");
        }
        assert_eq!(types("see https://example.org/a?b now"), [("DOMAIN_NAME", "https://example.org/a?b")]);
    }
}
