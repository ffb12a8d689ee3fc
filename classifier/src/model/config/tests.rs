use super::*;

const OLD: &str = r#"{"model_type": "modernbert", "architectures": ["ModernBertModel"], "hidden_size": 64,
    "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 512,
    "max_position_embeddings": 256, "layer_norm_eps": 1e-5, "local_attention": 17,
    "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}"#;

const NEW: &str = r#"{"model_type": "modernbert", "architectures": ["ModernBertModel"], "hidden_size": 64,
    "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 512,
    "max_position_embeddings": 256, "norm_eps": 1e-5, "local_attention": 16,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {"full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}}"#;

#[test]
fn both_spellings_say_the_same() {
    let old = parse(OLD.as_bytes()).unwrap();
    assert_eq!(old.reach, [None, Some(8), Some(8), None]);
    assert_eq!(old, parse(NEW.as_bytes()).unwrap());
}

#[test]
fn scaled_positions_in_both_spellings_say_the_same() {
    let yarn = "\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64";
    let old =
        OLD.replacen("\"local_attention\"", &format!("\"rope_scaling\": {{{yarn}}}, \"local_attention\""), 1);
    let old = parse(old.as_bytes()).unwrap();
    let new = NEW.replace("\"rope_type\": \"default\"", &yarn.replace("\"type\"", "\"rope_type\""));
    assert_eq!(old, parse(new.as_bytes()).unwrap());
    let rotary = old.rotary.unwrap();
    assert_eq!((rotary.global.theta, rotary.local.theta), (160_000.0, 10_000.0));
    assert_eq!(rotary.global.yarn, rotary.local.yarn);
    assert_eq!(rotary.global.yarn.unwrap().factor, 4.0);
    let one = NEW.replacen("\"rope_type\": \"default\"", &yarn.replace("\"type\"", "\"rope_type\""), 1);
    assert_eq!(parse(one.as_bytes()).unwrap().rotary.unwrap().local.yarn, None);
}

#[test]
fn what_cannot_be_computed_is_refused() {
    for (from, to) in [
        ("\"modernbert\"", "\"llama\""),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\", \"factor\": 2"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"linear\", \"factor\": 2"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 0"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"no such\""),
        ("\"hidden_size\": 64", "\"hidden_size\": 0"),
        ("\"hidden_size\": 64", "\"hidden_size\": 99999999"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
        ("\"full_attention\", \"sliding_attention\"", "\"full_attention\""),
        ("\"norm_eps\": 1e-5", "\"norm_eps\": 0"),
        ("\"norm_eps\": 1e-5", "\"norm_eps\": 1e-5, \"hidden_activation\": \"mish\""),
        ("\"norm_eps\": 1e-5", "\"norm_eps\": 1e-5, \"id2label\": {\"0\": \"a\", \"2\": \"b\"}"),
    ] {
        let changed = NEW.replacen(from, to, 1);
        assert_ne!(changed, NEW);
        assert!(parse(changed.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn label_mappings_in_every_spelling() {
    for text in [
        r#"{"category_to_idx": {"law": 1, "math": 0}, "idx_to_category": {"0": "math", "1": "law"}}"#,
        r#"{"label_to_id": {"math": 0, "law": 1}}"#,
        r#"{"id2label": {"1": "law", "0": "math"}}"#,
    ] {
        assert_eq!(parse_label_mapping("m.json", text.as_bytes()).unwrap(), ["math", "law"]);
    }
    for text in [r#"{}"#, r#"{"id2label": {"0": 3}}"#, r#"{"label_to_id": {"a": 0, "b": 0}}"#] {
        assert!(parse_label_mapping("m.json", text.as_bytes()).is_err(), "{text}");
    }
}
