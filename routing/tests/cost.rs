//! What a decision costs: allocations are counted and bounded, time is printed (`--release --nocapture`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use pintle_routing::live::LiveSignals;
use pintle_routing::policy::Policy;
use pintle_routing::units::UnixMillis;

mod common;

use common::{HEAD, compile, facts, policy};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged; the counter is a plain thread-local cell
// without a destructor, which may be used at any time.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait demands of the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc`, which is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one decision and the median nanoseconds of many.
fn measure(policy: &Policy, text: &str) -> (usize, u128) {
    let request = facts(text);
    let live = LiveSignals::default();
    let decide = || policy.decide(black_box(&request), None, UnixMillis(1), &live);
    black_box(decide());
    let before = ALLOCATIONS.with(Cell::get);
    black_box(decide());
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    // An unoptimised build is not worth timing well.
    let (rounds, batch) = match (cfg!(debug_assertions), text.len() > 10_000) {
        (true, _) => (3, 1),
        (false, true) => (41, 5),
        (false, false) => (41, 500),
    };
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..batch {
                black_box(decide());
            }
            start.elapsed().as_nanos() / batch
        })
        .collect();
    times.sort_unstable();
    // Of the few rounds of an unoptimised build the quickest is the least disturbed.
    (allocations, times[if cfg!(debug_assertions) { 0 } else { times.len() / 2 }])
}

#[test]
fn a_decision_on_cheap_signals_allocates_nothing() {
    let (allocations, nanos) = measure(&policy(10, 3), "");
    println!("10 decisions x 3 conditions: {nanos} ns, {allocations} allocations");
    assert_eq!(allocations, 0);
}

#[test]
fn a_hundred_decisions_allocate_nothing_either() {
    let (allocations, nanos) = measure(&policy(100, 5), "");
    println!("100 decisions x 5 conditions: {nanos} ns, {allocations} allocations");
    assert_eq!(allocations, 0);
}

#[test]
fn scanning_text_allocates_the_same_whatever_its_length() {
    let yaml = include_str!("../../config/examples/agentic.yaml");
    let policy = compile(yaml);
    let sentence = "Please look at the scheduler, it seems that a task is never woken up again. ";
    let (short, nanos) = measure(&policy, &sentence.repeat(14)[..1000]);
    println!("agentic.yaml on 1 kB: {nanos} ns, {short} allocations");
    let (long, nanos) = measure(&policy, &sentence.repeat(1400)[..100_000]);
    println!("agentic.yaml on 100 kB: {nanos} ns, {long} allocations");
    assert_eq!(short, long);
    assert!(short <= 2, "{short}");
}

/// One rule of every family that is computed from the request.
const FAMILIES: &str = r"
  signals:
    keywords:
      - {name: literal, operator: OR, keywords: [deadlock, invariant, 数据, привет, c++, race condition]}
      - {name: pattern, operator: OR, method: regex, keywords: ['\bE\d{4}\b', 'stack ?trace']}
      - {name: fuzzy, operator: OR, fuzzy_match: true, keywords: [kubernetes, terraform, scheduler]}
      - {name: bm25, operator: OR, method: bm25, keywords: [database migration, memory leak, task scheduler]}
      - {name: ngram, operator: OR, method: ngram, keywords: [kubernetes, postgres]}
    context: [{name: long, min_tokens: 8K}]
    structure:
      - {name: questions, feature: {type: count, source: {type: regex, pattern: '\?'}}, predicate: {gte: 3}}
      - {name: dense, feature: {type: density, source: {type: keyword_set, keywords: [if, then, else]}}, predicate: {gte: 0.1}}
      - {name: steps, feature: {type: sequence, source: {type: sequence, sequences: [[first, then, finally]]}}}
    conversation: [{name: many, feature: {type: count, source: {type: message}}, predicate: {gte: 6}}]
    events: [{name: incident, event_types: [outage], severities: [critical], temporal: true}]
    language: [{name: en}, {name: de}]
    pii: [{name: personal, threshold: 0.5}]
    jailbreak: [{name: attack, threshold: 0.5, jailbreak_patterns: [ignore all previous instructions]}]
  decisions:
    - name: any
      priority: 1
      modelRefs: [{model: small}]
      rules: {operator: OR, conditions: [";

#[test]
fn every_family_is_linear_in_the_text() {
    let text = hardly_repeating(100_000);
    for leaves in [
        &["keyword:bm25"][..],
        &["context:long", "conversation:many"],
        &["structure:dense"],
        &["event:incident"],
        &["language:en"],
        &["pii:personal"],
        &["jailbreak:attack"],
    ] {
        let mut yaml = format!("{HEAD}{FAMILIES}");
        for (kind, name) in leaves.iter().filter_map(|leaf| leaf.split_once(':')) {
            let _ = write!(yaml, "{{type: {kind}, name: {name}}}, ");
        }
        yaml.push_str("]}\n");
        let policy = compile(&yaml);
        let (_, short) = measure(&policy, &text[..1_000]);
        let (_, long) = measure(&policy, &text[..100_000]);
        println!("{leaves:?}: 1 kB {short} ns, 100 kB {long} ns");
        // Linear is 100 times, quadratic 10 000; a busy machine stays well between.
        assert!(long < 1000 * short, "100 times the text took {} times as long", long / short.max(1));
    }
}

/// What a language rule reads of a text is bounded, and so is its cost.
#[test]
fn a_language_is_told_by_the_beginning_of_a_text() {
    let policy = compile(&format!(
        "{HEAD}\n  signals:\n    language: [{{name: en}}, {{name: de}}]\n  decisions:\n    - name: any\n      priority: 1\n      \
         modelRefs: [{{model: small}}]\n      rules: {{operator: OR, conditions: [{{type: language, name: en}}]}}\n"
    ));
    for (language, sentence) in [
        (
            "English",
            "The committee would like to know whether the scheduler can be restarted without a loss. ",
        ),
        (
            "German",
            "Der Ausschuss hat seine Entscheidung verschoben, bis alle Mitglieder den Bericht lesen. ",
        ),
        ("Russian", "Комитет отложил своё решение, пока все участники не прочитают отчёт. "),
        ("Vietnamese", "Ủy ban đã hoãn quyết định cho đến khi tất cả các thành viên đọc xong báo cáo. "),
        ("code", "let x = foo(bar)?; println!(\"{x}\"); "),
    ] {
        let text = sentence.repeat(100_000 / sentence.len());
        let (_, short) = measure(&policy, &text[..text.floor_char_boundary(1_000)]);
        let (_, long) = measure(&policy, &text);
        println!("language, {language}: 1 kB {short} ns, 100 kB {long} ns");
        assert!(long < 10 * short, "{language}: {short} ns, and {long} ns of a hundred times the text");
    }
}

/// Words that hardly repeat: the worst case for families that look at each distinct word.
fn hardly_repeating(bytes: usize) -> String {
    let mut text = String::new();
    let mut state = 1u64;
    while text.len() < bytes {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let _ = write!(text, "{:x} scheduler task{} then ", state >> 44, state >> 60);
    }
    text
}
