//! Packages that these tests make with `dpkg-deb`, and read.

use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use stx_compare::version::Format;
use stx_compare::{Package, deb};

pub(crate) fn say(command: &mut Command, codes: &[i32]) -> String {
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
pub(crate) struct Tree {
    dir: Utf8TempDir,
}

impl Tree {
    pub(crate) fn new(control: &str) -> Self {
        let tree = Self {
            dir: tempdir().expect("a directory"),
        };
        tree.write("DEBIAN/control", control, 0o644);
        tree
    }

    pub(crate) fn at(&self, path: &str) -> Utf8PathBuf {
        let path = self.dir.path().join("tree").join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        path
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>, mode: u32) {
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

    /// Makes a hard link, so that the archive holds the bytes once.
    pub(crate) fn link(&self, from: &str, to: &str) {
        fs::hard_link(self.at(from), self.at(to)).expect("linked");
    }

    /// Writes the digests of all files except configuration files, as `dh_md5sums` does.
    pub(crate) fn md5sums(&self) {
        let script = "find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums";
        let mut command = Command::new("sh");
        say(command.args(["-c", script]).current_dir(self.at(".")), &[0]);
    }

    /// Packs the tree; `owned` belongs to another user, all other files to root.
    pub(crate) fn pack(&self, compression: &str, owned: Option<&str>) -> Utf8PathBuf {
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

pub(crate) const CONTROL: &str = "Package: odd
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

/// The first package; it has nothing in common with [`second`] but the files whose names say so.
pub(crate) fn first() -> Tree {
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

pub(crate) fn second() -> Tree {
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

/// A possible next version of a package: with another version, relations that change with it, and one more file.
pub(crate) fn next(package: &Utf8Path) -> Utf8PathBuf {
    let work = tempdir().expect("a directory");
    let next = package.with_extension("next.deb");
    let script = "dpkg-deb -R \"$0\" tree; v=$(dpkg-deb -f \"$0\" Version); \
        sed -i \"s/^Version: .*/&+next/; s/(= $v)/(= $v+next)/g\" tree/DEBIAN/control; \
        mkdir -p tree/usr/share/next; echo next > tree/usr/share/next/file; dpkg-deb -b tree \"$1\"";
    let mut command = Command::new("fakeroot");
    command.args(["sh", "-ec", script, package.as_str(), next.as_str()]);
    say(command.current_dir(work.path()), &[0]);
    next
}

/// Reads the package in a file, with or without its payload.
pub(crate) fn read(file: &Utf8Path, payload: bool) -> Package {
    let bytes = fs::read(file).expect("read");
    let mut package = deb::package(Format::Deb, &bytes).expect("a package");
    if payload {
        deb::read_files(&mut package, &*bytes).expect("a payload");
    }
    package
}
