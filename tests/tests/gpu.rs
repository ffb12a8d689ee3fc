//! Promise: a model on a GPU says what it says on the CPU, and when the GPU dies the CPU answers in its place, until
//! the GPU is there again. The GPU is emulated.

use std::path::{Path, PathBuf};

use pintle_hip_emulator::{Emulator, Target};
use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Gateway, Model, Start, until};
use serde_json::{Value, json};
use tempfile::TempDir;

const ROUTING: &str = r#"  signals:
    embeddings:
      - name: near
        threshold: 0.5
        candidates: ["aab baa", "e e d"]
  decisions:
    - name: near
      priority: 10
      rules: {operator: OR, conditions: [{type: embedding, name: near}]}
      modelRefs: [{model: small}]
    - name: rest
      priority: 1
      rules: {operator: AND, conditions: []}
      modelRefs: [{model: small}]
"#;

const TEXTS: [&str; 3] = ["b a", "aab, ba.", "d e e c, a"];

/// A directory of models with a tiny one.
fn models() -> TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/golden");
    let models = tempfile::tempdir().unwrap();
    let folder = models.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    let files: [(PathBuf, &str); 3] = [
        (golden.join("bert_seq/config.json"), "config.json"),
        (golden.join("bert_seq/model.safetensors"), "model.safetensors"),
        (golden.join("tokenizer.json"), "tokenizer.json"),
    ];
    for (from, name) in files {
        std::fs::copy(from, folder.join(name)).unwrap();
    }
    models
}

struct Bench {
    _backend: StandIn,
    gateway: Gateway,
}

/// A gateway whose embeddings are the tiny model's; `hip` is YAML under `classifier.hip`.
fn start(models: &TempDir, backend: &str, hip: &str, fault: Option<&str>) -> Bench {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.6)]);
    config.routing = ROUTING.to_owned();
    let config = config.with(&format!(
        "classifier: {{backend: {backend}, precision: f32, cache_bytes: 0, deadline_ms: 60000, models_dir: {}, \
         models: {{embedding: tiny}}, hip: {{{hip}}}}}",
        models.path().display()
    ));
    let fault = fault.map(|fault| format!("PINTLE_EMU_FAIL={fault}"));
    let wrapper: Vec<&str> = fault.iter().flat_map(|fault| ["env", fault]).collect();
    Bench { _backend: stand_in, gateway: Gateway::start_under(&config, Start::default(), &wrapper) }
}

/// How near the text is, as the flow document has it.
fn nearness(gateway: &Gateway, session: &str, text: &str) -> f64 {
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] });
    let response = gateway.connect().chat(session, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let flow = gateway.flow(&response.flow());
    let evidence = flow["evidence"].as_array().unwrap();
    let near = evidence.iter().find(|known| known["signal"] == "embedding:near").unwrap();
    assert_ne!(near["is"], "unknown", "{near}");
    near["confidence"].as_f64().unwrap()
}

fn gpu(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["data_plane"]["classifier"]["gpu"].clone()
}

fn calls(gateway: &Gateway, backend: &str) -> f64 {
    let label = format!("backend=\"{backend}\"");
    gateway.metric("pintle_classifier_inference_seconds_count", &[&label])
}

fn settings(emulator: &Emulator) -> String {
    // The emulator takes seconds for what takes a GPU microseconds.
    let library = emulator.path().display();
    format!("library: \"{library}\", watchdog_ms: 120000, batch_tokens: 512, retry_ms: 10")
}

#[test]
fn a_model_says_the_same_on_a_gpu_and_survives_it() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let models = models();
    let cpu = start(&models, "cpu", "", None);
    let expected = TEXTS.map(|text| nearness(&cpu.gateway, "a", text));
    assert_eq!(gpu(&cpu.gateway)["used"], false);
    drop(cpu);

    // The first graph that is launched embeds the rule's examples; the third is the second text's.
    let bench = start(&models, "hip", &settings(&emulator), Some("hipGraphLaunch:2:719"));
    let gateway = &bench.gateway;
    let asked = |session: &str, nth: usize| {
        let got = nearness(gateway, session, TEXTS[nth]);
        assert!((got - expected[nth]).abs() < 5e-3, "{got} for {}", expected[nth]);
    };
    asked("a", 0);
    assert_eq!((calls(gateway, "hip"), calls(gateway, "cpu")), (1.0, 0.0));
    let report = gpu(gateway);
    assert_eq!((&report["used"], &report["devices"][0]["deaths"]), (&json!(true), &json!(0)));

    asked("b", 1);
    assert_eq!(calls(gateway, "cpu"), 1.0, "the CPU answered");
    let failures = gateway.metric("pintle_classifier_failures_total", &["backend=\"hip\""]);
    assert_eq!(failures, 1.0);
    assert_eq!(gpu(gateway)["devices"][0]["deaths"], 1);

    // The GPU is brought back, and after its rest it is asked again.
    let mut session = 0;
    until("the GPU answers again", || {
        session += 1;
        asked(&format!("c{session}"), 2);
        calls(gateway, "hip") >= 2.0
    });
    assert!(gateway.log().contains("the GPU is used again"), "{}", gateway.log());
    let said = gateway.log().matches("a classifier's back end failed").count();
    assert_eq!(said, 1, "{}", gateway.log());
}

#[test]
fn without_a_gpu_the_cpu_answers_and_says_why() {
    let models = models();
    let bench = start(&models, "hip", "library: /nowhere/libamdhip64.so", None);
    nearness(&bench.gateway, "a", TEXTS[0]);
    let report = gpu(&bench.gateway);
    assert_eq!((&report["used"], &report["well"]), (&json!(false), &json!(false)));
    assert!(report["why"].as_str().unwrap().contains("/nowhere/libamdhip64.so"), "{report}");
    assert!(bench.gateway.log().contains("the CPU answers while a GPU cannot"), "{}", bench.gateway.log());
    drop(bench);

    let bench = start(&models, "auto", "library: /nowhere/libamdhip64.so", None);
    nearness(&bench.gateway, "a", TEXTS[0]);
    assert_eq!(gpu(&bench.gateway)["well"], true);
    assert_eq!(bench.gateway.log().matches("/nowhere/libamdhip64.so").count(), 1, "said once");
}
