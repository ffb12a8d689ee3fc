//! Promise: the configurations that ship load without a warning.

use pintle_config::{Profile, Severity, load};

#[test]
fn examples_load_without_a_warning() {
    for (name, text) in [
        ("minimal.yaml", include_str!("../examples/minimal.yaml")),
        ("agentic.yaml", include_str!("../examples/agentic.yaml")),
    ] {
        for profile in [Profile::Pintle, Profile::Compat] {
            let loaded = load(text.as_bytes(), name, profile);
            let loud: Vec<_> =
                loaded.report.findings.iter().filter(|finding| finding.severity > Severity::Note).collect();
            // Upstream tolerates `global.pintle` with a warning of its own; ours knows the section.
            assert!(loud.is_empty(), "{name}: {loud:#?}");
            let config = loaded.config.expect("no errors, so a configuration");
            assert!(!config.providers.models.is_empty());
        }
    }
}

#[test]
fn the_agentic_example_means_what_the_demonstration_shows() {
    let loaded = load(include_bytes!("../examples/agentic.yaml"), "agentic.yaml", Profile::Pintle);
    let config = loaded.config.expect("the example loads");
    assert_eq!(config.global.router.auto_model_name, "MoM");
    assert_eq!((&*config.listeners[0].address, config.listeners[0].port), ("127.0.0.1", 8899));
    let frontier = &config.providers.models[2];
    assert_eq!(
        (&*frontier.name, &*frontier.backend_refs[0].endpoint),
        ("frontier-reasoner", "127.0.0.1:18003")
    );
    assert_eq!(frontier.pricing.cached_input_per_1m, 1.20);
    let session =
        config.routing.decisions[1].algorithm.as_ref().and_then(|algorithm| algorithm.session_aware.as_ref());
    assert_eq!(
        session.map(|session| (&*session.base_method, session.idle_timeout_seconds)),
        Some(("static", Some(300)))
    );
    assert_eq!(config.global.pintle.timeouts.connect_ms, 2_000, "absent settings keep their defaults");
}
