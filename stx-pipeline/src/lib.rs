//! Recipes, build plans and their execution.
//!
//! ```text
//! recipe text ──> Recipe ─┐
//!            BuildRequest ┴─> plan ──> BuildPlan ──> execute(Step::Source) ──> sources ──> execute(Step::Rest)
//!                                         ──> collect ──> conclude ──> BuildRecord
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`recipe`] | the description of the build of one distribution, read from TOML with every mistake found at once |
//! | [`plan()`] | turns a recipe and a request into commands, with nothing left to choose |
//! | [`execute`](mod@execute) | running a plan, the [`Runner`] contract, events |
//! | [`journal`] | the data from which a killed build is resumed |
//! | [`source`] | `CONTEXT`, `CHANGELOG`, `LAST_COMMITS`, the changed repositories |
//! | [`PathRules`] | globs of the changed files that count as a change |
//! | [`conclude()`] | deliverables and the record of the build |
//! | `process` | feature `process`: real processes, git work trees, collected files |
//!
//! With feature `process`, `process::Build` does all of this in one call: from a plan to the record and the files of a build.
//!
//! Without its features the crate does no I/O, reads no clock and starts no process.

mod after;
mod build_info;
mod conclude;
mod duration_text;
pub mod execute;
pub mod invocation;
pub mod journal;
mod paths;
mod plan;
#[cfg(feature = "process")]
pub mod process;
pub mod recipe;
mod scope;
pub mod source;

pub use after::Below;
pub use build_info::BuildInfo;
pub use conclude::{Collection, Deliverable, MissingDeliverable, conclude, reached_no_commit};
pub use execute::{
    Cancel, Ended, Event, EventKind, Executed, Execution, Runner, ScriptedRunner, Step, Stream,
    execute,
};
pub use invocation::{Env, Invocation};
pub use journal::Journal;
pub use paths::{ChangedFile, PathRules, PathRulesError};
pub use plan::{BuildPlan, BuildRequest, PhasePlan, PlanError, PublishRule, plan};
pub use recipe::{On, Preview, PushedImages, Recipe, RecipeFiles};
pub use source::{Change, SourceChange, changed, changelog, context, last_commits};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
