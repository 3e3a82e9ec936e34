//! The operations of `stx-builds` as a library: build, publish, retain, copy and serve StarlingX builds.
//!
//! A program fills in [`Options`], opens a [`Site`] and calls an operation. The binary `stx-builds` does the same: it adds
//! arguments, printing and exit codes, and nothing else.
//!
//! ```text
//! Options ──> Site ──┬─> build, resume, cancel ──> Built
//!                    ├─> publish ──> Published
//!                    ├─> retention: plan ──> PrunePlan ──> apply ──> Pruned
//!                    ├─> adopt: plan ──> AdoptPlan ──> apply ──> AdoptReport
//!                    ├─> promote ──> Published
//!                    ├─> verify, fetch, copy, compare, diff, since, pages ──> reports
//!                    └─> daemon: all of it, on schedules and requests
//! ```
//!
//! Read the modules in this order: each knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`files`], [`users`] | output files in shared directories; users by name |
//! | [`error`] | [`Error`] and its kinds |
//! | [`options`] | [`Options`]: the form of `stx-builds.toml` |
//! | [`site`] | [`Site`], and [`Progress`], which receives the notes of an operation |
//! | `signing`, `provenance` | the signatures and statements that the options ask for |
//! | [`trust`] | the signatures to trust |
//! | [`mirror`] | the mirror of a site, for writing and for reading |
//! | [`aliases`] | the names above the channels, such as `r2018.10`: list, set, unset, follow |
//! | [`build_ref`] | the build that a user refers to: a date, an alias, a channel |
//! | [`images`] | the container images of a build, on a registry |
//! | [`decisions`] | the time that each build stays, for readers |
//! | [`listing`] | channels and builds in summary; one build with its record |
//! | [`pages`] | the catalog pages |
//! | [`publish`] | turns a finished tree into a build of the mirror |
//! | [`build`], [`cancel`] | one build from its recipe to its publication; resume and cancel |
//! | [`retention`] | plan, apply, pin, restore |
//! | [`verdicts`] | the results of sanity tests |
//! | [`promote`] | turns a tested build into a release, byte for byte |
//! | [`verify`] | checks a mirror against its records |
//! | [`adopt`] | turns builds of an older publisher into full builds |
//! | [`fetch`], [`copy`] | download files of builds; copy builds between mirrors |
//! | `packages`, [`compare`], [`since`] | packages by their headers, against the reference build; when one changed |
//! | [`diff`] | two builds in summary: packages, images, commits |
//! | [`daemon`] | the build service |
//! | [`log`] | the logs of phases, also of running builds |
//! | [`layers`] | the channels that are built after each other |
//! | [`report`] | the state of the service, with the logs and layers that the site knows |
//! | `completion` | words that complete a command line |
//! | [`init`] | creates a first configuration from a few answers |
//! | [`doctor`] | finds all mistakes of a configuration, and everything on the machine that does not match it |
//!
//! Operations do not print: a [`Progress`] receives notes, an [`Error`] carries its kind and a hint for the user.

pub mod adopt;
pub mod aliases;
pub mod build;
pub mod build_ref;
pub mod cancel;
pub mod compare;
mod completion;
pub mod copy;
pub mod daemon;
pub mod decisions;
pub mod diff;
pub mod doctor;
pub mod error;
pub mod fetch;
pub mod files;
mod identity;
pub mod images;
pub mod init;
pub mod layers;
pub mod listing;
pub mod log;
pub mod mirror;
mod opened;
pub mod options;
mod packages;
pub mod pages;
pub mod promote;
mod provenance;
pub mod publish;
pub mod report;
pub mod retention;
pub mod server;
mod signing;
pub mod since;
pub mod site;
mod taken;
pub mod trust;
pub mod users;
pub mod verdicts;
pub mod verify;

pub use error::{Error, ErrorKind};
pub use mirror::{Mirror, Reader};
pub use options::Options;
pub use site::{Progress, Silent, Site};

pub(crate) use error::{hint_of, refused};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
