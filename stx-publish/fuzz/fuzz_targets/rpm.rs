//! The headers of RPM packages, as they are published and listed.

#![no_main]

#[path = "../checks/rpm.rs"]
mod check;
#[path = "../checks/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
