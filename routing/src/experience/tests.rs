use super::*;

fn said<'a>(winner: &'a str, loser: &'a str, at: u64) -> Feedback<'a> {
    let at = UnixMillis(at);
    Feedback { winner, loser, tie: false, decision: "", user: None, session: None, weight: 1.0, at }
}

fn learn(experience: &mut Experience, feedback: &Feedback<'_>) {
    experience.learn(feedback, &Learning::default(), |_| 1500.0, |_| Belief::default());
}

#[test]
fn users_and_sessions_are_bounded_and_the_longest_silent_goes() {
    let mut experience = Experience::default();
    for n in 1..MAX_LEARNERS as u64 {
        experience.learners.insert(n, Learner { at: UnixMillis(n), ..Learner::default() });
        experience.sessions.insert(n, Successes { at: UnixMillis(n), ..Successes::default() });
    }
    for n in MAX_LEARNERS as u64..MAX_LEARNERS as u64 + 3 {
        // The first is heard of again and again.
        for who in [0, n] {
            learn(&mut experience, &Feedback { user: Some(who), session: Some(who), ..said("a", "b", n) });
        }
    }
    assert_eq!((experience.learners.len(), experience.sessions.len()), (MAX_LEARNERS, MAX_SESSIONS));
    assert!(experience.learners.contains_key(&0) && !experience.learners.contains_key(&1));
}

#[test]
fn interactions_of_a_user_are_bounded() {
    let mut experience = Experience::default();
    for n in 0..500 {
        learn(&mut experience, &Feedback { user: Some(1), ..said("a", "", n) });
    }
    assert_eq!((experience.learners[&1].interactions.len(), experience.learners[&1].total), (100, 500));
}

#[test]
fn old_interactions_count_less_and_similar_users_a_little() {
    let week = 168 * 3_600_000;
    let mut experience = Experience::default();
    learn(&mut experience, &Feedback { user: Some(1), ..said("a", "", 0) });
    assert_eq!(experience.learners[&1].preferences["a"], 1.0);
    learn(&mut experience, &Feedback { user: Some(1), ..said("b", "", week) });
    let preferences = &experience.learners[&1].preferences;
    assert_eq!((preferences["a"], preferences["b"]), (0.5, 1.0));
    // Another with the same tastes: 0.1 of similarity times preference, clamped to 1.
    learn(&mut experience, &Feedback { user: Some(2), ..said("b", "", week) });
    learn(&mut experience, &Feedback { user: Some(2), ..said("", "b", week) });
    // Ratings 1 and 0: mean 1/2, variance 1/2, so 1/3; similar by b alone: 1/sqrt(1.25).
    let expected = 0.5 / 1.5 + 0.1 / 1.25f64.sqrt();
    assert!((experience.learners[&2].preferences["b"] - expected).abs() < 1e-12);
}

#[test]
fn ties_and_weights_move_beliefs_as_they_should() {
    let mut experience = Experience::default();
    learn(&mut experience, &Feedback { tie: true, ..said("a", "b", 0) });
    learn(&mut experience, &Feedback { weight: 0.25, ..said("a", "b", 0) });
    learn(&mut experience, &Feedback { weight: f64::NAN, ..said("a", "b", 0) });
    let beliefs = &experience.overall.beliefs;
    assert_eq!((beliefs["a"].alpha, beliefs["a"].beta, beliefs["a"].trials), (1.75, 1.5, 3));
    assert_eq!((beliefs["b"].alpha, beliefs["b"].beta), (1.5, 1.75));
}

#[test]
fn state_survives_its_file() {
    let mut experience = Experience::default();
    let feedback = Feedback { decision: "d", user: Some(u64::MAX), session: Some(3), ..said("a", "b", 9) };
    learn(&mut experience, &feedback);
    let json = serde_json::to_string(&experience).unwrap();
    assert_eq!(serde_json::from_str::<Experience>(&json).unwrap(), experience);
}

#[test]
fn a_lesson_comes_to_the_same_as_the_feedback_also_when_read_back() {
    let learning = Learning { k_factor: 20.0, by_decision: true, ..Learning::default() };
    let seed = |model: &str| if model == "a" { 1700.0 } else { 1300.5 };
    let prior = |model: &str| Belief::of_score(if model == "a" { 0.3 } else { 0.1 });
    let (mut heard, mut rebuilt) = (Experience::default(), Experience::default());
    for (at, (winner, loser)) in [("a", "b"), ("b", "a"), ("", "b"), ("a", "")].into_iter().enumerate() {
        let feedback = Feedback {
            decision: "d",
            user: Some(u64::MAX - 1),
            session: Some(7),
            weight: 0.1,
            tie: at == 1,
            ..said(winner, loser, at as u64)
        };
        heard.learn(&feedback, &learning, seed, prior);
        let lesson = Lesson::new(&feedback, learning, seed, prior);
        let text = serde_json::to_string(&lesson).unwrap();
        serde_json::from_str::<Lesson>(&text).unwrap().apply(&mut rebuilt);
        assert_eq!(heard, rebuilt);
    }
    assert_eq!(heard.decisions["d"].ratings["a"].comparisons, 3);
}
