//! ISO images, as the bill of materials reads them.

#![no_main]

#[path = "../checks/iso.rs"]
mod check;
#[path = "../checks/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
