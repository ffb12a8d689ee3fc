//! Numbers of tokens as the contract writes them.

/// Reads `8000`, `32K` or `1.5M`; empty is 0. `None` when the text is no number of tokens.
pub fn token_count(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    let value: f64 = number.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((value * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::token_count;

    #[test]
    fn suffixes_and_fractions() {
        for (text, wanted) in [
            ("", Some(0)),
            ("8000", Some(8_000)),
            (" 32k ", Some(32_000)),
            ("1.5K", Some(1_500)),
            ("1M", Some(1_000_000)),
            ("-1", None),
            ("many", None),
            ("K", None),
            ("nan", None),
        ] {
            assert_eq!(token_count(text), wanted, "`{text}`");
        }
    }
}
