//! Tests that cross crates, and tests that need real tools.
//!
//! `scripts/setup.sh test` installs the tools; a missing tool is a failure that names it.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start real processes and read real clocks"
)]
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test prints counts of its cases for those who run it by hand"
)]

mod adopt;
mod apt;
mod arrows;
mod audit;
mod bucket;
mod builds;
mod cargo;
mod compare;
mod daemon;
mod debs;
mod demo;
mod demo_debian;
mod dependencies;
mod doctor;
mod documents;
mod embed;
mod errors;
mod fetch;
mod full_disk;
mod guard;
mod habits;
mod harness;
mod hostile;
mod init;
mod kill;
mod layers;
mod ledger;
mod log;
mod mark;
mod names;
mod nginx;
mod packages;
mod pages;
mod parsing;
mod places;
mod places_cluster;
mod places_exec;
mod places_farm;
mod places_kubectl;
mod places_pod;
mod places_sshd;
mod power_loss;
mod preview;
mod promote;
mod provenance;
mod publishing;
mod race;
mod recipe_ends;
mod recipes;
mod registry;
mod registry_faults;
mod registry_proxy;
mod registry_pushed;
mod registry_retention;
mod registry_server;
mod rehearsal;
mod repodata;
mod resume;
mod retention;
mod retention_pins;
mod retention_shown;
mod retention_tiers;
mod retention_verdicts;
mod rpms;
mod scale;
mod serving;
mod signing;
mod site;
mod syscalls;
mod verbose;
mod waiting;
mod watchdog;
mod zsync;
