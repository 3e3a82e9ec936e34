//! Tests of the whole crate.

mod calendar;
mod cases;
mod oracle;
mod parts;
mod policy;
mod properties;
mod recheck;
mod sharing;
mod small_worlds;
mod world;
