//! OCI image layouts.

#![no_main]

#[path = "../checks/layout.rs"]
mod check;
#[path = "../checks/images.rs"]
mod images;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
