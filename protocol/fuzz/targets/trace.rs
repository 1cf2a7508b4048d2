//! Feeds libFuzzer's inputs to the check of `trace`; what must hold is in `checks.rs`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses one check of all")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checks::trace(bytes);
});
