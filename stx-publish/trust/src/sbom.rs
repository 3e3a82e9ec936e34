//! The bill of materials of an ISO image: its actual contents, by name, version, licence and digest.
//!
//! ```text
//! image ──> iso: its files, the headers of its packages, lists of packages ─┐
//! published packages with the same bytes ───────────────────────────────────┼──> bill: CycloneDX 1.5 ──> NAME.iso.cdx.json
//! the Debian packages of the build, where the image tells of none ──────────┘
//! ```
//!
//! It is placed beside the image and is a file of the build like any other: summed, and covered by the provenance. It is derived,
//! so a build that is published again may lack it, or have one in the form of a later version.

#[cfg(feature = "sbom")]
mod bill;
#[cfg(feature = "sbom")]
mod cyclonedx;
#[cfg(feature = "sbom")]
mod debian;
#[cfg(feature = "sbom")]
mod describe;
#[cfg(feature = "sbom")]
mod iso;
mod reader;
#[cfg(all(test, feature = "sbom"))]
mod tests;

#[cfg(feature = "sbom")]
pub use describe::{Described, SbomError, describe, mismatched};

pub(crate) use reader::{Bill, LONGEST};
