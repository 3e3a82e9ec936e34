//! Fuzzes the headers of RPM packages, as `compare` reads them.

#![no_main]

#[path = "../checks/package.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
