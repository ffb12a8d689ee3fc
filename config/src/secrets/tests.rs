use super::*;
use crate::{Profile, load};

fn config(backend: &str, global: &str) -> Config {
    let text = format!(
        "routing: {{modelCards: [{{name: m}}]}}\nproviders:\n  models:\n    - name: m\n      backend_refs:\n{backend}\nglobal: {global}\n"
    );
    let loaded = load(text.as_bytes(), "test", Profile::Pintle);
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.report))
}

fn environment(name: &str) -> Option<String> {
    match name {
        "KEY" => Some("s3cret".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

#[test]
fn a_key_in_the_file_wins_over_a_named_one() {
    let config = config("        - {endpoint: h, api_key: literal, api_key_env: KEY}", "{}");
    let secrets = resolve(&config, &environment).expect("nothing is unset");
    assert_eq!(secrets.key(0, 0).map(Secret::expose), Some("literal"));
}

#[test]
fn variables_are_expanded_inside_api_key_only() {
    let config =
        config("        - {endpoint: h, api_key: 'a-${KEY}-$KEY.$-$1', auth_prefix: '${KEY}'}", "{}");
    let secrets = resolve(&config, &environment).expect("nothing is unset");
    assert_eq!(secrets.key(0, 0).map(Secret::expose), Some("a-s3cret-s3cret.$-$1"));
    assert_eq!(config.providers.models[0].backend_refs[0].auth_prefix, "${KEY}");
}

#[test]
fn every_unset_name_is_reported_with_its_model() {
    let config = config(
        "        - {endpoint: h, api_key_env: MISSING}\n        - {endpoint: h, api_key_env: EMPTY}\n        - {endpoint: h, api_key: '${GONE}'}",
        "{}",
    );
    let unset = resolve(&config, &environment).expect_err("three names have no value").0;
    let names: Vec<_> = unset.iter().map(|key| (&*key.model, &*key.name)).collect();
    assert_eq!(names, [("m", "MISSING"), ("m", "EMPTY"), ("m", "GONE")]);
    assert_eq!(unset[1].path, "providers.models[0].backend_refs[1]");
}

#[test]
fn a_key_stays_with_its_backend_except_in_compat() {
    let backends = "        - {endpoint: a}\n        - {endpoint: b, api_key_env: KEY}\n        - {endpoint: c, api_key_env: MISSING}";
    let strict = config("        - {endpoint: a}\n        - {endpoint: b, api_key_env: KEY}", "{}");
    let secrets = resolve(&strict, &environment).expect("nothing is unset");
    assert_eq!(secrets.key(0, 0), None);
    let compat = config(backends, "{pintle: {profile: compat}}");
    let secrets = resolve(&compat, &environment).expect("compat never fails");
    for backend in 0..3 {
        assert_eq!(secrets.key(0, backend).map(Secret::expose), Some("s3cret"));
    }
}

#[test]
fn a_credential_file_is_read_and_nothing_outside_its_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inner = directory.path().join("credentials");
    std::fs::create_dir(&inner).expect("a directory");
    std::fs::write(inner.join("KEY"), "from-systemd\n").expect("a file");
    std::fs::write(directory.path().join("outside"), "no").expect("a file");
    assert_eq!(credential(&inner, "KEY").as_deref(), Some("from-systemd"));
    assert_eq!(credential(&inner, "../outside"), None);
    assert_eq!(credential(&inner, ""), None);
}

#[test]
fn debug_output_never_shows_a_key() {
    let config = config("        - {endpoint: h, api_key: literal-key}", "{}");
    let shown = format!("{config:?} {:?}", resolve(&config, &environment));
    assert!(!shown.contains("literal-key"), "the key is in {shown}");
}

#[test]
fn an_external_models_key_may_name_a_variable() {
    let external = |key: &str| {
        let catalog =
            format!("{{model_catalog: {{external: [{{llm_model_name: g, access_key: '{key}'}}]}}}}");
        config("        - {endpoint: h}", &catalog)
    };
    let secrets = resolve(&external("${KEY}"), &environment).expect("nothing is unset");
    assert_eq!(secrets.external(0).map(Secret::expose), Some("s3cret"));
    assert_eq!(resolve(&external(""), &environment).expect("nothing is unset").external(0), None);
    let unset = resolve(&external("$GONE"), &environment).expect_err("it has no value").0;
    assert_eq!(unset[0].path, "global.model_catalog.external[0].access_key");
}
