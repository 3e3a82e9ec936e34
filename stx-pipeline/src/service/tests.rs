//! The service under simulated time: a world of branches, builders and disks, and everything that goes wrong in it.

mod crash;
mod daily;
mod texts;
mod world;
