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

use percent_encoding::percent_decode_str;
use stx_layout::BuildPath;

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
#[cfg(all(test, feature = "sbom"))]
mod tests;

#[cfg(feature = "sbom")]
pub use describe::{Described, SbomError, describe};

/// The file of the build to which a relative reference of an image's bill leads; `None` for a reference to another place.
pub(crate) fn resolve(image: &BuildPath, reference: &str) -> Option<BuildPath> {
    let parent = image.parent();
    let mut at: Vec<_> = parent.iter().flat_map(BuildPath::segments).collect();
    let decoded = percent_decode_str(reference).decode_utf8().ok()?;
    if decoded.contains("://") || decoded.starts_with('/') {
        return None;
    }
    for segment in decoded.split('/') {
        if segment == ".." {
            at.pop()?;
        } else {
            at.push(segment);
        }
    }
    at.join("/").parse().ok()
}
