//! Packages that `dpkg-deb` and `dpkg-buildpackage` made, and those of Debian's archive: what `debdiff` says of two, and
//! what this crate does.
#![cfg(feature = "contents")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run dpkg-deb, dpkg-source, apt-get, and debdiff, which is the judge"
)]

use std::collections::BTreeSet;
use std::io::BufReader;
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use stx_compare::change::{Aspect, Change, Noise};
use stx_compare::contents::look_into;
use stx_compare::package::{Listing, Relation};
use stx_compare::version::Format;
use stx_compare::{Differences, Package, compare, deb};

fn say(command: &mut Command, codes: &[i32]) -> String {
    let shown = format!("{command:?}");
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{shown}: {error}; scripts/setup.sh test"));
    let code = status.code();
    assert!(
        code.is_some_and(|code| codes.contains(&code)),
        "{shown}: {code:?}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8_lossy(&stdout).into_owned()
}

/// A tree that becomes a package.
struct Tree {
    dir: Utf8TempDir,
}

impl Tree {
    fn new(control: &str) -> Self {
        let tree = Self {
            dir: tempdir().expect("a directory"),
        };
        tree.write("DEBIAN/control", control, 0o644);
        tree
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        let path = self.dir.path().join("tree").join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        path
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>, mode: u32) {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        let path = self.at(path);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .expect("opened");
        std::io::Write::write_all(&mut file, text.as_ref()).expect("written");
        say(
            Command::new("chmod").arg(format!("{mode:o}")).arg(&path),
            &[0],
        );
    }

    /// Gives a file another name: the archive has the bytes once.
    fn link(&self, from: &str, to: &str) {
        fs::hard_link(self.at(from), self.at(to)).expect("linked");
    }

    /// The digests of all files that are no configuration files, as `dh_md5sums` writes them.
    fn md5sums(&self) {
        let script = "find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums";
        let mut command = Command::new("sh");
        say(command.args(["-c", script]).current_dir(self.at(".")), &[0]);
    }

    /// Packs the tree; `owned` belongs to another user, all else to root.
    fn pack(&self, compression: &str, owned: Option<&str>) -> Utf8PathBuf {
        let package = self.dir.path().join(format!("{compression}.deb"));
        let chown = owned
            .map(|path| format!("chown bin:bin tree/{path}; "))
            .unwrap_or_default();
        let script = format!(
            "chown -R root:root tree; {chown}dpkg-deb --uniform-compression -Z{compression} -b tree {package}"
        );
        let mut command = Command::new("fakeroot");
        say(
            command
                .args(["sh", "-ec", &script])
                .current_dir(self.dir.path()),
            &[0],
        );
        package
    }
}

const CONTROL: &str = "Package: odd
Version: 1:1.0~rc1-1
Architecture: all
Maintainer: A B <a@example.org>
Depends: libc6 (>= 2.31), python3:any, exim4 | mail-transport-agent, same (= 1:1.0~rc1-1)
Recommends: r1
Suggests: s1
Breaks: b (<< 1)
Conflicts: c1
Provides: virtual (= 1), libodd-old
Built-Using: gcc-12 (= 12.2.0-14)
X-Odd: one
Description: an odd package
 with a paragraph
";

/// The package as it was; nothing in it is the same in [`second`] but what is called so.
fn first() -> Tree {
    let tree = Tree::new(CONTROL);
    tree.write("usr/share/odd/same", "same", 0o644);
    tree.write("usr/share/odd/changed", "one", 0o644);
    tree.write("usr/share/odd/mode", "mode", 0o644);
    tree.write("usr/share/odd/owner", "owner", 0o644);
    tree.write("usr/share/odd/gone", "gone", 0o644);
    tree.write("etc/odd.conf", "a = 1\n", 0o644);
    tree.write("DEBIAN/conffiles", "/etc/odd.conf\n", 0o644);
    tree.write("DEBIAN/postinst", "#!/bin/sh -e\necho one\n", 0o755);
    tree.write("DEBIAN/prerm", "#!/bin/sh\necho same\n", 0o755);
    tree.write("DEBIAN/triggers", "interest one\n", 0o644);
    tree.write(
        "DEBIAN/templates",
        "Template: odd/one\nType: string\n",
        0o644,
    );
    tree.write("DEBIAN/shlibs", "libodd 1 odd (>= 1)\n", 0o644);
    tree.write(
        "DEBIAN/symbols",
        "libodd.so.1 odd #MINVER#\n gone@Base 1\n same@Base 1\n",
        0o644,
    );
    symlink("one", tree.at("usr/share/odd/link")).expect("linked");
    tree.link("usr/share/odd/changed", "usr/share/odd/linked");
    fs::create_dir(tree.at("usr/share/odd/empty")).expect("made");
    tree.md5sums();
    tree
}

fn second() -> Tree {
    let control = CONTROL
        .replace("rc1", "rc2")
        .replace("libc6 (>= 2.31), python3:any", "libc6 (>= 2.36)")
        .replace("exim4 |", "postfix |")
        .replace("r1", "r2")
        .replace("s1", "s2")
        .replace("b (<< 1)", "b (<< 2)")
        .replace("c1", "c2")
        .replace("virtual (= 1)", "virtual (= 2)")
        .replace("12.2.0-14", "12.2.0-15")
        .replace(
            "X-Odd: one",
            "X-Odd: two\nPre-Depends: dpkg\nReplaces: r (<< 2)\nEnhances: e\nMulti-Arch: foreign",
        )
        .replace("paragraph", "sentence");
    let tree = Tree::new(&control);
    tree.write("usr/share/odd/same", "same", 0o644);
    tree.write("usr/share/odd/changed", "two", 0o644);
    tree.write("usr/share/odd/mode", "mode", 0o755);
    tree.write("usr/share/odd/owner", "owner", 0o644);
    tree.write("usr/share/odd/new", "new", 0o644);
    tree.write("etc/odd.conf", "a = 2\n", 0o644);
    tree.write("DEBIAN/conffiles", "/etc/odd.conf\n", 0o644);
    tree.write("DEBIAN/postinst", "#!/bin/sh -e\necho two\n", 0o755);
    tree.write("DEBIAN/prerm", "#!/bin/sh\necho same\n", 0o755);
    tree.write("DEBIAN/triggers", "interest two\n", 0o644);
    tree.write(
        "DEBIAN/templates",
        "Template: odd/two\nType: string\n",
        0o644,
    );
    tree.write("DEBIAN/shlibs", "libodd 2 odd (>= 1)\n", 0o644);
    tree.write(
        "DEBIAN/symbols",
        "libodd.so.1 odd #MINVER#\n same@Base 1\n new@Base 2\n",
        0o644,
    );
    symlink("two", tree.at("usr/share/odd/link")).expect("linked");
    tree.link("usr/share/odd/changed", "usr/share/odd/linked");
    tree.md5sums();
    tree
}

/// The package in a file, with its payload or without.
fn read(file: &Utf8Path, payload: bool) -> Package {
    let bytes = fs::read(file).expect("read");
    let mut package = deb::package(Format::Deb, &bytes).expect("a package");
    if payload {
        deb::read_files(&mut package, &*bytes).expect("a payload");
    }
    package
}

/// The judgement of two packages: paths, fields and control files that differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judged {
    paths: BTreeSet<String>,
    fields: BTreeSet<String>,
    control: BTreeSet<String>,
}

/// The verdict of `debdiff` on names, modes, owners, targets and control files, and that of `diff` on the files' bytes.
fn judged(from: &Utf8Path, to: &Utf8Path) -> Judged {
    let mut judged = Judged::default();
    let mut command = Command::new("debdiff");
    command.args(["--noconf", "--dirs", "--controlfiles", "ALL"]);
    let text = say(command.args([from, to]), &[0, 1]);
    let mut section = "";
    for line in text.lines() {
        if let Some((name, _)) = line.split_once(" files: lines which differ") {
            section = name;
            if section != "Control" {
                judged.control.insert(section.to_lowercase());
            }
        } else if line.starts_with("Files in ") {
            section = line;
        } else if section.starts_with("Files in ") && line.contains('/') {
            let path = line.split_ascii_whitespace().nth(2).expect("a path");
            judged.paths.insert(path.trim_end_matches('/').to_owned());
        } else if section == "Control" && !line.starts_with([' ', '-']) {
            let line = line.trim_start_matches(['{', '[', '+', '-']);
            let field = line.split_once(':').map(|(field, _)| field.to_owned());
            judged.fields.extend(field);
        } else if section == "Control" && line.starts_with(' ') {
            judged.fields.insert("Description".to_owned());
        }
    }
    let dir = tempdir().expect("a directory");
    for (package, name) in [(from, "from"), (to, "to")] {
        let to = dir.path().join(name);
        say(
            Command::new("dpkg-deb").args(["-x", package.as_str(), to.as_str()]),
            &[0],
        );
    }
    let mut command = Command::new("diff");
    command.args(["-rq", "--no-dereference", "from", "to"]);
    for line in say(command.current_dir(dir.path()), &[0, 1]).lines() {
        if let Some(rest) = line.strip_prefix("Files from") {
            let (path, _) = rest.split_once(" and ").expect("two files");
            judged.paths.insert(path.to_owned());
        }
    }
    judged
}

/// The same out of our differences.
fn named(differences: &Differences) -> Judged {
    let mut named = Judged::default();
    for change in &differences.changes {
        match change {
            Change::Version { .. } => {
                named.fields.insert("Version".to_owned());
            }
            Change::Attribute { name, .. } => {
                named.fields.insert(match name.as_str() {
                    "name" => "Package".to_owned(),
                    "architecture" => "Architecture".to_owned(),
                    name => name.to_owned(),
                });
            }
            Change::FileAdded { path, .. }
            | Change::FileRemoved { path, .. }
            | Change::FileChanged { path, .. } => {
                named.paths.insert(path.clone());
            }
            Change::Dependency { relation, name, .. } | Change::Soname { relation, name, .. } => {
                if name.contains('(') || name.contains(".so.") {
                    let file = if name.contains('(') {
                        "symbols"
                    } else {
                        "shlibs"
                    };
                    named.control.insert(file.to_owned());
                } else {
                    let words = relation.as_str().split('-').map(|word| {
                        let (first, rest) = word.split_at(1);
                        first.to_uppercase() + rest
                    });
                    named.fields.insert(words.collect::<Vec<_>>().join("-"));
                }
            }
            Change::Scriptlet { name, .. } | Change::ControlFile { name, .. } => {
                named.control.insert(name.clone());
            }
            // debdiff does not read it as entries, and compares no compression.
            Change::Changelog { .. } | Change::Payload { .. } => {}
            Change::Unread => panic!("the payload was read"),
        }
    }
    for noise in &differences.noise {
        if let Noise::Derived { name, .. } = noise {
            named.fields.insert(name.clone());
        }
    }
    named
}

#[test]
fn what_debdiff_and_diff_find_is_found_and_nothing_else() {
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
    // A dependency on its own version moves with the package.
    assert!(
        !text.iter().any(|change| change.contains("same")),
        "{text:#?}"
    );
}

#[test]
fn the_control_member_tells_what_it_holds_and_says_that_it_is_not_all() {
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

    // Only the payload tells of a symlink: nothing differs as far as was read, which is not taken for the same.
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
fn packages_without_digests_are_not_taken_for_empty_ones() {
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
fn packing_again_is_no_difference_but_of_the_packing() {
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
fn times_within_files_and_of_files_are_noise() {
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

#[test]
fn a_package_that_is_damaged_anywhere_says_where() {
    let tree = first();
    let file = tree.pack("gzip", None);
    let bytes = fs::read(&file).expect("read");
    let whole = read(&file, true);
    let stx_deb::Extent::Whole(end) = deb::extent(&bytes).expect("a package") else {
        panic!("the whole package has its control member");
    };
    let end = usize::try_from(end).expect("fits");
    // All that the control member needs is there, and one byte less is not enough.
    assert!(deb::package(Format::Deb, &bytes[..end]).is_ok());
    for length in 0..end - 60 {
        let cut = &bytes[..length];
        match deb::package(Format::Deb, cut) {
            Err(error) => assert!(error.to_string().contains("byte"), "{length}: {error}"),
            // Padding behind the member.
            Ok(package) => assert_eq!((package.version, length), (whole.version.clone(), end - 61)),
        }
        assert!(
            !matches!(deb::extent(cut), Ok(stx_deb::Extent::Whole(needed)) if needed <= length as u64)
        );
    }
    let mut package = read(&file, false);
    for length in (end..bytes.len()).step_by(7) {
        let error = deb::read_files(&mut package, &bytes[..length]).expect_err("cut off");
        assert!(
            error.to_string().contains(&format!("byte {length}")),
            "{error}"
        );
    }
    // A failed reading leaves the package as it was.
    assert_eq!(package, read(&file, false));
}

/// A source package of that version, made by `dpkg-source`; its description.
fn source(dir: &Utf8Path, version: &str, needs: &str) -> Utf8PathBuf {
    let tree = dir.join(format!("tree-{version}"));
    fs::create_dir_all(tree.join("debian/source")).expect("made");
    let write = |path: &str, text: &str| fs::write(tree.join(path), text).expect("written");
    write(
        "hello.c",
        &format!("/* {version} */ int main(void) {{ return 0; }}\n"),
    );
    write("debian/source/format", "3.0 (native)\n");
    write(
        "debian/control",
        &format!(
            "Source: hello\nSection: misc\nPriority: optional\nMaintainer: A B <a@example.org>\n\
             Build-Depends: debhelper-compat (= 13), {needs}\nStandards-Version: 4.6.2\n\n\
             Package: hello\nArchitecture: any\nDescription: greets\n greets\n"
        ),
    );
    write(
        "debian/changelog",
        &format!(
            "hello ({version}) unstable; urgency=low\n\n  * Release {version}.\n\n \
             -- A B <a@example.org>  Wed, 01 Jan 2020 00:00:00 +0000\n"
        ),
    );
    write("debian/rules", "#!/usr/bin/make -f\n%:\n\tdh $@\n");
    say(
        Command::new("chmod").args(["755", tree.join("debian/rules").as_str()]),
        &[0],
    );
    let mut command = Command::new("dpkg-buildpackage");
    command
        .args(["-us", "-uc", "-d", "--no-sign"])
        .current_dir(&tree);
    say(&mut command, &[0]);
    dir.join(format!("hello_{version}.dsc"))
}

#[test]
fn source_packages_and_what_is_built_of_them_are_compared() {
    let dir = tempdir().expect("a directory");
    let one = source(dir.path(), "1.0", "gettext");
    let two = source(dir.path(), "1.1", "gettext (>= 0.21) [amd64] <!nocheck>");
    let read_source =
        |file: &Utf8Path| deb::source(&fs::read(file).expect("read")).expect("a source package");
    let (old, new) = (read_source(&one), read_source(&two));
    assert_eq!((old.name.as_str(), old.arch.as_str()), ("hello", "source"));
    let archive = &old.files["hello_1.0.tar.xz"];
    assert_eq!(
        archive.size,
        fs::metadata(dir.path().join("hello_1.0.tar.xz"))
            .expect("there")
            .len()
    );
    let sum = say(
        Command::new("sha256sum").arg(dir.path().join("hello_1.0.tar.xz")),
        &[0],
    );
    assert_eq!(
        archive.digest.as_deref(),
        Some(format!("sha256:{}", &sum[..64]).as_str())
    );
    let shown: Vec<_> = compare(&old, &new)
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "version 1.0 -> 1.1".to_owned(),
        format!(
            "+ hello_1.1.tar.xz ({} bytes)",
            new.files["hello_1.1.tar.xz"].size
        ),
        format!("- hello_1.0.tar.xz ({} bytes)", archive.size),
        "~ build-depends gettext: any -> >= 0.21 ([amd64] <!nocheck>)".to_owned(),
    ];
    assert_eq!(shown, expected);

    // The packages that were built have a changelog, and one of debugging symbols has build ids.
    let arch = say(Command::new("dpkg").arg("--print-architecture"), &[0]);
    let built = |version: &str| {
        dir.path()
            .join(format!("hello_{version}_{}.deb", arch.trim()))
    };
    let (from, to) = (built("1.0"), built("1.1"));
    let differences = compare(&read(&from, true), &read(&to, true));
    let text = differences
        .changes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let entry = "+ changelog 2020-01-01 A B <a@example.org> - 1.1:   * Release 1.1.";
    assert!(text.iter().any(|line| line.starts_with(entry)), "{text:#?}");
    assert_eq!(named(&differences), judged(&from, &to));
}

/// Whether relations of a field differ in nothing but the versions of their own packages: that is no change here.
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
    // Small ones of which the archive has two versions: a release and its security updates.
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
        for file in &files {
            // What dpkg-deb prints of the control member is all in the package, and each file of the payload.
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
        "the archive has two versions of none of them: run apt-get update"
    );
}
