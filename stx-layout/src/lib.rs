//! The nouns and the grammar of a StarlingX mirror.
//!
//! A mirror is a tree of *builds*. A build is one dated directory in a [`Channel`]; a channel is a release identifier and a
//! distro, on some mirrors also a codename, an architecture and a layer. Aliases such as `latest_build` point at builds. A
//! published build never changes.
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
//! | [`ReleaseId`], [`Channel`], [`BuildDate`], [`BuildId`], [`AliasName`] | the places on a mirror |
//! | [`ChannelPrefix`] | a channel, or the beginning of the paths of several |
//! | [`MirrorPath`], [`MirrorPathRef`] | a path from the mirror's root, or a URL: of any dialect, of any depth |
//! | [`Alias`], [`PathRelease`], [`GitMapping`] | other names of a release or a build, and their resolution |
//! | [`ImageName`], [`Tag`] | container images |
//! | [`index`] | `index.json` of a mirror and of a channel, written and read |
//! | [`report`] | the output of tools for parsed and refused texts |
//! | [`printable`] and its relatives | untrusted texts, made harmless for terminals, logs and pages |
//! | [`BuildPath`] | a file of a build, relative to the build's directory |
//! | [`PackageFileName`], [`Evr`] | an RPM package's file name, and its version in the order of rpm |
//! | [`BuildRecord`] | the facts about one build: its `build.json` |
//! | [`Sha256`], [`Sums`] | its `SHA256SUMS` |
//! | [`Catalog`] | the contents of a mirror, as a value |
//! | `config` | feature `config`: configuration files, with a report of every mistake at once |
//! | [`derived`] | the files of a build that the publisher derives, by name |
//! | [`rpm`] | the headers of RPM package files, checked before they are parsed |
//! | [`encode_path`], [`decode_url`] | a path encoded for a URL, and back |
//!
//! # The grammar
//!
//! ```text
//! path        = channel "/" build-date "/" ( "inputs/" input | "outputs/" output )
//! channel     = release-id "/" distro [ "/" codename "/" arch ] [ "/" layer ]
//! release-id  = "master" | "feature/" name | "release/" name | "milestone/" tag | "rc/" version
//! build-date  = YYYYMMDD "T" HHMMSS "Z"
//! input       = "RPMS/" | "SRPMS/" | "downloads/" | …
//! output      = "RPMS/" phase | "SRPMS/" phase | "iso/" | "installer/" | "wheels/" | "helm-charts/"
//!             | "CONTEXT" | "success" | "fail" | "logs/" | …
//! ```
//!
//! That is the specification's grammar, with the codename, architecture, layer and `rc/` of the real mirror; the [`Dialect`] of a
//! path is the one of the two that it needs. Also accepted are an alias in place of the build date, a section without a build,
//! the legacy `r2018.10`, `release/latest_release`, a branch without a mapping, every shorter path, and the URL of any of these:
//!
//! ```
//! use stx_layout::{Dialect, MirrorPath};
//!
//! for (text, dialect) in [
//!     ("master/centos/20181105T060000Z/outputs/RPMS/std/", Dialect::Spec),
//!     ("r2018.10/centos/latest_build/inputs/downloads", Dialect::Spec),
//!     ("master/debian/monolithic/latest_build/outputs/iso/", Dialect::Extended),
//!     ("release/2.0.0/centos/outputs/iso/bootimage.iso", Dialect::Extended),
//!     ("f/antelope/centos", Dialect::Extended),
//!     ("", Dialect::Extended),
//!     ("https://mirror.example.org/mirror/starlingx/release/", Dialect::Extended),
//! ] {
//!     let path: MirrorPath = text.parse()?;
//!     assert_eq!(path.dialect(), dialect, "{text}");
//!     assert_eq!(path.to_string(), text);
//! }
//! # Ok::<(), stx_layout::ParseError>(())
//! ```
//!
//! ## The meaning of each segment
//!
//! The sets of distros, layers, phases and artifacts are open; position decides, by the rules in [`mirror`].
//!
//! ```
//! use stx_layout::MirrorPath;
//!
//! let path: MirrorPath = "master/debian/bullseye/amd64/flock/latest_build/outputs/std/packages/a.deb".parse()?;
//! assert_eq!((path.codename(), path.arch(), path.layer()), (Some("bullseye"), Some("amd64"), Some("flock")));
//! assert_eq!((path.artifact(), path.phase(), path.rest()), (Some("std"), Some("std"), Some("packages/a.deb")));
//!
//! let file: MirrorPath = "master/centos/stx-centos-py2_stable-wheels.tar".parse()?;
//! assert_eq!((file.layer(), file.rest()), (None, Some("stx-centos-py2_stable-wheels.tar")));
//! # Ok::<(), stx_layout::ParseError>(())
//! ```
//!
//! ## Refused texts
//!
//! `..`, `.`, empty segments, a leading `/`, backslashes, control, bidirectional and zero-width characters, percent-encoding,
//! segments over 255 bytes and paths over 3072. Percent-encoding is refused in every path, whatever it encodes, because decoding
//! would be normalising; the exception is `%3a` in names of Debian packages, as written by apt. [`MirrorPath`] decodes the path
//! of a URL with [`decode_url`] before it parses the path, so `%2e%2e` is refused like `..`. An error contains its offset, the
//! text expected there, and the text that was probably intended:
//!
//! ```
//! use stx_layout::MirrorPath;
//!
//! for (text, offset, suggestion) in [
//!     ("master/../etc", 7, None),
//!     ("master/%2e%2e/etc", 7, None),
//!     ("MASTER/centos", 0, Some("master/centos")),
//!     ("releases/2.0.0/centos", 0, Some("release/2.0.0/centos")),
//!     ("master/centos/20181105T0600Z", 27, Some("master/centos/20181105T060000Z")),
//!     ("master/centos/latest-build", 20, Some("master/centos/latest_build")),
//!     ("master/cen\u{202e}tos", 10, Some("master/centos")),
//! ] {
//!     let error = text.parse::<MirrorPath>().unwrap_err();
//!     assert_eq!(error.offset, offset, "{text}");
//!     assert_eq!(error.suggestion.as_deref(), suggestion, "{text}");
//! }
//! ```
//!
//! The crate does no I/O and reads no clock. Every type is parsed once, by its `FromStr`. Nothing is ever normalised: a text is
//! either refused, with the byte offset and the text expected there, or kept unchanged.

mod after;
mod alias;
mod build;
mod catalog;
mod channel;
mod channel_prefix;
#[cfg(feature = "config")]
pub mod config;
mod count;
mod date;
pub mod derived;
mod digest;
mod error;
mod git;
pub mod image;
pub mod index;
mod kinds;
mod legacy;
mod media_type;
pub mod mirror;
mod near;
mod origin;
mod outcome;
mod package;
mod path;
mod pin;
mod printable;
#[cfg(test)]
mod properties;
mod record;
mod redact;
mod release;
mod release_order;
pub mod report;
mod root_alias;
pub mod rpm;
mod segment;
#[cfg(any(test, feature = "proptest"))]
pub mod strategies;
mod text;
mod uri;
mod utf8;
mod verdict;
mod words;

pub use after::After;
pub use alias::{Alias, AliasName};
pub use build::BuildId;
pub use catalog::{AliasEntry, BuildEntry, BuildState, Catalog, ChannelEntry, UndatedEntry};
pub use channel::{Arch, Channel, Codename, Distro, Layer, Platform};
pub use channel_prefix::ChannelPrefix;
pub use count::{counted, size};
pub use date::BuildDate;
pub use digest::{Sha256, SumLine, Sums, SumsError};
pub use error::ParseError;
pub use git::GitMapping;
pub use image::{ImageName, ImageNameRef, Os, Qualifier, Stream, Tag};
pub use legacy::{BranchRelease, LegacyRelease, PathRelease};
pub use media_type::media_type;
pub use mirror::{Dialect, InputKind, MirrorPath, MirrorPathRef, OutputKind, Section};
pub use near::{meant, nearest};
pub use origin::Origin;
pub use outcome::BuildOutcome;
pub use package::{Evr, PackageFileName, cmp_versions};
pub use path::{BuildPath, BuildPhase};
pub use pin::Pin;
pub use printable::{is_printable, printable, printable_bytes, printable_json, printable_lines};
pub use record::{
    BuildRecord, ImageRecord, PhaseRecord, PhaseStatus, RecipeFileRecord, RecordError, SourceRecord,
};
pub use redact::{REDACTED, public_url, redact_url_bytes, redact_urls, url_secrets, url_userinfo};
pub use release::{ReleaseId, ReleaseKind};
pub use release_order::ReleaseOrder;
pub use root_alias::{RootAlias, RootEntry, RootTarget};
pub use segment::Name;
pub use uri::{decode_url, encode_path, encode_segment};
pub use utf8::in_utf8;
pub use verdict::{LinkError, Verdict, VerdictEntry, check_link};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
