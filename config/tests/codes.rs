//! Promise: every code has an explanation, and a document that earns it at the right place.

use std::collections::BTreeSet;

use pintle_config::{CheckOptions, Profile, check, explain, explanations, load};

/// A model, a provider and a decision, so that each case writes only what it is about.
const BASE: &str = "\
providers:
  defaults: {default_model: m}
  models: [{name: m, backend_refs: [{endpoint: 'h:1'}]}]
";

/// Code, place (`line:column`, or empty when the case only asks for the code), document.
fn cases() -> Vec<(&'static str, &'static str, String)> {
    let routing = |text: &str| format!("{BASE}routing:\n  modelCards: [{{name: m}}]\n{text}");
    let signals = |text: &str| routing(&format!("  signals:\n{text}"));
    let decision =
        |text: &str| routing(&format!("  decisions:\n    - name: d\n      rules: {{operator: AND}}\n{text}"));
    let rules = |text: &str| routing(&format!("  decisions:\n    - name: d\n      rules: {text}\n"));
    let projections =
        |text: &str| signals(&format!("    domains: [{{name: a}}, {{name: b}}]\n  projections:\n{text}"));
    let global = |text: &str| format!("global:\n{text}");
    vec![
        ("PCF001", "1:109", format!("routing: {}", "[".repeat(200))),
        ("PCF003", "2:1", "routing:\n\t- a\n".into()),
        ("PCF004", "2:1", "routing: {}\nrouting: {}\n".into()),
        ("PCF005", "", "routing: {}\n---\nrouting: {}\n".into()),
        ("PCF006", "1:1", "[routing]\n".into()),
        ("PCF007", "1:1", "decisions: []\n".into()),
        ("PCF008", "2:3", "routing:\n  models: []\n".into()),
        ("PCF009", "2:3", "routing:\n  decisons: []\n".into()),
        ("PCF010", "3:11", "routing: {}\nlisteners:\n  - port: '1'\n".into()),
        ("PCF011", "3:23", "global:\n  pintle:\n    limits: {headers: 1}\n".into()),
        ("PCF012", "3:11", "routing: {}\nlisteners:\n  - port: 80.5\n".into()),
        ("PCF013", "", global("  stores: {memory: {enabled: true}}\n")),
        (
            "PCF014",
            "2:29",
            global(
                "  router: {auto_model_name: no}
",
            ),
        ),
        ("PCF015", "", routing("  strategy: priority\n")),
        ("PCF020", "5:34", routing("").replace("[{name: m}]", "[{name: m}, {name: m}]")),
        ("PCF021", "2:29", routing("").replace("default_model: m", "default_model: x")),
        ("PCF022", "", routing("").replace("[{name: m, ", "[{name: other, ")),
        ("PCF023", "", routing("").replace("{endpoint: 'h:1'}", "{name: b}")),
        ("PCF024", "", routing("").replace("{name: m, back", "{name: m, reasoning_family: x, back")),
        (
            "PCF025",
            "9:41",
            decision(
                "      modelRefs: [{model: m, lora_name: z}]
",
            ),
        ),
        ("PCF026", "", global("  model_catalog: {modules: {prompt_guard: {model_ref: x}}}\n")),
        ("PCF030", "7:44", signals("    domains: [{name: x, mmlu_categories: [ comp_sci]}]\n")),
        (
            "PCF031",
            "",
            signals("    structure: [{name: s, feature: {type: exists, source: {type: regex}}}]\n"),
        ),
        ("PCF032", "", signals("    reasks: [{name: r, threshold: 2}]\n")),
        (
            "PCF033",
            "",
            signals("    conversation: [{name: c, feature: {type: sum, source: {type: message}}}]\n"),
        ),
        ("PCF034", "", signals("    kb: [{name: k, kb: x, target: {kind: group, value: v}}]\n")),
        ("PCF035", "", signals("    embeddings: [{name: e, query_modality: audio}]\n")),
        ("PCF036", "", signals("    modality: [{name: text}]\n")),
        ("PCF037", "", signals("    metadata: [{name: m, key: k, predicate: {equals: a, exists: true}}]\n")),
        (
            "PCF040",
            "",
            projections("    partitions: [{name: p, semantics: exclusive, members: [a, zz], default: a}]\n"),
        ),
        (
            "PCF041",
            "",
            projections(
                "    scores:\n      - {name: s, method: weighted_sum, inputs: [{type: projection, name: t}]}\n      - {name: t, method: weighted_sum, inputs: [{type: projection, name: s}]}\n",
            ),
        ),
        ("PCF042", "", projections("    mappings: [{name: p, source: x, outputs: [{name: o, gt: 1}]}]\n")),
        ("PCF050", "8:7", rules("{type: projection, name: x}")),
        ("PCF051", "", rules("{operator: AND, conditions: [{type: latency, name: x}]}")),
        ("PCF052", "", decision("      algorithm: {type: static, elo: {}}\n")),
        ("PCF053", "", decision("      candidateIterations: [{variable: v, source: nowhere}]\n")),
        ("PCF054", "", decision("      emits: [{kind: other}]\n")),
        ("PCF055", "", decision("      plugins: [{type: rag, configuration: {enabled: true}}]\n")),
        ("PCF060", "", global("  router: {model_selection: {model_switch_gate: {mode: x}}}\n")),
        (
            "PCF061",
            "",
            global("  integrations: {tools: {advanced_filtering: {enabled: true, min_combined_score: 2}}}\n"),
        ),
        ("PCF062", "", global("  model_catalog: {modules: {prompt_compression: {profile: x}}}\n")),
        ("PCF063", "", global("  model_catalog: {modules: {modality_detector: {enabled: true}}}\n")),
        ("PCF064", "3:20", "global:\n  pintle:\n    guard: {deny: [192.0.2.0/33]}\n".into()),
        ("PCF064", "3:21", "global:\n  pintle:\n    guard: {allow: [example.org]}\n".into()),
        (
            "PCF064",
            "",
            format!("global:\n  pintle:\n    guard: {{ports: {:?}}}\n", (1..66).collect::<Vec<_>>()),
        ),
        ("PCF064", "2:21", "listeners:\n  - {name: a, port: 70000}\nrouting: {}\n".into()),
        ("PCF064", "2:15", "listeners:\n  - {address: gateway.example, port: 80}\nrouting: {}\n".into()),
        ("PCF064", "", global("  pintle: {admin: {listen: '9190'}}\n")),
        ("PCF064", "", global("  pintle: {admin: {listen: '0.0.0.0:9190'}}\n")),
        ("PCF065", "", signals("    keywords: [{name: k, operator: OR, method: regex, keywords: ['(']}]\n")),
        (
            "PCF101",
            "",
            routing("")
                .replace("{name: m, back", "{name: m, provider_model_id: q, back")
                .replace("'h:1'", "'h:1', provider: openai, base_url: 'http://h'"),
        ),
        ("PCF102", "", rules("{}")),
        (
            "PCF103",
            "",
            routing(
                "  decisions:\n    - {name: a, tier: 1, rules: {operator: AND}}\n    - {name: b, rules: {operator: AND}}\n",
            ),
        ),
        ("PCF104", "", rules("{type: domain, name: x}")),
        ("PCF105", "2:3", global("  router:\n")),
        ("PCF106", "", routing("").replace("'h:1'", "'h:1', provider: openai")),
        ("PCF107", "", routing("").replace("'h:1'", "'::1:8000'")),
        (
            "PCF108",
            "",
            signals(
                "    role_bindings: [{name: binding, role: admin, subjects: [{kind: User, name: u}]}]\n  decisions: [{name: d, rules: {type: authz, name: binding}}]\n",
            ),
        ),
        (
            "PCF109",
            "",
            signals(
                "    complexity: [{name: c}]\n  decisions: [{name: d, rules: {type: complexity, name: c}}]\n",
            ),
        ),
        (
            "PCF110",
            "",
            signals("    conversation: [{name: c, feature: {type: count, source: {type: message}}}]\n"),
        ),
        ("PCF111", "", signals("    context: [{name: c, min_tokens: 1K}]\n")),
        ("PCF112", "", decision("      algorithm: {type: hybrid, hybrid: {cost_weight: 1}}\n")),
        ("PCF113", "", decision("      plugins: [{type: semantic_cache, configuration: {enabled: true}}]\n")),
        ("PCF114", "", global("  router: {config_source: kubernetes}\n")),
        ("PCF115", "", routing("").replace("'h:1'", "'${HOST}:1'")),
        ("PCF116", "", global("  services: {api: {batch_classification: {max_concurrency: 2}}}\n")),
        ("PCF117", "", rules("{type: keyword, name: x}")),
        ("PCF118", "", rules("{type: keywrod, name: x}")),
        ("PCF119", "", rules("{operator: NOT, conditions: []}")),
        ("PCF120", "", rules("{operator: XOR, conditions: [{type: event, name: x}]}")),
        ("PCF121", "", decision("      modelRefs: [{model: x}]\n")),
        ("PCF122", "", decision("").replace("name: d", "description: d")),
        ("PCF123", "", decision("      algorithm: {type: fastest}\n")),
        ("PCF124", "", routing("").replace("models: [", "models: [{name: m, api_format: openai}, ")),
        (
            "PCF125",
            "",
            decision("      modelRefs: [{model: n}]\n").replace("[{name: m}]", "[{name: m}, {name: n}]"),
        ),
        ("PCF126", "", signals("    embeddings: [{name: e, threshold: 1.5}]\n")),
        ("PCF128", "", "listeners: [{name: grpc-50051, port: 50051}]\nrouting: {}\n".into()),
        ("PCF130", "", routing("").replace("'h:1'", "'h:1', api_key: k")),
        ("PCF131", "", global("  services: {response_api: {enabled: true}}\n")),
        ("PCF132", "", decision("      emits: [{kind: retention, retention: {}}]\n")),
        ("PCF134", "", signals("    keywords: [{name: k, operator: OR, keywords: [c++]}]\n")),
        ("PCF137", "", global("  services: {authz: {providers: [{type: x}]}}\n")),
        ("PCF139", "", global("  router: {strategy: fastest}\n")),
    ]
}

#[test]
fn each_code_is_earned_by_its_document() {
    let mut wrong = Vec::new();
    for (code, place, text) in cases() {
        let report = load(text.as_bytes(), "case", Profile::Pintle).report;
        let places: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.code == code)
            .map(|finding| format!("{}:{}", finding.line, finding.column))
            .collect();
        let as_wanted = if place.is_empty() {
            places.iter().any(|have| have != "0:0")
        } else {
            places.iter().any(|have| have == place)
        };
        if !as_wanted {
            let found: Vec<_> =
                report.findings.iter().map(|finding| (finding.code, &finding.message)).collect();
            wrong.push(format!("{code} at {places:?}, wanted at `{place}`; all: {found:?}, in\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_case_or_a_test_of_its_own() {
    let elsewhere = ["PCF002", "PCF150"];
    let covered: BTreeSet<_> = cases().into_iter().map(|(code, ..)| code).chain(elsewhere).collect();
    let known: BTreeSet<_> = explanations().iter().map(|explanation| explanation.code).collect();
    assert_eq!(covered, known);
}

#[test]
fn codes_are_explained_in_any_case() {
    let explanation = explain("pcf117").expect("a known code");
    assert_eq!(explanation.code, "PCF117");
    assert!(explain("PCF999").is_none());
}

#[test]
fn a_document_without_its_trap_does_not_earn_the_code() {
    let base = format!("{BASE}routing:\n  modelCards: [{{name: m}}]\n");
    let report = load(base.as_bytes(), "base", Profile::Pintle).report;
    assert_eq!(report.findings, [], "the base of the cases is clean");
}

#[test]
fn bytes_that_are_not_utf8_are_reported_with_their_place() {
    let report = load(b"routing: {}\nglobal: \xff\n", "case", Profile::Pintle).report;
    let finding = &report.findings[0];
    assert_eq!((finding.code, finding.line, finding.column), ("PCF002", 2, 9));
}

#[test]
fn strict_turns_warnings_into_errors_and_compat_turns_refusals_into_warnings() {
    let warned = "routing:\n  decisons: []\n";
    assert!(!check(warned.as_bytes(), "c", CheckOptions::default()).has_errors());
    assert!(
        check(warned.as_bytes(), "c", CheckOptions { strict: true, ..CheckOptions::default() }).has_errors()
    );
    let refused = "listeners: [{name: a, port: 0}]\nrouting: {}\n";
    assert!(load(refused.as_bytes(), "c", Profile::Pintle).config.is_none());
    assert!(load(refused.as_bytes(), "c", Profile::Compat).config.is_some());
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "listeners: [{port: x}]\nproviders: {default_model: m}\nrouting:\n  modelCards: [{name: m}, {name: m}]\n  decisions: [{name: d, emits: [{kind: x}]}]\n";
    let codes: Vec<_> = load(text.as_bytes(), "c", Profile::Pintle)
        .report
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect();
    for code in ["PCF010", "PCF008", "PCF020", "PCF054"] {
        assert!(codes.contains(&code), "{code} is missing from {codes:?}");
    }
}
