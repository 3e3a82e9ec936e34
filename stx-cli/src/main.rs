//! `stx-builds`: arguments, configuration, wiring, printing, exit codes.

fn main() {}
