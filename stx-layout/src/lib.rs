//! The nouns and the grammar of a StarlingX mirror.
//!
//! A mirror is a tree of *builds*. A build is one dated directory in a [`Channel`]; a channel is a release identifier and
//! a distro, on some mirrors also a codename, an architecture and a layer. Aliases such as `latest_build` point at builds.
//! Once published, a build is never written again.
//!
//! ```text
//! master/centos/20181105T060000Z/outputs/RPMS/std/
//! ─────┬─────── ───────┬──────── ────────┬────────
//!   Channel        BuildDate         BuildPath
//! ───────────┬──────────────────
//!         BuildId
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`ReleaseId`], [`Channel`], [`BuildDate`], [`BuildId`], [`AliasName`] | where things stand on a mirror |
//! | [`BuildPath`] | a file of a build, relative to the build's directory |
//! | [`BuildRecord`] | what is known of one build: its `build.json` |
//! | [`Sha256`], [`Sums`] | its `SHA256SUMS` |
//! | [`Catalog`] | what a mirror holds, as a value |
//!
//! The crate does no I/O and reads no clock. Every type is parsed once, by its `FromStr`; nothing is ever normalised: a
//! text is refused, with the byte offset and what was expected there, or kept as it is.

pub mod alias;
pub mod build;
pub mod catalog;
pub mod channel;
pub mod date;
pub mod digest;
mod error;
pub mod path;
pub mod record;
pub mod release;
mod segment;
mod text;

pub use alias::AliasName;
pub use build::BuildId;
pub use catalog::{AliasEntry, BuildEntry, BuildState, Catalog, ChannelEntry};
pub use channel::{Arch, Channel, Codename, Distro, Layer, Platform};
pub use date::BuildDate;
pub use digest::{Sha256, SumLine, Sums, SumsError};
pub use error::ParseError;
pub use path::{BuildPath, BuildPhase};
pub use record::{
    BuildOutcome, BuildRecord, ImageRecord, PhaseRecord, PhaseStatus, RecordError, SourceRecord,
};
pub use release::{ReleaseId, ReleaseKind};
pub use segment::Name;
