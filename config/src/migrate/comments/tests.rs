use crate::migrate::migrate;
use crate::{Profile, load};

fn migrated(text: &str) -> (String, Vec<String>) {
    let migration = migrate(text.as_bytes(), "old.yaml");
    let output = migration.output.expect("it is YAML");
    let loaded = load(output.as_bytes(), "new.yaml", Profile::Pintle);
    assert!(loaded.config.is_some(), "{:?}\n{output}", loaded.report);
    (output, migration.lines.iter().map(ToString::to_string).collect())
}

fn holds(output: &str, wanted: &str) {
    assert!(output.contains(wanted), "this is missing:\n{wanted}\nfrom:\n{output}");
}

#[test]
fn comments_of_a_flat_layout_follow_their_fields() {
    let (output, lines) = migrated(
        "\
# Our gateway.

# What nobody asked for by name.
default_model: big # until the small one is trained
# Machines in the cellar.
vllm_endpoints:
  # The left one.
  - name: a
    address: 10.0.0.1 # wired
    port: 8000
    weight: 2 # twice the cards
    # Nobody looks at this.
    health_check_path: /health
# All models.
model_config:
  # The only one.
  big:
    preferred_endpoints: [a]
    param_size: 32B   # quantised
keyword_rules: # tuned in May
  # What cannot wait.
  - name: urgent
    operator: OR
    keywords:
      - \"now # really\" # not later
      # Said often.
      - asap
decisions:
  # Who is in a hurry.
  - name: d
    description: |  # for people
      # no comment
      text
    rules: {operator: OR, conditions: [{type: keyword, name: urgent}]} # one rule
    modelRefs: [{model: big, use_reasoning: off}]
# entropy goes first
entropy_threshold: 0.3 # or second
# The end.
",
    );
    assert!(output.starts_with("# Our gateway.\nversion: v0.3\n"), "{output}");
    assert!(output.ends_with("# The end.\n"), "{output}");
    holds(
        &output,
        "    # What nobody asked for by name.\n    default_model: big # until the small one is trained\n",
    );
    holds(&output, "# Machines in the cellar.\n");
    holds(&output, "        # The left one.\n        - name: a\n");
    holds(&output, "endpoint: \"10.0.0.1:8000\" # wired\n");
    holds(&output, "weight: 2 # twice the cards\n");
    holds(&output, "# All models.\n    # The only one.\n    - name: big\n");
    holds(&output, "param_size: 32B # quantised\n");
    holds(&output, "keywords: # tuned in May\n      # What cannot wait.\n      - name: urgent\n");
    holds(&output, "- \"now # really\" # not later\n          # Said often.\n          - asap\n");
    holds(&output, "description: \"# no comment\\ntext\\n\" # for people\n");
    holds(&output, "    # Who is in a hurry.\n    - name: d\n");
    for wanted in [
        "line 13: comment `# Nobody looks at this.` dropped: its field is not in the new document",
        "comment `# entropy goes first` dropped",
        "comment `# or second` dropped",
    ] {
        let wanted = wanted.replace("line 13: ", "");
        assert!(lines.iter().any(|line| line.contains(&wanted)), "{wanted}: {lines:#?}");
    }
    holds(&output, "rules: # one rule\n");
    let comments = output.matches("# ").count();
    assert_eq!(comments, 20, "each is written once; two are text\n{output}");
}

#[test]
fn comments_of_canonical_documents_stay_where_they_are() {
    let text = "\
# Ours.

# About the version.
version: v0.3 # for good
listeners: []
providers:
  defaults:
    default_model: m # the only one
  # Models.
  models: # in order
    # First.
    - name: m
      backend_refs:
        - endpoint: \"10.0.0.1:80\"
          # Heavy.
          weight: 3
routing: # little yet
  modelCards:
    - name: m
# Bye.
";
    let (output, lines) = migrated(text);
    assert_eq!(output, text.replace("# Ours.\n\n", "# Ours.\n"));
    assert_eq!(migrated(&output).0, output, "a second time changes nothing");
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn comments_in_values_of_a_chart_and_in_config_maps_are_kept() {
    let (output, lines) = migrated(
        "\
# Deployment.
image: {tag: x} # pinned
config:
  # Cards.
  routing:
    modelCards:
      - name: m # small
",
    );
    assert!(output.starts_with("# Deployment.\n"), "{output}");
    holds(&output, "# Cards.\nrouting:\n");
    holds(&output, "- name: m # small\n");
    assert!(lines.iter().any(|line| line.contains("line 2: comment `# pinned` dropped")), "{lines:?}");

    let (output, lines) = migrated(
        "\
apiVersion: v1
kind: ConfigMap
data:
  config.yaml: |
    routing:
      # Cards.
      modelCards:
        - name: m # small
    unheard_of: 1
",
    );
    holds(&output, "  # Cards.\n  modelCards:\n    - name: m # small\n");
    assert!(lines.iter().any(|line| line.contains("line 9: unheard_of dropped")), "{lines:?}");
}

#[test]
fn a_comment_ends_where_any_reader_ends_it() {
    let (output, _) =
        migrated("routing:\n  modelCards: # a\u{2028}b\u{85}c\n    - name: m\r\n    # x\r    - name: n\n");
    holds(&output, "modelCards: # a b c\n");
    holds(&output, "# x\n    - name: n\n");
}
