//! From the configuration contract to what each room is told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pintle_config::endpoint::{self, Endpoint};
use pintle_config::secrets::{Secret, Secrets};
use pintle_config::{BackendRef, Config, ProviderModel, Workers, is_pseudo_listener};
use pintle_dataplane::io::runtime::DriverChoice;
use pintle_dataplane::json::text::quote_into;
use pintle_dataplane::settings::{
    Limits, ListenerSettings, PoolSettings, SessionSettings, Settings, Startup, Timeouts,
};
use pintle_dataplane::upstream::{BackendSpec, TlsClient, Trust};
use pintle_routing::policy::Policy;

use crate::loopers;
use crate::trust::{self, TrustError};

/// Length of accept queues; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Bytes of an unstreamed answer, or of one event, that are read for usage and tool calls.
const OBSERVED_BYTES: usize = 8 << 20;

/// Why a configuration that loads cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("no listener: the configuration names none that speaks HTTP to clients")]
    NoListener,
    #[error("listener {name}: {address:?} is not an IP address")]
    ListenerAddress { name: String, address: String },
    #[error("listener {name}: port {port} is out of range")]
    ListenerPort { name: String, port: i64 },
    #[error("global.pintle.admin.listen: {0:?} is not an address and port")]
    AdminAddress(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// What is fixed for the life of the process.
pub(crate) fn startup(
    config: &Config,
    driver: Option<DriverChoice>,
    workers: Option<u16>,
    process_random: u64,
) -> Result<Startup, WireError> {
    let pintle = &config.global.pintle;
    let listeners = config
        .listeners
        .iter()
        .filter(|listener| !is_pseudo_listener(&listener.name, listener.port))
        .map(|listener| {
            let ip: IpAddr = match listener.address.trim() {
                "" => IpAddr::from([0, 0, 0, 0]),
                "localhost" => IpAddr::from([127, 0, 0, 1]),
                text => text.parse().map_err(|_| WireError::ListenerAddress {
                    name: listener.name.clone(),
                    address: listener.address.clone(),
                })?,
            };
            let port = u16::try_from(listener.port).ok().filter(|port| *port != 0).ok_or_else(|| {
                WireError::ListenerPort { name: listener.name.clone(), port: listener.port }
            })?;
            Ok(ListenerSettings {
                name: listener.name.clone(),
                address: SocketAddr::new(ip, port),
                api_keys: listener.api_keys.iter().map(|key| key.expose().to_owned()).collect(),
            })
        })
        .collect::<Result<Vec<_>, WireError>>()?;
    if listeners.is_empty() {
        return Err(WireError::NoListener);
    }
    let cores = available_cores();
    // More workers than cores: the surplus is left unpinned.
    let counted =
        |count: u16| (0..usize::from(count.max(1))).map(|index| cores.get(index).copied()).collect();
    let workers = match (workers, &pintle.workers) {
        (Some(count), _) => counted(count),
        (None, Workers::Count(count)) => counted(*count),
        (None, Workers::All) => cores.iter().copied().map(Some).collect(),
        (None, Workers::Cores(named)) => named.iter().map(|core| Some(usize::from(*core))).collect(),
    };
    let driver = driver.unwrap_or(match pintle.driver {
        pintle_config::Driver::Auto => DriverChoice::Auto,
        pintle_config::Driver::IoUring => DriverChoice::IoUring,
        pintle_config::Driver::Epoll => DriverChoice::Epoll,
    });
    Ok(Startup { listeners, workers, driver, backlog: BACKLOG, process_random })
}

/// Cores that this process may run on.
fn available_cores() -> Vec<usize> {
    let list = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = list.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    let mut cores = Vec::new();
    for range in allowed.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    if cores.is_empty() {
        cores.push(0);
    }
    cores
}

/// What a reload may change.
pub(crate) fn settings(config: &Config) -> Settings {
    let pintle = &config.global.pintle;
    let ms = |value: u32| Duration::from_millis(value.into());
    let router = &config.global.router;
    let mut listed_models = vec![router.auto_model_name.clone()];
    if router.include_config_models_in_list {
        for card in &config.routing.model_cards {
            listed_models.push(card.name.clone());
            listed_models.extend(card.loras.iter().map(|lora| lora.name.clone()));
        }
    }
    Settings {
        limits: Limits {
            head_bytes: pintle.limits.head_bytes as usize,
            body_bytes: usize::try_from(pintle.limits.body_bytes).unwrap_or(usize::MAX),
            buffered_bytes: usize::try_from(pintle.limits.buffered_bytes).unwrap_or(usize::MAX),
            max_connections: pintle.limits.max_connections as usize,
            headers: pintle.limits.headers.into(),
            observed_bytes: OBSERVED_BYTES,
        },
        timeouts: Timeouts {
            head: ms(pintle.timeouts.head_ms),
            body_idle: ms(pintle.timeouts.body_idle_ms),
            connect: ms(pintle.timeouts.connect_ms),
            first_byte: ms(pintle.timeouts.first_byte_ms),
            stream_idle: ms(pintle.timeouts.stream_idle_ms),
            client_write: ms(pintle.timeouts.client_write_ms),
            half_closed: ms(pintle.timeouts.half_closed_ms),
            keep_alive: ms(pintle.timeouts.keep_alive_ms),
            drain: ms(pintle.timeouts.drain_ms),
            retire: ms(pintle.timeouts.upgrade_drain_ms),
        },
        pool: PoolSettings {
            idle_per_backend: pintle.pool.idle_per_backend as usize,
            idle: ms(pintle.pool.idle_ms),
        },
        session: SessionSettings {
            header: pintle.session.header.to_ascii_lowercase(),
            tool_loop_ttl_ms: u64::from(pintle.session.tool_loop_ttl_seconds) * 1000,
            provider_state_ttl_ms: u64::from(pintle.session.provider_state_ttl_seconds) * 1000,
        },
        looper: loopers::settings(config),
        prefers_near: pintle.balance == pintle_config::Balance::Near,
        tells_of_backends: pintle.telemetry != pintle_config::Telemetry::Off,
        listed_models,
        record_inputs: false,
        trusted_identity: pintle.trusted_identity,
    }
}

/// Where the admin API listens on TCP, if anywhere.
pub(crate) fn admin_listen(config: &Config) -> Result<Option<SocketAddr>, WireError> {
    match config.global.pintle.admin.listen.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| WireError::AdminAddress(text.to_owned())),
    }
}

/// The directory for session memory and journal.
pub(crate) fn state_dir(config: &Config, given: Option<PathBuf>) -> PathBuf {
    given
        .or_else(crate::environment::state_directory)
        .unwrap_or_else(|| PathBuf::from(&config.global.pintle.state_dir))
}

/// What became of the configured backends.
pub(crate) struct Wired {
    /// Per model of the policy, in its order.
    pub(crate) models: Vec<(String, Vec<BackendSpec>)>,
    /// What an operator should know about those that were left out.
    pub(crate) warnings: Vec<String>,
}

/// The backends of every model of `policy`.
///
/// # Errors
/// A backend speaks TLS, and what `global.pintle.tls` names cannot be used.
pub(crate) fn backends(config: &Config, policy: &Policy, secrets: &Secrets) -> Result<Wired, WireError> {
    let refs = config.providers.models.iter().flat_map(|provider| &provider.backend_refs);
    let trust = match refs.map(place).any(|place| place.https) {
        true => Some(trust::load(&config.global.pintle.tls)?),
        false => None,
    };
    let mut warnings = Vec::new();
    let models = policy
        .models()
        .iter()
        .map(|model| {
            let mut specs = Vec::new();
            // Upstream keeps the endpoints of every entry of that name.
            let entries = config.providers.models.iter().enumerate();
            for (entry, provider) in entries.filter(|(_, provider)| provider.name == model.name) {
                for (index, backend) in provider.backend_refs.iter().enumerate() {
                    let key = secrets.key(entry, index);
                    match backend_spec(config, provider, backend, index, key, trust.as_ref()) {
                        Ok(spec) => specs.push(spec),
                        Err(why) => warnings.push(format!("model {}: {why}", model.name)),
                    }
                }
            }
            (model.name.clone(), specs)
        })
        .collect();
    Ok(Wired { models, warnings })
}

/// Where a backend is: a provider's URL counts before its endpoint.
fn address(backend: &BackendRef) -> &str {
    if backend.base_url.is_empty() { &backend.endpoint } else { &backend.base_url }
}

fn place(backend: &BackendRef) -> Endpoint {
    endpoint::split(address(backend), &backend.protocol)
}

fn backend_spec(
    config: &Config,
    provider: &ProviderModel,
    backend: &BackendRef,
    index: usize,
    key: Option<&Secret>,
    trust: Option<&Arc<Trust>>,
) -> Result<BackendSpec, String> {
    let name = match (backend.name.is_empty(), index) {
        (false, _) => backend.name.clone(),
        (true, 0) => "primary".to_owned(),
        (true, index) => format!("backend-{}", index + 1),
    };
    let place = place(backend);
    if place.host.is_empty() {
        return Err(format!("backend {name}: no host in {:?}; it is left out", address(backend)));
    }
    let tls = match trust.filter(|_| place.https) {
        Some(trust) => Some(TlsClient::new(&place.host, trust).map_err(|_| {
            format!(
                "backend {name}: {:?} is not a host that a certificate can be for; it is left out",
                place.host
            )
        })?),
        None => None,
    };
    let paths = paths(provider, backend, &place.path);
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Some(key) = key {
        let (header, prefix) = match backend.provider.as_str() {
            "anthropic" => ("x-api-key", ""),
            "" if is_anthropic(provider) => ("x-api-key", ""),
            "azure-openai" => ("api-key", ""),
            _ => ("Authorization", "Bearer"),
        };
        let header = if backend.auth_header.is_empty() { header } else { &backend.auth_header };
        let prefix = match (&*backend.auth_prefix, backend.auth_header.is_empty()) {
            ("", true) => prefix,
            (given, _) => given,
        };
        let value = if prefix.is_empty() {
            key.expose().to_owned()
        } else {
            format!("{} {}", prefix.trim_end(), key.expose())
        };
        headers.push((header.to_owned(), value));
    }
    headers.extend(backend.extra_headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    let default_port = if place.https { 443 } else { 80 };
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    let card = config.routing.model_cards.iter().find(|card| card.name == provider.name);
    Ok(BackendSpec {
        name,
        authority: if place.port == default_port { host } else { format!("{host}:{}", place.port) },
        plain_effort: backend.provider == "openai" && place.host == "api.openai.com",
        host: place.host,
        port: place.port,
        chat_path: paths.chat,
        responses_path: paths.responses,
        messages_path: paths.messages,
        weight: u32::try_from(backend.weight).unwrap_or(1).max(1),
        model_literal: literal(upstream_model(provider, backend)),
        lora_literals: card
            .map(|card| card.loras.iter().map(|lora| literal(&lora.name)).collect())
            .unwrap_or_default(),
        headers,
        tls,
    })
}

/// Request targets by API.
struct Paths {
    chat: Option<String>,
    responses: Option<String>,
    messages: Option<String>,
}

fn is_anthropic(provider: &ProviderModel) -> bool {
    provider.api_format == "anthropic"
}

/// Which APIs a backend speaks, and where. By `api_format` and the backend's `provider`; a server of no named
/// provider is taken for vLLM and its like, which serve all three side by side.
fn paths(provider: &ProviderModel, backend: &BackendRef, base: &str) -> Paths {
    let prefix = base.trim_end_matches('/');
    let profiled = !backend.base_url.is_empty();
    let given = match &*backend.chat_path {
        "" => None,
        path if path.starts_with('/') => Some(path.to_owned()),
        path => Some(format!("/{path}")),
    };
    let versioned = |path: String| match &*backend.api_version {
        "" => path,
        version => format!("{path}?api-version={version}"),
    };
    // Anthropic's SDKs name the host alone.
    let version = if prefix.ends_with("/v1") { "" } else { "/v1" };
    if is_anthropic(provider) {
        let messages = given.unwrap_or_else(|| format!("{prefix}{version}/messages"));
        return Paths { chat: None, responses: None, messages: Some(versioned(messages)) };
    }
    const CHAT: &str = "/chat/completions";
    let suffix = if backend.provider == "minimax" { "/v1/chat/completions" } else { CHAT };
    let chat = given.unwrap_or_else(|| match (prefix, profiled) {
        ("", false) => format!("/v1{suffix}"),
        (prefix, _) if backend.provider == "anthropic" => format!("{prefix}{version}{suffix}"),
        (prefix, _) => format!("{prefix}{suffix}"),
    });
    let beside = |path: &str| Some(versioned(format!("{}{path}", chat.strip_suffix(CHAT)?)));
    let (responses, messages) = match &*backend.provider {
        "" | "vllm" => (beside("/responses"), beside("/messages")),
        "openai" => (beside("/responses"), None),
        "anthropic" => (None, beside("/messages")),
        _ => (None, None),
    };
    Paths { chat: Some(versioned(chat)), responses, messages }
}

/// The model's name at this backend: by the backend's type, its provider, then what upstream calls the
/// default, then the model's own id, then its name here. v0.3.0 stops after the type; see the trap on
/// upstream model ids in docs/configuration.md.
fn upstream_model<'a>(provider: &'a ProviderModel, backend: &'a BackendRef) -> &'a str {
    let ids = &provider.external_model_ids;
    [backend.kind.as_str(), &backend.provider, "vllm", "default"]
        .iter()
        .filter(|key| !key.is_empty())
        .find_map(|key| ids.get(*key).filter(|id| !id.is_empty()))
        .map(String::as_str)
        .or_else(|| Some(provider.provider_model_id.as_str()).filter(|id| !id.is_empty()))
        .unwrap_or(&provider.name)
}

fn literal(name: &str) -> Arc<[u8]> {
    let mut text = Vec::with_capacity(name.len() + 2);
    quote_into(name, &mut text);
    text.into()
}
