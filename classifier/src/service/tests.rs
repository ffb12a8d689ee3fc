use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pintle_routing::evidence::Unknown;
use pintle_routing::learned::{Learned, Reading};

use super::{Classifier, Options, Overloaded, Priority};
use crate::reader::TextModel;
use crate::signals::tests::{EVERYTHING, plan_of};
use crate::signals::{Question, SignalPlan};
use crate::testing::{Mood, OneModel, Words};

const LONG: Duration = Duration::from_secs(60);

/// Waits for a condition.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG);
        std::thread::yield_now();
    }
}

fn shelf(moods: &[(&'static str, Mood)]) -> OneModel {
    OneModel(moods.iter().map(|(backend, mood)| Arc::new(Words::new("words", backend, *mood))).collect())
}

fn asks(text: &str) -> Question {
    Question { current: text.into(), ..Question::default() }
}

fn measured(learned: &Learned) -> bool {
    matches!(learned.domain, Reading::Given(_))
}

/// Banks are made by the first back end, so a plan is compiled with one that is well.
fn plan_with(shelf: &OneModel) -> Arc<SignalPlan> {
    let mut plan = plan_of(EVERYTHING, &self::shelf(&[("test", Mood::Well)]));
    plan.models[0].backends = shelf.0.iter().map(|model| model.clone() as Arc<dyn TextModel>).collect();
    Arc::new(plan)
}

#[test]
fn an_answer_is_given_once_and_remembered() {
    let shelf = shelf(&[("cpu", Mood::Well)]);
    let plan = plan_with(&shelf);
    let classifier = Classifier::start(Options::default()).unwrap();
    let first = classifier.ask_and_wait(plan.clone(), asks("find the integral"), LONG);
    let second = classifier.ask_and_wait(plan, asks("find the integral"), LONG);
    assert!(measured(&first));
    assert_eq!(first, second);
    assert_eq!(shelf.0[0].calls.load(Ordering::SeqCst), 1, "the second came from the cache");
    assert_eq!(classifier.status().answered, 2);
}

#[test]
fn questions_that_gather_while_a_thread_is_busy_share_a_call() {
    let shelf = shelf(&[("cpu", Mood::Held)]);
    let plan = plan_with(&shelf);
    let classifier = Classifier::start(Options::default()).unwrap();
    let (send, receive) = crossbeam_channel::unbounded();
    let mut asked = Vec::new();
    for n in 0..17 {
        let send = send.clone();
        // Eight distinct texts, each twice, after one that keeps the thread busy.
        let reply = Box::new(move |learned| send.send(learned).unwrap());
        let question = asks(&format!("text {}", n / 2));
        let deadline = Instant::now() + LONG;
        asked.push(classifier.ask(plan.clone(), question, deadline, Priority::Request, reply).unwrap());
        if n == 0 {
            until(|| classifier.status().waiting == 0);
        }
    }
    shelf.0[0].gate.open();
    for _ in 0..17 {
        assert!(measured(&receive.recv_timeout(LONG).unwrap()));
    }
    let (calls, texts) = (shelf.0[0].calls.load(Ordering::SeqCst), shelf.0[0].texts.load(Ordering::SeqCst));
    assert_eq!(texts, 9, "each distinct text once");
    assert!(calls <= 3, "{calls} calls for what gathered");
}

#[test]
fn a_failing_back_end_gives_way_to_the_next_and_rests() {
    for mood in [Mood::Fails, Mood::Panics] {
        let shelf = shelf(&[("hip", mood), ("cpu", Mood::Well)]);
        let plan = plan_with(&shelf);
        let options = Options { retry_after: LONG, ..Options::default() };
        let classifier = Classifier::start(options).unwrap();
        for n in 0..5 {
            assert!(measured(&classifier.ask_and_wait(plan.clone(), asks(&format!("{n}")), LONG)));
        }
        assert_eq!(shelf.0[0].calls.load(Ordering::SeqCst), 1, "it rests after the first failure");
        assert_eq!(shelf.0[1].calls.load(Ordering::SeqCst), 5);
    }
}

#[test]
fn without_a_back_end_that_works_evidence_is_unknown() {
    let shelf = shelf(&[("cpu", Mood::Fails)]);
    let plan = plan_with(&shelf);
    let classifier = Classifier::start(Options::default()).unwrap();
    let learned = classifier.ask_and_wait(plan, asks("hello"), LONG);
    assert_eq!(learned.domain, Reading::Missing(Unknown::ClassifierFailed));
    assert_eq!(learned.jailbreak, Reading::Missing(Unknown::ClassifierFailed));
}

#[test]
fn what_would_come_too_late_is_not_computed() {
    let shelf = shelf(&[("cpu", Mood::Well)]);
    let plan = plan_with(&shelf);
    let classifier = Classifier::start(Options::default()).unwrap();
    let (send, receive) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |learned| send.send(learned).unwrap());
    let _asked = classifier.ask(plan, asks("hello"), Instant::now(), Priority::Request, reply).unwrap();
    assert_eq!(receive.recv_timeout(LONG).unwrap(), Learned::missing(Unknown::Deadline));
    assert_eq!(shelf.0[0].calls.load(Ordering::SeqCst), 0);
    assert_eq!(classifier.status().late, 1);
}

#[test]
fn nobody_is_answered_who_has_gone_and_a_full_queue_refuses() {
    let shelf = shelf(&[("cpu", Mood::Held)]);
    let plan = plan_with(&shelf);
    let options = Options { queue: 2, batch: 1, ..Options::default() };
    let classifier = Classifier::start(options).unwrap();
    let ask = |text: &str| {
        let reply = Box::new(|_| {});
        let deadline = Instant::now() + LONG;
        classifier.ask(plan.clone(), asks(text), deadline, Priority::Request, reply)
    };
    let busy = ask("a").unwrap();
    until(|| classifier.status().waiting == 0);
    let waiting = (ask("b").unwrap(), ask("c").unwrap());
    assert_eq!(ask("d").map(drop).unwrap_err(), Overloaded);
    drop(waiting);
    shelf.0[0].gate.open();
    until(|| classifier.status().waiting == 0);
    drop(busy);
    until(|| classifier.status().abandoned == 2);
    assert_eq!(shelf.0[0].texts.load(Ordering::SeqCst), 1);
    assert_eq!(classifier.status().refused, 1);
}

#[test]
fn many_threads_ask_at_once_and_every_question_is_answered_once() {
    let shelf = shelf(&[("cpu", Mood::Well)]);
    let plan = plan_with(&shelf);
    let options = Options { threads: 3, queue: 4096, ..Options::default() };
    let classifier = Classifier::start(options).unwrap();
    let (send, receive) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (classifier, plan, send) = (&classifier, &plan, send.clone());
            scope.spawn(move || {
                for n in 0..250 {
                    let send = send.clone();
                    let text = format!("question {} of thread {thread}", n % 50);
                    let reply = Box::new(move |learned| send.send((thread, n, learned)).unwrap());
                    let deadline = Instant::now() + LONG;
                    let asked = classifier.ask(plan.clone(), asks(&text), deadline, Priority::Request, reply);
                    // Kept alive: somebody waits.
                    std::mem::forget(asked.unwrap());
                }
            });
        }
    });
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let (thread, n, learned) = receive.recv_timeout(LONG).unwrap();
        assert!(measured(&learned));
        assert!(seen.insert((thread, n)), "answered twice");
    }
    drop(classifier);
    assert!(receive.try_recv().is_err());
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let cache = super::cache::Cache::new(10_000);
    for n in 0..1000 {
        let reading = crate::reader::TextReading { embedding: vec![0.0; 64], ..Default::default() };
        cache.put(cache.key(&[0; 32], &n.to_string()), &Arc::new(reading));
        assert!(cache.bytes() <= 10_000);
    }
    let kept = cache.key(&[0; 32], "999");
    assert!(cache.get(kept, Default::default()).is_some());
    assert!(cache.get(cache.key(&[1; 32], "999"), Default::default()).is_none(), "another model's");
    cache.put(kept, &Arc::new(Default::default()));
    let before = cache.bytes();
    cache.put(kept, &Arc::new(Default::default()));
    assert_eq!(cache.bytes(), before, "an answer that is replaced is not counted twice");
}
