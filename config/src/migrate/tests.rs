use super::*;

fn migrated(text: &str) -> (crate::Config, String, Vec<String>) {
    let migration = migrate(text.as_bytes(), "old.yaml");
    let output = migration.output.expect("it is YAML");
    let loaded = load(output.as_bytes(), "new.yaml", Profile::Pintle);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}\n{output}", loaded.report));
    (config, output, migration.lines.iter().map(Line::to_string).collect())
}

#[test]
fn a_flat_layout_becomes_canonical() {
    let (config, output, lines) = migrated(
        "\
# Our gateway.
# Ask Ann before you change it.
default_model: big
vllm_endpoints:
  - {name: a, address: '2001:db8::1', port: 8000, weight: 2, health_check_path: /health}
  - {name: unused, address: 10.0.0.9, port: 1}
model_config:
  big:
    preferred_endpoints: [a]
    reasoning_family: qwen3
    param_size: 32B
    pii_types_allowed: [AGE]
categories:
  - {name: cs, mmlu_categories: [computer_science, gardening], system_prompt: hello}
keyword_rules:
  - {category: urgent, operator: OR, keywords: [no, asap]}
decisions:
  - name: d
    rules: {operator: OR, conditions: [{type: keyword, rule_name: urgent}]}
    modelRefs: [{model: big, use_reasoning: on}]
bert_model: {model_id: models/bert, threshold: 0.6, use_cpu: true}
entropy_threshold: 0.3
",
    );
    assert!(
        output.starts_with("# Our gateway.\n# Ask Ann before you change it.\nversion: v0.3\n"),
        "{output}"
    );
    let model = &config.providers.models[0];
    assert_eq!(model.backend_refs[0].endpoint, "[2001:db8::1]:8000");
    assert_eq!(model.backend_refs[0].weight, 2);
    assert_eq!(config.providers.defaults.reasoning_families["qwen3"].parameter, "enable_thinking");
    assert_eq!(config.routing.model_cards[0].param_size, "32B");
    assert_eq!(config.routing.signals.domains[0].mmlu_categories, ["computer science"]);
    assert_eq!(config.routing.signals.keywords[0].name, "urgent");
    assert_eq!(config.routing.signals.keywords[0].keywords, ["no", "asap"], "a bare word stays a word");
    assert_eq!(config.routing.decisions[0].rules.conditions[0].name, "urgent");
    assert_eq!(config.routing.decisions[0].model_refs[0].use_reasoning, Some(true));
    let semantic = &config.global.model_catalog.embeddings.semantic;
    assert_eq!(
        (&*semantic.bert_model_path, semantic.embedding_config.min_score_threshold),
        ("models/bert", 0.6)
    );
    for wanted in [
        "line 5: vllm_endpoints[a].health_check_path dropped",
        "line 6: vllm_endpoints[1].name dropped: no model refers to it",
        "pii_types_allowed dropped",
        "`gardening` is no MMLU category",
        "system_prompt dropped",
        "line 22: entropy_threshold dropped",
        "providers.defaults.reasoning_families.qwen3 added",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(wanted)),
            "`{wanted}` is missing from\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn a_canonical_document_keeps_its_meaning() {
    let text = include_str!("../../examples/agentic.yaml");
    let (config, _, lines) = migrated(text);
    let original = load(text.as_bytes(), "example", Profile::Pintle).config.expect("the example loads");
    assert_eq!(config, original);
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_route_with_not_over_several_keeps_meaning_none_of_them() {
    let (config, ..) = migrated(
        "\
apiVersion: vllm.ai/v1alpha1
kind: IntelligentPool
spec:
  defaultModel: m
  models:
    - {name: m, pricing: {inputTokenPrice: 0.00000015, outputTokenPrice: 0.0000006}, loras: [{name: l}]}
---
apiVersion: vllm.ai/v1alpha1
kind: IntelligentRoute
spec:
  signals:
    keywords: [{name: a, operator: OR, keywords: [x], caseSensitive: true}, {name: b, operator: OR, keywords: [y]}]
  decisions:
    - name: neither
      signals: {operator: NOT, conditions: [{type: keyword, name: a}, {type: keyword, name: b}]}
      modelRefs: [{model: m, loraName: l}]
",
    );
    assert_eq!(config.providers.models[0].pricing.prompt_per_1m, 0.15);
    assert!(config.routing.signals.keywords[0].case_sensitive);
    let decision = &config.routing.decisions[0];
    assert_eq!(decision.model_refs[0].lora_name, "l");
    assert_eq!((&*decision.rules.operator, decision.rules.conditions.len()), ("NOT", 1));
    assert_eq!(
        (&*decision.rules.conditions[0].operator, decision.rules.conditions[0].conditions.len()),
        ("OR", 2)
    );
}

#[test]
fn values_of_a_chart_are_unwrapped() {
    let (config, _, lines) =
        migrated("image: {tag: x}\nreplicaCount: 2\nconfig:\n  routing: {modelCards: [{name: m}]}\n");
    assert_eq!(config.routing.model_cards[0].name, "m");
    assert!(
        lines.iter().any(|line| line.contains("replicaCount dropped: a deployment setting")),
        "{lines:?}"
    );
}

#[test]
fn what_is_not_yaml_is_reported_and_not_written() {
    let migration = migrate(b"a: [", "old.yaml");
    assert!(migration.output.is_none() && migration.report.has_errors());
    assert!(migrate(b"", "empty.yaml").output.is_none());
}
