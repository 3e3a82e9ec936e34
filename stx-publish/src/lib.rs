//! A StarlingX mirror as a store: publish, audit, repair and remove builds.
//!
//! ```text
//! scan ──> Incoming ─┐
//!          Catalog ──┴─> plan ──> PublishPlan ──> publish ──> PublishReport
//!                                                 verify  ──> VerifyReport ──> repair ──> RepairReport
//! ```
//!
//! Read the modules in this order: each knows only those above it.
//!
//! | module | is |
//! |---|---|
//! | [`error`] | the errors of stores and signers |
//! | [`privacy`] | finds data in a text that identifies the build server |
//! | [`incoming`] | the tree to publish, as a value, and its problems |
//! | [`thinning`] | the sections that retention removed from a build before the build itself: `THINNED.json` |
//! | [`seal`] | the files that a commit adds: record, sums, signature |
//! | `ingest` | reads, hashes and recognises the files of a workspace; feature `local` |
//! | `scan` | a finished tree as a value; feature `local` |
//! | [`metadata`] | the metadata of RPM and apt repositories |
//! | [`store`] | the operations of a mirror: [`MirrorRead`], [`MirrorStore`], the [rules](store::rules) that every mirror keeps, and a mirror over the [rows](store::rows) of any key-value database |
//! | [`memory`], `local`, `http` | the mirrors: in memory, in a directory, behind a web server; the last two are features |
//! | [`guard`] | searches a tree before it is published |
//! | [`plan`](mod@plan) | decides the effects of publishing a tree; pure |
//! | [`aliases`] | plans and sets the names above the channels, such as `r2018.10` |
//! | [`verify`](mod@verify) | compares a mirror with its own records; repairs derived files |
//! | `fetch` | downloads files of a build into a directory; feature `fetch` |
//! | [`publish`](mod@publish) | executes a plan |
//! | `replicate` | copies builds from one mirror to another; feature `copy` |
//! | `preview` | the files of a running build, as a web server shows them; feature `local` |
//! | `verdicts` | verdicts on builds, and `latest_green_build` |
//! | `net` | the HTTP client that all parts share; feature `http` |
//! | `conformance`, `faulty`, `sweep` | the suite for stores, a store that fails on demand, its failure sweep; feature `testing` |
//!
//! Without features the crate does no I/O; [`memory::MemoryStore`] is the strict reference for the other stores. Feature `local`
//! adds mirrors in a directory, the scan of a finished tree and `createrepo_c`; feature `testing` adds the conformance suite and
//! a store that fails on demand.

pub mod aliases;
mod audit;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod error;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod guard;
#[cfg(feature = "http")]
pub mod http;
pub mod incoming;
pub use stx_layout::index;
#[cfg(feature = "local")]
pub mod ingest;
#[cfg(feature = "local")]
pub mod local;
pub mod memory;
pub mod metadata;
mod metalink;
#[cfg(test)]
mod model_test;
#[cfg(feature = "http")]
pub mod net;
pub mod plan;
#[cfg(feature = "local")]
pub mod preview;
pub mod privacy;
pub mod publish;
#[cfg(feature = "copy")]
pub mod replicate;
#[cfg(feature = "local")]
pub mod scan;
pub mod seal;
#[cfg(any(feature = "fetch", feature = "local"))]
mod sparse;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod sweep;
#[cfg(any(feature = "fetch", feature = "local"))]
mod task;
pub mod thinning;
pub mod verdicts;
pub mod verify;
mod web_page;

pub use error::{ErrorKind, SignError, StoreError};
#[cfg(feature = "local")]
pub use guard::{ClearError, clear};
pub use guard::{Cleared, Copies};
#[cfg(feature = "http")]
pub use http::{HttpError, HttpStore};
pub use incoming::{Entry, Incoming, LinkEnd, Problem, ProblemKind};
pub use index::{PageId, PageName};
#[cfg(feature = "local")]
pub use local::LocalStore;
pub use memory::MemoryStore;
#[cfg(feature = "http")]
pub use net::{HttpOptions, NoLength};
pub use plan::{
    AliasStep, AliasVerdict, ControlRules, Linked, MirrorFiles, Original, PlanError,
    PromoteProblem, PromoteRequest, Promotion, PublishAction, PublishPlan, PublishRequest, plan,
    plan_promotion,
};
pub use privacy::{
    Findings, Identity, PackageSearch, Privacy, PrivacyError, PrivacyReport, Private,
};
pub use publish::{
    CommitHooks, HookError, PrepareError, PublishError, PublishReport, prepare, prepare_in_full,
    prepare_promotion, publish, publish_with_hooks, read_original,
};
#[cfg(feature = "local")]
pub use scan::{GatherError, ScanError, Survey, gather, scan, survey};
pub use seal::{Attester, Seal, Sealed, Signer};
pub use store::{
    Added, Audit, ByteRange, ByteStream, Capabilities, ChannelWriter, Depth, FileBody, Found, Hold,
    Inspection, KnownFile, Leftover, MirrorRead, MirrorStore, Outline, OwedTag, OwedTags,
    PageWriter, Retired, RootWriter, Scope, StagedBuild, read_all,
};
pub use stx_zsync as zsync;
pub use thinning::{Thinned, ThinnedSection};
#[cfg(feature = "local")]
pub use verify::verify_repositories;
pub use verify::{
    Finding, FindingKind, RepairReport, Severity, VerifyError, VerifyReport, repair,
    repair_aliases, verify, verify_after, verify_observed, verify_readable,
};
pub use web_page::WebPage;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
