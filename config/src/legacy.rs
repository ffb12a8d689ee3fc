//! Keys of earlier versions that v0.3 refuses, and the test for a canonical document.

use crate::codes;
use crate::findings::Findings;
use crate::node::{Kind, Node};
use crate::parse::Place;
use crate::report::Severity;

const CANONICAL: &[&str] = &["version", "listeners", "providers", "routing", "global"];

/// Reports every removed key.
pub(crate) fn report_removed(root: &Node, findings: &mut Findings) {
    let mut found = Vec::new();
    {
        let mut look = |parent: Option<&Node>, path: &str, keys: &[(&str, &'static str)]| {
            for (key, home) in keys {
                if let Some(entry) = parent.and_then(|parent| parent.entry(key)) {
                    found.push((format!("{path}.{key}"), Place::from(&entry.key), *home));
                }
            }
        };
        let routing = root.get("routing");
        let providers = root.get("providers");
        let global = root.get("global");
        look(routing, "routing", &[("models", "routing.modelCards")]);
        look(
            providers,
            "providers",
            &[
                ("model_targets", "providers.models[].backend_refs"),
                ("backends", "providers.models[].backend_refs"),
                ("auth_profiles", "providers.models[].backend_refs[].api_key_env"),
                ("default_model", "providers.defaults.default_model"),
                ("reasoning_families", "providers.defaults.reasoning_families"),
                ("default_reasoning_effort", "providers.defaults.default_reasoning_effort"),
            ],
        );
        for (index, model) in items(providers, "models") {
            const CARD: &str = "the model's entry in routing.modelCards";
            look(
                Some(model),
                &format!("providers.models[{index}]"),
                &[
                    ("access", "providers.models[].backend_refs"),
                    ("endpoints", "providers.models[].backend_refs"),
                    ("access_key", "providers.models[].backend_refs[].api_key"),
                    ("param_size", CARD),
                    ("context_window_size", CARD),
                    ("description", CARD),
                    ("capabilities", CARD),
                    ("loras", CARD),
                    ("quality_score", CARD),
                    ("modality", CARD),
                    ("tags", CARD),
                ],
            );
        }
        look(global, "global", &[("modules", "global.model_catalog.modules")]);
        let catalog = global.and_then(|global| global.get("model_catalog"));
        look(
            catalog.and_then(|catalog| catalog.get("embeddings")),
            "global.model_catalog.embeddings",
            &[("bert", "global.model_catalog.embeddings.semantic.bert_model_path")],
        );
        let signals = routing.and_then(|routing| routing.get("signals"));
        for (index, rule) in items(signals, "structure") {
            look(
                rule.get("feature"),
                &format!("routing.signals.structure[{index}].feature"),
                &[("normalize_by", "nothing: density normalises by itself")],
            );
        }
        const KBS: &str = "global.model_catalog.kbs and routing.signals.kb";
        look(signals, "routing.signals", &[("category_kb", KBS), ("taxonomy", KBS)]);
        look(catalog, "global.model_catalog", &[("classifiers", "global.model_catalog.kbs")]);
        for (index, decision) in items(routing, "decisions") {
            const TOOLS: &str = "routing.decisions[].plugins[type=tools].configuration";
            look(
                Some(decision),
                &format!("routing.decisions[{index}]"),
                &[
                    ("modelSelectionAlgorithm", "routing.decisions[].algorithm"),
                    ("tool_scope", TOOLS),
                    ("allow_tools", TOOLS),
                    ("block_tools", TOOLS),
                ],
            );
        }
    }
    for (path, place, home) in &found {
        let key = path.rsplit('.').next().unwrap_or(path);
        findings
            .push(
                Severity::Error,
                codes::REMOVED_KEY,
                path.as_str(),
                *place,
                format!("`{key}` is no longer supported"),
            )
            .help(format!("its new home is {home}"));
    }
    findings.retain(|finding| {
        finding.code != codes::UNKNOWN_KEY || !found.iter().any(|(path, ..)| *path == finding.path)
    });
}

/// Reports a document that is no canonical v0.3 configuration. True when it is one.
pub(crate) fn is_canonical(root: &Node, findings: &mut Findings) -> bool {
    if root.get("routing").is_some() || root.get("global").is_some() {
        return true;
    }
    let mut foreign: Vec<_> = root
        .entries()
        .iter()
        .filter_map(|entry| entry.key.text())
        .filter(|key| !CANONICAL.contains(key))
        .collect();
    foreign.sort_unstable();
    let message = if foreign.is_empty() {
        "neither `routing` nor `global` is present".to_owned()
    } else {
        format!("not a canonical v0.3 file; unexpected at the top level: {}", foreign.join(", "))
    };
    findings
        .push(Severity::Error, codes::NOT_CANONICAL, "", root, message)
        .help("run `pintle config migrate` on files of v0.1 and v0.2");
    false
}

fn items<'a>(parent: Option<&'a Node>, key: &str) -> impl Iterator<Item = (usize, &'a Node)> {
    let items = match parent.and_then(|parent| parent.get(key)).map(|list| &list.kind) {
        Some(Kind::Seq(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().enumerate()
}
