//! A StarlingX mirror as a store: publish, audit, repair and remove builds.
//!
//! ```text
//! scan ──> Incoming ─┐
//!          Catalog ──┴─> plan ──> PublishPlan ──> publish ──> PublishReport
//!                                                 verify  ──> VerifyReport ──> repair ──> RepairReport
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`store`] | what a mirror can do: [`MirrorRead`], [`MirrorStore`], and the mirrors there are |
//! | [`incoming`] | what is to be published, as a value, and what must not be |
//! | [`plan`](mod@plan) | what publishing it would do; pure |
//! | [`publish`](mod@publish) | does what a plan says |
//! | `replicate` | copies builds from one mirror to another (feature `copy`) |
//! | `ingest` | reads, hashes and recognises the files of a workspace for a store; feature `local` |
//! | [`seal`] | what a commit writes of its own: record, sums, signature |
//! | [`verify`](mod@verify) | compares a mirror with what it says of itself; repairs what is derived |
//! | [`privacy`] | what a text tells of the build server |
//! | [`tiers`] | what retention took from a build before the build, and its record `THINNED.json` |
//! | `net` | HTTP as every client speaks it; feature `http` |
//! | [`metadata`] | the metadata of RPM repositories |
//!
//! Without features the crate does no I/O; [`store::memory::MemoryStore`] is the strict reference that the other stores are
//! measured by. Feature `local` brings mirrors in a directory, the scan of a finished tree and `createrepo_c`; feature
//! `testing` the conformance suite and a store that fails on demand.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod incoming;
pub use stx_layout::index;
#[cfg(feature = "local")]
pub mod ingest;
pub mod metadata;
#[cfg(test)]
mod model_test;
#[cfg(feature = "http")]
pub mod net;
pub mod plan;
pub mod privacy;
pub mod publish;
#[cfg(feature = "copy")]
pub mod replicate;
#[cfg(feature = "local")]
pub mod scan;
pub mod seal;
#[cfg(feature = "site")]
pub mod site;
#[cfg(any(feature = "fetch", feature = "local"))]
mod sparse;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod sweep;
#[cfg(any(feature = "fetch", feature = "local"))]
mod task;
pub mod tiers;
pub mod verify;

pub use incoming::{Entry, Incoming, LinkEnd, Problem, ProblemKind};
pub use index::{PageId, PageName};
#[cfg(feature = "http")]
pub use net::{HttpOptions, WebPage};
pub use plan::{
    AliasStep, AliasVerdict, Known, Linked, PlanError, PublishAction, PublishPlan, PublishRequest,
    plan,
};
#[cfg(feature = "local")]
pub use privacy::{ClearError, clear};
pub use privacy::{Cleared, Findings, Identity, Privacy, PrivacyError, PrivacyReport, Private};
pub use publish::{
    CommitHooks, HookError, PrepareError, PublishError, PublishReport, prepare, prepare_in_full,
    publish, publish_observed, publish_with_hooks,
};
#[cfg(feature = "local")]
pub use scan::{GatherError, ScanError, Survey, gather, scan, survey};
pub use seal::{Attester, Seal, Sealed, SignError, Signer};
#[cfg(feature = "http")]
pub use store::http::{HttpError, HttpStore};
#[cfg(feature = "local")]
pub use store::local::LocalStore;
pub use store::memory::MemoryStore;
pub use store::{
    Added, Audit, ByteStream, Capabilities, ChannelWriter, Depth, FileBody, Found, Hold,
    Inspection, KnownFile, Leftover, MirrorRead, MirrorStore, OwedTag, OwedTags, PageWriter,
    Retired, Scope, StagedBuild, StoreError, read_all,
};
pub use tiers::{Thinned, ThinnedSection};
#[cfg(feature = "local")]
pub use verify::verify_repositories;
pub use verify::{
    Finding, FindingKind, RepairReport, Severity, VerifyError, VerifyReport, repair,
    repair_aliases, verify, verify_observed, verify_readable,
};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
