#![no_main]

#[path = "../src/models.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod models;

use std::panic::{catch_unwind, set_hook};
use std::sync::{Mutex, Once, PoisonError};

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

// Operators of the runtime assert what they believe, and the loader catches that: only what nobody catches is a finding.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        set_hook(Box::new(|panic| {
            *SAID.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
    if catch_unwind(|| models::model_graph(data)).is_err() {
        eprintln!("{}", SAID.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
});
