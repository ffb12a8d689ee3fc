//! Go's regular expressions read with Rust's engine.
//!
//! The two differ where it matters to a keyword: in Go's RE2 dialect `\b`, `\w`, `\d` and `\s` know ASCII
//! only.

/// The pattern with those classes spelled out in ASCII. `\B` has no ASCII form that is safe on UTF-8 and
/// stays as it is.
pub(super) fn with_ascii_classes(pattern: &str) -> String {
    let mut rewritten = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('b') if !in_class => rewritten.push_str(r"(?-u:\b)"),
                Some('w') => rewritten.push_str("[0-9A-Za-z_]"),
                Some('W') => rewritten.push_str("[^0-9A-Za-z_]"),
                Some('d') => rewritten.push_str("[0-9]"),
                Some('D') => rewritten.push_str("[^0-9]"),
                Some('s') => rewritten.push_str(r"[\t\n\f\r ]"),
                Some('S') => rewritten.push_str(r"[^\t\n\f\r ]"),
                Some(other) => {
                    rewritten.push('\\');
                    rewritten.push(other);
                }
                None => rewritten.push('\\'),
            },
            '[' if in_class && chars.peek() != Some(&':') => rewritten.push_str(r"\["),
            '[' if in_class => {
                // A POSIX class, up to its own closing bracket.
                rewritten.push('[');
                for inner in chars.by_ref() {
                    rewritten.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => {
                in_class = true;
                rewritten.push('[');
                // A bracket directly behind the opening one stands for itself.
                if chars.peek() == Some(&'^') {
                    chars.next();
                    rewritten.push('^');
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    rewritten.push_str(r"\]");
                }
            }
            ']' => {
                in_class = false;
                rewritten.push(']');
            }
            '&' | '~' | '-' if in_class && chars.peek() == Some(&c) => {
                chars.next();
                rewritten.extend(['\\', c, '\\', c]);
            }
            _ => rewritten.push(c),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::with_ascii_classes;

    #[test]
    fn classes_are_ascii() {
        let regex = regex::Regex::new(&with_ascii_classes(r"^\w+$")).unwrap();
        assert!(regex.is_match("abc_1") && !regex.is_match("été"));
        let regex = regex::Regex::new(&with_ascii_classes(r"\bcaf\b")).unwrap();
        assert!(regex.is_match("café"), "in Go the é is no word character");
    }

    #[test]
    fn brackets_keep_their_meaning() {
        for (pattern, hit) in
            [(r"[[]", "["), (r"[]a]", "]"), (r"[^]]", "x"), (r"[\d.]+", "1.2"), ("[&&]", "&")]
        {
            assert!(regex::Regex::new(&with_ascii_classes(pattern)).unwrap().is_match(hit), "{pattern}");
        }
        assert!(regex::Regex::new(&with_ascii_classes(r"[[:alpha:]\d]")).unwrap().is_match("7"));
    }
}
