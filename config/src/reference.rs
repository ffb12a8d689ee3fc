//! The operator's reference, written from the declarations and the codes.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::codes;
use crate::contract::Config;
use crate::shape::{Contract, Field, Shape, Struct};
use crate::value::Value;

/// `docs/configuration.md`: every key with its type, default and meaning.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         Pintle reads the canonical v0.3 configuration of vLLM Semantic Router. This page lists every key. It is\n\
         written from the declarations in `config/src/contract` by `PINTLE_BLESS=1 cargo test -p pintle-config`;\n\
         a test fails when it is stale. What each finding of `pintle config check` means is in\n\
         [configuration-findings.md](configuration-findings.md).\n\n\
         * `global` is merged over its defaults field by field; a list replaces the whole default list; an explicit\n\
         \u{20} null sets everything below it to zero, empty or off (under `global.pintle`, to the defaults).\n\
         * Keys that are not listed have no effect and are reported with the nearest known name.\n\
         * YAML 1.1 words (`yes`, `no`, `on`, `off`) are booleans. Only the first document of a file is read.\n\
         * Keys of providers come from `api_key`, from `api_key_env`, or from a systemd credential of that name.\n\
         * `PCF013` notes in `pintle config check` name the sections that are checked and kept but have no effect\n\
         \u{20} in this version.\n",
    );
    let Shape::Struct(root) = Config::shape() else { unreachable!("a configuration is a mapping") };
    let mut pages = Pages { first: HashMap::new(), queue: vec![(String::new(), root)] };
    pages.first.insert(root.name, String::new());
    while let Some((path, shape)) = pages.queue.pop() {
        section(&mut out, &path, shape, &mut pages);
    }
    out
}

/// `docs/configuration-findings.md`: every code with its cause and remedy.
pub fn findings_reference() -> String {
    let mut out = String::from(
        "# What `pintle config check` finds\n\n\
         Codes are stable. `pintle config explain CODE` prints the same text. Codes from PCF001 to PCF063 are what\n\
         v0.3.0 refuses or reports; PCF064 and PCF065 are refused by Pintle and only warned about with\n\
         `--profile compat`; codes from PCF101 are traps that load. `--strict` turns every warning into an error.\n",
    );
    for explanation in codes::explanations() {
        let _ = write!(
            out,
            "\n## {}: {}\n\n{}\n\n**What to do:** {}\n",
            explanation.code, explanation.title, explanation.why, explanation.fix
        );
    }
    out
}

struct Pages {
    /// Path under which a structure is described, by its name.
    first: HashMap<&'static str, String>,
    /// Structures to describe, last first.
    queue: Vec<(String, &'static Struct)>,
}

fn section(out: &mut String, path: &str, shape: &'static Struct, pages: &mut Pages) {
    let title = if path.is_empty() { "The document" } else { path };
    let _ = write!(out, "\n## {title}\n\n{}\n\n", shape.doc.join("").trim());
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    let mut below = Vec::new();
    for field in shape.fields {
        let inner = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let kind = kind(field, &inner, pages, &mut below);
        let _ = writeln!(
            out,
            "| `{}` | {kind} | {} | {} |",
            field.name,
            default(&(field.default)()),
            field.doc.join("").trim().replace('|', "\\|")
        );
    }
    below.reverse();
    pages.queue.extend(below);
}

fn default(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("`{value}`"),
        Value::Int(value) if *value != 0 => format!("`{value}`"),
        Value::Float(value) if *value != 0.0 => format!("`{value}`"),
        Value::String(text) if !text.is_empty() => format!("`{text}`"),
        Value::List(items) if !items.is_empty() => format!("{} built in", items.len()),
        _ => String::new(),
    }
}

fn kind(field: &Field, path: &str, pages: &mut Pages, below: &mut Vec<(String, &'static Struct)>) -> String {
    match field.range {
        Some((min, max)) => format!("{min} to {max}"),
        None => describe((field.shape)(), path, pages, below),
    }
}

fn describe(
    shape: Shape,
    path: &str,
    pages: &mut Pages,
    below: &mut Vec<(String, &'static Struct)>,
) -> String {
    match shape {
        Shape::Bool => "boolean".into(),
        Shape::Int { .. } => "integer".into(),
        Shape::Float => "number".into(),
        Shape::String => "text".into(),
        Shape::Secret => "key".into(),
        Shape::Any => "anything".into(),
        Shape::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Custom(custom) => custom.name.into(),
        Shape::List(item) => format!("list of {}", describe(item(), &format!("{path}[]"), pages, below)),
        Shape::Map(inner) => format!("map of {}", describe(inner(), &format!("{path}.NAME"), pages, below)),
        Shape::Nullable(inner) => format!("{}, or absent", describe(inner(), path, pages, below)),
        Shape::Struct(shape) => {
            let home = pages.first.entry(shape.name).or_insert_with(|| {
                below.push((path.to_owned(), shape));
                path.to_owned()
            });
            format!("[{home}](#{})", anchor(home))
        }
    }
}

/// The anchor that code hosts give a heading.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}
