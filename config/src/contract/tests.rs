#![allow(clippy::disallowed_methods, reason = "a test finds its reference by an environment variable")]

use std::path::{Path, PathBuf};

use super::*;
use crate::findings::Findings;
use crate::parse;
use crate::shape::Contract;

/// Upstream's printed defaults, read over zeros, are exactly ours: none is missing and none is invented.
#[test]
fn nothing_but_the_printed_defaults_is_set() {
    let named = std::env::var_os("PINTLE_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/config");
    let printed = named
        .into_iter()
        .chain([beside])
        .find_map(|dir| std::fs::read(dir.join("../../reference/v03.defaults.yaml")).ok());
    let Some(printed) = printed else {
        println!("SKIP: no list of the contract's defaults beside the corpus");
        return;
    };
    let mut findings = Findings::default();
    let node = parse::parse(&printed, &mut findings).expect("the list is YAML");
    let mut global = Global::zero();
    global.read(&node);
    assert_eq!(global, Global::default());
}

#[test]
fn lists_replace_maps_merge_and_null_zeroes() {
    let read = |text: &str| {
        let mut findings = Findings::default();
        let node = parse::parse(text.as_bytes(), &mut findings).expect("YAML");
        let mut config = Config::default();
        config.read(&node);
        config
    };
    assert_eq!(read("global: {model_catalog: {kbs: []}}").global.model_catalog.kbs, []);
    let merged = read("global: {stores: {semantic_cache: {max_entries: 5}}}").global.stores.semantic_cache;
    assert_eq!((merged.max_entries, merged.enabled, &*merged.eviction_policy), (5, true, "fifo"));
    let zeroed = read("global: {stores: {semantic_cache: null}}").global.stores.semantic_cache;
    assert_eq!((zeroed.max_entries, zeroed.enabled), (0, false));
    let ours = read("global: {pintle: {timeouts: null, limits: {headers: 50}}}").global.pintle;
    assert_eq!((ours.timeouts.connect_ms, ours.limits.headers, ours.limits.head_bytes), (2_000, 50, 65_536));
}
