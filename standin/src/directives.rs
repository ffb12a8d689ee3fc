//! Words in square brackets by which a request steers the stand-in for one turn.

/// What the last user message asks of the stand-in, apart from its words.
///
/// `[NAME]` or `[NAME:VALUE]`, anywhere in the text. Unknown names and values that do not parse are text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// `[tool]` (an empty name: the first offered) or `[tool:NAME]`: call this tool.
    pub tool: Option<String>,
    /// `[calls:N]`: make `N` calls at once when calling (1 to 16).
    pub calls: Option<usize>,
    /// `[steps:N]`: the tool loop takes `N` rounds (1 to 64).
    pub steps: Option<usize>,
    /// `[tokens:N]`: length of a text answer (1 to 1,000,000).
    pub tokens: Option<u32>,
    /// `[delay:MS]`: time to the first token, instead of the configured one (up to 600,000).
    pub delay_ms: Option<u64>,
    /// `[rate:N]`: tokens per second, instead of the configured rate.
    pub rate: Option<u32>,
    /// `[error:STATUS]`: answer with this status (400 to 599).
    pub error: Option<u16>,
    /// `[cut]`: break the connection half-way through the answer.
    pub cut: bool,
    /// `[reset]`: break the connection before any byte of the answer.
    pub reset: bool,
}

impl Directives {
    /// Reads the directives of a text; the first of each name counts.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut rest = text;
        while let Some(open) = rest.find('[') {
            rest = &rest[open + 1..];
            let Some(close) = rest.find([']', '[']) else { break };
            if rest.as_bytes()[close] == b']' {
                found.take(&rest[..close]);
            }
            rest = &rest[close..];
        }
        found
    }

    fn take(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match name {
            "tool" if self.tool.is_none() => self.tool = Some(value.to_owned()),
            "calls" => first(&mut self.calls, value, 1, 16),
            "steps" => first(&mut self.steps, value, 1, 64),
            "tokens" => first(&mut self.tokens, value, 1, 1_000_000),
            "delay" => first(&mut self.delay_ms, value, 0, 600_000),
            "rate" => first(&mut self.rate, value, 1, 1_000_000),
            "error" => first(&mut self.error, value, 400, 599),
            "cut" => self.cut = true,
            "reset" => self.reset = true,
            _ => {}
        }
    }
}

fn first<T: std::str::FromStr + PartialOrd>(slot: &mut Option<T>, value: &str, low: T, high: T) {
    if slot.is_none() {
        *slot = value.parse().ok().filter(|v| *v >= low && *v <= high);
    }
}
