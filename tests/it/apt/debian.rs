//! A mirror of Debian builds, the tree to publish there, and a simulated machine with `apt` that reads it.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use super::{CHANNEL, SOURCES, STD};
use crate::harness::{Ran, in_memory, run, stx, tool};
use crate::nginx::Nginx;
use crate::signing::key::Key;

/// A mirror of Debian builds, and the tree to publish next.
pub(crate) struct Debian {
    dir: Utf8TempDir,
}

impl Debian {
    /// A mirror without builds, with this configuration.
    pub(crate) fn new(config: &str) -> Self {
        let debian = Self { dir: in_memory() };
        let text = format!("mirror = \"mirror\"\nstate = \"state\"\n{config}\n");
        fs_err::write(debian.at("stx-builds.toml"), text).expect("a file");
        debian
    }

    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        let path = self.dir.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        path
    }

    pub(crate) fn tree(&self, name: &str) -> Utf8PathBuf {
        self.at(&format!("tree/{name}"))
    }

    /// Packs a package of this name and version into the tree, as `STD/FILE`.
    pub(crate) fn pack(&self, file: &str, name: &str, version: &str) {
        let to = self.tree(&format!("{STD}/{file}"));
        deb(&self.at("work"), &to, &control(name, version), &[]);
    }

    pub(crate) fn latest(&self, name: &str) -> Utf8PathBuf {
        self.at("mirror")
            .join(CHANNEL)
            .join("latest_build")
            .join(name)
    }

    pub(crate) fn stx(&self, args: &[&str]) -> Ran {
        let config = self.at("stx-builds.toml");
        run(stx(["--config", config.as_str()]).args(args))
    }

    pub(crate) fn publish(&self, day: u32) -> Value {
        let (tree, date) = (self.at("tree"), format!("202001{day:02}T000000Z"));
        let args = [
            "--format",
            "json",
            "publish",
            tree.as_str(),
            "--channel",
            CHANNEL,
        ];
        let more = ["--date", &date, "--result", "success"];
        self.stx(&[&args[..], &more].concat()).code(0).json()
    }

    /// The findings of `verify`, each its kind and path.
    pub(crate) fn findings(&self, more: &[&str]) -> Vec<(String, String)> {
        let ran = self.stx(&[&["--format", "json", "verify"], more].concat());
        let json = ran.json();
        let findings = json["findings"].as_array().expect("findings").iter();
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        findings
            .map(|it| (text(it, "kind"), text(it, "path")))
            .collect()
    }

    pub(crate) fn serve(&self) -> Nginx {
        Nginx::of_mirror(&self.at("nginx"), &self.at("mirror"), "")
    }
}

/// Packs a package whose only file is `/usr/share/NAME/version`, by `dpkg-deb` with these options.
pub(crate) fn deb(work: &Utf8Path, to: &Utf8Path, control: &str, options: &[&str]) {
    let field = |name: &str| {
        let line = control.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a field").trim().to_owned()
    };
    let (name, version) = (field("Package:"), field("Version:"));
    let tree = work.join("packed");
    drop(fs_err::remove_dir_all(&tree));
    let share = tree.join("usr/share").join(&name);
    fs_err::create_dir_all(&share).expect("a directory");
    fs_err::write(share.join("version"), &version).expect("a file");
    fs_err::create_dir_all(tree.join("DEBIAN")).expect("a directory");
    fs_err::write(tree.join("DEBIAN/control"), control).expect("a file");
    let args = ["--root-owner-group", "--nocheck"];
    let files = ["-b", tree.as_str(), to.as_str()];
    run(&mut tool("dpkg-deb", [&args[..], options, &files].concat())).ok();
}

pub(crate) fn control(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: sample\n more\n"
    )
}

/// Makes a source package in a directory.
pub(crate) fn source(work: &Utf8Path, to: &Utf8Path, name: &str, version: &str) {
    let tree = work.join(format!("{name}-{version}"));
    fs_err::create_dir_all(tree.join("debian/source")).expect("a directory");
    for (file, text) in [
        ("debian/source/format", "3.0 (native)\n".to_owned()),
        (
            "debian/control",
            format!(
                "Source: {name}\nMaintainer: A <a@example.org>\nStandards-Version: 4.6.2\n\nPackage: {name}\nArchitecture: all\n\
                 Description: sample\n"
            ),
        ),
        (
            "debian/changelog",
            format!(
                "{name} ({version}) unstable; urgency=low\n\n  * Made.\n\n -- A <a@example.org>  Wed, 01 Jan 2020 00:00:00 +0000\n"
            ),
        ),
        ("debian/rules", "#!/usr/bin/make -f\n".to_owned()),
        ("greeting", "hello\n".to_owned()),
    ] {
        fs_err::write(tree.join(file), text).expect("a file");
    }
    fs_err::create_dir_all(to).expect("a directory");
    run(tool("dpkg-source", ["-b", tree.as_str()]).current_dir(to)).ok();
}

/// A separate machine for `apt`: a directory contains its lists, cache, configuration and installed packages.
pub(crate) struct Client {
    dir: Utf8TempDir,
}

impl Client {
    pub(crate) fn new() -> Self {
        let client = Self { dir: in_memory() };
        for dir in [
            "etc/apt/apt.conf.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/log/apt",
        ] {
            fs_err::create_dir_all(client.at(dir)).expect("a directory");
        }
        client.write("var/lib/dpkg/status", "");
        let root = client.dir.path();
        // The configuration of the real machine is not read, and the machine is not changed.
        client.write(
            "apt.conf",
            &format!(
                "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nDir::Bin::Methods \
                 \"/usr/lib/apt/methods\";\nDir::Bin::dpkg \"/usr/bin/dpkg\";\nDir::Bin::apt-key \"/usr/bin/apt-key\";\n\
                 APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; \"arm64\"; }};\nAPT::Sandbox::User \
                 \"root\";\nAcquire::http::Proxy \"DIRECT\";\nAcquire::Languages \"none\";\nDPkg::Options {{ \
                 \"--root={root}\"; \"--force-not-root\"; \"--force-script-chrootless\"; \"--log=/dev/null\"; }};\n"
            ),
        );
        client
    }

    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs_err::write(self.at(name), text).expect("a file");
    }

    /// `deb` and `deb-src` of the newest build, signed by the keys of a file.
    pub(crate) fn use_sources(&self, base: &str, keys: &Utf8Path) {
        self.write(
            "etc/apt/sources.list.d/stx.sources",
            &format!(
                "Types: deb\nURIs: {base}/{STD}\nSuites: /\nSigned-By: {keys}\n\nTypes: deb-src\nURIs: {base}/{SOURCES}\n\
                 Suites: /\nSigned-By: {keys}\n"
            ),
        );
    }

    pub(crate) fn apt(&self, args: &[&str]) -> Ran {
        let mut command = tool("apt-get", ["-q", "-y"]);
        command.args(args).env_remove("http_proxy");
        run(command
            .env("APT_CONFIG", self.at("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir(self.dir.path()))
    }

    pub(crate) fn installed(&self, name: &str) -> String {
        fs_err::read_to_string(self.at(&format!("usr/share/{name}/version"))).unwrap_or_default()
    }
}

/// A mirror that signs, with a package that has two files of different versions and a source package, and a broken package.
pub(crate) fn signed(key: &Key) -> Debian {
    let debian = Debian::new(&key.signing());
    debian.pack("hello_1.0_all.deb", "hello", "1.0");
    debian.pack("other_3%3a1+b1_all.deb", "other", "3:1+b1");
    source(
        &debian.at("work"),
        &debian.tree(&format!("{SOURCES}/hello")),
        "hello",
        "1.0",
    );
    fs_err::write(
        debian.tree(&format!("{STD}/broken_1_all.deb")),
        "no package",
    )
    .expect("a file");
    debian
}
