//! One place where a model is served, and what is known about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use pintle_routing::facts::Dialect;
use smallvec::SmallVec;

use super::trust::TlsClient;
use super::wire::Wire;

/// What the binary says about a backend.
#[derive(Debug, Clone)]
pub struct BackendSpec {
    /// Name within the model.
    pub name: String,
    /// Host as configured: a name or an address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of the Host header.
    pub authority: String,
    /// Request target of chat completions; `None` where they are not spoken.
    pub chat_path: Option<String>,
    /// Request target of OpenAI's Responses; `None` where they are not spoken.
    pub responses_path: Option<String>,
    /// Request target of Anthropic's Messages; `None` where they are not spoken.
    pub messages_path: Option<String>,
    /// Share of the model's traffic, at least 1.
    pub weight: u32,
    /// The model as this backend knows it: a JSON string with its quotes.
    pub model_literal: Arc<[u8]>,
    /// The same per LoRA adapter, in the order of the model card.
    pub lora_literals: Vec<Arc<[u8]>>,
    /// Headers that each request gets: credentials and the like. Client headers of the same name are dropped.
    pub headers: Vec<(String, String)>,
    /// Takes a reasoning effort as a parameter of the request, as OpenAI's own servers do, and not of the chat
    /// template.
    pub plain_effort: bool,
    /// How to speak TLS; `None` where it is not spoken.
    pub tls: Option<TlsClient>,
}

impl BackendSpec {
    /// Request target of an API; `None` if the backend does not speak it.
    pub fn path(&self, dialect: Dialect) -> Option<&str> {
        match dialect {
            Dialect::OpenAiChat => self.chat_path.as_deref(),
            Dialect::OpenAiResponses => self.responses_path.as_deref(),
            Dialect::AnthropicMessages => self.messages_path.as_deref(),
        }
    }
}

/// Whether a backend has answered lately. Shared by all workers, kept across reloads.
///
/// # When it trips
/// After [`Health::TRIP`] failures in a row to connect or to get a first byte. It is then skipped for
/// [`Health::FIRST_REST_MS`], doubled at each further failure up to [`Health::LONGEST_REST_MS`].
///
/// # When it recovers
/// After the rest one request is let through as a probe; its success clears the record. A backend is
/// never skipped when every other backend of its model is down too: a request may as well try.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    down_until_ms: AtomicU64,
    in_flight: AtomicU32,
    /// The way there.
    pub wire: Wire,
}

impl Health {
    /// Failures in a row that trip a backend.
    pub const TRIP: u32 = 3;
    /// First rest in milliseconds.
    pub const FIRST_REST_MS: u64 = 1_000;
    /// Longest rest in milliseconds.
    pub const LONGEST_REST_MS: u64 = 30_000;

    /// Whether requests should be sent here at `now_ms`.
    pub fn is_up(&self, now_ms: u64) -> bool {
        self.down_until_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// A first byte came.
    pub fn succeeded(&self) {
        // Written only when it changes: the line stays shared between workers.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.down_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// No connection, or no first byte. Returns whether this failure took the backend down.
    pub fn failed(&self, now_ms: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < Self::TRIP {
            return false;
        }
        let rest = Self::FIRST_REST_MS << (failures - Self::TRIP).min(5);
        self.down_until_ms.store(now_ms + rest.min(Self::LONGEST_REST_MS), Ordering::Relaxed);
        true
    }

    /// Requests now at this backend.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in, until the guard drops.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

/// A request at a backend.
pub struct InFlight(Arc<Health>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A backend of the running policy.
#[derive(Debug)]
pub struct Backend {
    /// As configured.
    pub spec: BackendSpec,
    /// What its host name stands for; empty while it cannot be resolved.
    pub addresses: ArcSwap<Vec<SocketAddr>>,
    /// Shared with the same backend of earlier and later policies.
    pub health: Arc<Health>,
    /// What tells idle connections to this backend from others; the same after a reload.
    pub connections: u32,
}

static NEXT_CONNECTIONS: AtomicU32 = AtomicU32::new(0);

impl Backend {
    /// A backend, which keeps the health, the addresses and the TLS sessions that it had before.
    fn new(mut spec: BackendSpec, before: Option<&Arc<Self>>) -> Self {
        if let Some(before) = before {
            spec.tls.clone_from(&before.spec.tls);
        }
        let addresses = match (spec.host.parse(), before) {
            (Ok(ip), _) => Arc::new(vec![SocketAddr::new(ip, spec.port)]),
            (Err(_), Some(before)) => before.addresses.load_full(),
            (Err(_), None) => Arc::default(),
        };
        Self {
            addresses: ArcSwap::new(addresses),
            health: before.map(|backend| backend.health.clone()).unwrap_or_default(),
            connections: before.map_or_else(
                || NEXT_CONNECTIONS.fetch_add(1, Ordering::Relaxed),
                |backend| backend.connections,
            ),
            spec,
        }
    }

    /// Addresses of a name that one connection tries.
    pub const ADDRESSES_TRIED: usize = 4;

    fn serves(&self, spec: &BackendSpec) -> bool {
        (&self.spec.host, self.spec.port, &self.spec.tls, &self.spec.name)
            == (&spec.host, spec.port, &spec.tls, &spec.name)
    }

    /// The addresses to connect to, in this order, at most [`Backend::ADDRESSES_TRIED`]; `turn` spreads over several.
    pub fn addresses(&self, turn: usize) -> SmallVec<[SocketAddr; Backend::ADDRESSES_TRIED]> {
        let addresses = self.addresses.load();
        let first = turn % addresses.len().max(1);
        addresses
            .iter()
            .cycle()
            .skip(first)
            .take(addresses.len().min(Self::ADDRESSES_TRIED))
            .copied()
            .collect()
    }
}

/// The backends of one model.
#[derive(Debug, Default)]
pub struct ModelBackends {
    /// Canonical model name.
    pub name: String,
    /// In configured order; empty for a model that cannot be reached.
    pub backends: Vec<Arc<Backend>>,
}

impl ModelBackends {
    /// Whether any backend can be tried.
    pub fn is_up(&self, now_ms: u64) -> bool {
        self.backends.iter().any(|backend| backend.health.is_up(now_ms))
    }

    /// Requests in flight at all backends.
    pub fn in_flight(&self) -> u32 {
        self.backends.iter().map(|backend| backend.health.in_flight()).sum()
    }
}

/// The backends of all models, indexed by the policy's model ids.
#[derive(Debug, Default)]
pub struct Upstreams {
    /// In the order of `policy.models()`.
    pub models: Vec<ModelBackends>,
    /// Servers that are no model's, by the URL that the configuration has for them.
    pub services: Vec<Arc<Backend>>,
}

impl Upstreams {
    /// Builds the backends; one that `earlier` had at the same address keeps its health and addresses.
    pub fn build(
        models: Vec<(String, Vec<BackendSpec>)>,
        services: Vec<BackendSpec>,
        earlier: Option<&Upstreams>,
    ) -> Self {
        let backend = |spec: BackendSpec| {
            let before = earlier.and_then(|earlier| earlier.all().find(|backend| backend.serves(&spec)));
            Arc::new(Backend::new(spec, before))
        };
        let models = models
            .into_iter()
            .map(|(name, specs)| ModelBackends { name, backends: specs.into_iter().map(backend).collect() })
            .collect();
        Self { models, services: services.into_iter().map(backend).collect() }
    }

    /// The server that the configuration knows by this URL.
    pub fn service(&self, url: &str) -> Option<&Arc<Backend>> {
        self.services.iter().find(|backend| backend.spec.name == url)
    }

    /// Every backend.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.models.iter().flat_map(|model| &model.backends).chain(&self.services)
    }
}
