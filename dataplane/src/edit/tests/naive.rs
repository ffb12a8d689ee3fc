//! The same edits on a document tree, written without looking at the patches: what comes out must mean the same.

use pintle_routing::edits::{Reasoning, RequestEdits, RequestParams, SystemPrompt, ToolsEdit};
use pintle_routing::facts::Dialect;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::{Case, SubCall};

fn name_of(tool: &Value) -> Option<&str> {
    tool["function"]["name"]
        .as_str()
        .or_else(|| tool["custom"]["name"].as_str())
        .or_else(|| tool["name"].as_str())
        .or_else(|| tool["type"].as_str())
}

fn edited(case: &Case, body: &Value) -> Value {
    let mut root = body.as_object().unwrap().clone();
    root.insert("model".into(), "served".into());
    let mut set: Vec<&str> = Vec::new();
    if let Some(sub_call) = case.sub_call {
        root.remove("n");
        root.remove("stream_options");
        if root.contains_key("stream") {
            root.insert("stream".into(), false.into());
        }
        match (sub_call.top_logprobs, case.dialect) {
            (None, _) | (_, Dialect::AnthropicMessages) => {}
            (Some(top), Dialect::OpenAiChat) => {
                root.insert("logprobs".into(), true.into());
                root.insert("top_logprobs".into(), top.into());
            }
            (Some(top), Dialect::OpenAiResponses) => {
                let wanted = json!("message.output_text.logprobs");
                let include = root.entry("include").or_insert_with(|| json!([]));
                let include = include.as_array_mut().unwrap();
                if !include.contains(&wanted) {
                    include.push(wanted);
                }
                root.insert("top_logprobs".into(), top.into());
            }
        }
        let messages = case.dialect == Dialect::AnthropicMessages;
        let own = messages && root.get("thinking").is_some_and(|thinking| thinking["type"] == "enabled");
        if let Some(temperature) = sub_call.temperature.filter(|_| !own) {
            // As text, a whole number has no fraction.
            let written = if messages && temperature > 1.0 { json!(1) } else { json!(temperature) };
            root.insert("temperature".into(), written);
            set.push("temperature");
        }
        if let Some(prompt) = sub_call.prompt {
            let list = if case.dialect == Dialect::OpenAiResponses { "input" } else { "messages" };
            match &mut root[list] {
                Value::Array(messages) => {
                    messages.pop_if(|last| last["role"] != "system" && last["role"] != "developer");
                    messages.push(json!({ "role": "user", "content": prompt }));
                }
                text => *text = prompt.into(),
            }
        }
        set.extend(["stream", "logprobs", "top_logprobs", "include"]);
    }
    let strip = case.decision.params.strip_unknown;
    let within = |root: &mut Map<String, Value>, name: &str, key: &str, value: Value, alone: bool| {
        let mut object = root.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        if alone {
            object.clear();
        }
        object.insert(key.into(), value);
        root.insert(name.into(), object.into());
    };
    match (case.reasoning, case.dialect) {
        (Some(Reasoning::TemplateFlag { parameter, on }), Dialect::OpenAiChat) => {
            root.remove("reasoning_effort");
            within(&mut root, "chat_template_kwargs", parameter, on.into(), strip);
            set.push("chat_template_kwargs");
        }
        (Some(Reasoning::Effort { effort: Some(effort) }), Dialect::OpenAiChat) if case.plain_effort => {
            root.insert("reasoning_effort".into(), effort.into());
            set.push("reasoning_effort");
        }
        (Some(Reasoning::Effort { effort: Some(effort) }), Dialect::OpenAiChat) => {
            root.remove("reasoning_effort");
            within(&mut root, "chat_template_kwargs", "reasoning_effort", effort.into(), strip);
            set.push("chat_template_kwargs");
        }
        (Some(Reasoning::Effort { effort: Some(effort) }), Dialect::OpenAiResponses) => {
            within(&mut root, "reasoning", "effort", effort.into(), false);
            set.push("reasoning");
        }
        _ => {}
    }
    if let Some(prompt) = &case.decision.system_prompt {
        let text = |old: Option<&Value>| match old {
            Some(Value::String(old)) if !prompt.replace && !old.is_empty() => {
                Value::from(format!("{}\n\n{old}", prompt.text))
            }
            Some(Value::Array(parts)) if !prompt.replace => {
                let first = json!({ "type": "text", "text": prompt.text });
                std::iter::once(first).chain(parts.iter().cloned()).collect()
            }
            _ => Value::from(prompt.text.clone()),
        };
        match case.dialect {
            Dialect::OpenAiChat => {
                let messages = root["messages"].as_array_mut().unwrap();
                match messages.iter_mut().find(|m| m["role"] == "system" || m["role"] == "developer") {
                    Some(message) => {
                        let new = text(message.get("content"));
                        message["content"] = new;
                    }
                    None => messages.insert(0, json!({ "role": "system", "content": prompt.text })),
                }
            }
            dialect => {
                let name = if dialect == Dialect::OpenAiResponses { "instructions" } else { "system" };
                let new = text(root.get(name));
                root.insert(name.into(), new);
                set.push(name);
            }
        }
    }
    let params = &case.decision.params;
    root.retain(|name, _| {
        let stripped = strip && name.starts_with("x-");
        let required = ["model", "messages", "input"].contains(&name.as_str());
        required || set.contains(&name.as_str()) || !(params.blocked.contains(name) || stripped)
    });
    let bounds =
        ["max_tokens", "max_completion_tokens", "max_output_tokens"].map(|name| (name, params.max_tokens));
    for (name, most) in bounds.into_iter().chain([("n", params.max_n)]) {
        if let (Some(most), Some(value)) = (most, root.get_mut(name))
            && value.as_u64().is_some_and(|given| given > most)
        {
            *value = most.into();
        }
    }
    let all_gone = match &case.decision.tools {
        ToolsEdit::Passthrough => false,
        ToolsEdit::Remove => true,
        ToolsEdit::Filter { allow, block } => {
            let passes = |name: &str| {
                (allow.is_empty() || allow.iter().any(|a| a == name)) && !block.iter().any(|b| b == name)
            };
            let before = root.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
            if let Some(Value::Array(tools)) = root.get_mut("tools") {
                tools.retain(|tool| name_of(tool).is_some_and(passes));
            }
            let after = root.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
            let demanded =
                root.get("tool_choice").filter(|c| c.is_object()).and_then(name_of).map(str::to_owned);
            if before > after && demanded.is_some_and(|name| !passes(&name)) {
                root.remove("tool_choice");
            }
            before > 0 && after == 0
        }
    };
    if all_gone {
        for name in ["tools", "tool_choice", "parallel_tool_calls"] {
            root.remove(name);
        }
    }
    root.into()
}

fn tool(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::OpenAiChat => json!({ "type": "function", "function": { "name": name } }),
        _ => json!({ "type": "function", "name": name }),
    }
}

fn body(dialect: Dialect) -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        Just(json!("text \"with\" \\ and \u{e9}\n")),
        Just(json!("")),
        Just(Value::Null),
        Just(json!([{ "type": "text", "text": "part" }])),
        Just(json!([])),
    ];
    let message = (select(vec!["user", "assistant", "system", "developer", "tool"]), content.clone())
        .prop_map(|(role, content)| json!({ "role": role, "content": content }));
    let tools = subsequence(vec!["a", "b", "c", "d"], 0..=4);
    let demand = move |name| match dialect {
        Dialect::AnthropicMessages => json!({ "type": "tool", "name": name }),
        _ => tool(dialect, name),
    };
    let choice = prop_oneof![Just(json!("auto")), select(vec!["a", "b", "z"]).prop_map(demand)];
    let extras: Vec<(&str, Value)> = vec![
        ("n", json!(3)),
        ("max_tokens", json!(500)),
        ("max_completion_tokens", json!(50)),
        ("max_output_tokens", json!(501)),
        ("stream", json!(true)),
        ("stream_options", json!({ "include_usage": true })),
        ("temperature", json!(0.25)),
        ("reasoning_effort", json!("low")),
        ("chat_template_kwargs", json!({ "thinking": 7, "other": [1, {}] })),
        ("reasoning", json!({})),
        ("include", json!(["reasoning.encrypted_content"])),
        ("thinking", json!({ "type": "enabled", "budget_tokens": 9 })),
        ("parallel_tool_calls", json!(true)),
        ("x-one", json!({ "deep": [[[]]] })),
        ("x-two", json!("\u{1f600}")),
    ];
    let known: fn(Dialect) -> Vec<&'static str> = |dialect| match dialect {
        Dialect::OpenAiChat => {
            vec![
                "n",
                "max_tokens",
                "max_completion_tokens",
                "stream",
                "stream_options",
                "temperature",
                "reasoning_effort",
                "parallel_tool_calls",
            ]
        }
        Dialect::OpenAiResponses => {
            vec!["max_output_tokens", "temperature", "reasoning", "parallel_tool_calls", "stream", "include"]
        }
        Dialect::AnthropicMessages => vec!["max_tokens", "temperature", "stream", "thinking"],
    };
    let extras: Vec<_> = extras
        .into_iter()
        .filter(|(name, _)| name.starts_with("x-") || known(dialect).contains(name))
        .collect();
    let count = extras.len();
    (
        prop::collection::vec(message, 0..4),
        prop::option::of(tools),
        prop::option::of(choice),
        prop::option::of(content),
        subsequence(extras, 0..=count),
    )
        .prop_map(move |(messages, tools, choice, system, extras)| {
            let mut root = Map::new();
            root.insert("model".into(), "auto".into());
            let (list, system_name) = match dialect {
                Dialect::OpenAiResponses => ("input", "instructions"),
                _ => ("messages", "system"),
            };
            root.insert(list.into(), messages.into());
            if let Some(tools) = tools {
                root.insert("tools".into(), tools.iter().map(|name| tool(dialect, name)).collect());
            }
            if let Some(choice) = choice {
                root.insert("tool_choice".into(), choice);
            }
            if let (Some(system), true) = (system, dialect != Dialect::OpenAiChat) {
                root.insert(system_name.into(), system);
            }
            root.extend(extras.into_iter().map(|(name, value)| (name.to_owned(), value)));
            root.into()
        })
}

fn edits() -> impl Strategy<Value = (RequestEdits, Option<Reasoning<'static>>, bool)> {
    let names = |names: Vec<&'static str>, most: usize| {
        subsequence(names, 0..=most)
            .prop_map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let prompt =
        ("[a-z\"\\\\\n]{1,12}", any::<bool>()).prop_map(|(text, replace)| SystemPrompt { text, replace });
    let params = (
        names(vec!["n", "temperature", "tools", "model", "x-one", "chat_template_kwargs", "system"], 7),
        prop::option::of(1u64..600),
        prop::option::of(1u64..4),
        any::<bool>(),
    )
        .prop_map(|(blocked, max_tokens, max_n, strip_unknown)| RequestParams {
            blocked,
            max_tokens,
            max_n,
            strip_unknown,
        });
    let tools = prop_oneof![
        Just(ToolsEdit::Passthrough),
        Just(ToolsEdit::Remove),
        (names(vec!["a", "b", "c"], 3), names(vec!["a", "d"], 2))
            .prop_map(|(allow, block)| ToolsEdit::Filter { allow, block }),
    ];
    let reasoning = select(vec![
        None,
        Some(Reasoning::TemplateFlag { parameter: "thinking", on: true }),
        Some(Reasoning::TemplateFlag { parameter: "enable_thinking", on: false }),
        Some(Reasoning::Effort { effort: Some("high") }),
        Some(Reasoning::Effort { effort: None }),
    ]);
    (prop::option::of(prompt), params, tools, reasoning, any::<bool>()).prop_map(
        |(system_prompt, params, tools, reasoning, plain)| {
            (RequestEdits { system_prompt, params, tools, ..RequestEdits::default() }, reasoning, plain)
        },
    )
}

fn sub_calls() -> impl Strategy<Value = Option<SubCall<'static>>> {
    let any = (prop::option::of(1u8..3), prop::option::of(select(vec![0.1, 0.5, 1.5])), any::<bool>());
    prop::option::of(any.prop_map(|(top_logprobs, temperature, asks)| SubCall {
        top_logprobs,
        temperature,
        prompt: asks.then_some("weigh \"these\"\n"),
    }))
}

fn requests() -> impl Strategy<Value = (Dialect, Value)> {
    let dialects = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages];
    select(dialects.to_vec()).prop_flat_map(|dialect| body(dialect).prop_map(move |body| (dialect, body)))
}

/// Writes a document with white space wherever the grammar lets it.
fn spread(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap().replace('\n', "\r\n\t")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn patches_mean_what_a_document_tree_means(
        (dialect, body) in requests(),
        (decision, reasoning, plain_effort) in edits(),
        sub_call in sub_calls(),
        spaced in any::<bool>(),
    ) {
        // Several models are asked about something.
        let said = |list: &str| body[list].as_array().is_some_and(|messages| !messages.is_empty());
        let sub_call = sub_call.filter(|_| said("messages") || said("input"));
        let case = Case { dialect, decision, reasoning, plain_effort, sub_call, relevant: None };
        let text = if spaced { spread(&body) } else { body.to_string() };
        let (out, _) = case.run(&text);
        let parsed: Value = serde_json::from_str(&out).map_err(|error| {
            TestCaseError::fail(format!("{error}: {out}"))
        })?;
        prop_assert_eq!(parsed, edited(&case, &body), "{} became {}", text, out);
    }
}
