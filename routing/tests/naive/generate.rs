//! Configurations and requests, drawn from a seed.

use std::fmt::Write as _;

use pintle_routing::facts::{Facts, MessageCounts, SessionIdentity, SessionSnapshot, SessionSource};
use pintle_routing::units::{Tokens, UnixMillis};

/// A splitmix64 sequence.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const WORDS: [&str; 10] = ["rust", "Rust", "trust", "c++", "café", "данные", "数据", "deadlock", "it", "a_b"];
const GLUE: [&str; 6] = [" ", " ", ", ", "-", "_", ""];
const MODELS: [&str; 3] = ["alpha", "beta", "gamma"];

#[derive(Debug)]
pub(crate) struct Keyword {
    pub(crate) name: String,
    pub(crate) operator: &'static str,
    pub(crate) words: Vec<&'static str>,
    pub(crate) case_sensitive: bool,
}

#[derive(Debug)]
pub(crate) enum Node {
    Leaf(String, String),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Vec<Node>),
}

#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) name: String,
    pub(crate) priority: i64,
    pub(crate) tier: i64,
    pub(crate) rules: Node,
    pub(crate) models: Vec<&'static str>,
}

/// One configuration.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) keywords: Vec<Keyword>,
    /// Name, least and most tokens.
    pub(crate) contexts: Vec<(String, u64, u64)>,
    /// Name and least number of user messages.
    pub(crate) turns: Vec<(String, u32)>,
    /// Threshold of `jailbreak:attack`.
    pub(crate) attack: f64,
    /// Keyword and weight.
    pub(crate) score: Vec<(String, i32)>,
    /// Where `projection:high` begins and `projection:low` ends.
    pub(crate) band: i32,
    pub(crate) by_confidence: bool,
    pub(crate) decisions: Vec<Decision>,
}

impl Case {
    pub(crate) fn generate(draw: &mut Draw) -> Self {
        let keyword = |draw: &mut Draw, at: usize| Keyword {
            name: format!("k{at}"),
            operator: draw.pick(&["AND", "OR", "NOR"]),
            words: (0..1 + draw.below(3)).map(|_| draw.pick(&WORDS)).collect(),
            case_sensitive: draw.below(3) == 0,
        };
        let keywords: Vec<Keyword> = (0..1 + draw.below(4)).map(|at| keyword(draw, at)).collect();
        let context = |draw: &mut Draw, at: usize| {
            let least = draw.below(60) as u64;
            (format!("c{at}"), least, least + draw.below(60) as u64)
        };
        let contexts: Vec<_> = (0..1 + draw.below(2)).map(|at| context(draw, at)).collect();
        let turns: Vec<_> =
            (0..1 + draw.below(2)).map(|at| (format!("t{at}"), draw.below(5) as u32)).collect();
        let score = keywords.iter().map(|keyword| (keyword.name.clone(), draw.below(7) as i32 - 3)).collect();
        let mut case = Self {
            keywords,
            contexts,
            turns,
            attack: 0.25 + draw.below(3) as f64 / 4.0,
            score,
            band: draw.below(5) as i32 - 2,
            by_confidence: draw.below(2) == 0,
            decisions: Vec::new(),
        };
        for at in 0..1 + draw.below(6) {
            let rules = case.node(draw, 0);
            let models = (0..draw.below(4)).map(|_| draw.pick(&MODELS)).collect();
            // Names are not in order of declaration, and priorities are often equal.
            let name = format!("d{}", (at * 5 + 3) % 7);
            let (priority, tier) = (draw.below(3) as i64, (draw.below(6) as i64 - 3).max(0));
            case.decisions.push(Decision { name, priority, tier, rules, models });
        }
        case
    }

    fn node(&self, draw: &mut Draw, depth: usize) -> Node {
        let leaf = |kind: &str, name: &str| Node::Leaf(kind.to_owned(), name.to_owned());
        let children = |draw: &mut Draw, least: usize| {
            (0..least + draw.below(4 - least)).map(|_| self.node(draw, depth + 1)).collect::<Vec<_>>()
        };
        match draw.below(if depth < 3 { 12 } else { 7 }) {
            0 | 1 => leaf("keyword", &self.keywords[draw.below(self.keywords.len())].name),
            2 => leaf("context", &self.contexts[draw.below(self.contexts.len())].0),
            3 => leaf("conversation", &self.turns[draw.below(self.turns.len())].0),
            4 => leaf("jailbreak", "attack"),
            5 => leaf("projection", draw.pick(&["high", "low"])),
            6 => leaf(draw.pick(&["keyword", "nosuch"]), "undeclared"),
            7 | 8 => Node::And(children(draw, 0)),
            9 | 10 => Node::Or(children(draw, 0)),
            // Now and then of a wrong number of conditions.
            _ => Node::Not(if draw.below(8) == 0 {
                children(draw, 0)
            } else {
                vec![self.node(draw, depth + 1)]
            }),
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let mut yaml = String::from(
            "version: v0.3\nlisteners: [{name: l, address: 127.0.0.1, port: 8899}]\nproviders:\n  defaults: {default_model: gamma}\n  models:\n",
        );
        for model in MODELS {
            let _ = writeln!(yaml, "    - {{name: {model}, backend_refs: [{{endpoint: 127.0.0.1:1}}]}}");
        }
        yaml.push_str("routing:\n  modelCards: [{name: alpha}, {name: beta}, {name: gamma}]\n  signals:\n    keywords:\n");
        for Keyword { name, operator, words, case_sensitive } in &self.keywords {
            let _ = writeln!(
                yaml,
                "      - {{name: {name}, operator: {operator}, keywords: {words:?}, case_sensitive: {case_sensitive}}}"
            );
        }
        yaml.push_str("    context:\n");
        for (name, least, most) in &self.contexts {
            let _ = writeln!(yaml, "      - {{name: {name}, min_tokens: '{least}', max_tokens: '{most}'}}");
        }
        yaml.push_str("    conversation:\n");
        for (name, least) in &self.turns {
            let _ = writeln!(
                yaml,
                "      - {{name: {name}, feature: {{type: count, source: {{type: message, role: user}}}}, predicate: {{gte: {least}}}}}"
            );
        }
        let _ = writeln!(yaml, "    jailbreak: [{{name: attack, threshold: {}}}]", self.attack);
        yaml.push_str(
            "  projections:\n    scores:\n      - name: s\n        method: weighted_sum\n        inputs:\n",
        );
        for (name, weight) in &self.score {
            let _ = writeln!(yaml, "          - {{type: keyword, name: {name}, weight: {weight}}}");
        }
        let _ = writeln!(
            yaml,
            "    mappings:\n      - {{name: m, source: s, method: threshold_bands, outputs: [{{name: high, gte: {0}}}, {{name: low, lt: {0}}}]}}",
            self.band
        );
        yaml.push_str("  decisions:\n");
        for decision in &self.decisions {
            let models: Vec<String> = decision.models.iter().map(|m| format!("{{model: {m}}}")).collect();
            let _ = writeln!(
                yaml,
                "    - {{name: {}, priority: {}, tier: {}, modelRefs: [{}], rules: {}}}",
                decision.name,
                decision.priority,
                decision.tier,
                models.join(", "),
                written(&decision.rules)
            );
        }
        let strategy = if self.by_confidence { "confidence" } else { "priority" };
        let _ = writeln!(yaml, "global: {{router: {{strategy: {strategy}}}}}");
        yaml
    }
}

fn written(node: &Node) -> String {
    let (operator, children) = match node {
        Node::Leaf(kind, name) => return format!("{{type: {kind}, name: {name}}}"),
        Node::And(children) => ("AND", children),
        Node::Or(children) => ("OR", children),
        Node::Not(children) => ("NOT", children),
    };
    let children: Vec<String> = children.iter().map(written).collect();
    format!("{{operator: {operator}, conditions: [{}]}}", children.join(", "))
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) text: String,
    pub(crate) user_messages: u32,
    /// Bytes besides the text, which only v0.3.0 does not count.
    pub(crate) more_bytes: u64,
    /// Probability of an attack; `None` where the classifier was too late.
    pub(crate) attack: Option<f64>,
    pub(crate) turns: u32,
}

impl Request {
    pub(crate) fn generate(draw: &mut Draw) -> Self {
        let mut text = String::new();
        for _ in 0..draw.below(8) {
            text.push_str(draw.pick(&WORDS));
            text.push_str(draw.pick(&GLUE));
        }
        Self {
            text,
            user_messages: draw.below(6) as u32,
            more_bytes: draw.below(200) as u64,
            attack: (draw.below(3) > 0).then(|| draw.below(5) as f64 / 4.0),
            turns: draw.below(4) as u32,
        }
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            session: Some(SessionIdentity { key: 11, source: SessionSource::XSessionId }),
            messages: MessageCounts { user: self.user_messages, ..MessageCounts::default() },
            envelope_bytes: self.text.len() as u64 + self.more_bytes,
            history_bytes: self.more_bytes,
            ..Facts::of_text(&self.text)
        }
    }

    /// A session that was served before, unless it has no turns.
    pub(crate) fn session(&self) -> Option<SessionSnapshot<'static>> {
        (self.turns > 0).then(|| SessionSnapshot {
            model: MODELS[self.turns as usize - 1],
            decision: "d3",
            turns: self.turns,
            switches: 1,
            turns_on_model: self.turns,
            last_seen: UnixMillis(super::NOW.get() - 1000 * u64::from(self.user_messages)),
            open_tool_loop: self.user_messages == 2,
            provider_state: false,
            last_prompt_tokens: Tokens(900),
            last_cached_tokens: Some(Tokens(300)),
            last_completion_tokens: Tokens(50),
            prompt_tokens: Tokens(2000),
            cached_tokens: Tokens(500),
            completion_tokens: Tokens(100),
            demand: 0.3,
        })
    }
}
