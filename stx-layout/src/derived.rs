//! The files of a build that the publisher derives from others, known by their names.
//!
//! | file | derived from | told by |
//! |---|---|---|
//! | `outputs/RPMS/std/repodata/…` | the packages of a repository | [`is_metadata`] |
//! | `outputs/iso/NAME.iso.cdx.json` | an ISO image: its bill of materials | [`image_of_bill`] |
//! | `outputs/docker-images/images-OS-STREAM-versioned.lst`, `…-latest.lst` | the container images | [`is_image_list`] |
//!
//! A build that is published again may come without them, or with others.
//!
//! ```
//! use stx_layout::BuildPath;
//! use stx_layout::derived::{image_of_bill, is_image_list};
//!
//! let bill: BuildPath = "outputs/iso/bootimage.iso.cdx.json".parse()?;
//! assert_eq!(image_of_bill(&bill), Some("outputs/iso/bootimage.iso".parse()?));
//! assert!(is_image_list(&"outputs/docker-images/images-debian-stable-versioned.lst".parse()?));
//! assert!(!is_image_list(&"outputs/docker-images/images.lst".parse()?));
//! # Ok::<(), stx_layout::ParseError>(())
//! ```

use std::collections::BTreeSet;

use crate::BuildPath;

/// The directory of a build that holds its container images, and the lists of their names.
pub const IMAGE_DIRECTORY: &str = "outputs/docker-images";

/// The suffix that the name of an ISO image has in the name of its bill of materials.
pub const BILL_SUFFIX: &str = ".cdx.json";

/// The directories among `paths` that are RPM repositories: `outputs/RPMS/<phase>`, `outputs/SRPMS/<phase>`,
/// `inputs/RPMS` and `inputs/SRPMS`, where there is a package below them.
pub fn repositories<'a>(paths: impl IntoIterator<Item = &'a BuildPath>) -> BTreeSet<BuildPath> {
    let mut found = BTreeSet::new();
    for path in paths
        .into_iter()
        .filter(|path| path.as_path().extension() == Some("rpm"))
    {
        let segments: Vec<_> = path.segments().collect();
        let depth = match *segments.as_slice() {
            ["outputs", "RPMS" | "SRPMS", _, _, ..] => 3,
            ["inputs", "RPMS" | "SRPMS", _, ..] => 2,
            _ => continue,
        };
        found.extend(segments[..depth].join("/").parse::<BuildPath>());
    }
    found
}

/// Whether `path` is metadata of one of `repositories`.
pub fn is_metadata(repositories: &BTreeSet<BuildPath>, path: &BuildPath) -> bool {
    repositories.iter().any(|dir| {
        let rest = path.as_str().strip_prefix(dir.as_str());
        rest.is_some_and(|rest| rest.starts_with("/repodata/"))
    })
}

/// Whether this is the name of an ISO image that gets a bill of materials: those in `outputs/`.
pub fn has_bill(path: &BuildPath) -> bool {
    path.segments().next() == Some("outputs") && path.as_path().extension() == Some("iso")
}

/// The image that a bill of materials is about, by their names.
pub fn image_of_bill(path: &BuildPath) -> Option<BuildPath> {
    let image = path.as_str().strip_suffix(BILL_SUFFIX)?.parse().ok()?;
    has_bill(&image).then_some(image)
}

/// Whether a path is that of a list of image names; the publisher makes them, whatever a recipe made.
pub fn is_image_list(path: &BuildPath) -> bool {
    let name = path.as_str().strip_prefix(IMAGE_DIRECTORY);
    let name = name.and_then(|name| name.strip_prefix("/images-"));
    name.is_some_and(|name| {
        !name.contains('/') && (name.ends_with("-versioned.lst") || name.ends_with("-latest.lst"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> BuildPath {
        text.parse().expect("a path")
    }

    #[test]
    fn only_directories_with_packages_are_repositories() {
        let paths = [
            "inputs/RPMS/a.rpm",
            "inputs/downloads/b.rpm",
            "outputs/RPMS/loose.rpm",
            "outputs/RPMS/rt/README",
            "outputs/RPMS/std/x86_64/c.rpm",
            "outputs/SRPMS/std/c.src.rpm",
        ]
        .map(path);
        let found: Vec<_> = repositories(&paths)
            .into_iter()
            .map(|dir| dir.to_string())
            .collect();
        assert_eq!(
            found,
            ["inputs/RPMS", "outputs/RPMS/std", "outputs/SRPMS/std"]
        );
        assert!(is_metadata(
            &repositories(&paths),
            &path("inputs/RPMS/repodata/repomd.xml")
        ));
    }

    #[test]
    fn images_are_known_by_their_names_and_bills_by_those_of_images() {
        for (name, image) in [
            ("outputs/iso/bootimage.iso", true),
            ("outputs/x.iso", true),
            ("inputs/downloads/x.iso", false),
            ("outputs/iso/bootimage.sig", false),
        ] {
            assert_eq!(has_bill(&path(name)), image, "{name}");
            let bill = path(&format!("{name}{BILL_SUFFIX}"));
            assert_eq!(image_of_bill(&bill).is_some(), image, "{name}");
            assert_eq!(image_of_bill(&path(name)), None, "{name}");
        }
    }
}
