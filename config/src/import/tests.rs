use super::*;
use crate::{Config, Profile, load};

fn imported(source: &Source, text: &str) -> (Config, String, Vec<String>) {
    let migration = import(source, text.as_bytes(), "inventory");
    let output = migration.output.unwrap_or_else(|| panic!("{:?}", migration.report));
    let loaded = load(output.as_bytes(), "new.yaml", Profile::Pintle);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}\n{output}", loaded.report));
    (config, output, migration.lines.iter().map(ToString::to_string).collect())
}

#[test]
fn a_server_s_list_of_models_with_an_adapter() {
    let source = Source::OpenAiModels { base_url: "http://10.0.0.5:8000/v1/".into() };
    let (config, ..) = imported(
        &source,
        r#"{"object": "list", "data": [
            {"id": "qwen3", "root": "Qwen/Qwen3-8B", "parent": null, "max_model_len": 32768},
            {"id": "sql", "root": "/adapters/sql", "parent": "Qwen/Qwen3-8B"}]}"#,
    );
    assert_eq!(config.providers.defaults.default_model, "qwen3");
    assert_eq!(config.providers.models[0].backend_refs[0].base_url, "http://10.0.0.5:8000/v1");
    let card = &config.routing.model_cards[0];
    assert_eq!((card.context_window_size, &*card.loras[0].name), (32_768, "sql"));
}

#[test]
fn litellm_deployments_of_one_name_become_backends_and_keys_stay_out() {
    let (config, output, lines) = imported(
        &Source::LiteLlm,
        "\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 60}
    model_info: {input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001, max_input_tokens: 128000, supports_vision: true}
  - model_name: gpt-4o
    litellm_params: {model: azure/my-gpt-4o, api_base: 'https://x.openai.azure.com', api_key: sk-very-secret, api_version: 2024-10-21}
  - model_name: local
    litellm_params: {model: hosted_vllm/Qwen/Qwen3-8B, api_base: 'http://10.0.0.5:8000/v1'}
  - model_name: far
    litellm_params: {model: bedrock/claude}
litellm_settings: {drop_params: true}
",
    );
    let model = &config.providers.models[0];
    let backends: Vec<_> =
        model.backend_refs.iter().map(|backend| (&*backend.kind, &*backend.api_key_env)).collect();
    assert_eq!(backends, [("openai", "OPENAI_API_KEY"), ("azure-openai", "GPT_4O_API_KEY")]);
    assert_eq!(model.external_model_ids["azure-openai"], "my-gpt-4o");
    assert_eq!((model.pricing.prompt_per_1m, model.pricing.completion_per_1m), (2.5, 10.0));
    assert_eq!(config.providers.models[1].external_model_ids["vllm"], "Qwen/Qwen3-8B");
    assert_eq!(config.routing.model_cards[0].capabilities, ["chat", "vision"]);
    assert!(!output.contains("sk-very-secret") && !lines.concat().contains("sk-very-secret"));
    for wanted in [
        "rpm dropped",
        "set the variable or credential GPT_4O_API_KEY",
        "`bedrock/claude`",
        "drop_params dropped",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(wanted)),
            "`{wanted}` is missing from\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn openclaw_providers_with_a_colliding_id() {
    let (config, output, lines) = imported(
        &Source::OpenClaw,
        r#"{"models": {"providers": {
            "home": {"baseUrl": "http://10.0.0.5:8000/v1", "apiKey": "not-needed", "models": [{"id": "qwen3", "contextWindow": 32768, "input": ["text", "image"]}]},
            "away": {"api": "openai-completions", "baseUrl": "https://api.example.com/v1", "apiKey": "hunter2", "models": [{"id": "qwen3"}, {"id": "big", "reasoning": true}]},
            "other": {"api": "anthropic-messages", "baseUrl": "https://api.anthropic.com", "models": [{"id": "claude"}]}}}}"#,
    );
    let names: Vec<_> = config.providers.models.iter().map(|model| &*model.name).collect();
    assert_eq!(names, ["home/qwen3", "away/qwen3", "big"]);
    assert_eq!(config.providers.models[1].external_model_ids["openai"], "qwen3");
    assert_eq!(config.providers.models[0].backend_refs[0].api_key_env, "");
    assert_eq!(config.providers.models[1].backend_refs[0].api_key_env, "AWAY_API_KEY");
    assert!(!output.contains("hunter2"));
    assert!(
        lines.iter().any(|line| line.contains("its API `anthropic-messages` is not OpenAI's")),
        "{lines:?}"
    );
}

#[test]
fn static_lists_pair_backends_with_models() {
    for text in [
        "routerSpec: {serviceDiscovery: static, staticBackends: 'http://a:8000,http://b:8000/v1,http://c', staticModels: 'm,m'}\n",
        "{\"service_discovery\": \"static\", \"static_backends\": \"http://a:8000,http://b:8000/v1,http://c\", \"static_models\": \"m,m\"}",
    ] {
        let (config, _, lines) = imported(&Source::ProductionStack, text);
        let urls: Vec<_> =
            config.providers.models[0].backend_refs.iter().map(|backend| &*backend.base_url).collect();
        assert_eq!(urls, ["http://a:8000/v1", "http://b:8000/v1"]);
        assert!(lines.iter().any(|line| line.contains("`http://c` has no model")), "{lines:?}");
    }
}

#[test]
fn an_inventory_without_models_is_refused() {
    for (source, text) in [
        (Source::LiteLlm, "model_list: []"),
        (Source::OpenClaw, "{}"),
        (Source::LiteLlm, "- a"),
        (Source::LiteLlm, "a: ["),
    ] {
        let migration = import(&source, text.as_bytes(), "inventory");
        assert!(migration.output.is_none() && migration.report.has_errors(), "{text}");
    }
}
