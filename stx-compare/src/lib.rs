//! The differences between two packages, RPM or Debian, and between the packages of two builds.
//!
//! [`compare`] turns two [`Package`]s into [`Differences`]. It is a function of values, and so are all functions that process
//! its result. Nothing here reads a file or a mirror; the caller passes bytes, digests and records.
//!
//! ```
//! use stx_compare::{Package, change::Change, compare};
//!
//! let from = Package { version: "1.0".into(), release: "1".into(), ..Package::default() };
//! let to = Package { release: "2".into(), ..from.clone() };
//! let expected = Change::Version { from: "1.0-1".into(), to: "1.0-2".into() };
//! assert_eq!(compare(&from, &to).changes, [expected]);
//! assert!(compare(&from, &from).is_empty());
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`package`] | a package as a value |
//! | [`version`] | the formats of packages, and how each orders versions |
//! | [`change`] | the kinds of differences: changes, and the noise that every rebuild causes |
//! | [`inventory`] | the packages of a build, by their file names, and the matching of two builds |
//! | [`nearest`] | the build nearest to a work tree; the commits between two builds |
//! | [`bisect`] | the search for the build that introduced a state |
//! | [`report`], [`junit`] | many comparisons, as a value, as text and as XML |
//! | `header` (feature `rpm`) | an RPM package from the bytes of its headers, which may be untrusted |
//! | `whole` (feature `rpm`) | a check that an RPM package is complete, by the digests in its headers |
//! | `deb` (feature `deb`) | a Debian package from its control member and payload, a source package from its `.dsc` |
//! | `contents`, `times` (feature `contents`) | times within files, from payloads |

pub mod bisect;
pub mod change;
mod compare;
#[cfg(feature = "contents")]
pub mod contents;
#[cfg(feature = "deb")]
pub mod deb;
#[cfg(feature = "rpm")]
mod exact;
#[cfg(feature = "rpm")]
pub mod header;
mod human;
pub mod inventory;
pub mod junit;
pub mod nearest;
pub mod package;
pub mod report;
#[cfg(test)]
mod tests;
#[cfg(feature = "contents")]
pub mod times;
pub mod version;
#[cfg(feature = "rpm")]
pub mod whole;

pub use change::Differences;
pub use compare::{aspects, compare};
pub use package::Package;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
