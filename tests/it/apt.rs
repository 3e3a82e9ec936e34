//! Repositories of Debian packages, judged by `apt` and its relatives: read, installed from, upgraded, mirrored, and refused
//! where a byte was changed.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::{Value, json};

use crate::harness::{Ran, in_memory, package, run, stx, tool};
use crate::nginx::Nginx;
use crate::signing::key::Key;

mod lists;

pub(crate) const CHANNEL: &str = "master/debian/bookworm/amd64/monolithic";
pub(crate) const STD: &str = "outputs/std/packages";
const SOURCES: &str = "outputs/std/sources";

/// A mirror of Debian builds, and the tree that is published next.
pub(crate) struct Debian {
    dir: Utf8TempDir,
}

impl Debian {
    /// A mirror without builds, with this in its configuration.
    fn new(config: &str) -> Self {
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

    fn latest(&self, name: &str) -> Utf8PathBuf {
        self.at("mirror")
            .join(CHANNEL)
            .join("latest_build")
            .join(name)
    }

    fn stx(&self, args: &[&str]) -> Ran {
        let config = self.at("stx-builds.toml");
        run(stx(["--config", config.as_str()]).args(args))
    }

    fn publish(&self, day: u32) -> Value {
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
    fn findings(&self, more: &[&str]) -> Vec<(String, String)> {
        let ran = self.stx(&[&["--format", "json", "verify"], more].concat());
        let json = ran.json();
        let findings = json["findings"].as_array().expect("findings").iter();
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        findings
            .map(|it| (text(it, "kind"), text(it, "path")))
            .collect()
    }

    fn serve(&self) -> Nginx {
        let mirror = self.at("mirror");
        let conf = format!(
            "daemon off; pid nginx.pid; worker_processes 1; events {{}}\nhttp {{ access_log off; \
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
             scgi_temp_path scgi; server {{ listen 127.0.0.1:8080; root {mirror}; }} }}\n"
        );
        let prefix = self.at("nginx");
        fs_err::create_dir_all(&prefix).expect("a directory");
        Nginx::serve(&prefix, &conf)
    }
}

/// Packs a package without files but `/usr/share/NAME/version`, by `dpkg-deb` with these options.
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
fn source(work: &Utf8Path, to: &Utf8Path, name: &str, version: &str) {
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

/// A machine of its own for `apt`: lists, cache, configuration and installed packages lie in a directory.
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
        // Nothing of the machine's own configuration is read, and nothing of the machine written.
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

    fn write(&self, name: &str, text: &str) {
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

/// Changes one byte in the middle of a file and writes a file of its own, so that no link to it changes; the bytes that it had.
fn change(file: &Utf8Path) -> Vec<u8> {
    let old = fs_err::read(file).expect("a file");
    let mut new = old.clone();
    let middle = new.len() / 2;
    new[middle] ^= 1;
    replace(file, &new);
    old
}

fn replace(file: &Utf8Path, bytes: &[u8]) {
    let file = file.canonicalize_utf8().expect("there");
    fs_err::remove_file(&file).expect("removed");
    fs_err::write(file, bytes).expect("written");
}

/// A mirror that signs, with a package of two files of different versions and its source, and a broken package.
pub(crate) fn signed(key: &Key) -> Debian {
    let debian = Debian::new(&key.signing());
    let work = debian.at("work");
    fs_err::create_dir_all(&work).expect("a directory");
    deb(
        &work,
        &debian.tree(&format!("{STD}/hello_1.0_all.deb")),
        &control("hello", "1.0"),
        &[],
    );
    deb(
        &work,
        &debian.tree(&format!("{STD}/other_3%3a1+b1_all.deb")),
        &control("other", "3:1+b1"),
        &[],
    );
    source(
        &work,
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

#[test]
fn apt_installs_from_the_newest_build_and_upgrades_when_it_moves() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    let report = debian.publish(1);
    let metadata = &report["published"]["metadata"];
    let metadata = if metadata.is_null() {
        &report["metadata"]
    } else {
        metadata
    };
    assert_eq!(metadata[STD]["listed"], 2, "{report}");
    let unlisted = metadata[STD]["unlisted"].as_object().expect("a list");
    assert!(unlisted.contains_key("broken_1_all.deb"), "{report}");

    let nginx = debian.serve();
    let base = nginx.url(&format!("{CHANNEL}/latest_build"));
    let client = Client::new();
    let keys = client.at("etc/apt/stx.asc");
    fs_err::write(&keys, key.public()).expect("a file");
    client.use_sources(&base, &keys);
    let update = client.apt(&["update"]).code(0);
    // A warning would be about a field that is missing or not understood.
    assert_eq!(update.stderr, "");
    assert!(update.stdout.contains("InRelease"), "{}", update.stdout);
    client.apt(&["install", "hello", "other"]).ok();
    assert_eq!(client.installed("hello"), "1.0");
    assert_eq!(client.installed("other"), "3:1+b1");
    client.apt(&["source", "hello"]).ok();
    assert!(client.at("hello-1.0/greeting").is_file());

    // The same packages, the same lists: nothing but `Release` is taken again.
    debian.publish(2);
    let update = client.apt(&["update"]).code(0);
    assert_eq!(update.stderr, "");
    assert!(!update.stdout.contains("Packages"), "{}", update.stdout);

    let work = debian.at("work");
    deb(
        &work,
        &debian.tree(&format!("{STD}/hello_1.1_all.deb")),
        &control("hello", "1.1"),
        &[],
    );
    debian.publish(3);
    let update = client.apt(&["update"]).code(0);
    assert_eq!(
        update.stderr, "",
        "no change of suite, codename, origin or label"
    );
    client.apt(&["upgrade"]).ok();
    assert_eq!(client.installed("hello"), "1.1");
    assert_eq!(client.installed("other"), "3:1+b1");
}

#[test]
fn apt_reads_one_build_or_refuses_while_the_alias_moves() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    debian.publish(1);
    let nginx = debian.serve();
    let base = nginx.url(&format!("{CHANNEL}/latest_build"));
    let client = Client::new();
    let keys = client.at("etc/apt/stx.asc");
    fs_err::write(&keys, key.public()).expect("a file");
    client.use_sources(&base, &keys);
    let work = debian.at("work");
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for day in 2..=6 {
                // Servers and apt compare times of files in whole seconds.
                std::thread::sleep(Duration::from_millis(1100));
                let file = debian.tree(&format!("{STD}/hello_1.0_all.deb"));
                deb(&work, &file, &control("hello", &format!("1.{day}")), &[]);
                debian.publish(day);
            }
        });
        let mut read = 0;
        while !publisher.is_finished() {
            let update = client.apt(&["update"]);
            if update.code == Some(0) && !update.stderr.contains("W:") {
                read += 1;
                let policy =
                    run(tool("apt-cache", ["show", "hello"])
                        .env("APT_CONFIG", client.at("apt.conf")))
                    .ok();
                assert_eq!(policy.matches("Package: hello").count(), 1, "{policy}");
            }
        }
        publisher.join().expect("published");
        assert!(read > 0, "not one update between the builds");
    });
    client.apt(&["update"]).ok();
    client.apt(&["install", "hello"]).ok();
    assert_eq!(client.installed("hello"), "1.6");
}

#[test]
fn a_changed_byte_is_refused_by_apt_and_named_by_verify() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    debian.publish(1);
    let nginx = debian.serve();
    let base = nginx.url(&format!("{CHANNEL}/latest_build"));
    let keys = debian.at("KEYS");
    fs_err::write(&keys, key.public()).expect("a file");
    let by_hash = |name: &str| {
        let bytes = fs_err::read(debian.latest(&format!("{STD}/{name}"))).expect("there");
        let digest = stx_publish::incoming::digest_of(&bytes);
        format!("{STD}/by-hash/SHA256/{digest}")
    };
    let broken = (
        "not-in-repodata".to_owned(),
        format!("{STD}/broken_1_all.deb"),
    );
    let verified = || {
        let mut found = debian.findings(&["--keyring", keys.as_str()]);
        found.retain(|it| *it != broken);
        found
    };
    assert_eq!(verified(), []);
    let list = by_hash("Packages.xz");
    let client = || {
        let client = Client::new();
        client.use_sources(&base, &keys);
        client
    };
    for (name, said) in [
        (format!("{STD}/InRelease"), "invalid: BADSIG"),
        (list, "Hash Sum mismatch"),
    ] {
        let old = change(&debian.latest(&name));
        let client = client();
        let update = client.apt(&["update"]);
        assert!(
            update.stderr.contains(said) || update.stderr.contains("NODATA"),
            "{name}: {}",
            update.stderr
        );
        assert_ne!(client.apt(&["install", "hello"]).code, Some(0), "{name}");
        let found = verified();
        assert!(
            found
                .iter()
                .any(|(kind, path)| kind == "changed" && *path == name),
            "{name}: {found:?}"
        );
        replace(&debian.latest(&name), &old);
    }
    let name = format!("{STD}/hello_1.0_all.deb");
    let old = change(&debian.latest(&name));
    let client = client();
    client.apt(&["update"]).ok();
    let refused = client.apt(&["install", "hello"]);
    assert_eq!(refused.code, Some(100));
    assert!(
        refused.stderr.contains("Hash Sum mismatch"),
        "{}",
        refused.stderr
    );
    assert_eq!(client.installed("hello"), "");
    assert_eq!(verified(), [("changed".to_owned(), name.clone())]);
    replace(&debian.latest(&name), &old);
    assert_eq!(verified(), []);
    client.apt(&["install", "hello"]).ok();

    // Another key signs nothing for this reader.
    let other = Key::new("Somebody <else@example.org>");
    fs_err::write(&keys, other.public()).expect("a file");
    let update = client.apt(&["update"]);
    assert!(update.stderr.contains("NO_PUBKEY"), "{}", update.stderr);
    let found = debian.findings(&["--keyring", keys.as_str()]);
    let untrusted = ("untrusted".to_owned(), format!("{STD}/InRelease"));
    assert!(found.contains(&untrusted), "{found:?}");
}

#[test]
fn files_from_the_mirror_are_all_that_apt_and_dnf_need() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    let rpm = debian.tree("outputs/RPMS/std/message-1-1.noarch.rpm");
    fs_err::copy(package(), rpm).expect("copied");
    debian.publish(1);
    let nginx = debian.serve();
    let config = format!("{}\n[site]\nurl = \"{}\"\n", key.signing(), nginx.url(""));
    let text = format!("mirror = \"mirror\"\nstate = \"state\"\n{config}");
    fs_err::write(debian.at("stx-builds.toml"), text).expect("a file");
    debian.stx(&["pages"]).ok();
    assert_eq!(debian.findings(&[]).len(), 1, "the broken package");
    let fetch = |name: &str, to: &Utf8Path| {
        let url = nginx.url(&format!("{CHANNEL}/{name}"));
        run(&mut tool(
            "curl",
            ["-sf", "--noproxy", "*", "-o", to.as_str(), &url],
        ))
        .ok();
    };

    let date = "20200101T000000Z";
    for (sources, repo) in [
        ("apt.sources".to_owned(), "dnf.repo".to_owned()),
        (format!("{date}.sources"), format!("{date}.repo")),
    ] {
        let client = Client::new();
        fetch(&sources, &client.at("etc/apt/sources.list.d/stx.sources"));
        assert_eq!(client.apt(&["update"]).code(0).stderr, "");
        client.apt(&["install", "hello"]).ok();
        assert_eq!(client.installed("hello"), "1.0");
        client.apt(&["source", "hello"]).ok();
        install_with_dnf(
            &debian.at(&format!("dnf-{repo}")),
            &nginx.url(&format!("{CHANNEL}/{repo}")),
        );
    }
}

/// Adds the repositories of a file on the mirror, and installs the package `message` from them.
pub(crate) fn install_with_dnf(work: &Utf8Path, url: &str) {
    fs_err::create_dir_all(work.join("repos")).expect("a directory");
    let conf = format!(
        "[main]\nreposdir={work}/repos\ncachedir={work}/cache\nlogdir={work}/log\npersistdir={work}/persist\n"
    );
    let (file, root) = (work.join("dnf.conf"), work.join("root"));
    fs_err::write(&file, conf).expect("a file");
    let dnf = |args: &[&str]| {
        let common = [
            "-c",
            file.as_str(),
            "--disableplugin=local",
            "--releasever=7",
            "-y",
        ];
        run(&mut tool("dnf", [&common[..], args].concat())).ok();
    };
    dnf(&["config-manager", "--add-repo", url]);
    dnf(&["--installroot", root.as_str(), "install", "message"]);
    assert!(root.join("etc/message").is_file());
}

#[test]
fn gpg_reads_what_every_means_signs() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let secret = key.home().join("secret.asc");
    key.export_secret(&secret);
    let (home, print) = (key.home(), key.fingerprint());
    let program = |name: &str, mode: &str| {
        let file = home.join(name);
        let text = format!(
            "#!/bin/sh\nexec gpg --homedir {home} --batch --faked-system-time \"$SOURCE_DATE_EPOCH!\" --local-user {print} {mode} \
             --detach-sign --armor\n"
        );
        fs_err::write(&file, text).expect("a file");
        run(&mut tool("chmod", ["700", file.as_str()])).ok();
        fs_err::write(home.join("public.asc"), key.public()).expect("a file");
        format!("[signing]\ncommand = [\"{file}\"]\npublic_key = \"{home}/public.asc\"")
    };
    let textmode = "$(test \"$SIGNATURE_TYPE\" != text || echo --textmode)";
    for (signing, has_message) in [
        (key.signing(), true),
        (format!("[signing]\nkey_file = \"{secret}\""), true),
        (program("bytes", ""), false),
        (program("texts", textmode), true),
    ] {
        let debian = Debian::new(&signing);
        let work = debian.at("work");
        fs_err::create_dir_all(&work).expect("a directory");
        deb(
            &work,
            &debian.tree(&format!("{STD}/hello_1.0_all.deb")),
            &control("hello", "1.0"),
            &[],
        );
        debian.publish(1);
        let at = |name: &str| debian.latest(&format!("{STD}/{name}"));
        let (release, signature, message) = (at("Release"), at("Release.gpg"), at("InRelease"));
        key.gpg(&["--verify", signature.as_str(), release.as_str()])
            .ok();
        assert_eq!(message.is_file(), has_message, "{signing}");
        if has_message {
            let text = debian.at("text");
            let ran = key
                .gpg(&["--output", text.as_str(), "--decrypt", message.as_str()])
                .code(0);
            assert!(ran.stderr.contains("Good signature"), "{}", ran.stderr);
            let text = fs_err::read_to_string(text).expect("a text");
            assert_eq!(
                text.trim_end(),
                fs_err::read_to_string(&release).expect("a text").trim_end()
            );
        }
        // apt takes either.
        let nginx = debian.serve();
        let client = Client::new();
        let keys = client.at("etc/apt/stx.asc");
        fs_err::write(&keys, key.public()).expect("a file");
        let base = nginx.url(&format!("{CHANNEL}/latest_build/{STD}"));
        client.write(
            "etc/apt/sources.list",
            &format!("deb [signed-by={keys}] {base} ./\n"),
        );
        assert_eq!(client.apt(&["update"]).code(0).stderr, "", "{signing}");
        client.apt(&["install", "hello"]).ok();
        assert_eq!(debian.findings(&["--keyring", keys.as_str()]), []);
    }
}

#[test]
fn hand_made_lists_are_replaced_and_trees_of_aptly_stay() {
    let debian = Debian::new("");
    let work = debian.at("work");
    fs_err::create_dir_all(&work).expect("a directory");
    deb(
        &work,
        &debian.tree(&format!("{STD}/hello_1.0_all.deb")),
        &control("hello", "1.0"),
        &[],
    );
    // As the builders leave them, of other packages than those that are there.
    let dir = debian.tree(STD);
    run(tool(
        "sh",
        [
            "-ec",
            "dpkg-scanpackages -t deb . | gzip > Packages.gz; apt-ftparchive release . > Release",
        ],
    )
    .current_dir(&dir))
    .ok();
    deb(
        &work,
        &debian.tree(&format!("{STD}/other_1.0_all.deb")),
        &control("other", "1.0"),
        &[],
    );
    aptly(
        &debian,
        &dir.join("hello_1.0_all.deb"),
        &debian.tree("outputs/aptly/deb-local-build"),
    );

    let report = debian.publish(1).to_string();
    assert!(
        report.contains(r#""replaced":["Packages.gz","Release"]"#),
        "{report}"
    );
    let nginx = debian.serve();
    let base = nginx.url(&format!("{CHANNEL}/latest_build"));
    let client = Client::new();
    client.write(
        "etc/apt/sources.list",
        &format!("deb [trusted=yes] {base}/{STD} ./\n"),
    );
    client.apt(&["update"]).ok();
    client.apt(&["install", "other"]).ok();
    assert_eq!(client.installed("other"), "1.0");
    let client = Client::new();
    client.write(
        "etc/apt/sources.list",
        &format!("deb [trusted=yes] {base}/outputs/aptly/deb-local-build bookworm main\n"),
    );
    client.apt(&["update"]).ok();
    client.apt(&["install", "hello"]).ok();
    assert_eq!(client.installed("hello"), "1.0");
    assert_eq!(debian.findings(&[]), []);

    // A package that no list of the tree names.
    let stray = debian.tree("outputs/aptly/deb-local-build/pool/main/o/other/other_1.0_all.deb");
    fs_err::copy(dir.join("other_1.0_all.deb"), stray).expect("copied");
    debian.publish(2);
    let path = "outputs/aptly/deb-local-build/pool/main/o/other/other_1.0_all.deb";
    let expected = [("not-in-repodata".to_owned(), path.to_owned())];
    assert_eq!(debian.findings(&[]), expected);
}

/// Publishes a package by `aptly`, and copies its repository, with `dists/` and `pool/`.
fn aptly(debian: &Debian, package: &Utf8Path, to: &Utf8Path) {
    let root = debian.at("aptly");
    let conf = debian.at("aptly.conf");
    let text = json!({"rootDir": root, "architectures": ["amd64", "all"]});
    fs_err::write(&conf, text.to_string()).expect("a file");
    let aptly = |args: &[&str]| {
        let conf = format!("-config={conf}");
        run(&mut tool("aptly", [&[conf.as_str()][..], args].concat())).ok();
    };
    aptly(&[
        "repo",
        "create",
        "-distribution=bookworm",
        "-component=main",
        "build",
    ]);
    aptly(&["repo", "add", "build", package.as_str()]);
    aptly(&["publish", "repo", "-skip-signing", "build"]);
    run(&mut tool(
        "cp",
        ["-rL", root.join("public").as_str(), to.as_str()],
    ))
    .ok();
}

#[test]
fn aptly_and_reprepro_mirror_it() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    debian.publish(1);
    let nginx = debian.serve();
    let url = nginx.url(&format!("{CHANNEL}/latest_build/{STD}/"));
    let conf = debian.at("mirror.conf");
    let text = json!({"rootDir": debian.at("mirrored"), "architectures": ["amd64"]});
    fs_err::write(&conf, text.to_string()).expect("a file");
    let keyring = debian.at("trusted.gpg");
    run(&mut tool(
        "gpg",
        [
            "--homedir",
            key.home().as_str(),
            "--batch",
            "--output",
            keyring.as_str(),
            "--export",
        ],
    ))
    .ok();
    let aptly = |args: &[&str]| {
        let conf = format!("-config={conf}");
        run(&mut tool("aptly", [&[conf.as_str()][..], args].concat())).ok()
    };
    let keyring_arg = format!("-keyring={keyring}");
    aptly(&["mirror", "create", &keyring_arg, "stx", &url, "./"]);
    aptly(&["mirror", "update", &keyring_arg, "stx"]);
    let shown = aptly(&["mirror", "show", "-with-packages", "stx"]);
    assert!(
        shown.contains("hello_1.0_all") && shown.contains("other_3:1+b1_all"),
        "{shown}"
    );

    let base = debian.at("reprepro");
    fs_err::create_dir_all(base.join("conf")).expect("a directory");
    let distributions = "Codename: mine\nArchitectures: amd64\nComponents: main\nUpdate: stx\n";
    fs_err::write(base.join("conf/distributions"), distributions).expect("a file");
    let updates = format!(
        "Name: stx\nMethod: {url}\nSuite: .\nFlat: main\nArchitectures: amd64\nVerifyRelease: {}\n",
        &key.fingerprint()[24..]
    );
    fs_err::write(base.join("conf/updates"), updates).expect("a file");
    run(tool("reprepro", ["-b", base.as_str(), "update"]).env("GNUPGHOME", key.home())).ok();
    let listed = run(&mut tool("reprepro", ["-b", base.as_str(), "list", "mine"])).ok();
    assert!(
        listed.contains("hello 1.0") && listed.contains("other 3:1+b1"),
        "{listed}"
    );
}
