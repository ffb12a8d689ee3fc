//! Guard: SYNs are judged where they come in, before they cost a connection.
//!
//! A list of prefixes, of which the longest that holds decides, denies or allows; what no rule decides is held
//! to a rate per source. In [`Mode::Count`], the default, verdicts are only counted. Packets that begin no
//! connection always pass.
//!
//! The program sits in XDP, in the driver where the driver can; where an interface takes no XDP program, or has
//! one already, it sits in tcx, after the driver has made a packet buffer.

mod place;
mod prefix;
mod tables;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::EbpfLoader;
use aya::maps::MapData;
use pintle_ebpf_common::guard::{ALLOW, LAYOUT, MODE_COUNT, MODE_ENFORCE};
use serde::{Deserialize, Serialize};
use tables::{NAMES, Tables, forget, rule, settings};

pub use pintle_ebpf_common::guard::{Counters, PORTS as MAX_PORTS, RULES as MAX_RULES};
pub use prefix::{Prefix, PrefixError};

use crate::handed::Handed;
use crate::status::Unavailable;
use crate::{caps, loaded, object, sys};

/// Most interfaces that one guard takes.
pub const MAX_INTERFACES: usize = 64;

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

impl Mode {
    /// What a guard in this mode does, as it is said to operators.
    pub const fn does(self) -> &'static str {
        match self {
            Mode::Off => "switched off",
            Mode::Count => "counts",
            Mode::Enforce => "enforces",
        }
    }
}

/// Where the program may sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// [`Hook::Xdp`] or [`Hook::Tcx`].
    pub hook: Hook,
}

impl std::fmt::Display for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hook = if self.hook == Hook::Tcx { "tcx" } else { "xdp" };
        write!(f, "{hook} on {}", self.interface)
    }
}

/// What is said of a guard that is handed to another process. Its descriptors are those of the tables, then one
/// for each attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    layout: u32,
    attachments: Vec<Attachment>,
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

/// Programs on interfaces, until it and all that was [handed over](Self::hand_over) of it is dropped.
pub struct Guard {
    tables: Mutex<Tables>,
    descriptors: [OwnedFd; NAMES.len()],
    attachments: Vec<Attachment>,
    /// One per attachment: closing the last descriptor of each detaches.
    links: Vec<OwnedFd>,
    programs: Vec<u32>,
    /// Another process attached it.
    adopted: bool,
    /// Interfaces that should be guarded too.
    unguarded: Vec<String>,
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
        if options.interfaces.len() > MAX_INTERFACES {
            return Err(Unavailable::new(format!("more than {MAX_INTERFACES} interfaces")));
        }
        let needs = [(caps::BPF, "CAP_BPF"), (caps::NET_ADMIN, "CAP_NET_ADMIN")];
        let mut ebpf = object::load(&mut EbpfLoader::new(), object::GUARD, &needs)?;
        let mut guard = Self::of(object::descriptors(&ebpf, &NAMES)?)?;
        // Before the first packet is judged.
        guard.apply(options).map_err(|error| Unavailable::new(error.to_string()))?;
        for interface in &options.interfaces {
            let (hook, link) = place::place(&mut ebpf, interface, options.hook)
                .map_err(|error| Unavailable::new(format!("{interface}: {error}")))?;
            guard.links.push(link);
            guard.attachments.push(Attachment { interface: interface.clone(), hook });
        }
        guard.programs = ["pintle_guard_xdp", "pintle_guard_tcx"]
            .iter()
            .filter_map(|name| Some(ebpf.program(name)?.info().ok()?.id()))
            .collect();
        Ok(guard)
    }

    /// Goes on with a guard that another process attached, on those of `interfaces` that it is on. Rules, rates and
    /// counters stay as they are until [`Self::apply`]. Needs no capability.
    ///
    /// # Errors
    /// The other process's tables are not these, or it guards none of `interfaces`.
    pub fn adopt(handed: Handed<Terms>, interfaces: &[String]) -> Result<Self, Unavailable> {
        let Handed { terms: Terms { layout, attachments }, mut descriptors } = handed;
        if layout != LAYOUT || descriptors.len() != NAMES.len() + attachments.len() {
            return Err(Unavailable::new("the process before has a guard of another version"));
        }
        let links = descriptors.split_off(NAMES.len());
        let mut guard = Self::of(descriptors)?;
        guard.adopted = true;
        let wanted = attachments.into_iter().zip(links);
        (guard.attachments, guard.links) =
            wanted.filter(|(place, _)| interfaces.contains(&place.interface)).unzip();
        if guard.attachments.is_empty() {
            return Err(Unavailable::new("the process before guards other interfaces"));
        }
        let is_guarded = |name: &&String| guard.attachments.iter().any(|place| place.interface == **name);
        guard.unguarded = interfaces.iter().filter(|name| !is_guarded(name)).cloned().collect();
        Ok(guard)
    }

    /// What another process needs to go on with this guard while this one ends.
    ///
    /// # Errors
    /// This process is out of descriptors.
    pub fn hand_over(&self) -> Result<Handed<Terms>, Unavailable> {
        let terms = Terms { layout: LAYOUT, attachments: self.attachments.clone() };
        Handed::copy(terms, self.descriptors.iter().chain(&self.links))
    }

    /// The guards that run on this machine, of whatever process, to look at and to change: dropping one of these
    /// detaches nothing, and [`Self::attachments`] is empty. Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn running() -> Result<Vec<Self>, Unavailable> {
        let mut guards = Vec::new();
        for ids in loaded::guards()? {
            let by_name: BTreeMap<String, MapData> = ids
                .into_iter()
                .filter_map(|id| MapData::from_id(id).ok())
                .filter_map(|map| Some((map.info().ok()?.name_as_str()?.to_owned(), map)))
                .collect();
            // One that ends meanwhile has lost some.
            let descriptors: Vec<OwnedFd> =
                NAMES.iter().filter_map(|name| object::own(by_name.get(*name)?).ok()).collect();
            guards.extend(Self::of(descriptors).ok());
        }
        Ok(guards)
    }

    /// With tables in the order of [`NAMES`], attached nowhere.
    fn of(descriptors: Vec<OwnedFd>) -> Result<Self, Unavailable> {
        let descriptors = descriptors.try_into().map_err(|_| Unavailable::new("a table is missing"))?;
        Ok(Self {
            tables: Mutex::new(Tables::of(&descriptors)?),
            descriptors,
            attachments: Vec::new(),
            links: Vec::new(),
            programs: Vec::new(),
            adopted: false,
            unguarded: Vec::new(),
        })
    }

    /// What it does and where, in a few words for an operator.
    pub fn describe(&self) -> String {
        let places: Vec<String> = self.attachments.iter().map(Attachment::to_string).collect();
        let before = if self.adopted { "taken over: " } else { "" };
        let mut text = format!("{before}{}, {}", self.mode().does(), places.join(", "));
        if !self.unguarded.is_empty() {
            text.push_str(&format!("; not on {} before a restart", self.unguarded.join(", ")));
        }
        text
    }

    /// The kernel's numbers of the programs, where this process loaded them.
    pub fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// What verdicts lead to.
    pub fn mode(&self) -> Mode {
        match self.tables().settings.get(&0, 0).map(|settings| settings.mode) {
            Ok(MODE_ENFORCE) => Mode::Enforce,
            Ok(MODE_COUNT) => Mode::Count,
            _ => Mode::Off,
        }
    }

    /// Where the programs sit.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts mode, ports, rate and the configuration's rules into force. Rules that an operator made stay, except
    /// that the configuration's word on the same prefix replaces them.
    ///
    /// # Errors
    /// Too many rules or ports; what fitted is in force.
    pub fn apply(&self, options: &Options) -> Result<(), GuardError> {
        let mut tables = self.tables();
        let ports: HashSet<u16> = options.ports.iter().copied().collect();
        if ports.len() > MAX_PORTS as usize {
            return Err(GuardError::Full);
        }
        let stale: Vec<u16> =
            tables.ports.keys().filter_map(Result::ok).filter(|port| !ports.contains(port)).collect();
        for port in stale {
            forget(tables.ports.remove(&port))?;
        }
        for port in &ports {
            tables.ports.insert(port, 1, 0)?;
        }
        tables.settings.set(0, settings(options), 0)?;
        let wanted: HashSet<Prefix> = options.deny.iter().chain(&options.allow).copied().collect();
        let present = tables.rules();
        for (prefix, rule) in &present {
            if rule.origin == Origin::Configuration as u32 && !wanted.contains(prefix) {
                tables.remove(*prefix)?;
            }
        }
        // Allowed ones last: they win where both lists name a prefix.
        for (prefixes, verdict) in [(&options.deny, Verdict::Deny), (&options.allow, Verdict::Allow)] {
            for prefix in prefixes {
                let hits = present.iter().find(|(other, _)| other == prefix).map_or(0, |(_, rule)| rule.hits);
                tables.insert(*prefix, rule(verdict, Origin::Configuration, None, hits))?;
            }
        }
        Ok(())
    }

    /// Denies `prefix`, for `lasting` or for good, in place of an earlier rule on the same prefix.
    ///
    /// # Errors
    /// No room for a new rule.
    pub fn deny(&self, prefix: Prefix, lasting: Option<Duration>) -> Result<(), GuardError> {
        self.tables().insert(prefix, rule(Verdict::Deny, Origin::Operator, lasting, 0))
    }

    /// Allows `prefix`, for `lasting` or for good, in place of an earlier rule on the same prefix.
    ///
    /// # Errors
    /// No room for a new rule.
    pub fn allow(&self, prefix: Prefix, lasting: Option<Duration>) -> Result<(), GuardError> {
        self.tables().insert(prefix, rule(Verdict::Allow, Origin::Operator, lasting, 0))
    }

    /// Forgets the rule on exactly `prefix`, and says whether there was one.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove(&self, prefix: Prefix) -> Result<bool, GuardError> {
        self.tables().remove(prefix)
    }

    /// Forgets rules whose time is over, and says how many. Until then such a rule decides nothing, but hides
    /// shorter prefixes: to be called about once a second.
    pub fn expire(&self) -> usize {
        let mut tables = self.tables();
        let now = sys::boot_ns();
        let over: Vec<Prefix> = tables
            .rules()
            .into_iter()
            .filter(|(_, rule)| rule.expires_ns != 0 && rule.expires_ns <= now)
            .map(|(prefix, _)| prefix)
            .collect();
        over.into_iter().filter(|prefix| tables.remove(*prefix).unwrap_or(false)).count()
    }

    /// All rules in force, in the order of their prefixes.
    pub fn rules(&self) -> Vec<RuleView> {
        let now = sys::boot_ns();
        let mut rules: Vec<RuleView> = self
            .tables()
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
            .tables()
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
        let tables = self.tables();
        let Ok(cpus) = tables.counters.get(&0, 0) else { return sum };
        for cpu in cpus.iter() {
            sum.syns += cpu.syns;
            sum.denied += cpu.denied;
            sum.allowed += cpu.allowed;
            sum.over_rate += cpu.over_rate;
            sum.dropped_denied += cpu.dropped_denied;
            sum.dropped_over_rate += cpu.dropped_over_rate;
            sum.unreadable += cpu.unreadable;
            sum.unremembered += cpu.unremembered;
        }
        sum
    }
}
