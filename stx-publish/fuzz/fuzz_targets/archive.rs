//! Archives of `docker save`.

#![no_main]

#[path = "../checks/archive.rs"]
mod check;
#[path = "../checks/images.rs"]
mod images;
#[path = "../checks/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
