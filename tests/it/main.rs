//! What crosses crates, and what only real tools can tell.
//!
//! The tools are those that `scripts/setup.sh test` installs; a missing one is a failure that names it.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start real processes and read real clocks"
)]

mod arrows;
mod builds;
mod compare;
mod demo;
mod documents;
mod harness;
mod kill;
mod nginx;
mod parsing;
mod publishing;
mod retention;
