//! The files of a build that the publisher derives from others, recognised by their names.
//!
//! | file | derived from | recognised by |
//! |---|---|---|
//! | `outputs/RPMS/std/repodata/…` | the packages of an RPM repository | [`Repositories::is_metadata`] |
//! | `outputs/std/packages/Release`, `Packages.xz`, `by-hash/…` | the packages of an apt repository | [`Repositories::is_metadata`] |
//! | `outputs/iso/NAME.iso.cdx.json` | an ISO image: its bill of materials | [`image_of_bill`] |
//! | `outputs/iso/NAME.iso.zsync` | a large file: its zsync control file | [`file_of_control`] |
//! | `outputs/iso/NAME.iso.meta4` | a large file: the mirrors that have it | [`file_of_metalink`] |
//! | `outputs/docker-images/images-OS-STREAM-versioned.lst`, `…-latest.lst` | the container images | [`is_image_list`] |
//!
//! A build that is published again may lack them, or have others.
//!
//! ```
//! use stx_layout::BuildPath;
//! use stx_layout::derived::{image_of_bill, is_image_list};
//!
//! let bill: BuildPath = "outputs/iso/bootimage.iso.cdx.json".parse()?;
//! assert_eq!(image_of_bill(&bill), Some("outputs/iso/bootimage.iso".parse()?));
//! assert!(is_image_list(&"outputs/docker-images/images-debian-stable-versioned.lst".parse()?));
//! assert!(is_image_list(&"outputs/docker-images/builder-images-debian-latest.lst".parse()?));
//! assert!(!is_image_list(&"outputs/docker-images/images.lst".parse()?));
//! # Ok::<(), stx_layout::ParseError>(())
//! ```

use std::collections::BTreeSet;

use crate::BuildPath;

/// The directory of a build's container images and of the lists of their names.
pub const IMAGE_DIRECTORY: &str = "outputs/docker-images";

/// The suffix that the name of a bill of materials adds to that of its ISO image.
pub const BILL_SUFFIX: &str = ".cdx.json";

/// The suffix that the name of a zsync control file adds to that of its file.
pub const CONTROL_SUFFIX: &str = ".zsync";

/// The directories among `paths` that are RPM repositories: `outputs/RPMS/<phase>`, `outputs/SRPMS/<phase>`, `inputs/RPMS` and
/// `inputs/SRPMS`, if they contain a package.
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

/// The directories among `paths` that are apt repositories in flat form: `outputs/<type>/packages`, `outputs/<type>/sources`,
/// `inputs/packages` and `inputs/sources`, if they contain a `.deb`, `.udeb` or `.dsc`. A directory with a repository of another
/// form, with a `dists/…/Release` of its own, does not count.
///
/// ```
/// # use stx_layout::{BuildPath, derived::apt_repositories};
/// let paths: Vec<BuildPath> = vec![
///     "outputs/std/packages/hello_1.0_amd64.deb".parse()?,
///     "outputs/std/sources/hello/hello_1.0.dsc".parse()?,
///     "outputs/aptly/deb-local-build/pool/main/h/hello/hello_1.0_amd64.deb".parse()?,
/// ];
/// let found = apt_repositories(&paths);
/// let found: Vec<_> = found.iter().map(BuildPath::as_str).collect();
/// assert_eq!(found, ["outputs/std/packages", "outputs/std/sources"]);
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
pub fn apt_repositories<'a>(paths: impl IntoIterator<Item = &'a BuildPath>) -> BTreeSet<BuildPath> {
    let (mut found, mut others) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let segments: Vec<_> = path.segments().collect();
        let depth = match *segments.as_slice() {
            ["outputs", _, "packages" | "sources", _, ..] => 3,
            ["inputs", "packages" | "sources", _, ..] => 2,
            _ => continue,
        };
        let dir = || segments[..depth].join("/").parse::<BuildPath>();
        if segments[depth] == "dists" && matches!(path.file_name(), "Release" | "InRelease") {
            others.extend(dir());
        }
        if is_debian_package(path) {
            found.extend(dir());
        }
    }
    &found - &others
}

/// True if this is the name of a file that an apt repository lists: a binary package or the description of a source package.
pub fn is_debian_package(path: &BuildPath) -> bool {
    matches!(path.as_path().extension(), Some("deb" | "udeb" | "dsc"))
}

/// The repositories of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repositories {
    /// The [RPM repositories](repositories).
    pub rpm: BTreeSet<BuildPath>,
    /// The [apt repositories](apt_repositories).
    pub apt: BTreeSet<BuildPath>,
}

impl Repositories {
    /// The repositories among `paths`.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a BuildPath> + Clone) -> Self {
        Self {
            rpm: repositories(paths.clone()),
            apt: apt_repositories(paths),
        }
    }

    /// True if `path` is metadata of one of them.
    pub fn is_metadata(&self, path: &BuildPath) -> bool {
        let name = |dir: &BuildPath| path.as_str().strip_prefix(dir.as_str())?.strip_prefix('/');
        let mut rpm = self.rpm.iter().filter_map(name);
        let mut apt = self.apt.iter().filter_map(name);
        rpm.any(|name| name.starts_with("repodata/")) || apt.any(is_apt_metadata)
    }
}

/// True if a file of an apt repository, given by its name below it, is metadata; also in forms that the publisher does not make.
fn is_apt_metadata(name: &str) -> bool {
    let list = |stem: &str| match name.strip_prefix(stem) {
        Some("" | ".gz" | ".xz" | ".bz2" | ".lzma" | ".lz4" | ".zst") => true,
        Some(_) | None => false,
    };
    matches!(name, "Release" | "InRelease" | "Release.gpg")
        || list("Packages")
        || list("Sources")
        || name.starts_with("by-hash/")
}

/// True if this is the name of an ISO image that gets a bill of materials: those in `outputs/`.
pub fn has_bill(path: &BuildPath) -> bool {
    path.segments().next() == Some("outputs") && path.as_path().extension() == Some("iso")
}

/// The image of a bill of materials, by its name.
pub fn image_of_bill(path: &BuildPath) -> Option<BuildPath> {
    let image = path.as_str().strip_suffix(BILL_SUFFIX)?.parse().ok()?;
    has_bill(&image).then_some(image)
}

/// The path of the zsync control file of a file.
///
/// # Errors
/// The error of a path that would be too long.
pub fn control_of(path: &BuildPath) -> Result<BuildPath, crate::ParseError> {
    format!("{path}{CONTROL_SUFFIX}").parse()
}

/// The suffix that the name of a metalink file adds to that of its file.
const METALINK_SUFFIX: &str = ".meta4";

/// The path of the metalink file of a file.
///
/// # Errors
/// The error of a path that would be too long.
pub fn metalink_of(path: &BuildPath) -> Result<BuildPath, crate::ParseError> {
    format!("{path}{METALINK_SUFFIX}").parse()
}

/// The file of a metalink file, by its name.
pub fn file_of_metalink(path: &BuildPath) -> Option<BuildPath> {
    path.as_str().strip_suffix(METALINK_SUFFIX)?.parse().ok()
}

/// The file of a zsync control file, by its name.
pub fn file_of_control(path: &BuildPath) -> Option<BuildPath> {
    path.as_str().strip_suffix(CONTROL_SUFFIX)?.parse().ok()
}

/// True if a path is that of a list of image names: `images-…-versioned.lst`, or `builder-images-…-versioned.lst` for the images
/// in which builders run; also with `latest`. The publisher makes the former for the images that it sends, even if a recipe made
/// one.
pub fn is_image_list(path: &BuildPath) -> bool {
    let name = path.as_str().strip_prefix(IMAGE_DIRECTORY);
    let name = name.and_then(|name| name.strip_prefix('/'));
    let kind = name.map(|name| name.strip_prefix("builder-").unwrap_or(name));
    kind.and_then(|kind| kind.strip_prefix("images-"))
        .is_some_and(|name| {
            !name.contains('/')
                && (name.ends_with("-versioned.lst") || name.ends_with("-latest.lst"))
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
        let found = Repositories::of(&paths);
        assert!(found.is_metadata(&path("inputs/RPMS/repodata/repomd.xml")));
        assert!(!found.is_metadata(&path("outputs/RPMS/rt/repodata/repomd.xml")));
    }

    #[test]
    fn only_directories_with_debian_packages_are_apt_repositories() {
        let paths = [
            "inputs/packages/a_1%3a2_all.deb",
            "inputs/sources/README",
            "outputs/std/packages/x/y/c.udeb",
            "outputs/std/sources/c/c_1.dsc",
            "outputs/std/sources/c/c_1.tar.xz",
            "outputs/std/loose.deb",
            "outputs/packages/loose.deb",
            "outputs/rt/packages/pool/d.deb",
            "outputs/rt/packages/dists/trixie/Release",
            "outputs/aptly/deb-local-build/pool/e.deb",
        ]
        .map(path);
        let found = Repositories::of(&paths);
        let names: Vec<_> = found.apt.iter().map(BuildPath::as_str).collect();
        assert_eq!(
            names,
            [
                "inputs/packages",
                "outputs/std/packages",
                "outputs/std/sources"
            ]
        );
        for (name, metadata) in [
            ("inputs/packages/Packages", true),
            ("inputs/packages/Packages.gz", true),
            ("inputs/packages/Sources.bz2", true),
            ("inputs/packages/InRelease", true),
            ("inputs/packages/Release.gpg", true),
            ("inputs/packages/by-hash/SHA256/00", true),
            ("inputs/packages/Packages.diff", false),
            ("inputs/packages/Release.txt", false),
            ("inputs/packages/a/Packages.gz", false),
            ("inputs/packages", false),
            ("outputs/rt/packages/Packages.gz", false),
        ] {
            assert_eq!(found.is_metadata(&path(name)), metadata, "{name}");
        }
    }

    #[test]
    fn images_and_bills_are_recognised_by_their_names() {
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
