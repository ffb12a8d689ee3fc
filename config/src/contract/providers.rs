//! `providers` and `routing.modelCards`: models, where they are served and what they cost.

use std::collections::BTreeMap;

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Models, where they are served and what they cost.
    pub struct Providers {
        /// Settings shared by all models.
        defaults: ProviderDefaults,
        /// Models that can be reached.
        models: Vec<ProviderModel>,
    }

    /// Settings shared by all models.
    pub struct ProviderDefaults {
        /// Model or LoRA that serves requests which no decision takes.
        default_model: String,
        /// How a reasoning switch is spelled, per family name.
        reasoning_families: BTreeMap<String, ReasoningFamily>,
        /// Effort for a candidate with `use_reasoning` and no effort of its own.
        default_reasoning_effort: String,
    }

    /// How a family of models is told to reason.
    pub struct ReasoningFamily {
        /// `chat_template_kwargs` or `reasoning_effort`.
        kind as "type": String,
        /// Name of the request field that is set.
        parameter: String,
    }

    /// One model that can be reached.
    pub struct ProviderModel {
        /// Name of a model card.
        name: String,
        /// Key into `providers.defaults.reasoning_families`.
        reasoning_family: String,
        /// Model id that the backend knows; ignored when `external_model_ids` is set.
        provider_model_id: String,
        /// Where the model is served.
        backend_refs: Vec<BackendRef>,
        /// What its tokens cost.
        pricing: Pricing,
        /// `openai` or `anthropic`.
        api_format: String,
        /// Model id per backend `type`.
        external_model_ids: BTreeMap<String, String>,
    }

    /// One place where a model is served.
    pub struct BackendRef {
        /// Name within the model; `primary`, then `backend-n`, when empty.
        name: String,
        /// `host`, `host:port`, `[v6]:port` or a URL.
        endpoint: String,
        /// `http` or `https`; decides the default port and TLS.
        protocol: String,
        /// Share of the model's traffic; 0 counts as 1.
        weight: i64,
        /// Kind of backend: the key into `external_model_ids`.
        kind as "type": String,
        /// Absolute URL of a provider; when any provider field is set, only this counts as address.
        base_url: String,
        /// Provider profile: openai, anthropic, azure-openai, bedrock, gemini, vertex-ai, minimax.
        provider: String,
        /// Header that carries the key.
        auth_header: String,
        /// Text before the key.
        auth_prefix: String,
        /// Headers added to each upstream request.
        extra_headers: BTreeMap<String, String>,
        /// Azure API version.
        api_version: String,
        /// Path that replaces the computed one.
        chat_path: String,
        /// Key; wins over `api_key_env`.
        api_key: Secret,
        /// Environment variable or systemd credential that holds the key.
        api_key_env: String,
    }

    /// Price per million tokens.
    pub struct Pricing {
        /// ISO currency code; USD when empty.
        currency: String,
        /// Per million prompt tokens.
        prompt_per_1m: f64,
        /// Per million completion tokens.
        completion_per_1m: f64,
        /// Per million prompt tokens that the backend served from its cache.
        cached_input_per_1m: f64,
    }

    /// What is known about one model.
    pub struct ModelCard {
        /// Name by which decisions refer to the model; unique.
        name: String,
        /// Size such as `7B`.
        param_size: String,
        /// Context window in tokens; 0 when unknown.
        context_window_size: i64,
        /// What the model is good at, in words.
        description: String,
        /// Free labels such as `chat`, `vision`.
        capabilities: Vec<String>,
        /// Adapters served on the same backend.
        loras: Vec<Lora>,
        /// Quality in [0,1]; 0 when unknown.
        quality_score: f64,
        /// `ar`, `diffusion` or `omni`.
        modality: String,
        /// Free labels.
        tags: Vec<String>,
    }

    /// A LoRA adapter of a model.
    pub struct Lora {
        /// Name; a valid `default_model` and `lora_name`.
        name: String,
        /// What the adapter is good at.
        description: String,
    }
}
