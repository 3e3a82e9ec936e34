//! Compares the lists with those of `apt-ftparchive` and `dpkg-scanpackages`.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use stx_deb::paragraphs;

use super::debian::{Debian, deb, source};
use super::{SOURCES, STD};
use crate::harness::{cache, run, tool};

/// Small packages of Debian with different fields; fetched once and kept, by `apt-get download` from the machine's own sources.
const REAL: [&str; 12] = [
    "apt-utils",
    "base-files",
    "bsdutils",
    "dash",
    "hello",
    "init",
    "libc-bin",
    "login",
    "make",
    "netbase",
    "sl",
    "tzdata",
];

fn real() -> Utf8PathBuf {
    let dir = cache().join("debian-packages");
    fs_err::create_dir_all(&dir).expect("a directory");
    let names = fs_err::read_dir(&dir).expect("a directory");
    let names: Vec<_> = names
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let missing = REAL.iter().filter(|name| {
        let prefix = format!("{name}_");
        !names.iter().any(|file| file.starts_with(&prefix))
    });
    let missing: Vec<_> = missing.copied().collect();
    if !missing.is_empty() {
        let mut apt = tool(
            "apt-get",
            ["-q", "-o", "APT::Sandbox::User=root", "download"],
        );
        run(apt.args(missing).current_dir(&dir)).ok();
    }
    dir
}

/// A directory of more packages, such as the archives of apt, for an occasional comparison of many.
fn more(variable: &str) -> Option<Utf8PathBuf> {
    std::env::var(variable).ok().map(Utf8PathBuf::from)
}

/// The fields of each package, by its path, without those that differ on purpose.
pub(super) fn entries(list: &str, left_out: &[&str]) -> BTreeMap<String, BTreeMap<String, String>> {
    let found = paragraphs(list).expect("a list").into_iter();
    found
        .map(|entry| {
            let path = entry.get("Filename").expect("a path");
            let path = path.trim_start_matches("./").to_owned();
            let fields = entry.fields();
            let fields = fields
                .filter(|(name, _)| *name != "Filename" && !left_out.contains(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            (path, fields.collect())
        })
        .collect()
}

#[test]
fn lists_agree_with_apt_ftparchive_and_dpkg_scanpackages() {
    let debian = Debian::new("");
    let work = debian.at("work");
    fs_err::create_dir_all(&work).expect("a directory");
    let std = debian.tree(STD);
    fs_err::create_dir_all(&std).expect("a directory");
    let mut copied = BTreeSet::new();
    for dir in std::iter::once(real()).chain(more("STX_DEBS")) {
        for entry in dir.read_dir_utf8().expect("packages") {
            let path = entry.expect("an entry").into_path();
            if path.extension() == Some("deb") {
                let name = path.file_name().expect("a name");
                fs_err::copy(&path, std.join(name)).expect("copied");
                copied.insert(name.to_owned());
            }
        }
    }
    let odd = "Package: odd\nX-First: 1\nVersion: 2:1.0~rc1+b2\nArchitecture: amd64\nMaintainer: \u{c5}ke <a@example.org>\n\
               Depends: a (>= 1) | b,\n c [amd64]\nDescription: one\n two\n  three\n .\n four\nX-Last: \u{e9}\n";
    for (name, options) in [
        ("gzip", &["-Zgzip"][..]),
        ("xz", &["-Zxz"]),
        ("zstd", &["-Zzstd"]),
        ("none", &["-Znone"]),
        ("odd-data", &["-Zxz", "--no-uniform-compression"]),
    ] {
        let text = odd.replace("Package: odd", &format!("Package: odd-{name}"));
        deb(
            &work,
            &std.join(format!("{name}_1~rc+x.deb")),
            &text,
            options,
        );
    }
    debian.pack("older_1_all.deb", "older", "1");
    debian.pack("older_2_all.deb", "older", "2");
    debian.pack("installer_1_all.udeb", "installer", "1");

    debian.publish(1);
    let ours = fs_err::read_to_string(debian.latest(&format!("{STD}/Packages"))).expect("a list");
    assert_eq!(debian.findings(&[]), []);
    compare(&ours, &std);
    assert_eq!(entries(&ours, &[]).len(), copied.len() + 5 + 3);
}

#[test]
fn source_lists_agree_with_apt_ftparchive() {
    let debian = Debian::new("");
    let work = debian.at("work");
    let dir = debian.tree(SOURCES);
    for (name, version) in [
        ("native", "1"),
        ("older", "1"),
        ("older", "1+b~2"),
        ("epoch", "2:1.0"),
    ] {
        source(&work, &dir, name, version);
    }
    let mut dscs = 4;
    if let Some(more) = more("STX_SOURCES") {
        for entry in more.read_dir_utf8().expect("source packages") {
            let path = entry.expect("an entry").into_path();
            dscs += usize::from(path.extension() == Some("dsc"));
            fs_err::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    debian.publish(1);
    assert_eq!(debian.findings(&[]), []);
    let ours =
        fs_err::read_to_string(debian.latest(&format!("{SOURCES}/Sources"))).expect("a list");
    let ours = sources(&ours);
    let theirs = run(tool("apt-ftparchive", ["sources", "."]).current_dir(&dir)).ok();
    assert_same(&ours, &sources(&theirs));
    assert_eq!(ours.len(), dscs);
}

/// The fields of each source package, by name and version. Our lists lack `Checksums-Sha512`; for a package beside the list,
/// apt-ftparchive omits `Directory`, and we write `.`. The order of files in a `.dsc` does not matter.
fn sources(list: &str) -> Entries {
    let found = paragraphs(list).expect("a list").into_iter();
    found
        .map(|entry| {
            let get = |name: &str| entry.get(name).unwrap_or_default().to_owned();
            let fields = entry.fields();
            let fields = fields
                .filter(|(name, _)| !matches!(*name, "Checksums-Sha512" | "Directory"))
                .map(|(name, value)| {
                    let mut lines: Vec<_> = value.lines().map(str::trim_end).collect();
                    if matches!(name, "Files" | "Checksums-Sha1" | "Checksums-Sha256") {
                        lines.sort_unstable();
                    }
                    (name.to_owned(), lines.join("\n"))
                });
            (
                format!("{} {}", get("Package"), get("Version")),
                fields.collect(),
            )
        })
        .collect()
}

/// Compares a list with those that the tools make for a directory.
fn compare(ours: &str, dir: &Utf8Path) {
    let ours = |left_out: &[&str]| entries(ours, left_out);
    // Neither tool writes `Package-Type` for an udeb; our lists lack MD5 and SHA-1.
    let digests = ["MD5sum", "SHA1", "SHA512"];
    let both = ["MD5sum", "SHA1", "SHA512", "Package-Type"];
    let scan = "dpkg-scanpackages --multiversion -t deb . 2>err; dpkg-scanpackages -t udeb --multiversion . 2>>err";
    let theirs = run(tool("sh", ["-ec", scan]).current_dir(dir)).ok();
    assert_same(&ours(&both), &entries(&theirs, &digests));
    let theirs = run(tool("apt-ftparchive", ["packages", "."]).current_dir(dir)).ok();
    assert_same(&ours(&both), &entries(&theirs, &digests));
    fs_err::remove_file(dir.join("err")).expect("removed");
}

type Entries = BTreeMap<String, BTreeMap<String, String>>;

/// Fails the test at the first package with different fields.
#[track_caller]
fn assert_same(ours: &Entries, theirs: &Entries) {
    let (names, their_names): (Vec<_>, Vec<_>) = (ours.keys().collect(), theirs.keys().collect());
    assert_eq!(names, their_names);
    for (name, fields) in ours {
        assert_eq!(*fields, theirs[name], "{name}");
    }
}
