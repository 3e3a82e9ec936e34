//! Debian packages in an image, and lists of the packages that are installed in one of its file systems.
//!
//! | list | made by | a line or paragraph |
//! |---|---|---|
//! | `*.manifest` | the builders of Ubuntu's live images | `NAME[:ARCH] VERSION` |
//! | `*.packages` | live-build | `NAME[:ARCH] VERSION` |
//! | `…/dpkg/status` | dpkg itself, where a file system lies in the image unpacked | fields of a package |

use std::io::{self, Read};

use stx_deb::{DebError, Paragraph, Version, paragraphs, read_control};

use super::iso::{Format, Package};

/// The fields of a Debian package; `None` for a file that is not one.
pub(super) fn package(file: impl Read) -> io::Result<Option<Package>> {
    match read_control(file) {
        Ok(control) => Ok(described(&control.paragraph)),
        Err(DebError::Io { source }) => Err(source),
        // It is listed like any other file.
        Err(_) => Ok(None),
    }
}

/// True if a file has the name of a list of packages.
pub(super) fn is_list(path: &str) -> bool {
    path.ends_with(".manifest")
        || path.ends_with(".packages")
        || path.ends_with("/dpkg/status")
        || path == "dpkg/status"
}

/// The packages of a list, without duplicates, in its order; empty if the text is not a list of packages: other programs call
/// their files `manifest` too.
pub(super) fn listed(path: &str, text: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    let found = if path.ends_with("status") {
        of_status(&text)
    } else {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(of_line).collect()
    };
    let mut packages: Vec<Package> = found.unwrap_or_default();
    let mut known = std::collections::BTreeSet::new();
    packages.retain(|package| known.insert((package.name.clone(), package.arch.clone())));
    packages
}

fn of_line(line: &str) -> Option<Package> {
    let mut words = line.split_ascii_whitespace();
    let (name, version, None) = (words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let (name, arch) = match name.split_once(':') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (name, ""),
    };
    // Debian policy does not allow upper case in names of packages.
    let is_first = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_name = |letter: char| is_first(letter) || "+-.".contains(letter);
    if !name.starts_with(is_first) || !name.chars().all(is_name) {
        return None;
    }
    // A version begins with a digit; other lists have words in this position.
    version
        .starts_with(|letter: char| letter.is_ascii_digit())
        .then_some(())?;
    versioned(name, version, arch)
}

/// The packages that dpkg has installed.
fn of_status(text: &str) -> Option<Vec<Package>> {
    let found = paragraphs(text).ok()?;
    let installed = found.iter().filter(|paragraph| {
        let status = paragraph.get("Status").unwrap_or_default();
        status.split_ascii_whitespace().next_back() == Some("installed")
    });
    installed.map(described).collect()
}

fn described(paragraph: &Paragraph) -> Option<Package> {
    let field = |name: &str| {
        let value = paragraph.get(name).filter(|value| !value.is_empty())?;
        Some(value.to_owned())
    };
    let summary =
        field("Description").map(|text| text.lines().next().unwrap_or_default().to_owned());
    Some(Package {
        vendor: field("Maintainer"),
        url: field("Homepage"),
        summary,
        source: field("Source"),
        ..versioned(
            &field("Package")?,
            &field("Version")?,
            &field("Architecture")?,
        )?
    })
}

fn versioned(name: &str, version: &str, arch: &str) -> Option<Package> {
    let Version {
        epoch,
        upstream_version,
        debian_revision,
    } = version.parse().ok()?;
    Some(Package {
        format: Format::Deb,
        name: name.to_owned(),
        epoch,
        version: upstream_version,
        release: debian_revision.unwrap_or_default(),
        arch: arch.to_owned(),
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(packages: &[Package]) -> Vec<String> {
        let shown = packages.iter().map(|one| {
            format!(
                "{} {:?} {} {} {}",
                one.name, one.epoch, one.version, one.release, one.arch
            )
        });
        shown.collect()
    }

    #[test]
    fn package_lists_are_distinguished_from_other_files_with_their_names() {
        let text = b"adduser\t3.134\nlibc6:amd64 2.36-9+deb12u7\ngit 1:2.39.5-0\ngit 1:2.39.5-0\n";
        let found = listed("live/filesystem.manifest", text);
        let expected = [
            "adduser None 3.134  ",
            "libc6 None 2.36 9+deb12u7 amd64",
            "git Some(1) 2.39.5 0 ",
        ];
        assert_eq!(shown(&found), expected);
        for other in [
            &b"<?xml version='1.0'?>\n<assembly/>\n"[..],
            b"adduser 3.134 extra\n",
            b"adduser\n",
            b"path/to/file 1234\n",
            b"Manifest-Version: 1.0\n",
            b"",
        ] {
            assert_eq!(
                listed("a.manifest", other),
                [],
                "{}",
                String::from_utf8_lossy(other)
            );
        }
        assert!(is_list("casper/filesystem.manifest") && is_list("live/filesystem.packages"));
        assert!(is_list("rootfs/var/lib/dpkg/status") && !is_list("proc/status"));
    }

    #[test]
    fn only_installed_packages_of_a_dpkg_status_count() {
        let text = b"Package: a\nStatus: install ok installed\nVersion: 1:1.0-1\nArchitecture: all\n\
                     Maintainer: A B <a@example.org>\nSource: as (0.9)\nDescription: one\n two\n\n\
                     Package: b\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n";
        let found = listed("x/dpkg/status", text);
        assert_eq!(shown(&found), ["a Some(1) 1.0 1 all"]);
        let texts = [&found[0].summary, &found[0].source, &found[0].vendor];
        let expected = ["one", "as (0.9)", "A B <a@example.org>"];
        assert!(
            texts
                .into_iter()
                .map(Option::as_deref)
                .eq(expected.map(Some))
        );
    }
}
