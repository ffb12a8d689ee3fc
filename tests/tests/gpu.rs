//! Promise: a model on a GPU says what it says on the CPU, and when the GPU dies the CPU answers in its place, until
//! the GPU is there again; a reload changes how GPUs are used and leaves nothing behind. The GPU is emulated.

use std::path::{Path, PathBuf};

use pintle_hip_emulator::{Emulator, Target};
use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Gateway, Model, Start, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const ROUTING: &str = r#"  signals:
    embeddings:
      - name: near
        threshold: 0.5
        candidates: ["aab baa", "e e d"]
    complexity:
      - name: deep
        threshold: 0.05
        hard: {candidates: ["d c e a b", "e e d"]}
        easy: {candidates: ["a", "b b"]}
  decisions:
    - name: near
      priority: 10
      rules: {operator: OR, conditions: [{type: embedding, name: near}, {type: complexity, name: "deep:hard"}]}
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
    backend: StandIn,
    gateway: Gateway,
}

/// What makes embeddings the tiny model's; `hip` is YAML under `classifier.hip`.
fn config(models: &TempDir, stand_in: &StandIn, backend: &str, hip: &str) -> ConfigFile {
    let mut config = ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.6)]);
    config.routing = ROUTING.to_owned();
    config.with(&format!(
        "classifier: {{backend: {backend}, precision: f32, cache_bytes: 0, deadline_ms: 60000, models_dir: {}, \
         models: {{embedding: tiny}}, hip: {{{hip}}}}}",
        models.path().display()
    ))
}

fn start(models: &TempDir, backend: &str, hip: &str, fault: Option<&str>) -> Bench {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let config = config(models, &stand_in, backend, hip);
    let fault = fault.map(|fault| format!("PINTLE_EMU_FAIL={fault}"));
    let wrapper: Vec<&str> = fault.iter().flat_map(|fault| ["env", fault]).collect();
    Bench { backend: stand_in, gateway: Gateway::start_under(&config, Start::default(), &wrapper) }
}

/// How near the text is and how far from the middle of both sides, as the flow document has it.
fn measured(gateway: &Gateway, session: &str, text: &str) -> [f64; 2] {
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] });
    let response = gateway.connect().chat(session, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let flow = gateway.flow(&response.flow());
    let evidence = flow["evidence"].as_array().unwrap();
    ["embedding:near", "complexity:deep:hard"].map(|signal| {
        let known = evidence.iter().find(|known| known["signal"] == signal);
        let known = known.unwrap_or_else(|| panic!("no {signal}: {evidence:?}"));
        assert_ne!(known["is"], "unknown", "{known}");
        known["confidence"].as_f64().unwrap()
    })
}

/// What one back end measures and another one.
fn assert_near(got: [f64; 2], expected: [f64; 2]) {
    let apart = got.iter().zip(&expected).map(|(got, expected)| (got - expected).abs());
    assert!(apart.fold(0.0, f64::max) < 5e-3, "{got:?} for {expected:?}");
}

fn gpu(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["data_plane"]["classifier"]["gpu"].clone()
}

fn calls(gateway: &Gateway, backend: &str) -> f64 {
    let label = format!("backend=\"{backend}\"");
    gateway.metric("pintle_classifier_inference_seconds_count", &[&label])
}

fn settings(emulator: &Emulator) -> String {
    // The emulator takes seconds for what takes a GPU microseconds. Few prototypes are compared there too.
    let library = emulator.path().display();
    format!("library: \"{library}\", watchdog_ms: 120000, batch_tokens: 512, retry_ms: 10, prototypes: 1")
}

#[test]
fn a_model_says_the_same_on_a_gpu_and_survives_it() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let models = models();
    let cpu = start(&models, "cpu", "", None);
    let expected = TEXTS.map(|text| measured(&cpu.gateway, "a", text));
    assert_eq!(gpu(&cpu.gateway)["used"], false);
    drop(cpu);

    // The first three graphs that are launched embed the rules' examples; the fifth is the second text's.
    let bench = start(&models, "hip", &settings(&emulator), Some("hipGraphLaunch:4:719"));
    let gateway = &bench.gateway;
    let asked = |session: &str, nth: usize| {
        assert_near(measured(gateway, session, TEXTS[nth]), expected[nth]);
    };
    let said = gateway.log().contains("GPUs compare texts with prototypes");
    assert!(said, "{}", gateway.log());
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

    let of = |metric: &str| gateway.metric(&format!("pintle_gpu_{metric}"), &["device=\"0\""]);
    let known = gpu(gateway)["devices"][0].clone();
    let told = [
        ("faults_total", "deaths"),
        ("failures_total", "failed"),
        ("batches_total", "batches"),
        ("texts_total", "texts"),
        ("tokens_total", "tokens"),
        ("batch_seconds_count", "batches"),
        ("models", "models"),
        ("memory_used_bytes", "memory_used"),
        ("memory_limit_bytes", "memory_limit"),
        ("queue", "waiting"),
        ("queue_limit", "queue"),
        ("batches_under_way", "under_way"),
        ("slots", "slots"),
    ];
    // They are set now and then, the last time perhaps while a batch was under way.
    until("the gauges say what is known", || {
        told.iter().all(|(metric, key)| of(metric) == known[*key].as_f64().expect("a number"))
    });
    assert_eq!((of("up"), of("faults_total"), of("failures_total")), (1.0, 1.0, 1.0));
    assert!(of("memory_used_bytes") > 0.0 && of("failovers_total") >= 1.0);
    let failovers = gateway.metric("pintle_classifier_failovers_total", &["backend=\"hip\""]);
    assert_eq!(failovers, calls(gateway, "cpu"));
}

/// Threads of the process that own a GPU.
fn owners(gateway: &Gateway) -> usize {
    let pid = gateway.admin("/status").json()["pid"].as_i64().unwrap();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm"));
    threads.filter_map(|thread| name(thread).ok()).filter(|name| name.starts_with("pintle-gpu-")).count()
}

#[test]
fn a_reload_changes_how_gpus_are_used_and_leaves_nothing_behind() {
    let Some(emulator) = Emulator::take(Target::Gfx942) else { return };
    let (models, settings) = (models(), settings(&emulator));
    let Bench { backend, gateway } = start(&models, "hip", &settings, None);
    let gateway = &gateway;
    assert!(gateway.log().contains("GPUs compare texts with prototypes"), "{}", gateway.log());
    let first = measured(gateway, "a", TEXTS[0]);
    let mut reloads = 0.0;
    let mut reload = |backend_is: &str, hip: &str| {
        gateway.write_config(&config(&models, &backend, backend_is, hip));
        gateway.signal(Signal::HUP);
        reloads += 1.0;
        until("the configuration is read again", || gateway.metric("pintle_reloads_total", &[]) == reloads);
    };
    let one = |key: &str| gpu(gateway)["devices"][0][key].clone();

    // Limits hold at once; how many batches are under way does not change, and the reload says so.
    reload("hip", &format!("{settings}, queue: 9, memory_bytes: 123456789, batches: 3"));
    assert_eq!((one("queue"), one("memory_limit"), one("slots")), (json!(9), json!(123_456_789), json!(2)));
    let note = "restart for other values of classifier.hip.batches (now 2)";
    assert!(gateway.log().contains(note), "{}", gateway.log());
    assert_eq!(gpu(gateway)["restart"], json!(["classifier.hip.batches (now 2)"]));
    assert_eq!(measured(gateway, "b", TEXTS[0]), first);

    // Batches of another size: the model is packed anew, and what was packed before leaves.
    let used = one("memory_used").as_u64().unwrap();
    reload("hip", &settings.replace("batch_tokens: 512", "batch_tokens: 256"));
    assert_eq!(gpu(gateway)["restart"], json!([]));
    until("one model is left", || one("models") == 1);
    assert!(one("memory_used").as_u64().unwrap() < used, "{}", gpu(gateway));
    assert_eq!(measured(gateway, "c", TEXTS[0]), first);
    assert_eq!((calls(gateway, "hip"), calls(gateway, "cpu")), (3.0, 0.0), "{}", gateway.log());

    // A device that there is not does no harm to the one that there is.
    reload("hip", &format!("{settings}, devices: [0, 7]"));
    assert!(gpu(gateway)["devices"][1]["resting"].as_str().unwrap().contains("no device 7"));
    assert_eq!(measured(gateway, "d", TEXTS[0]), first);
    assert_eq!((owners(gateway), calls(gateway, "cpu")), (1, 0.0));

    reload("cpu", "");
    until("nobody owns a GPU", || owners(gateway) == 0);
    assert_near(measured(gateway, "e", TEXTS[0]), first);
    assert_eq!((calls(gateway, "hip"), calls(gateway, "cpu")), (4.0, 1.0));
    let device = ["device=\"0\""];
    until("the gauges say so", || {
        ["up", "memory_used_bytes"]
            .iter()
            .all(|of| gateway.metric(&format!("pintle_gpu_{of}"), &device) == 0.0)
    });

    reload("hip", &settings);
    assert_eq!(measured(gateway, "f", TEXTS[0]), first);
    assert_eq!((owners(gateway), calls(gateway, "hip")), (1, 5.0), "{}", gateway.log());
}

#[test]
fn without_a_gpu_the_cpu_answers_and_says_why() {
    let models = models();
    let bench = start(&models, "hip", "library: /nowhere/libamdhip64.so", None);
    measured(&bench.gateway, "a", TEXTS[0]);
    let report = gpu(&bench.gateway);
    assert_eq!((&report["used"], &report["well"]), (&json!(false), &json!(false)));
    assert!(report["why"].as_str().unwrap().contains("/nowhere/libamdhip64.so"), "{report}");
    assert!(bench.gateway.log().contains("the CPU answers while a GPU cannot"), "{}", bench.gateway.log());
    drop(bench);

    let bench = start(&models, "auto", "library: /nowhere/libamdhip64.so", None);
    measured(&bench.gateway, "a", TEXTS[0]);
    assert_eq!(gpu(&bench.gateway)["well"], true);
    assert_eq!(bench.gateway.log().matches("/nowhere/libamdhip64.so").count(), 1, "said once");
}
