//! Differences between the packages of two builds.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use stx_deb::DebFileName;
use stx_layout::index::{PackageChanges, PackageUpdate};
use stx_layout::{BuildDate, PackageFileName, Sha256, Sums, cmp_versions};

/// Identifies a package of a build: phase, format, name and architecture.
type Key<'a> = (&'a str, Format, Cow<'a, str>, Cow<'a, str>);

/// The binary packages of a build: version and digest; of several versions, the newest.
type Packages<'a> = BTreeMap<Key<'a>, (Cow<'a, str>, Sha256)>;

/// The formats of packages, each with an order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Format {
    Rpm,
    Deb,
    Udeb,
}

impl Format {
    fn cmp(self, one: &str, two: &str) -> Ordering {
        match self {
            Self::Rpm => cmp_versions(one, two),
            Self::Deb | Self::Udeb => stx_deb::cmp_versions(one, two),
        }
    }
}

/// The package that a path of a build names, with its version: `outputs/RPMS/PHASE/…`, `outputs/PHASE/packages/…`.
fn package(path: &str) -> Option<(Key<'_>, Cow<'_, str>)> {
    let (dir, file_name) = path.strip_prefix("outputs/")?.rsplit_once('/')?;
    if let Some(phase) = dir.strip_prefix("RPMS/") {
        let PackageFileName {
            name,
            version,
            arch,
        } = PackageFileName::parse(file_name)?;
        let key = (phase, Format::Rpm, name.into(), arch.into());
        return Some((key, version.into()));
    }
    let (phase, rest) = dir.split_once('/')?;
    if rest != "packages" && !rest.starts_with("packages/") {
        return None;
    }
    let DebFileName {
        name,
        version,
        arch,
        is_udeb,
    } = DebFileName::parse(file_name)?;
    let format = if is_udeb { Format::Udeb } else { Format::Deb };
    Some(((phase, format, name, arch), version))
}

fn packages(sums: &Sums) -> Packages<'_> {
    let mut newest = Packages::new();
    for line in sums.lines() {
        let Some((key, version)) = package(line.path.as_str()) else {
            continue;
        };
        let format = key.1;
        let found = (version, line.digest);
        newest
            .entry(key)
            .and_modify(|newest| {
                if format.cmp(&newest.0, &found.0).is_lt() {
                    *newest = found.clone();
                }
            })
            .or_insert(found);
    }
    newest
}

/// The difference between the packages of the build `since` and those of a later one. A package in two phases counts as two.
pub(crate) fn changes(since: BuildDate, before: &Sums, after: &Sums) -> PackageChanges {
    let (before, after) = (packages(before), packages(after));
    let mut changes = PackageChanges {
        since,
        added: Vec::new(),
        removed: Vec::new(),
        updated: Vec::new(),
        rebuilt: Vec::new(),
    };
    let label = |(_, _, name, arch): &Key<'_>| format!("{name}.{arch}");
    for (key, (version, digest)) in &after {
        match before.get(key) {
            None => changes.added.push(label(key)),
            Some((was, _)) if was != version => changes.updated.push(PackageUpdate {
                name: label(key),
                from: was.clone().into_owned(),
                to: version.clone().into_owned(),
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
    use super::changes;

    #[test]
    fn of_several_versions_the_newest_in_rpm_order_counts() {
        let line = |path: &str| format!("{}  outputs/RPMS/std/{path}\n", "1".repeat(64));
        let before = line("a-1.8-1.noarch.rpm") + &line("a-1.9-1.noarch.rpm");
        let after = line("a-1.10-1.noarch.rpm") + &line("a-1.9-1.noarch.rpm");
        let found = changes(
            "20200101T000000Z".parse().expect("a date"),
            &before.parse().expect("sums"),
            &after.parse().expect("sums"),
        );
        let update = &found.updated[0];
        assert_eq!(
            (update.from.as_str(), update.to.as_str()),
            ("1.9-1", "1.10-1")
        );
    }

    #[test]
    fn debian_packages_change_by_the_rule_of_debian() {
        let line =
            |digit: char, path: &str| format!("{}  outputs/{path}\n", digit.to_string().repeat(64));
        let before = line('1', "aptly/deb-local-build/pool/main/a/a_9_all.deb")
            + &line('1', "rt/packages/gone_1-1_amd64.deb")
            + &line('1', "std/packages/a_1.0+1_all.deb")
            + &line('1', "std/packages/a_1.0.1_all.deb")
            + &line('1', "std/packages/b_1_all.deb")
            + &line('1', "std/packages/b_1_all.udeb")
            + &line('1', "std/packages/same_1_all.deb");
        let after = line('1', "std/packages/Packages")
            + &line('1', "std/packages/a_1.0.2_all.deb")
            + &line('2', "std/packages/b_1_all.deb")
            + &line('1', "std/packages/b_1_all.udeb")
            + &line('1', "std/packages/new_1_all.deb")
            + &line('1', "std/packages/same_1_all.deb")
            + &line('1', "std/sources/a/a_1.0.2.dsc");
        let found = changes(
            "20200101T000000Z".parse().expect("a date"),
            &before.parse().expect("sums"),
            &after.parse().expect("sums"),
        );
        assert_eq!(found.added, ["new.all"]);
        assert_eq!(found.removed, ["gone.amd64"]);
        assert_eq!(found.rebuilt, ["b.all"]);
        let [update] = &found.updated[..] else {
            panic!("{found:?}");
        };
        // By the rules of rpm, 1.0+1 and 1.0.1 would be equal.
        let shown = [&update.name, &update.from, &update.to];
        assert_eq!(shown, ["a.all", "1.0.1", "1.0.2"]);
    }

    #[test]
    fn each_kind_of_change_is_shown() {
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
