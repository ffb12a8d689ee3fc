//! Numbers, times and foreign text for a reader.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use pintle_routing::units::{Micros, Tokens, UnixMillis, Usd};

/// Foreign text with everything escaped that a terminal would act on: control characters, and the marks
/// that change the direction of writing.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// `1,234,567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `3 turns`, `1 turn`
pub(super) fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

pub(super) fn tokens(tokens: Tokens) -> String {
    plural(tokens.get(), "token")
}

/// Dollars to the millionth, which is what one token costs at one dollar per million.
pub(super) fn dollars(amount: Usd) -> String {
    let amount = amount.get();
    if amount < 0.0 { format!("-${:.6}", -amount) } else { format!("${amount:.6}") }
}

/// A measured quantity with as many digits as say something.
pub(super) fn quantity(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{}", count(value.abs() as u64))
    } else {
        format!("{value:.3}")
    }
}

/// A duration in the unit that a person would choose.
pub(super) fn micros(duration: Micros) -> String {
    let micros = duration.get();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => humantime::format_duration(Duration::from_secs(micros / 1_000_000)).to_string(),
    }
}

/// The same for whole milliseconds.
pub(super) fn millis(millis: u64) -> String {
    micros(Micros(millis.saturating_mul(1_000)))
}

/// RFC 3339 in UTC.
pub(super) fn time(at: UnixMillis) -> String {
    // The year 9999 is the last that RFC 3339 can write.
    const LAST: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.get().min(LAST))).to_string()
}

/// Joins what is there with commas.
pub(super) fn list(parts: &[String]) -> String {
    let present: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    present.join(", ")
}
