#![no_main]

#[path = "../src/models.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod models;

libfuzzer_sys::fuzz_target!(|data: &[u8]| models::model_text(data));
