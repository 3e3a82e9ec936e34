//! Source packages, and the packages built from them, by `dpkg-source` and `dpkg-buildpackage`.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::tempdir;
use fs_err as fs;
use stx_compare::{compare, deb};

use crate::judge::{judged, named};
use crate::made::{read, say};

/// Makes a source package of this version with `dpkg-source`; returns its description.
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

    // The built packages have a changelog, and the one with debugging symbols has build ids.
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
