//! Fuzzes rows of the ledger.

#![no_main]

#[path = "../checks/ledger.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
