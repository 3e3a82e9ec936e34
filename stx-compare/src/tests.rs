//! The properties of a comparison: no differences for equal packages, and mirrored differences for swapped packages.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::change::{Change, Differences};
use crate::compare;
use crate::package::{
    ChangelogEntry, Dependency, File, Listing, Origin, Package, Payload, Relation, Scriptlet,
};
use crate::version::Format;

mod packages;
mod texts;

/// Few distinct values, so that packages have much in common.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "b",
        "libz.so.1()(64bit)",
        "= 1-1",
        "= 1-2",
        "",
        "x\u{1b}[2J",
    ])
    .prop_map(ToOwned::to_owned)
}

fn words() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(word(), word(), 0..4)
}

prop_compose! {
    fn file()(
        mode in 0..3_u16, owner in word(), size in 0..2_u64, digest in prop::option::of(word()),
        target in prop::option::of(word()), flags in prop::collection::btree_set(word(), 0..2),
        capabilities in prop::option::of(word()), device in prop::option::of(0..2_u16),
        verify in prop::option::of(0..2_u32), modified in 0..2_u32,
    ) -> File {
        File { mode, owner, size, digest, target, flags, capabilities, language: None, device, verify, modified }
    }
}

fn dependencies() -> impl Strategy<Value = BTreeMap<Relation, BTreeSet<Dependency>>> {
    let dependency = (word(), word(), word()).prop_map(|(name, condition, when)| Dependency {
        name,
        condition,
        when,
    });
    let relation = prop::sample::select(Relation::ALL.to_vec());
    prop::collection::btree_map(
        relation,
        prop::collection::btree_set(dependency, 1..4),
        0..4,
    )
}

prop_compose! {
    fn package()(
        epoch in prop::option::of(0..2_u32), release in prop::sample::select(vec!["1", "2"]),
        attributes in words(), files in prop::collection::btree_map(word(), file(), 0..4),
        dependencies in dependencies(), scripts in words(),
        changelog in prop::collection::vec(word(), 0..4), level in word(),
        digest in prop::option::of(word()), time in prop::option::of(0..2_u64), host in prop::option::of(word()),
        signatures in prop::collection::vec(word(), 0..2), control in words(),
        format in prop::sample::select(Format::ALL.to_vec()),
        listing in prop::sample::select(vec![Listing::Whole, Listing::Digests, Listing::Nothing]),
    ) -> Package {
        Package {
            format, listing, control,
            name: "a".to_owned(), epoch, version: "1".to_owned(), release: release.to_owned(), arch: "noarch".to_owned(),
            attributes, files, dependencies,
            scriptlets: scripts.into_iter().map(|(name, script)| (name, Scriptlet { script, ..Scriptlet::default() })).collect(),
            changelog: changelog.into_iter().map(|text| ChangelogEntry { text, ..ChangelogEntry::default() }).collect(),
            payload: Payload { level, digest, ..Payload::default() },
            origin: Origin { time, host: host.clone(), tool: host, signatures },
        }
    }
}

/// The change in the opposite direction.
fn mirrored(change: &Change) -> Change {
    let mut value = serde_json::to_value(change).expect("JSON");
    swap(&mut value);
    let added = value["kind"].as_str().map(|kind| match kind {
        "file-added" => "file-removed",
        "file-removed" => "file-added",
        kind => kind,
    });
    value["kind"] = added.expect("a kind").into();
    serde_json::from_value(value).expect("a change")
}

/// Swaps `from` with `to`, and `added` with `removed`, at every level.
fn swap(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for (one, other) in [("from", "to"), ("added", "removed")] {
                if let (Some(first), Some(second)) =
                    (map.get(one).cloned(), map.get(other).cloned())
                {
                    map.insert(one.to_owned(), second);
                    map.insert(other.to_owned(), first);
                } else if let Some(serde_json::Value::Bool(added)) = map.get_mut(one) {
                    *added = !*added;
                }
            }
            map.iter_mut()
                .filter(|(name, _)| *name == "aspects")
                .for_each(|(_, inner)| swap(inner));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(swap),
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_package_does_not_differ_from_itself(package in package()) {
        prop_assert_eq!(compare(&package, &package), Differences::default());
    }

    #[test]
    fn swapping_the_packages_mirrors_the_differences(from in package(), to in package()) {
        let there = compare(&from, &to);
        let back = compare(&to, &from);
        let mut expected: Vec<_> = there.changes.iter().map(mirrored).collect();
        expected.sort();
        prop_assert_eq!(back.changes, expected);
        prop_assert_eq!(back.noise.len(), there.noise.len());
    }

    /// The comparison omits nothing: packages without differences are equal, except for dependencies that change with the
    /// version of their package.
    #[test]
    fn no_differences_means_equal_packages(from in package(), to in package()) {
        let differences = compare(&from, &to);
        if differences.is_empty() {
            prop_assert_eq!(&from.files, &to.files);
            prop_assert_eq!(&from.attributes, &to.attributes);
            prop_assert_eq!(&from.scriptlets, &to.scriptlets);
            prop_assert_eq!(&from.dependencies, &to.dependencies);
            prop_assert_eq!(&from.origin, &to.origin);
            prop_assert_eq!(&from.payload, &to.payload);
            prop_assert_eq!(&from.control, &to.control);
            prop_assert_eq!((from.format, from.listing), (to.format, to.listing));
        }
    }

    #[test]
    fn no_control_character_reaches_a_terminal(from in package(), to in package()) {
        let differences = compare(&from, &to);
        let text: Vec<_> = differences.changes.iter().map(ToString::to_string)
            .chain(differences.noise.iter().map(ToString::to_string)).collect();
        for line in text {
            prop_assert!(!line.contains('\u{1b}'), "{line:?}");
        }
    }
}

/// A package without empty fields.
fn full() -> Package {
    let text = || "x".to_owned();
    let file = File {
        mode: 0o100_644,
        owner: "root:root".to_owned(),
        size: 1,
        digest: Some(text()),
        flags: BTreeSet::from(["doc".to_owned()]),
        ..File::default()
    };
    Package {
        name: text(),
        version: "1".to_owned(),
        release: "1".to_owned(),
        files: BTreeMap::from([("/a".to_owned(), file)]),
        origin: Origin {
            time: Some(1),
            host: Some(text()),
            tool: Some(text()),
            signatures: Vec::new(),
        },
        ..Package::default()
    }
}

/// Changes one field of a package, or of its file.
type Edit = fn(&mut Package, &mut File);

#[test]
fn a_single_difference_is_found_alone() {
    let edits: [(&str, Edit); 28] = [
        ("version 1-1 -> 1:1-1", |package, _| package.epoch = Some(1)),
        ("version 1-1 -> 2-1", |package, _| {
            package.version = "2".to_owned();
        }),
        ("version 1-1 -> 1-2", |package, _| {
            package.release = "2".to_owned();
        }),
        ("name x -> y", |package, _| package.name = "y".to_owned()),
        ("architecture  -> y", |package, _| {
            package.arch = "y".to_owned();
        }),
        ("license - -> y", |package, _| {
            package
                .attributes
                .insert("license".to_owned(), "y".to_owned());
        }),
        ("~ /a: content", |_, file| file.digest = None),
        ("~ /a: size 1 -> 2", |_, file| file.size = 2),
        ("~ /a: mode 100644 -> 104755", |_, file| {
            file.mode = 0o104_755;
        }),
        ("~ /a: owner root:root -> a:root", |_, file| {
            file.owner = "a:root".to_owned();
        }),
        ("~ /a: target - -> y", |_, file| {
            file.target = Some("y".to_owned());
        }),
        ("~ /a: flags doc -> -", |_, file| file.flags.clear()),
        ("~ /a: capabilities - -> y", |_, file| {
            file.capabilities = Some("y".to_owned());
        }),
        ("~ /a: language - -> y", |_, file| {
            file.language = Some("y".to_owned());
        }),
        ("~ /a: device - -> 1", |_, file| file.device = Some(1)),
        ("~ /a: verify flags - -> 1", |_, file| file.verify = Some(1)),
        ("+ /b (payload not read)", |package, _| {
            package.files.insert("/b".to_owned(), File::default());
        }),
        ("+ scriptlet y by", |package, _| {
            package
                .scriptlets
                .insert("y".to_owned(), Scriptlet::default());
        }),
        ("+ changelog 1970-01-01 : ", |package, _| {
            package.changelog.push(ChangelogEntry::default());
        }),
        ("payload format  -> y", |package, _| {
            package.payload.format = "y".to_owned();
        }),
        ("payload compression  -> y", |package, _| {
            package.payload.compression = "y".to_owned();
        }),
        ("payload level  -> y", |package, _| {
            package.payload.level = "y".to_owned();
        }),
        ("noise: packed bytes", |package, _| {
            package.payload.digest = Some("y".to_owned());
        }),
        (
            "noise: build time 1970-01-01T00:00:01Z -> -",
            |package, _| package.origin.time = None,
        ),
        ("noise: build host x -> -", |package, _| {
            package.origin.host = None;
        }),
        ("noise: built by rpm x -> -", |package, _| {
            package.origin.tool = None;
        }),
        ("noise: signed", |package, _| {
            package.origin.signatures.push("y".to_owned());
        }),
        ("noise: times of /a", |_, file| file.modified = 1),
    ];
    for (expected, edit) in edits {
        let (from, mut to) = (full(), full());
        let mut file = to.files["/a"].clone();
        edit(&mut to, &mut file);
        to.files.insert("/a".to_owned(), file);
        let found = compare(&from, &to);
        let changes = found.changes.iter().map(ToString::to_string);
        let noise = found.noise.iter().map(|noise| format!("noise: {noise}"));
        let shown: Vec<_> = changes.chain(noise).collect();
        assert_eq!(
            shown.iter().map(|line| line.trim_end()).collect::<Vec<_>>(),
            [expected.trim_end()]
        );
    }
}

#[test]
fn each_kind_of_dependency_is_found() {
    for relation in Relation::ALL.iter().copied() {
        let (from, mut to) = (full(), full());
        let dependency = Dependency {
            name: "y".to_owned(),
            ..Dependency::default()
        };
        to.dependencies
            .insert(relation, BTreeSet::from([dependency]));
        let changes = compare(&from, &to).changes;
        let shown: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("+ {relation} y")]);
    }
}

#[test]
fn a_dependency_on_the_packages_own_version_is_not_a_change() {
    let package = |release: &str, of: &str| {
        let own = Dependency {
            name: "hello".to_owned(),
            condition: format!("= 1-{of}"),
            when: String::new(),
        };
        let provides = BTreeMap::from([(Relation::Provides, BTreeSet::from([own]))]);
        Package {
            version: "1".to_owned(),
            release: release.to_owned(),
            dependencies: provides,
            ..Package::default()
        }
    };
    let only_version = compare(&package("1", "1"), &package("2", "2")).changes;
    assert!(
        matches!(only_version[..], [Change::Version { .. }]),
        "{only_version:?}"
    );
    let stayed_behind = compare(&package("1", "1"), &package("2", "1")).changes;
    assert!(
        matches!(
            stayed_behind[..],
            [Change::Version { .. }, Change::Dependency { .. }]
        ),
        "{stayed_behind:?}"
    );
}

#[test]
fn sonames_are_distinguished_from_other_names() {
    let is = |name: &str| {
        Dependency {
            name: name.to_owned(),
            ..Dependency::default()
        }
        .is_soname()
    };
    for name in [
        "libz.so.1",
        "libz.so.1()(64bit)",
        "libz.so.1(ZLIB_1.2.0)(64bit)",
        "libfoo-1.2.so()(64bit)",
    ] {
        assert!(is(name), "{name}");
    }
    for name in [
        "bash",
        "/usr/lib/libz.so.1",
        "rpmlib(CompressedFileNames)",
        "config(so)",
        "(libz.so.1 or b)",
        "a.sofa",
    ] {
        assert!(!is(name), "{name}");
    }
}

proptest! {
    /// The order is a total order of all texts, even of invalid versions, so that lists can be sorted by it.
    #[test]
    fn versions_have_a_total_order(texts in prop::collection::vec("[0-9a-b:~+.-]{0,4}", 3)) {
        for format in Format::ALL {
            let (a, b, c) = (&texts[0], &texts[1], &texts[2]);
            let cmp = |one: &str, two: &str| format.cmp_versions(one, two);
            prop_assert_eq!(cmp(a, b), cmp(b, a).reverse());
            if format != Format::Rpm && cmp(a, b).is_le() && cmp(b, c).is_le() {
                prop_assert!(cmp(a, c).is_le(), "{} {} {} {}", format, a, b, c);
            }
        }
    }

    #[test]
    fn a_version_of_debian_prints_back(text in "([1-9][0-9]{0,2}:)?[0-9][0-9a-z.~+]{0,5}(-[0-9a-z.~+]{1,4}){0,2}") {
        let version = Format::Deb.parse_version(&text).expect("a version");
        prop_assert_eq!(version.to_string(), text);
    }

    #[test]
    fn no_text_makes_parsing_versions_panic(text in any::<String>()) {
        if let Err(error) = Format::Dsc.parse_version(&text) {
            prop_assert!(text.is_char_boundary(error.offset));
        }
    }
}
