//! Guard: SYNs are judged where they come in, before they cost a connection.
//!
//! A list of prefixes, of which the longest that holds decides, denies or allows; what no rule decides is held
//! to a rate per source. In [`Mode::Count`], the default, verdicts are only counted. Packets that begin no
//! connection always pass.
//!
//! The program sits in XDP, in the driver where the driver can; where an interface takes no XDP program, or has
//! one already, it sits in tcx, after the driver has made a packet buffer.

mod prefix;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::XdpMode;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, EbpfLoader};
use pintle_ebpf_common::guard::{ALLOW, DENY, MODE_COUNT, MODE_ENFORCE, MODE_OFF, Rule, Settings, Source};
use serde::Serialize;

pub use pintle_ebpf_common::guard::{Counters, PORTS as MAX_PORTS, RULES as MAX_RULES};
pub use prefix::{Prefix, PrefixError};

use crate::status::Unavailable;
use crate::{caps, loaded, object, sys};

/// What verdicts lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is looked at.
    Off,
    /// They are counted.
    #[default]
    Count,
    /// They are counted, and what is denied or too much is dropped.
    Enforce,
}

/// Where the program may sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hook {
    /// In XDP, else in tcx.
    #[default]
    Auto,
    /// In XDP or nowhere.
    Xdp,
    /// In tcx or nowhere.
    Tcx,
}

/// How many SYNs one source may send: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

/// What is guarded, and against what.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of interfaces. Changing them takes a new [`Guard`].
    pub interfaces: Vec<String>,
    /// Where the program may sit. Changing it takes a new [`Guard`].
    pub hook: Hook,
    /// What verdicts lead to.
    pub mode: Mode,
    /// TCP ports, at most [`MAX_PORTS`]; none: all.
    pub ports: Vec<u16>,
    /// Limit per source; `None`: none.
    pub rate: Option<Rate>,
    /// What the configuration denies.
    pub deny: Vec<Prefix>,
    /// What the configuration allows, past the rate too.
    pub allow: Vec<Prefix>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// SYNs are dropped, or in [`Mode::Count`] counted.
    Deny,
    /// SYNs pass, past the rate too.
    Allow,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It stands in the configuration, and goes when it no longer does.
    Configuration,
    /// Somebody made it at run time.
    Operator,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// For whom.
    pub prefix: Prefix,
    /// What it says.
    pub verdict: Verdict,
    /// Where it comes from.
    pub origin: Origin,
    /// SYNs that it decided.
    pub hits: u64,
    /// Seconds until it ends; `None`: never.
    pub expires_in_s: Option<u64>,
}

/// One source of SYNs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceView {
    /// Who.
    pub prefix: Prefix,
    /// SYNs that no rule decided.
    pub syns: u64,
    /// Of these, those above the rate.
    pub over_rate: u64,
}

/// An interface, and where its program sits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// `xdp` or `tcx`.
    pub hook: &'static str,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// No room.
    #[error("at most {MAX_RULES} rules per address family, and {MAX_PORTS} ports")]
    Full,
    /// The kernel refused.
    #[error("the kernel did not change the rules: {0}")]
    Kernel(String),
}

impl From<aya::maps::MapError> for GuardError {
    fn from(error: aya::maps::MapError) -> Self {
        if let aya::maps::MapError::SyscallError(call) = &error
            && matches!(call.io_error.raw_os_error(), Some(libc::ENOSPC | libc::E2BIG))
        {
            return Self::Full;
        }
        Self::Kernel(Unavailable::because("map", &error).why)
    }
}

struct Maps {
    settings: Array<MapData, Settings>,
    ports: HashMap<MapData, u16, u8>,
    rules4: LpmTrie<MapData, [u8; 4], Rule>,
    rules6: LpmTrie<MapData, [u8; 16], Rule>,
    sources: HashMap<MapData, [u8; 16], Source>,
    counters: PerCpuArray<MapData, Counters>,
}

/// Programs on interfaces, until it is dropped or the process ends.
pub struct Guard {
    maps: Mutex<Maps>,
    attachments: Vec<Attachment>,
    programs: Vec<u32>,
    /// Closing these detaches.
    _links: Vec<FdLink>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("attachments", &self.attachments).finish_non_exhaustive()
    }
}

impl Guard {
    /// Attaches to every interface of `options`, or to none. Needs CAP_BPF and CAP_NET_ADMIN; nothing later does.
    ///
    /// # Errors
    /// Why the kernel does not guard.
    pub fn attach(options: &Options) -> Result<Self, Unavailable> {
        if options.interfaces.is_empty() {
            return Err(Unavailable::new("no interfaces named"));
        }
        let needs = [(caps::BPF, "CAP_BPF"), (caps::NET_ADMIN, "CAP_NET_ADMIN")];
        let mut ebpf = object::load(&mut EbpfLoader::new(), object::GUARD, &needs)?;
        let maps = Maps {
            settings: object::map(&mut ebpf, "SETTINGS")?,
            ports: object::map(&mut ebpf, "PORTS")?,
            rules4: object::map(&mut ebpf, "RULES4")?,
            rules6: object::map(&mut ebpf, "RULES6")?,
            sources: object::map(&mut ebpf, "SOURCES")?,
            counters: object::map(&mut ebpf, "COUNTERS")?,
        };
        let mut guard = Self::with(maps);
        // Before the first packet is judged.
        guard.apply(options).map_err(|error| Unavailable::new(error.to_string()))?;
        for interface in &options.interfaces {
            let (hook, link) = place(&mut ebpf, interface, options.hook)
                .map_err(|error| Unavailable::new(format!("{interface}: {error}")))?;
            guard._links.push(link);
            guard.attachments.push(Attachment { interface: interface.clone(), hook });
        }
        guard.programs = ["pintle_guard_xdp", "pintle_guard_tcx"]
            .iter()
            .filter_map(|name| Some(ebpf.program(name)?.info().ok()?.id()))
            .collect();
        Ok(guard)
    }

    /// The guards that run on this machine, of whatever process, to look at and to change: dropping one of these
    /// detaches nothing, and [`Self::attachments`] is empty. Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn running() -> Result<Vec<Self>, Unavailable> {
        let mut guards = Vec::new();
        for ids in loaded::guards()? {
            let mut maps: std::collections::HashMap<String, MapData> = ids
                .into_iter()
                .filter_map(|id| MapData::from_id(id).ok())
                .filter_map(|map| Some((map.info().ok()?.name_as_str()?.to_owned(), map)))
                .collect();
            guards.extend(Maps::of(&mut maps).map(Self::with));
        }
        Ok(guards)
    }

    fn with(maps: Maps) -> Self {
        Self { maps: Mutex::new(maps), attachments: Vec::new(), programs: Vec::new(), _links: Vec::new() }
    }

    /// The kernel's numbers of the programs.
    pub fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// What verdicts lead to.
    pub fn mode(&self) -> Mode {
        match self.maps().settings.get(&0, 0).map(|settings| settings.mode) {
            Ok(MODE_ENFORCE) => Mode::Enforce,
            Ok(MODE_COUNT) => Mode::Count,
            _ => Mode::Off,
        }
    }

    /// Where the programs sit.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts mode, ports, rate and the configuration's rules into force. Rules that an operator made stay, except
    /// that the configuration's word on the same prefix replaces them.
    ///
    /// # Errors
    /// Too many rules or ports; what fitted is in force.
    pub fn apply(&self, options: &Options) -> Result<(), GuardError> {
        let mut maps = self.maps();
        let ports: HashSet<u16> = options.ports.iter().copied().collect();
        if ports.len() > MAX_PORTS as usize {
            return Err(GuardError::Full);
        }
        let stale: Vec<u16> =
            maps.ports.keys().filter_map(Result::ok).filter(|port| !ports.contains(port)).collect();
        for port in stale {
            forget(maps.ports.remove(&port))?;
        }
        for port in &ports {
            maps.ports.insert(port, 1, 0)?;
        }
        maps.settings.set(0, settings(options), 0)?;
        let wanted: HashSet<Prefix> = options.deny.iter().chain(&options.allow).copied().collect();
        let present = maps.rules();
        for (prefix, rule) in &present {
            if rule.origin == Origin::Configuration as u32 && !wanted.contains(prefix) {
                maps.remove(*prefix)?;
            }
        }
        // Allowed ones last: they win where both lists name a prefix.
        for (prefixes, verdict) in [(&options.deny, Verdict::Deny), (&options.allow, Verdict::Allow)] {
            for prefix in prefixes {
                let hits = present.iter().find(|(other, _)| other == prefix).map_or(0, |(_, rule)| rule.hits);
                maps.insert(*prefix, rule(verdict, Origin::Configuration, None, hits))?;
            }
        }
        Ok(())
    }

    /// Denies `prefix`, for `lasting` or for good, in place of an earlier rule on the same prefix.
    ///
    /// # Errors
    /// No room for a new rule.
    pub fn deny(&self, prefix: Prefix, lasting: Option<Duration>) -> Result<(), GuardError> {
        self.maps().insert(prefix, rule(Verdict::Deny, Origin::Operator, lasting, 0))
    }

    /// Allows `prefix`, for `lasting` or for good, in place of an earlier rule on the same prefix.
    ///
    /// # Errors
    /// No room for a new rule.
    pub fn allow(&self, prefix: Prefix, lasting: Option<Duration>) -> Result<(), GuardError> {
        self.maps().insert(prefix, rule(Verdict::Allow, Origin::Operator, lasting, 0))
    }

    /// Forgets the rule on exactly `prefix`, and says whether there was one.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove(&self, prefix: Prefix) -> Result<bool, GuardError> {
        self.maps().remove(prefix)
    }

    /// Forgets rules whose time is over, and says how many. Until then such a rule decides nothing, but hides
    /// shorter prefixes: to be called about once a second.
    pub fn expire(&self) -> usize {
        let mut maps = self.maps();
        let now = sys::boot_ns();
        let over: Vec<Prefix> = maps
            .rules()
            .into_iter()
            .filter(|(_, rule)| rule.expires_ns != 0 && rule.expires_ns <= now)
            .map(|(prefix, _)| prefix)
            .collect();
        over.into_iter().filter(|prefix| maps.remove(*prefix).unwrap_or(false)).count()
    }

    /// All rules in force, in the order of their prefixes.
    pub fn rules(&self) -> Vec<RuleView> {
        let now = sys::boot_ns();
        let mut rules: Vec<RuleView> = self
            .maps()
            .rules()
            .into_iter()
            .filter(|(_, rule)| rule.expires_ns == 0 || rule.expires_ns > now)
            .map(|(prefix, rule)| RuleView {
                prefix,
                verdict: if rule.verdict == ALLOW { Verdict::Allow } else { Verdict::Deny },
                origin: if rule.origin == 0 { Origin::Configuration } else { Origin::Operator },
                hits: rule.hits,
                expires_in_s: (rule.expires_ns != 0).then(|| (rule.expires_ns - now).div_ceil(1_000_000_000)),
            })
            .collect();
        rules.sort_unstable_by_key(|rule| rule.prefix);
        rules
    }

    /// The sources that sent most above their rate, at most `count` of them, then those that sent most.
    pub fn sources(&self, count: usize) -> Vec<SourceView> {
        let mut sources: Vec<SourceView> = self
            .maps()
            .sources
            .iter()
            .filter_map(Result::ok)
            .filter_map(|(key, source)| {
                let address = IpAddr::from(key);
                let bits =
                    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) { 128 } else { 64 };
                let prefix = Prefix::new(address, bits).ok()?;
                Some(SourceView { prefix, syns: source.syns, over_rate: source.over })
            })
            .collect();
        sources.sort_unstable_by_key(|source| std::cmp::Reverse((source.over_rate, source.syns)));
        sources.truncate(count);
        sources
    }

    /// What happened to SYNs since the guard was attached.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        let maps = self.maps();
        let Ok(cpus) = maps.counters.get(&0, 0) else { return sum };
        for cpu in cpus.iter() {
            sum.syns += cpu.syns;
            sum.denied += cpu.denied;
            sum.allowed += cpu.allowed;
            sum.over_rate += cpu.over_rate;
            sum.dropped += cpu.dropped;
            sum.unreadable += cpu.unreadable;
            sum.unremembered += cpu.unremembered;
        }
        sum
    }
}

impl Maps {
    /// From another process's, by name.
    fn of(maps: &mut std::collections::HashMap<String, MapData>) -> Option<Self> {
        let mut take = |name: &str| maps.remove(name);
        Some(Self {
            settings: Array::try_from(Map::Array(take("SETTINGS")?)).ok()?,
            ports: HashMap::try_from(Map::HashMap(take("PORTS")?)).ok()?,
            rules4: LpmTrie::try_from(Map::LpmTrie(take("RULES4")?)).ok()?,
            rules6: LpmTrie::try_from(Map::LpmTrie(take("RULES6")?)).ok()?,
            sources: HashMap::try_from(Map::LruHashMap(take("SOURCES")?)).ok()?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(take("COUNTERS")?)).ok()?,
        })
    }

    fn insert(&mut self, prefix: Prefix, rule: Rule) -> Result<(), GuardError> {
        let bits = u32::from(prefix.bits());
        match prefix.address() {
            IpAddr::V4(v4) => self.rules4.insert(&Key::new(bits, v4.octets()), rule, 0)?,
            IpAddr::V6(v6) => self.rules6.insert(&Key::new(bits, v6.octets()), rule, 0)?,
        }
        Ok(())
    }

    fn remove(&mut self, prefix: Prefix) -> Result<bool, GuardError> {
        let bits = u32::from(prefix.bits());
        forget(match prefix.address() {
            IpAddr::V4(v4) => self.rules4.remove(&Key::new(bits, v4.octets())),
            IpAddr::V6(v6) => self.rules6.remove(&Key::new(bits, v6.octets())),
        })
    }

    fn rules(&self) -> Vec<(Prefix, Rule)> {
        let v4 = self.rules4.iter().filter_map(Result::ok);
        let v6 = self.rules6.iter().filter_map(Result::ok);
        v4.map(|(key, rule)| (IpAddr::from(key.data()), key.prefix_len(), rule))
            .chain(v6.map(|(key, rule)| (IpAddr::from(key.data()), key.prefix_len(), rule)))
            .filter_map(|(address, bits, rule)| Some((Prefix::new(address, bits as u8).ok()?, rule)))
            .collect()
    }
}

/// What was not there needs not be removed.
fn forget(result: Result<(), aya::maps::MapError>) -> Result<bool, GuardError> {
    use aya::maps::MapError;
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(false),
        Err(MapError::SyscallError(call)) if call.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn settings(options: &Options) -> Settings {
    let (interval_ns, burst_ns) = options.rate.map_or((0, 0), |rate| {
        let interval = 1_000_000_000 / u64::from(rate.per_second.max(1));
        (interval.max(1), interval.max(1) * u64::from(rate.burst.max(1) - 1))
    });
    let mode = match options.mode {
        Mode::Off => MODE_OFF,
        Mode::Count => MODE_COUNT,
        Mode::Enforce => MODE_ENFORCE,
    };
    Settings { mode, all_ports: options.ports.is_empty().into(), interval_ns, burst_ns, reserved: 0 }
}

fn rule(verdict: Verdict, origin: Origin, lasting: Option<Duration>, hits: u64) -> Rule {
    let expires_ns = lasting.map_or(0, |lasting| {
        sys::boot_ns().saturating_add(u64::try_from(lasting.as_nanos()).unwrap_or(u64::MAX))
    });
    let verdict = match verdict {
        Verdict::Deny => DENY,
        Verdict::Allow => ALLOW,
    };
    Rule { expires_ns, hits, verdict, origin: origin as u32 }
}

/// Attaches by a link that ends with its descriptor: on kernels that only have attachments which outlive the
/// process there is no guard.
fn place(ebpf: &mut Ebpf, interface: &str, hook: Hook) -> Result<(&'static str, FdLink), String> {
    if interface.is_empty() || interface.len() >= libc::IFNAMSIZ || interface.contains('\0') {
        return Err("not the name of an interface".to_owned());
    }
    let first = match hook {
        Hook::Auto | Hook::Xdp => xdp(ebpf, interface),
        Hook::Tcx => Err(String::new()),
    };
    match (first, hook) {
        (Ok(link), _) => Ok(("xdp", link)),
        (Err(why), Hook::Xdp) => Err(format!("no XDP: {why}")),
        (Err(_), Hook::Tcx) => tcx(ebpf, interface).map(|link| ("tcx", link)),
        (Err(why), Hook::Auto) => match tcx(ebpf, interface) {
            Ok(link) => Ok(("tcx", link)),
            Err(error) => Err(format!("no XDP: {why}; no tcx: {error}")),
        },
    }
}

fn xdp(ebpf: &mut Ebpf, interface: &str) -> Result<FdLink, String> {
    let program: &mut Xdp = object::program(ebpf, "pintle_guard_xdp").map_err(|error| error.why)?;
    if program.fd().is_err() {
        program.load().map_err(|error| Unavailable::because("load", &error).why)?;
    }
    let link = program
        .attach(interface, XdpMode::Default)
        .and_then(|id| program.take_link(id))
        .map_err(|error| Unavailable::because("attach", &error).why)?;
    FdLink::try_from(link).map_err(|_| "the kernel has no links for XDP".to_owned())
}

fn tcx(ebpf: &mut Ebpf, interface: &str) -> Result<FdLink, String> {
    let program: &mut SchedClassifier =
        object::program(ebpf, "pintle_guard_tcx").map_err(|error| error.why)?;
    if program.fd().is_err() {
        program.load().map_err(|error| Unavailable::because("load", &error).why)?;
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(interface, TcAttachType::Ingress, options)
        .and_then(|id| program.take_link(id))
        .map_err(|error| Unavailable::because("attach", &error).why)?;
    FdLink::try_from(link).map_err(|_| "the kernel has no tcx".to_owned())
}
