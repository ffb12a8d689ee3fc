//! Behaviour tables of the families that are computed from the request.

use pintle_config::Profile;

use crate::facts::{Facts, Metadata};
use crate::policy::Policy;
use crate::testing::{evidence, facts, holds, policy};

/// A policy with these signals, each referred to by a decision, so that their families are evaluated.
fn signals(yaml: &str, used: &[&str], profile: Profile) -> Policy {
    let leaf = |signal: &&str| {
        let (kind, name) = signal.split_once(':').unwrap();
        format!("{{type: {kind}, name: \"{name}\"}}")
    };
    let leaves: Vec<String> = used.iter().map(leaf).collect();
    let routing = format!(
        "  signals:\n{yaml}\n  decisions:\n    - {{name: d, priority: 1, rules: {{operator: OR, conditions: [{}]}}, modelRefs: [{{model: small}}]}}\n",
        leaves.join(", ")
    );
    policy(&routing, profile)
}

fn keyword(rule: &str, profile: Profile) -> Policy {
    signals(&format!("    keywords: [{{name: k, {rule}}}]"), &["keyword:k"], profile)
}

fn matches(policy: &Policy, text: &str) -> bool {
    holds(policy, &facts(text), "keyword:k").expect("keywords are never unknown")
}

#[test]
fn keyword_boundaries_in_every_script() {
    // keyword, text, Pintle, v0.3.0
    let table = [
        ("go", "let it go!", true, true),
        ("go", "gopher", false, false),
        ("go", "GO", true, true),
        ("привет", "скажи Привет всем", true, false),
        ("привет", "приветствие", false, false),
        ("été", "cet été-là", true, false),
        ("über", "ÜBER alles", true, false),
        ("数据", "大数据平台", true, true),
        ("データ", "ビッグデータ基盤", true, false),
        ("파이썬", "파이썬으로 작성", true, false),
        ("ภาษา", "เรียนภาษาไทย", true, false),
        ("python", "用python写", true, true),
        ("c++", "use c++ here", true, false),
        ("c++", "c++x", true, true),
        ("c++", "objc++", false, false),
        ("rock'n'roll", "some rock'n'roll, please", true, true),
        ("cafe", "café", false, false),
        ("caf", "café", false, true),
        ("σας", "ΣΑΣ", true, false),
        (".net", "asp.net core", true, true),
    ];
    for (keyword_text, text, pintle, compat) in table {
        let rule = format!("operator: OR, keywords: [\"{keyword_text}\"]");
        assert_eq!(matches(&keyword(&rule, Profile::Pintle), text), pintle, "{keyword_text:?} in {text:?}");
        let old = matches(&keyword(&rule, Profile::Compat), text);
        assert_eq!(old, compat, "compat: {keyword_text:?} in {text:?}");
    }
}

#[test]
fn sharp_s_folds_to_two_letters() {
    assert!(matches(&keyword("operator: OR, keywords: [straße]", Profile::Pintle), "HAUPT STRASSE 1"));
}

#[test]
fn keyword_operators() {
    for (operator, none, one, both) in
        [("OR", false, true, true), ("AND", false, false, true), ("NOR", true, false, false)]
    {
        for profile in [Profile::Pintle, Profile::Compat] {
            let policy = keyword(&format!("operator: {operator}, keywords: [red, blue]"), profile);
            let found = ["green", "a red sky", "red and blue"].map(|text| matches(&policy, text));
            assert_eq!(found, [none, one, both], "{operator}");
        }
    }
    let policy = keyword("operator: AND, keywords: [red, red]", Profile::Pintle);
    assert!(matches(&policy, "red"), "a keyword named twice needs one occurrence");
}

#[test]
fn keyword_case() {
    let policy = keyword("operator: OR, keywords: [SELECT], case_sensitive: true", Profile::Pintle);
    assert!(matches(&policy, "SELECT 1") && !matches(&policy, "select one"));
}

#[test]
fn overlapping_keywords_are_all_found() {
    let policy = keyword("operator: AND, keywords: [new york, york city, new york city]", Profile::Pintle);
    assert!(matches(&policy, "in New York City today"));
}

#[test]
fn keyword_patterns() {
    let policy = keyword(r"operator: OR, method: regex, keywords: ['\bfoo\d+\b', 'b[aá]r']", Profile::Pintle);
    assert!(matches(&policy, "see FOO42") && matches(&policy, "BÁR") && !matches(&policy, "foo"));
    let and = keyword(r"operator: AND, method: regex, keywords: ['a+', 'b+']", Profile::Pintle);
    assert!(matches(&and, "aabb") && !matches(&and, "aa"));
}

#[test]
fn fuzzy_keywords() {
    let rule = "operator: OR, keywords: [kubernetes, go], fuzzy_match: true";
    let pintle = keyword(rule, Profile::Pintle);
    assert!(matches(&pintle, "deploy on kubernets"));
    assert!(!matches(&pintle, "it is so"), "two edits would turn `go` into any short word");
    assert!(matches(&keyword(rule, Profile::Compat), "it is so"));
    let phrase = keyword("operator: OR, keywords: [machine learning], fuzzy_match: true", Profile::Pintle);
    assert!(matches(&phrase, "some machin learnin here") && !matches(&phrase, "learning machines"));
}

#[test]
fn in_compat_the_first_keyword_rule_masks_the_others() {
    let yaml = "    keywords:\n      - {name: first, operator: NOR, keywords: [x]}\n      - {name: second, operator: OR, keywords: [rust]}";
    let used = ["keyword:first", "keyword:second"];
    for (profile, second) in [(Profile::Pintle, true), (Profile::Compat, false)] {
        let policy = signals(yaml, &used, profile);
        assert_eq!(holds(&policy, &facts("rust"), "keyword:first"), Some(true));
        assert_eq!(holds(&policy, &facts("rust"), "keyword:second"), Some(second));
    }
}

#[test]
fn a_request_without_user_text_is_judged_by_its_other_texts() {
    let policy = keyword("operator: OR, keywords: [forbidden]", Profile::Pintle);
    let mut request = facts("");
    request.texts.non_user = vec!["something".into(), "forbidden".into()];
    assert_eq!(holds(&policy, &request, "keyword:k"), Some(true));
    request.texts.current_user = "harmless".into();
    assert_eq!(holds(&policy, &request, "keyword:k"), Some(false));
}

#[test]
fn token_counts() {
    use super::context::parse_token_count;
    for (text, count) in [
        ("0", Some(0)),
        ("8000", Some(8000)),
        ("4K", Some(4000)),
        ("1.5k", Some(1500)),
        (" 2M ", Some(2_000_000)),
        ("0.25m", Some(250_000)),
        ("", None),
        ("K", None),
        ("-1", None),
        ("1e3", None),
        ("4 K", None),
        ("inf", None),
    ] {
        assert_eq!(parse_token_count(text), count, "{text:?}");
    }
}

#[test]
fn context_bounds_are_inclusive_and_count_the_envelope() {
    let yaml = "    context: [{name: c, min_tokens: 1K, max_tokens: 2K}, {name: open, min_tokens: 1K}]";
    let used = ["context:c", "context:open"];
    let pintle = signals(yaml, &used, Profile::Pintle);
    let compat = signals(yaml, &used, Profile::Compat);
    let request = |bytes: u64| Facts { envelope_bytes: bytes, compat_context_bytes: bytes / 2, ..facts("x") };
    for (bytes, inside) in [(3996, false), (3997, true), (8000, true), (8001, false)] {
        assert_eq!(holds(&pintle, &request(bytes), "context:c"), Some(inside), "{bytes}");
    }
    assert_eq!(holds(&compat, &request(8000), "context:c"), Some(true), "compat counts other bytes");
    assert_eq!(holds(&compat, &request(4000), "context:c"), Some(false));
    assert_eq!(holds(&pintle, &request(900_000), "context:open"), Some(true), "no upper bound");
    assert_eq!(holds(&compat, &request(900_000), "context:open"), Some(false), "read as an upper bound of 0");
    assert_eq!(evidence(&pintle, &request(0), "context:c").value, Some(1.0), "at least one token");
}

#[test]
fn the_token_ratio_is_learned_from_plausible_pairs() {
    use super::TokenRatio;
    use crate::units::Tokens;
    let mut ratio = TokenRatio::default();
    for _ in 0..9 {
        ratio.observe(3000, Tokens(1000));
        ratio.observe(1_000_000, Tokens(1));
        ratio.observe(10, Tokens(0));
    }
    assert_eq!(ratio.bytes_per_token(), 4.0, "not before ten");
    ratio.observe(3000, Tokens(1000));
    assert!((ratio.bytes_per_token() - 3.0).abs() < 1e-12);
    ratio.observe(5000, Tokens(1000));
    assert!((ratio.bytes_per_token() - 3.01).abs() < 1e-12, "decay 0.995");
}

#[test]
fn conversation_counts() {
    let sources = [
        ("{type: message}", 13.0),
        ("{type: message, role: user}", 3.0),
        ("{type: message, role: assistant}", 2.0),
        ("{type: message, role: system}", 1.0),
        ("{type: message, role: developer}", 2.0),
        ("{type: message, role: tool}", 5.0),
        ("{type: message, role: non_user}", 10.0),
        ("{type: tool_definition}", 7.0),
        ("{type: assistant_tool_call}", 6.0),
        ("{type: assistant_tool_cycle}", 4.0),
    ];
    let mut request = facts("x");
    request.messages =
        crate::facts::MessageCounts { user: 3, assistant: 2, system: 1, developer: 2, tool: 5 };
    request.tools.definitions = 7;
    request.tools.calls = 6;
    request.tools.results = 4;
    for (source, count) in sources {
        let yaml = format!(
            "    conversation:\n      - {{name: c, feature: {{type: count, source: {source}}}, predicate: {{gte: {count}}}}}\n      - {{name: more, feature: {{type: count, source: {source}}}, predicate: {{gt: {count}}}}}"
        );
        let policy = signals(&yaml, &["conversation:c", "conversation:more"], Profile::Pintle);
        let found = evidence(&policy, &request, "conversation:c");
        assert_eq!((found.truth.is_true(), found.value, found.confidence), (true, Some(count), Some(1.0)));
        assert_eq!(holds(&policy, &request, "conversation:more"), Some(false), "{source}");
    }
    let yaml =
        "    conversation: [{name: c, feature: {type: count, source: {type: message, role: developer}}}]";
    let compat = signals(yaml, &["conversation:c"], Profile::Compat);
    assert_eq!(evidence(&compat, &request, "conversation:c").value, Some(1.0), "v0.3.0 counts to one");
    request.messages.developer = 0;
    assert_eq!(
        holds(&compat, &request, "conversation:c"),
        Some(true),
        "a count without predicate holds at 0"
    );
}

fn structure(feature: &str, profile: Profile) -> Policy {
    signals(&format!("    structure: [{{name: s, {feature}}}]"), &["structure:s"], profile)
}

#[test]
fn structure_features() {
    let regex = r"feature: {type: count, source: {type: regex, pattern: '\?'}}, predicate: {gte: 3}";
    let policy = structure(regex, Profile::Pintle);
    assert_eq!(holds(&policy, &facts("a? b?"), "structure:s"), Some(false));
    let found = evidence(&policy, &facts("a? b? c?"), "structure:s");
    assert_eq!((found.truth.is_true(), found.value, found.confidence), (true, Some(3.0), Some(0.5)));
    let sure = evidence(&policy, &facts("a? b? c? d?"), "structure:s").confidence.unwrap();
    assert!((sure - 1.0 / (1.0 + (-4.0f64).exp())).abs() < 1e-12);

    let set =
        "feature: {type: count, source: {type: keyword_set, keywords: [then, 然后]}}, predicate: {gte: 2}";
    let policy = structure(set, Profile::Pintle);
    assert_eq!(holds(&policy, &facts("then a, strengthen b, THEN c"), "structure:s"), Some(true));
    assert_eq!(holds(&policy, &facts("strengthen then"), "structure:s"), Some(false));
    assert_eq!(holds(&policy, &facts("先做然后再然后"), "structure:s"), Some(true));

    let density =
        "feature: {type: density, source: {type: keyword_set, keywords: [if]}}, predicate: {gte: 0.25}";
    let policy = structure(density, Profile::Pintle);
    assert_eq!(evidence(&policy, &facts("if a b c"), "structure:s").value, Some(0.25));
    assert_eq!(holds(&policy, &facts("if 数据 很 b"), "structure:s"), Some(false), "each Han rune is a unit");
    assert_eq!(holds(&policy, &facts(""), "structure:s"), Some(false));

    let sequence =
        "feature: {type: sequence, source: {type: sequence, sequences: [[first, then, finally], [a, b]]}}";
    let policy = structure(sequence, Profile::Pintle);
    assert_eq!(holds(&policy, &facts("First x, then y, finally z"), "structure:s"), Some(true));
    assert_eq!(holds(&policy, &facts("finally x, then y, first z"), "structure:s"), Some(false));
    assert_eq!(holds(&policy, &facts("b a"), "structure:s"), Some(false));
    assert_eq!(holds(&policy, &facts("b a b"), "structure:s"), Some(true));
}

#[test]
fn in_compat_a_value_is_kept_only_of_a_match() {
    let rule = r"feature: {type: count, source: {type: regex, pattern: x}}, predicate: {gte: 3}";
    assert_eq!(evidence(&structure(rule, Profile::Pintle), &facts("x"), "structure:s").value, Some(1.0));
    assert_eq!(evidence(&structure(rule, Profile::Compat), &facts("x"), "structure:s").value, None);
}

#[test]
fn events() {
    let yaml = "    events: [{name: e, event_types: [payment_failed, возврат], severities: [critical], temporal: true}]";
    let policy = signals(yaml, &["event:e"], Profile::Pintle);
    let found = |text: &str| evidence(&policy, &facts(text), "event:e");
    assert_eq!(found("all is well").truth, crate::evidence::Truth::False);
    for (text, share) in [
        ("a payment_failed event", 1.0 / 3.0),
        ("запрос на Возврат", 1.0 / 3.0),
        ("CRITICAL: payment_failed", 2.0 / 3.0),
        ("critical payment_failed, time-sensitive", 1.0),
    ] {
        let found = found(text);
        assert!(found.truth.is_true(), "{text}");
        assert!((found.confidence.unwrap() - (0.5 + 0.5 * share)).abs() < 1e-12, "{text}");
    }
    let compat = signals(yaml, &["event:e"], Profile::Compat);
    assert_eq!(holds(&compat, &facts("запрос на Возврат"), "event:e"), Some(false));
}

#[test]
fn families_that_nothing_refers_to_are_not_evaluated() {
    let yaml = "    keywords: [{name: k, operator: OR, keywords: [x]}]\n    conversation: [{name: c, feature: {type: exists, source: {type: message}}}]";
    let policy = signals(yaml, &["conversation:c"], Profile::Pintle);
    assert!(!policy.needs().current_user);
    assert_eq!(holds(&policy, &facts("x"), "keyword:k"), None);
    assert!(signals(yaml, &["keyword:k"], Profile::Pintle).needs().current_user);
}

#[test]
fn a_keyword_is_found_in_every_compatible_form() {
    for (keyword, texts) in [
        ("café", &["cafe\u{301}", "CAFÉ", "ｃａｆé"][..]),
        ("office", &["oﬃce", "ＯＦＦＩＣＥ"]),
        ("データ", &["ﾃﾞｰﾀ"]),
        ("한글", &["\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"]),
        ("straße", &["STRASSE", "Straße", "strasse"]),
        ("σοφός", &["ΣΟΦΌΣ", "σοφόσ"]),
    ] {
        let policy = self::keyword(&format!("operator: OR, keywords: ['{keyword}']"), Profile::Pintle);
        for text in texts {
            assert_eq!(holds(&policy, &facts(text), "keyword:k"), Some(true), "{keyword} {text}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn scanning_never_panics_and_case_does_not_matter(text in "\\PC{0,80}") {
        let policy = shared();
        let one = evidence(policy, &facts(&text), "keyword:k");
        let folded = super::text::fold_into_lower(&text);
        let two = evidence(policy, &facts(&folded), "keyword:k");
        assert_eq!(one.truth, two.truth);
    }

    #[test]
    fn the_automaton_finds_what_a_plain_search_finds(words in proptest::collection::vec("[abé ]{1,3}", 1..30)) {
        let text: String = words.concat();
        let found = holds(shared(), &facts(&text), "keyword:k").unwrap();
        let plain = ["ab", "é", "aba"].iter().any(|word| {
            text.split(' ').any(|token| token == *word)
        });
        assert_eq!(found, plain, "{text:?}");
    }
}

fn shared() -> &'static Policy {
    static POLICY: std::sync::LazyLock<Policy> =
        std::sync::LazyLock::new(|| keyword("operator: OR, keywords: [ab, é, aba]", Profile::Pintle));
    &POLICY
}

#[test]
fn metadata_is_compared_and_what_cannot_be_read_is_unknown() {
    let yaml = "    metadata:
      - {name: denied, key: consent, predicate: {equals: denied}}
      - {name: canary, key: cohort, predicate: {in: [beta, canary]}}
      - {name: classed, key: class, predicate: {exists: true}}
      - {name: unclassed, key: class, predicate: {exists: false}}";
    let names = ["metadata:denied", "metadata:canary", "metadata:classed", "metadata:unclassed"];
    let found = |profile, members: &[(&'static str, Option<&'static str>)], truncated| {
        let metadata = Metadata {
            members: members.iter().map(|(name, text)| ((*name).into(), text.map(Into::into))).collect(),
            truncated,
        };
        let policy = signals(yaml, &names, profile);
        let facts = Facts { metadata, ..facts("hello") };
        names.map(|name| holds(&policy, &facts, name))
    };
    let (yes, no) = (Some(true), Some(false));
    let pintle = |members: &[_], truncated| found(Profile::Pintle, members, truncated);
    assert!(signals(yaml, &names, Profile::Pintle).needs().metadata);
    assert_eq!(pintle(&[], false), [no, no, no, yes]);
    assert_eq!(pintle(&[("consent", Some("denied"))], false), [yes, no, no, yes]);
    assert_eq!(pintle(&[("consent", Some("Denied")), ("cohort", Some("canary"))], false), [no, yes, no, yes]);
    assert_eq!(pintle(&[("class", None), ("consent", None)], false), [None, no, yes, no]);
    assert_eq!(pintle(&[("cohort", Some("beta")), ("cohort", Some("x"))], false), [no, no, no, yes]);
    assert_eq!(pintle(&[("consent", Some("denied"))], true), [yes, None, None, None]);
    assert_eq!(
        found(Profile::Compat, &[("consent", Some("denied"))], false),
        [no; 4],
        "v0.3.0 has no such type"
    );
}
