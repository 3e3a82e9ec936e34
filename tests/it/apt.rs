//! Repositories of Debian packages, tested with `apt` and related tools: reading, installing, upgrading, mirroring, and refusal of
//! changed bytes.

use std::time::Duration;

use camino::Utf8Path;

use crate::harness::{package, run, tool};
use crate::signing::key::Key;

mod debian;
mod lists;
mod makers;

pub(crate) use debian::{Client, Debian, control, deb, signed};

pub(crate) const CHANNEL: &str = "master/debian/bookworm/amd64/monolithic";
pub(crate) const STD: &str = "outputs/std/packages";
const SOURCES: &str = "outputs/std/sources";

/// Changes one byte in the middle of a file, in a new inode, so that its hard links do not change; returns the previous bytes.
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
    // A warning would concern a missing or unknown field.
    assert_eq!(update.stderr, "");
    assert!(update.stdout.contains("InRelease"), "{}", update.stdout);
    client.apt(&["install", "hello", "other"]).ok();
    assert_eq!(client.installed("hello"), "1.0");
    assert_eq!(client.installed("other"), "3:1+b1");
    client.apt(&["source", "hello"]).ok();
    assert!(client.at("hello-1.0/greeting").is_file());

    // The same packages, the same lists: only `Release` is downloaded again.
    debian.publish(2);
    let update = client.apt(&["update"]).code(0);
    assert_eq!(update.stderr, "");
    assert!(!update.stdout.contains("Packages"), "{}", update.stdout);

    debian.pack("hello_1.1_all.deb", "hello", "1.1");
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
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for day in 2..=6 {
                // Servers and apt compare timestamps in whole seconds.
                std::thread::sleep(Duration::from_millis(1100));
                debian.pack("hello_1.0_all.deb", "hello", &format!("1.{day}"));
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

    // A signature by another key does not count for this reader.
    let other = Key::new("Somebody <else@example.org>");
    fs_err::write(&keys, other.public()).expect("a file");
    let update = client.apt(&["update"]);
    assert!(update.stderr.contains("NO_PUBKEY"), "{}", update.stderr);
    let found = debian.findings(&["--keyring", keys.as_str()]);
    let untrusted = ("untrusted".to_owned(), format!("{STD}/InRelease"));
    assert!(found.contains(&untrusted), "{found:?}");
}

#[test]
fn apt_and_dnf_need_only_files_from_the_mirror() {
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
fn gpg_verifies_the_signatures_of_every_signer() {
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
        debian.pack("hello_1.0_all.deb", "hello", "1.0");
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
        // apt accepts both.
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
