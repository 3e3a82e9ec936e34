//! Fuzzes recipe files.

#![no_main]

#[path = "../checks/recipe.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
