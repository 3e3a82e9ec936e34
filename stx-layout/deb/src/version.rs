//! The order of versions.

use std::cmp::Ordering;

use debversion::Version;

/// Orders two versions, `[EPOCH:]VERSION[-REVISION]`, the older one first, like `dpkg --compare-versions`. Every text has a place
/// in the order. A text that is not a version, because policy forbids a letter in it, is older than all versions.
///
/// `debversion` alone considers `1.0a0~` newer than `1.0a`: for dpkg, a missing number at the end is 0.
///
/// ```
/// # use stx_deb::cmp_versions;
/// assert!(cmp_versions("1.0~rc1-1", "1.0-1").is_lt());
/// assert!(cmp_versions("1:0.1", "2.0").is_gt());
/// assert!(cmp_versions("1.0a", "1.0a0").is_eq());
/// assert!(cmp_versions("1.0a0~", "1.0a").is_lt());
/// ```
pub fn cmp_versions(one: &str, two: &str) -> Ordering {
    match (complete(one), complete(two)) {
        (Some(one), Some(two)) => one.cmp(&two),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => one.cmp(two),
    }
}

/// The version with a number at the end of each part.
fn complete(text: &str) -> Option<Version> {
    let mut version: Version = text.parse().ok()?;
    let parts = [
        Some(&mut version.upstream_version),
        version.debian_revision.as_mut(),
    ];
    for part in parts.into_iter().flatten() {
        if !part.ends_with(|letter: char| letter.is_ascii_digit()) {
            part.push('0');
        }
    }
    Some(version)
}
