//! The service under simulated time: a world of branches, builders and disks, and all failures in it.

mod blocked;
mod crash;
mod daily;
mod hostile;
mod labs;
mod layers;
mod room;
mod shown;
mod stop;
mod texts;
mod unpublished;
mod verdicts;
mod world;
