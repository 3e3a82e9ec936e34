//! The differences between two packages, RPM or Debian, and between the packages of two builds.
//!
//! Two [`Package`]s in, [`Differences`] out: [`compare`] is a function of values, and so is everything that is made of
//! what it returns. Nothing here reads a file or a mirror; whoever does hands over bytes, digests and records.
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
//! | [`change`] | what can differ: changes, and the noise that every rebuild brings |
//! | [`inventory`] | the packages of a build by their files' names, and which belong together |
//! | [`nearest`] | the build that a work tree is nearest to; the commits between two builds |
//! | [`bisect`] | since when something is as it is |
//! | [`report`], [`junit`] | many comparisons, as a value, as text and as XML |
//! | `header` (feature `rpm`) | an RPM package out of the bytes of its headers, which may be anybody's |
//! | `whole` (feature `rpm`) | whether an RPM package is whole, by the digests in its headers |
//! | `deb` (feature `deb`) | a Debian package out of its control member and payload, a source package out of its `.dsc` |
//! | `contents`, `times` (feature `contents`) | times within files, out of payloads |

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
