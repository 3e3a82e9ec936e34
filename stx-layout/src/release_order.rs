//! The order of releases.

use crate::ReleaseId;

/// The place of a finished release among the others; a branch without a number and a candidate have none.
///
/// `Ord` is the order of the releases: releases named by a year come first, because the project changed from years to numbers
/// after 2018.10; then by number, part by part, so that `10.0.0` comes after `9.0.1`.
///
/// ```
/// # use stx_layout::{ReleaseId, ReleaseOrder};
/// let of = |text: &str| ReleaseOrder::of(&text.parse::<ReleaseId>().expect("a release"));
/// assert!(of("release/10.0.0") > of("release/9.0.1"));
/// assert!(of("release/2.0.0") > of("release/2018.10"));
/// assert_eq!(of("release/10.0.0-rc1"), None);
/// assert_eq!(of("milestone/2019.05"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseOrder {
    /// True if it is named by a number, not by a year.
    numbered: bool,
    /// The parts, without zeros at the end.
    parts: Vec<u64>,
    /// Distinguishes releases whose numbers are equal, such as `9.0` and `9.0.0`.
    name: String,
}

impl ReleaseOrder {
    /// The place of a release.
    pub fn of(release: &ReleaseId) -> Option<Self> {
        match release {
            ReleaseId::Release(name) => Self::of_name(name.as_str()),
            ReleaseId::Master
            | ReleaseId::Feature(_)
            | ReleaseId::Milestone(_)
            | ReleaseId::Rc(_) => None,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        // A branch has the name `stx.10.0`.
        let number = name.strip_prefix("stx.").unwrap_or(name);
        let mut parts = Vec::new();
        for part in number.split('.') {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            parts.push(part.parse().ok()?);
        }
        let numbered = !is_year(number.split('.').next().unwrap_or_default());
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self {
            numbered,
            parts,
            name: name.to_owned(),
        })
    }
}

/// True if the first part of a release's name is a year of this century.
fn is_year(part: &str) -> bool {
    part.len() == 4 && part.starts_with("20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_the_order_in_which_they_were_made() {
        let order = [
            "2018.10", "2019.05", "2019.10", "1.0", "2.0.0", "2.0.1", "3.0.0", "5.0.1", "9.0",
            "9.0.0", "9.0.1", "stx.9.1", "10.0.0", "10.0.0.1", "11.0.0", "24.09",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|name| {
                let release = format!("release/{name}").parse().expect(name);
                ReleaseOrder::of(&release).expect(name)
            })
            .collect();
        for pair in places.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn candidates_milestones_and_branches_have_no_release_order() {
        for text in [
            "master",
            "feature/10.0.0",
            "milestone/2019.05b1",
            "milestone/2019.05",
            "rc/10.0",
            "release/10.0.0-rc1",
            "release/10.0.0rc1",
            "release/10.0.rc1",
            "release/2018.10.b3",
            "release/10.0.0-1",
            "release/antelope",
            "release/stable",
            "release/10.x",
            "release/99999999999999999999999",
        ] {
            assert_eq!(ReleaseOrder::of(&text.parse().expect(text)), None, "{text}");
        }
    }
}
