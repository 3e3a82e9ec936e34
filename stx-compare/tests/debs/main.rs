//! Compares the results of `debdiff` and of this crate, for packages made by `dpkg-deb` and `dpkg-buildpackage`, and for those
//! of Debian's archive.
#![cfg(feature = "contents")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run dpkg-deb, dpkg-source, apt-get, and debdiff, which is the judge"
)]

use std::collections::BTreeSet;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use camino_tempfile::tempdir;
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use stx_compare::change::{Aspect, Change};
use stx_compare::contents::look_into;
use stx_compare::package::{Listing, Relation};
use stx_compare::version::Format;
use stx_compare::{Differences, Package, compare, deb};

mod judge;
mod made;
mod sources;

use judge::{judged, named};
use made::{CONTROL, Tree, first, next, read, say, second};

#[test]
fn the_differences_are_those_of_debdiff_and_diff() {
    let (one, two) = (first(), second());
    let from = one.pack("gzip", None);
    let to = two.pack("gzip", Some("usr/share/odd/owner"));
    let judged = judged(&from, &to);
    assert_eq!(judged.fields.len(), 14, "{judged:?}");
    assert_eq!(judged.paths.len(), 9, "{judged:?}");
    let differences = compare(&read(&from, true), &read(&to, true));
    assert_eq!(named(&differences), judged);

    let text: Vec<_> = differences
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    for line in [
        "version 1:1.0~rc1-1 -> 1:1.0~rc2-1",
        "~ depends libc6: >= 2.31 -> >= 2.36",
        "- depends python3:any",
        "- depends exim4 | mail-transport-agent",
        "+ depends postfix | mail-transport-agent",
        "+ pre-depends dpkg",
        "~ breaks b: << 1 -> << 2",
        "~ provides virtual: = 1 -> = 2",
        "+ provides library libodd.so.2",
        "- provides library libodd.so.1(gone@Base)",
        "~ scriptlet postinst\n  - echo one\n  + echo two",
        "~ control file triggers\n  - interest one\n  + interest two",
        "~ /etc/odd.conf: content",
        "~ /usr/share/odd/link: target one -> two",
        "~ /usr/share/odd/owner: owner root:root -> bin:bin",
        "~ /usr/share/odd/mode: mode 100644 -> 100755",
    ] {
        assert!(
            text.iter().any(|change| change == line),
            "{line}\n{text:#?}"
        );
    }
    // A dependency on the package's own version changes with the package.
    assert!(
        !text.iter().any(|change| change.contains("same")),
        "{text:#?}"
    );
}

#[test]
fn a_comparison_of_control_members_says_that_it_is_incomplete() {
    let (one, two) = (first(), second());
    let (from, to) = (one.pack("none", None), two.pack("none", None));
    let (old, new) = (read(&from, false), read(&to, false));
    assert_eq!(
        (old.listing, new.listing),
        (Listing::Digests, Listing::Digests)
    );
    let mut differences = compare(&old, &new);
    differences.admit_unread(&old, &new);
    assert!(!differences.is_unread());
    let named = named(&differences);
    let judged = judged(&from, &to);
    assert_eq!(
        (&named.fields, &named.control),
        (&judged.fields, &judged.control)
    );
    let paths = ["changed", "gone", "linked", "new"].map(|name| format!("/usr/share/odd/{name}"));
    assert!(named.paths.iter().eq(&paths), "{:?}", named.paths);

    // Only the payload contains symlinks: the parts that were read are equal, but the packages do not count as equal.
    let link = first();
    fs::remove_file(link.at("usr/share/odd/link")).expect("removed");
    symlink("two", link.at("usr/share/odd/link")).expect("linked");
    let to = link.pack("none", None);
    let new = read(&to, false);
    let mut differences = compare(&old, &new);
    assert_eq!(differences.changes, []);
    differences.admit_unread(&old, &new);
    assert_eq!(differences.changes, [Change::Unread]);
    let changes = compare(&read(&from, true), &read(&to, true)).changes;
    assert!(
        matches!(&changes[..], [Change::FileChanged { path, aspects }]
            if path == "/usr/share/odd/link" && matches!(aspects[..], [Aspect::Target { .. }])),
        "{changes:?}"
    );
}

#[test]
fn packages_without_digests_are_not_treated_as_empty() {
    let (one, two) = (first(), first());
    fs::remove_file(two.at("DEBIAN/md5sums")).expect("removed");
    let (from, to) = (one.pack("xz", None), two.pack("xz", None));
    let (old, new) = (read(&from, false), read(&to, false));
    assert_eq!(
        (old.listing, new.listing),
        (Listing::Digests, Listing::Nothing)
    );
    assert_eq!(compare(&old, &new).changes, [Change::Unread]);
    assert_eq!(compare(&read(&from, true), &read(&to, true)).changes, []);
}

#[test]
fn repacking_changes_only_the_compression() {
    let tree = first();
    let from = read(&tree.pack("gzip", None), true);
    for compression in ["none", "gzip", "xz", "zstd"] {
        let to = read(&tree.pack(compression, None), true);
        let changes = compare(&from, &to).changes;
        let name = match compression {
            "none" => "",
            "zstd" => "zst",
            "gzip" => "gz",
            name => name,
        };
        let expected = Change::Payload {
            aspect: "compression".to_owned(),
            from: "gz".to_owned(),
            to: name.to_owned(),
        };
        let expected: Vec<_> = (name != "gz").then_some(expected).into_iter().collect();
        assert_eq!(changes, expected, "{compression}");
    }
}

#[test]
fn times_in_files_and_modification_times_are_noise() {
    let gzip = |time: u8| [&[0x1f, 0x8b, 8, 0, time, 0, 0, 0, 0, 3][..], b"text"].concat();
    let (one, two) = (first(), first());
    one.write("usr/share/odd/times.gz", gzip(1), 0o644);
    two.write("usr/share/odd/times.gz", gzip(2), 0o644);
    for (tree, time) in [(&one, "2020-01-01"), (&two, "2021-01-01")] {
        tree.md5sums();
        let mut command = Command::new("sh");
        let script = format!("find usr etc -exec touch -h -d '{time} UTC' {{}} +");
        say(
            command.args(["-c", &script]).current_dir(tree.at(".")),
            &[0],
        );
    }
    let (from, to) = (one.pack("zstd", None), two.pack("zstd", None));
    let mut differences = compare(&read(&from, true), &read(&to, true));
    assert_eq!(differences.changes.len(), 1, "{differences:?}");
    let open = |file| BufReader::new(std::fs::File::open(file).expect("opened"));
    let skipped = look_into(&mut differences, open(&from), open(&to)).expect("read");
    assert!(skipped.is_empty());
    assert_eq!(differences.changes, []);
    let noise: Vec<_> = differences.noise.iter().map(ToString::to_string).collect();
    let times = "times within /usr/share/odd/times.gz (gzip)".to_owned();
    assert!(noise.contains(&times), "{noise:?}");
    assert!(
        noise.iter().any(|noise| noise.starts_with("times of /etc")),
        "{noise:?}"
    );
}

#[test]
fn old_encodings_stay_readable_and_different() {
    let tree = |byte: u8| {
        let mut control = CONTROL.replace("A B", "Ren_").into_bytes();
        let at = control
            .iter()
            .position(|letter| *letter == b'_')
            .expect("there");
        control[at] = byte;
        let tree = Tree::new("");
        tree.write("DEBIAN/control", control, 0o644);
        tree.write(
            "DEBIAN/postinst",
            [b"#!/bin/sh\necho Ren", &[byte][..], b"\n"].concat(),
            0o755,
        );
        tree
    };
    let (one, two) = (tree(0xe9), tree(0xe8));
    let (old, new) = (
        read(&one.pack("gzip", None), true),
        read(&two.pack("gzip", None), true),
    );
    assert_eq!(old.attributes["Maintainer"], "René <a@example.org>");
    let named = named(&compare(&old, &new));
    assert!(named.fields.iter().eq(["Maintainer"]), "{named:?}");
    assert!(named.control.iter().eq(["postinst"]), "{named:?}");
}

/// The control member and the payload name the same file, in the same form as for other formats.
#[test]
fn names_that_are_not_utf_8_are_shown_as_in_rpm_packages() {
    let tree = Tree::new(CONTROL);
    tree.write("usr/share/odd/plain", "same", 0o644);
    for byte in [0xe8, 0xe9] {
        let name = [&b"caf"[..], &[byte]].concat();
        let name = std::ffi::OsStr::from_bytes(&name);
        let dir = tree.at("usr/share/odd").into_std_path_buf();
        std::fs::write(dir.join(name), "same").expect("written");
        let link = dir.join(["link-", &byte.to_string()].concat());
        std::os::unix::fs::symlink(name, link).expect("linked");
    }
    tree.md5sums();
    let file = tree.pack("xz", None);
    for whole in [false, true] {
        let package = read(&file, whole);
        for name in ["caf\u{fffd}e8", "caf\u{fffd}e9"] {
            let path = format!("/usr/share/odd/{name}");
            assert!(package.files.contains_key(&path), "{:?}", package.files);
        }
    }
    let link = &read(&file, true).files["/usr/share/odd/link-233"];
    assert_eq!(link.target.as_deref(), Some("caf\u{fffd}e9"));
}

#[test]
fn the_error_of_a_damaged_package_names_the_place() {
    let tree = first();
    let file = tree.pack("gzip", None);
    let bytes = fs::read(&file).expect("read");
    let whole = read(&file, true);
    let stx_deb::Extent::Whole(end) = deb::extent(&bytes).expect("a package") else {
        panic!("the whole package has its control member");
    };
    let end = usize::try_from(end).expect("fits");
    // This is all that the control member needs, and one byte less is not enough.
    assert!(deb::package(Format::Deb, &bytes[..end]).is_ok());
    for length in 0..end - 60 {
        let cut = &bytes[..length];
        match deb::package(Format::Deb, cut) {
            Err(error) => assert!(error.to_string().contains("byte"), "{length}: {error}"),
            // Padding after the member.
            Ok(package) => assert_eq!((package.version, length), (whole.version.clone(), end - 61)),
        }
        assert!(
            !matches!(deb::extent(cut), Ok(stx_deb::Extent::Whole(needed)) if needed <= length as u64)
        );
    }
    let mut package = read(&file, false);
    // A member of an odd length is followed by one byte of padding, which the reader does not need.
    let padding = usize::from(bytes.ends_with(b"\n"));
    for length in end..bytes.len() - padding {
        let error = deb::read_files(&mut package, &bytes[..length]).expect_err("cut off");
        assert!(
            error.to_string().contains(&format!("byte {length}")),
            "{error}"
        );
    }
    // A failed read leaves the package unchanged.
    assert_eq!(package, read(&file, false));
}

/// True if the relations of a field differ only in the versions of their own packages, which is not a change here.
fn moves(from: &Package, to: &Package, field: &str) -> bool {
    let relations = |package: &Package| {
        let mut found = package.dependencies.iter();
        let found = found.find(|(relation, _)| field.eq_ignore_ascii_case(relation.as_str()));
        let own = format!("= {}", package.evr());
        found.map(|(_, all)| {
            let shown = all
                .iter()
                .map(|one| format!("{} {}", one.name, one.condition.replace(&own, "= own")));
            shown.collect::<Vec<_>>()
        })
    };
    relations(from).is_some() && relations(from) == relations(to)
}

#[test]
fn packages_of_the_archive_are_read_as_debdiff_reads_them() {
    let dir = tempdir().expect("a directory");
    // Small packages. The archive has two versions of a package with security updates, if the machine's sources include those.
    let mut compared = 0;
    for name in [
        "liblzma5",
        "tzdata",
        "gpgv",
        "openssl",
        "libssl3",
        "base-files",
        "debconf",
        "curl",
    ] {
        let listed = say(Command::new("apt-cache").args(["madison", name]), &[0]);
        let versions: BTreeSet<_> = listed
            .lines()
            .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
            .collect();
        let mut files = Vec::new();
        for version in versions.iter().take(2) {
            let at = dir.path().join(name).join(version);
            fs::create_dir_all(&at).expect("made");
            let mut command = Command::new("apt-get");
            command.args(["download", &format!("{name}={version}")]);
            say(command.current_dir(&at), &[0]);
            let file = at
                .read_dir_utf8()
                .expect("a list")
                .next()
                .expect("a package");
            files.push(file.expect("a package").into_path());
        }
        if let [only] = &files[..] {
            files.push(next(only));
        }
        for file in &files {
            // The package holds everything that dpkg-deb prints of the control member, and each file of the payload.
            let package = read(file, true);
            let field = |field: &str| {
                say(
                    Command::new("dpkg-deb").args(["-f", file.as_str(), field]),
                    &[0],
                )
                .trim_end()
                .to_owned()
            };
            assert_eq!(package.evr().to_string(), field("Version"), "{file}");
            assert_eq!(
                package.attributes["Maintainer"],
                field("Maintainer"),
                "{file}"
            );
            let listed = say(Command::new("dpkg-deb").args(["-c", file.as_str()]), &[0]);
            assert_eq!(
                package.files.len(),
                listed.lines().count() - 1,
                "{file}: all but the root"
            );
            assert!(
                !package.changelog.is_empty(),
                "{file}: every package has a changelog"
            );
            assert!(package.dependencies.keys().all(|relation| {
                *relation >= Relation::Depends
                    || [
                        Relation::Provides,
                        Relation::Conflicts,
                        Relation::Recommends,
                        Relation::Suggests,
                        Relation::Enhances,
                    ]
                    .contains(relation)
            }));
            assert_eq!(compare(&package, &read(file, true)), Differences::default());
        }
        if let [one, two] = &files[..] {
            let differences = compare(&read(one, true), &read(two, true));
            let mut judged = judged(one, two);
            judged
                .fields
                .retain(|field| !moves(&read(one, false), &read(two, false), field));
            assert_eq!(named(&differences), judged, "{name}");
            compared += 1;
        }
    }
    assert!(
        compared > 0,
        "the archive has none of them: run apt-get update"
    );
}
