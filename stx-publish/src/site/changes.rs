//! What became of the packages between two builds.

use std::collections::BTreeMap;

use stx_layout::{BuildDate, Sha256, Sums};

use crate::index::{PackageChanges, PackageUpdate};

/// A package file, by its name: `NAME-VERSION-RELEASE.ARCH.rpm`.
#[derive(Debug, PartialEq, Eq)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    arch: &'a str,
}

impl<'a> Package<'a> {
    fn parse(file_name: &'a str) -> Option<Self> {
        let (rest, arch) = file_name.strip_suffix(".rpm")?.rsplit_once('.')?;
        let (release, _) = rest.rmatch_indices('-').nth(1)?;
        Some(Self {
            name: &rest[..release],
            version: &rest[release + 1..],
            arch,
        })
    }
}

/// The binary packages of a build: version and digest by phase, name and architecture.
type Packages<'a> = BTreeMap<(&'a str, &'a str, &'a str), (&'a str, Sha256)>;

fn packages(sums: &Sums) -> Packages<'_> {
    let lines = sums.lines().iter().filter_map(|line| {
        let (phase, file_name) = line
            .path
            .as_str()
            .strip_prefix("outputs/RPMS/")?
            .rsplit_once('/')?;
        let Package {
            name,
            version,
            arch,
        } = Package::parse(file_name)?;
        Some(((phase, name, arch), (version, line.digest)))
    });
    lines.collect()
}

/// The difference between the packages of the build `since` and those of a later one. A package of two phases is two.
pub(crate) fn changes(since: BuildDate, before: &Sums, after: &Sums) -> PackageChanges {
    let (before, after) = (packages(before), packages(after));
    let mut changes = PackageChanges {
        since,
        added: Vec::new(),
        removed: Vec::new(),
        updated: Vec::new(),
        rebuilt: Vec::new(),
    };
    let label = |(_, name, arch): &(&str, &str, &str)| format!("{name}.{arch}");
    for (key, (version, digest)) in &after {
        match before.get(key) {
            None => changes.added.push(label(key)),
            Some((was, _)) if was != version => changes.updated.push(PackageUpdate {
                name: label(key),
                from: (*was).to_owned(),
                to: (*version).to_owned(),
            }),
            Some((_, was)) if was != digest => changes.rebuilt.push(label(key)),
            Some(_) => {}
        }
    }
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    changes.removed.extend(removed.map(label));
    changes
}

#[cfg(test)]
mod tests {
    use super::{Package, changes};

    #[test]
    fn a_file_name_is_read_from_its_end() {
        let package = Package::parse("kernel-rt-devel-3.10.0-957.1.3.el7.tis.x86_64.rpm");
        let expected = Package {
            name: "kernel-rt-devel",
            version: "3.10.0-957.1.3.el7.tis",
            arch: "x86_64",
        };
        assert_eq!(package, Some(expected));
        assert_eq!(Package::parse("README"), None);
        assert_eq!(Package::parse("a-1.noarch.rpm"), None);
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let line = |digit: char, path: &str| {
            format!("{}  outputs/RPMS/{path}\n", digit.to_string().repeat(64))
        };
        let before = line('1', "rt/gone-1-1.noarch.rpm")
            + &line('1', "std/a-1-1.noarch.rpm")
            + &line('1', "std/b-1-1.noarch.rpm")
            + &line('1', "std/same-1-1.noarch.rpm");
        let after = line('1', "std/a-1-2.noarch.rpm")
            + &line('2', "std/b-1-1.noarch.rpm")
            + &line('1', "std/new-1-1.noarch.rpm")
            + &line('3', "std/repodata/repomd.xml")
            + &line('1', "std/same-1-1.noarch.rpm");
        let since = "20200101T000000Z".parse().expect("a date");
        let found = changes(
            since,
            &before.parse().expect("sums"),
            &after.parse().expect("sums"),
        );
        assert_eq!(found.added, ["new.noarch"]);
        assert_eq!(found.removed, ["gone.noarch"]);
        assert_eq!(found.rebuilt, ["b.noarch"]);
        assert_eq!(found.count(), 4);
        let update = &found.updated[0];
        assert_eq!((update.from.as_str(), update.to.as_str()), ("1-1", "1-2"));
    }
}
