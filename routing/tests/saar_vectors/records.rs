//! Facts of requests, stores, accounting and lookup tables.

use std::io;
use std::path::PathBuf;

use pintle_routing::session::LookupTable;
use pintle_routing::session::compat::accounting::{self, AccountingInput, Prices};
use pintle_routing::session::compat::derivation::{self, AgenticFacts, IdSources, Message, StoredResponse};
use pintle_routing::session::compat::lookup::{
    Entry, EntrySource, FileStore, Files, LoadError, LookupKey, ReplayRecord, populate,
};
use pintle_routing::session::compat::selectors::{self, FrameMethod};
use pintle_routing::session::compat::stores::{
    FirstToken, LAST_MODEL_CAP, LAST_MODEL_TTL_SECONDS, LastModels, ROUTER_MEMORY_TTL_SECONDS, RouterMemory,
    Transition, Transitions, Usage, transition,
};
use serde_json::Value;

use crate::check::{Check, flag, integer, items, known, names, number, text};
use crate::formulas::ttft_history;

fn messages(value: &Value) -> Vec<Message<'_>> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| Message { role: text(m, "role"), content: text(m, "content") })
        .collect()
}

fn strings<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    items(value, name).iter().filter_map(Value::as_str).collect()
}

/// The last-model store of a vector: one model, models by session, or pairs of both.
fn last_model<'a>(input: &'a Value, session: &str) -> &'a str {
    let store = input.as_object().into_iter().flatten().find(|(key, _)| key.contains("last_model"));
    match store.map(|(_, value)| value) {
        Some(Value::String(model)) => model,
        Some(Value::Object(models)) => models.get(session).and_then(Value::as_str).unwrap_or_default(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .rev()
            .find(|pair| pair[0].as_str() == Some(session))
            .and_then(|pair| pair[1].as_str())
            .unwrap_or_default(),
        _ => "",
    }
}

pub(crate) fn session_derivation(input: &Value, check: &mut Check<'_>) {
    let headers = &input["headers"];
    let api = &input["responses_api"];
    let messages = messages(&input["messages"]);
    let request_id = match text(input, "request_id") {
        "" => text(headers, "x-request-id"),
        id => id,
    };
    let sources = IdSources {
        conversation_id: text(api, "conversation_id"),
        x_session_id: text(headers, "x-session-id"),
        claude_code_session_id: text(headers, "x-claude-code-session-id"),
        metadata_user_id: text(input, "metadata_user_id"),
        user_id: text(headers, "x-authz-user-id"),
        messages: &messages,
        request_id,
    };
    check.member("session_id", derivation::session_id(&sources));
    let ids: Vec<String> = strings(input, "user_ids")
        .into_iter()
        .map(|user_id| derivation::session_id(&IdSources { user_id, ..sources }))
        .collect();
    check.member("session_ids", ids);
    if !api.is_object() {
        check.member("turn_index", derivation::turn_index(&messages));
        check.member("history_tokens", derivation::chat_history_tokens(&messages));
        check.member("previous_model", last_model(input, &derivation::session_id(&sources)));
        return;
    }
    let history = items(api, "history");
    let texts: Vec<(Vec<&str>, Vec<&str>)> =
        history.iter().map(|r| (strings(r, "input_texts"), strings(r, "output_items"))).collect();
    let stored: Vec<StoredResponse<'_>> = history
        .iter()
        .zip(&texts)
        .filter(|(r, _)| r.is_object())
        .map(|(r, (input_texts, output_items))| StoredResponse {
            model: text(r, "model"),
            usage: r["usage"][0].as_i64().zip(r["usage"][1].as_i64()),
            input_texts,
            output_text: text(r, "output_text"),
            output_items,
        })
        .collect();
    check.member("turn_index", history.len());
    check.member("history_tokens", derivation::stored_history_tokens(&stored));
    check.member("previous_model", stored.last().map_or("", |r| r.model));
    check.member("previous_response_id", text(api, "previous_response_id"));
}

pub(crate) fn history_tokens(input: &Value, check: &mut Check<'_>) {
    check.member("history_tokens", derivation::chat_history_tokens(&messages(&input["messages"])));
}

pub(crate) fn token_estimate(input: &Value, check: &mut Check<'_>) {
    check.member("tokens", derivation::estimate_tokens(text(input, "text")));
}

pub(crate) fn turn_number(input: &Value, check: &mut Check<'_>) {
    let numbers: Vec<i64> =
        items(input, "threads").iter().map(|t| derivation::turn_index(&messages(t)) + 1).collect();
    check.member("turn_numbers", numbers);
}

pub(crate) fn agentic_facts(input: &Value, check: &mut Check<'_>) {
    let facts = &input["facts"];
    let got = AgenticFacts {
        assistant_tool_calls: integer(facts, "assistant_tool_calls"),
        tool_results: integer(facts, "tool_results"),
        last_message_role: text(facts, "last_message_role"),
        last_message_is_tool_result: flag(facts, "last_message_tool_result")
            || flag(facts, "last_message_is_tool_result"),
        last_user_after_tool_result: flag(facts, "last_user_after_tool_result"),
        previous_response_id: text(input, "previous_response_id"),
    };
    check.member("active_tool_loop", got.active_tool_loop());
    check.member("phase", got.phase());
    check.member("has_non_portable_context", got.non_portable_reason().is_some());
    check.member("non_portable_context_reason", got.non_portable_reason().unwrap_or(""));
    check.member("previous_model", text(input, "previous_model"));
}

fn prices(value: &Value) -> Prices {
    Prices {
        prompt_per_1m: number(value, "prompt_per_1m"),
        cached_input_per_1m: number(value, "cached_input_per_1m"),
        completion_per_1m: number(value, "completion_per_1m"),
    }
}

pub(crate) fn session_sequence(input: &Value, check: &mut Check<'_>) {
    let session = input["session_id"].as_str().unwrap_or("session");
    let mut memory = RouterMemory::new(input["ttl_s"].as_f64().unwrap_or(ROUTER_MEMORY_TTL_SECONDS));
    for (i, at) in items(input, "record_at").iter().filter_map(Value::as_f64).enumerate() {
        memory.record_usage(&format!("session-{i}"), "model", &Usage::default(), at);
    }
    check.member("sessions", memory.len());

    let names = names(&input["candidates"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some((chosen, method)) = selectors::choose(&names, None) {
        memory.record_decision(session, 0, "", names[chosen], text(input, "decision_name"), 0.0);
        check.member("selected_model", names[chosen]);
        check.member("method", if method == FrameMethod::Single { "single" } else { "static" });
    }
    let prices = prices(&input["pricing"]);
    for turn in items(input, "turns") {
        let (prompt, completion) = (turn[0].as_i64().unwrap_or(0), turn[1].as_i64().unwrap_or(0));
        let usage = Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            cost: accounting::turn_cost(prompt, 0, completion, &prices),
            ..Usage::default()
        };
        memory.record_usage(session, text(input, "model"), &usage, 0.0);
    }
    let got = memory.get(session, 0.0).cloned().unwrap_or_default();
    check.member("memory_current_model", got.current_model.as_str());
    check.member("memory_turn_count", got.turn_count);
    check.member("memory_switch_count", got.switch_count);
    check.member("cumulative_prompt", got.prompt_tokens);
    check.member("cumulative_completion", got.completion_tokens);
    check.member("cumulative_cost", got.cost);
    check.member("histogram_observations", got.usage_turns);
}

pub(crate) fn cache_accounting(input: &Value, check: &mut Check<'_>) {
    let (context, usage, prices) = (&input["context"], &input["usage"], prices(&input["pricing"]));
    let turn = AccountingInput {
        session_id: text(context, "session_id"),
        request_model: text(context, "request_model"),
        previous_model: text(context, "previous_model"),
        idle_seconds: known(context, "idle_seconds", "idle_known"),
        history_tokens: integer(context, "history_tokens"),
        cache_warmth: known(context, "cache_warmth", "cache_warmth_ok"),
        prompt_tokens: integer(usage, "prompt_tokens"),
        cached_tokens: flag(usage, "cached_reported").then(|| integer(usage, "cached_prompt_tokens")),
        completion_tokens: integer(usage, "completion_tokens"),
    };
    let got = accounting::account(&turn, &prices);
    check.member("source", got.source);
    check.member("estimated_cached_tokens", got.estimated_cached_tokens);
    check.member("confidence", got.confidence);
    check.member("estimated_savings", got.estimated_savings);
    let cached = turn.cached_tokens.unwrap_or(0);
    check.member("cost", accounting::turn_cost(turn.prompt_tokens, cached, turn.completion_tokens, &prices));
}

pub(crate) fn last_model_store(input: &Value, check: &mut Check<'_>) {
    let ttl = input["ttl_s"].as_f64().unwrap_or(LAST_MODEL_TTL_SECONDS);
    let cap = input["cap"].as_u64().map_or(LAST_MODEL_CAP, |cap| cap as usize);
    let mut store = LastModels::new(ttl, cap);
    let record = items(input, "record");
    for (i, pair) in record.iter().enumerate() {
        // All at nearly the same moment, in order.
        let at = i as f64 * 1e-6;
        store.record(pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default(), at);
    }
    let got = store.get(text(input, "get"), number(input, "elapsed_s"));
    check.member("model", got.unwrap_or(""));
    check.member("ok", got.is_some());
    check.member("sessions", store.len());
    if let Some(limit) = check.expected()["max_sessions"].as_u64() {
        check.member("max_sessions", if store.len() as u64 <= limit { limit } else { store.len() as u64 });
    }
}

fn event(value: &Value, session_id: &str) -> Transition {
    Transition {
        session_id: session_id.to_owned(),
        turn_index: integer(value, "turn_index"),
        from_model: text(value, "from_model").to_owned(),
        to_model: text(value, "to_model").to_owned(),
        ttft_ms: number(value, "ttft_ms"),
        cache_warmth_estimate: number(value, "cache_warmth_estimate"),
        previous_response_id: text(value, "previous_response_id").to_owned(),
    }
}

pub(crate) fn transition_store(input: &Value, check: &mut Check<'_>) {
    let mut store = Transitions::default();
    for value in items(input, "record") {
        store.record(event(value, text(value, "session_id")));
    }
    let counted = integer(input, "record_count");
    for _ in 0..counted {
        store.record(event(input, "session"));
    }
    let recorded = items(input, "record").last().map_or("", |value| text(value, "session_id"));
    let session = match (input["get"].as_str(), counted) {
        (Some(session), _) => session,
        (None, 0) => recorded,
        (None, _) => "session",
    };
    let got = store.get(session);
    check.member("count", got.len());
    let last = got.last();
    check.member("from_model", last.map_or("", |t| t.from_model.as_str()));
    check.member("to_model", last.map_or("", |t| t.to_model.as_str()));
    check.member("turn_index", last.map_or(0, |t| t.turn_index));
    check.member("turn_indexes", got.iter().map(|t| t.turn_index).collect::<Vec<_>>());
}

pub(crate) fn transition_event(input: &Value, check: &mut Check<'_>) {
    let history = ttft_history(input);
    let got = transition(&FirstToken {
        session_id: text(input, "session_id"),
        turn_index: integer(input, "turn_index"),
        request_model: text(input, "request_model"),
        previous_model: text(input, "previous_model"),
        previous_response_id: text(input, "previous_response_id"),
        ttft_seconds: number(input, "ttft_seconds"),
        ttft_history: &history,
    });
    check.member("emitted", got.is_some());
    let Some(got) = got else { return };
    check.member("from_model", got.from_model.as_str());
    check.member("to_model", got.to_model.as_str());
    check.member("turn_index", got.turn_index);
    check.member("ttft_ms", got.ttft_ms);
    check.member("cache_warmth_estimate", got.cache_warmth_estimate);
    check.member("previous_response_id", got.previous_response_id.as_str());
}

pub(crate) fn lookup_builder(input: &Value, check: &mut Check<'_>) {
    let mut table: LookupTable = serde_json::from_value(input["existing"].clone()).unwrap_or_default();
    let records: Vec<ReplayRecord> = items(input, "records")
        .iter()
        .map(|r| ReplayRecord {
            category: text(r, "category").to_owned(),
            decision: text(r, "decision").to_owned(),
            selected_model: text(r, "selected_model").to_owned(),
            confidence_score: number(r, "confidence_score"),
            actual_cost: r["actual_cost"].as_f64(),
            at_s: number(r, "at_s"),
        })
        .collect();
    populate(&mut table, &records);
    let entries: Value = table.0.iter().map(|(key, entry)| (key.clone(), entry.value)).collect();
    check.member("entries", entries);
    let counts: Value = table.0.iter().map(|(key, entry)| (key.clone(), entry.sample_count)).collect();
    check.member("sample_counts", counts);
    check.member("entry_count", table.0.len());
    let absent = |prefix: &&Value| {
        let prefix = format!("{}::", prefix.as_str().unwrap_or_default());
        !table.0.keys().any(|key| key.starts_with(&prefix) || *key == prefix.trim_end_matches("::"))
    };
    for name in ["no_table", "absent", "no_entries"] {
        if let Some(Value::Array(expected)) = check.expected().get(name) {
            check.member(name, expected.iter().filter(absent).cloned().collect::<Vec<_>>());
        }
    }
}

pub(crate) fn lookup_key(input: &Value, check: &mut Check<'_>) {
    let mut all = strings(input, "strings");
    all.extend(strings(input, "keys"));
    let parsed: Vec<Option<LookupKey>> = all.iter().map(|text| text.parse().ok()).collect();
    check.member("all_rejected", parsed.iter().all(Option::is_none));
    let kept = parsed.iter().zip(&all).all(|(k, text)| k.as_ref().is_some_and(|k| k.to_string() == *text));
    for name in ["all_round_trip", "round_trip", "round_trips", "all_accepted", "all_parsed"] {
        check.member(name, kept);
    }
}

/// A real directory.
struct Directory(PathBuf);

impl Files for Directory {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn write(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        std::fs::write(self.0.join(path), content)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }
}

/// The vectors of this kind carry no input: the name of the upstream test says what happens to the file.
pub(crate) fn lookup_file(id: &str, check: &mut Check<'_>) {
    const NAME: &str = "lookup.json";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    if id.contains("Corrupt") {
        std::fs::write(&path, b"{ not json").unwrap();
    } else if id.contains("Empty") {
        std::fs::write(&path, b"").unwrap();
    }
    let opened = FileStore::open(Directory(dir.path().to_owned()), NAME);
    check.member("error", opened.is_err());
    let mut store = match opened {
        Ok(store) => store,
        Err(LoadError::Corrupt { backup, .. }) => {
            assert!(dir.path().join(&backup).exists() && !path.exists());
            check.member("backup_suffix", &backup[NAME.len()..]);
            return;
        }
        Err(LoadError::Io { source, .. }) => panic!("{source}"),
    };
    let entry = Entry { value: 0.25, source: EntrySource::ReplayDerived, sample_count: 7 };
    store.table_mut().0.insert("quality_gap::coding::a::b".to_owned(), entry);
    assert!(!store.tick(0.5, 1.0).unwrap(), "saved before the interval");
    assert!(store.tick(1.0, 1.0).unwrap(), "not saved at the interval");
    check.member("file_exists_after_tick", path.exists());
    check.member("main_exists", path.exists());
    check.member("tmp_left", dir.path().join(format!("{NAME}.tmp")).exists());
    let again = FileStore::open(Directory(dir.path().to_owned()), NAME).unwrap();
    for name in ["round_trip", "entries_equal", "persisted"] {
        check.member(name, again.table() == store.table());
    }
    check.member("entry_count", again.table().0.len());
}
