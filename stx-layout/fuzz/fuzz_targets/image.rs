//! Names of container images.

#![no_main]

#[path = "../checks/image.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
