//! Databases of tools in v0.3's format: a JSON list of `{"tool": {"type": "function", "function": {…}}, "description",
//! "category", "tags"}`, read when a configuration is.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pintle_dataplane::toolbox::{Tool, Toolbox};
use pintle_routing::policy::Policy;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

/// Bytes of a file.
const MAX_BYTES: u64 = 4 << 20;
/// Tools of a database.
const MAX_TOOLS: usize = 1024;

/// The databases that a policy's decisions add tools from, by configured name. One that cannot be used is told, and
/// adds nothing. Relative names are looked for in `base` first.
pub(crate) fn of(policy: &Policy, base: &Path) -> HashMap<String, Toolbox> {
    let mut toolboxes = HashMap::new();
    for name in policy.tool_databases() {
        if toolboxes.contains_key(name) {
            continue;
        }
        let beside = base.join(name);
        let path = if beside.exists() { beside } else { PathBuf::from(name) };
        match read(&path).map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes)) {
            Ok(tools) => {
                info!(path = %path.display(), tools = tools.len(), "tools that may be added");
                toolboxes.insert(name.to_owned(), Toolbox::new(tools));
            }
            Err(error) => warn!(path = %path.display(), error, "database of tools not used"),
        }
    }
    toolboxes
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Entry {
    tool: Wrapped,
    #[serde(default)]
    description: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Wrapped {
    function: Map<String, Value>,
}

/// Reads a database. The error is one sentence.
fn parse(bytes: &[u8]) -> Result<Vec<Tool>, String> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if entries.len() > MAX_TOOLS {
        return Err(format!("{} tools are more than {MAX_TOOLS}", entries.len()));
    }
    let mut names = HashSet::new();
    let mut tools = Vec::with_capacity(entries.len());
    for (nth, entry) in entries.into_iter().enumerate() {
        let tool = tool(entry).ok_or_else(|| format!("tool {} has no name", nth + 1))?;
        if !names.insert(tool.name.clone()) {
            return Err(format!("two tools are called {:?}", tool.name));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn tool(entry: Entry) -> Option<Tool> {
    let Entry { tool: Wrapped { function }, description, category, tags } = entry;
    let name = function.get("name")?.as_str().filter(|name| !name.is_empty())?.to_owned();
    let own = function.get("description").and_then(Value::as_str).unwrap_or_default();
    let schema = function.get("parameters").cloned();
    let schema = schema.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    let mut flat = function.clone();
    flat.insert("type".into(), "function".into());
    flat.insert("parameters".into(), schema.clone());
    Some(Tool {
        description: if description.trim().is_empty() { format!("{name}: {own}") } else { description },
        category,
        tags,
        message: json!({ "name": name, "description": own, "input_schema": schema }).to_string(),
        chat: json!({ "type": "function", "function": function }).to_string(),
        response: Value::Object(flat).to_string(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"[
        {"tool": {"type": "function", "function": {"name": "get_weather", "description": "Own.", "strict": true,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
         "description": "Weather forecast of a city.", "category": "weather", "tags": ["rain"]},
        {"tool": {"function": {"name": "stop", "description": "Stops."}}}]"#;

    #[test]
    fn a_tool_is_written_as_each_api_has_it() {
        let tools = parse(FILE.as_bytes()).unwrap();
        let [weather, stop] = &tools[..] else { panic!("two") };
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
        let function =
            json!({ "name": "get_weather", "description": "Own.", "strict": true, "parameters": schema });
        assert_eq!(read(&weather.chat), json!({ "type": "function", "function": function }));
        let mut flat = function;
        flat["type"] = "function".into();
        assert_eq!(read(&weather.response), flat);
        assert_eq!(
            read(&weather.message),
            json!({ "name": "get_weather", "description": "Own.", "input_schema": schema })
        );
        assert_eq!(read(&stop.message)["input_schema"]["type"], "object");
        assert_eq!(
            (weather.description.as_str(), stop.description.as_str()),
            ("Weather forecast of a city.", "stop: Stops.")
        );
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let entry = r#"{"tool": {"function": {"name": "a"}}}"#;
        let many = format!("[{}{entry}]", r#"{"tool": {"function": {"name": "x"}}},"#.repeat(MAX_TOOLS));
        for (text, why) in [
            ("{}", "expected"),
            (r#"[{"tool": {"function": {}}}]"#, "has no name"),
            (&format!("[{entry},{entry}]"), "two tools"),
            (&many, "more than"),
            ("[", "EOF"),
        ] {
            let refused = parse(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(parse(b"[]").unwrap().is_empty());
    }
}
