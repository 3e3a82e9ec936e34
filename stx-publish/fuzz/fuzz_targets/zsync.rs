//! zsync control files, and the search for their blocks.

#![no_main]

#[path = "../checks/zsync.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
