//! Debian packages.

#![no_main]

#[path = "../checks/deb.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
