//! What is computed of answers and truths.

use super::subject::Span;

/// Probability that a random member of `above` scores higher than one of `below`; ties count half. `None` if
/// either is empty.
pub(super) fn area(above: &[f32], below: &[f32]) -> Option<f64> {
    if above.is_empty() || below.is_empty() {
        return None;
    }
    let mut all: Vec<(f32, bool)> =
        above.iter().map(|score| (*score, true)).chain(below.iter().map(|score| (*score, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Sum of the ranks of `above`, ties sharing their mean rank (Mann and Whitney).
    let (mut ranks, mut at) = (0.0, 0);
    while at < all.len() {
        let end = at + all[at..].iter().take_while(|(score, _)| *score == all[at].0).count();
        let mean = (at + end + 1) as f64 / 2.0;
        ranks += mean * all[at..end].iter().filter(|(_, is_above)| *is_above).count() as f64;
        at = end;
    }
    let (n, m) = (above.len() as f64, below.len() as f64);
    Some((ranks - n * (n + 1.0) / 2.0) / (n * m))
}

/// Bytes of `start..end` that lie in any of `spans`, which are ordered by their start.
pub(super) fn covers<'a>(start: usize, end: usize, spans: impl Iterator<Item = &'a Span>) -> usize {
    let (mut covered, mut at) = (0, start);
    for span in spans {
        let (from, to) = (span.start.max(at), span.end.min(end));
        if from < to {
            covered += to - from;
            at = to;
        }
    }
    covered
}

/// Parts of an address are not told apart in the truth: a street, a place and a code are all of it. Rampart has its
/// own names for types.
pub(super) fn same_type(told: &str, truth: &str) -> bool {
    let kind = |label: &str| match label {
        "STREET_ADDRESS" | "GPE" | "ZIP_CODE" | "ADDRESS" => Some("ADDRESS"),
        "BUILDING_NUMBER" | "STREET_NAME" | "SECONDARY_ADDRESS" | "CITY" | "STATE" => Some("ADDRESS"),
        "GIVEN_NAME" | "SURNAME" => Some("PERSON"),
        "EMAIL" => Some("EMAIL_ADDRESS"),
        "PHONE" => Some("PHONE_NUMBER"),
        "URL" => Some("DOMAIN_NAME"),
        "BANK_ACCOUNT" => Some("IBAN_CODE"),
        "GOVERNMENT_ID" => Some("US_SSN"),
        _ => None,
    };
    kind(told).unwrap_or(told) == kind(truth).unwrap_or(truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_is_the_share_of_pairs_in_order() {
        assert_eq!(area(&[2.0, 3.0], &[0.0, 1.0]), Some(1.0));
        assert_eq!(area(&[0.0], &[1.0]), Some(0.0));
        assert_eq!(area(&[1.0, 1.0], &[1.0]), Some(0.5));
        assert_eq!(area(&[3.0, 1.0], &[2.0]), Some(0.5));
        assert_eq!(area(&[], &[1.0]), None);
    }

    #[test]
    fn overlapping_finds_count_once() {
        let span = |start, end| Span { start, end, label: "PERSON".to_owned() };
        let spans = [span(0, 4), span(2, 6), span(8, 20)];
        assert_eq!(covers(1, 10, spans.iter()), 7);
        assert_eq!(covers(6, 8, spans.iter()), 0);
    }
}
