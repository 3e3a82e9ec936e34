//! Differences of the packages of two builds.

use std::collections::BTreeMap;

use stx_layout::{BuildDate, PackageFileName, Sha256, Sums, cmp_versions};

use crate::index::{PackageChanges, PackageUpdate};

/// The binary packages of a build: version and digest by phase, name and architecture; of several versions the newest.
type Packages<'a> = BTreeMap<(&'a str, &'a str, &'a str), (&'a str, Sha256)>;

fn packages(sums: &Sums) -> Packages<'_> {
    let mut newest = Packages::new();
    for line in sums.lines() {
        let path = line.path.as_str().strip_prefix("outputs/RPMS/");
        let Some((phase, file_name)) = path.and_then(|path| path.rsplit_once('/')) else {
            continue;
        };
        let Some(file) = PackageFileName::parse(file_name) else {
            continue;
        };
        let found = (file.version, line.digest);
        newest
            .entry((phase, file.name, file.arch))
            .and_modify(|newest| {
                if cmp_versions(newest.0, file.version).is_lt() {
                    *newest = found;
                }
            })
            .or_insert(found);
    }
    newest
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
    use super::changes;

    #[test]
    fn of_several_versions_the_newest_counts_as_rpm_orders_them() {
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
