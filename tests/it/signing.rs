//! Signatures made by `gpg`, by a program and by a key in a file; verified by `stx-builds`, `gpg`, `rpm` and `dnf`.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::Digest as _;

use crate::harness::{Ran, assert_whole, package, run, stx, tool, write_script};
use crate::nginx::Nginx;

pub(crate) mod key;
mod packages;
mod paste;
mod trust;

use key::Key;

const CHANNEL: &str = "master/centos";
const DATES: [&str; 2] = ["20200101T000000Z", "20200102T000000Z"];

/// A mirror that signs, a tree to publish, and a reader's memory.
struct Signed {
    dir: camino_tempfile::Utf8TempDir,
}

impl Signed {
    /// A mirror without builds, with these lines in `[signing]`.
    fn new(signing: &str) -> Self {
        let signed = Self {
            dir: crate::harness::in_memory(),
        };
        signed.configure(signing);
        signed.write("outputs/iso/bootimage.iso", b"an image");
        let rpm = fs_err::read(package()).expect("a package");
        signed.write("outputs/RPMS/std/message-1-1.noarch.rpm", &rpm);
        signed
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn mirror(&self, path: &str) -> Utf8PathBuf {
        self.at("mirror").join(path)
    }

    fn configure(&self, signing: &str) {
        let text = format!("mirror = \"mirror\"\nstate = \"state\"\n{signing}\n");
        fs_err::write(self.at("stx-builds.toml"), text).expect("a file");
    }

    /// Adds a file to the tree.
    fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.at("tree").join(path);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, bytes).expect("a file");
    }

    fn stx(&self, args: &[&str]) -> Ran {
        let config = self.at("stx-builds.toml");
        let args = ["--config", config.as_str()]
            .into_iter()
            .chain(args.iter().copied());
        run(stx(args).env("XDG_STATE_HOME", self.at("reader")))
    }

    fn publish(&self, date: &str) -> Ran {
        let tree = self.at("tree");
        let args = [
            "publish",
            tree.as_str(),
            "--channel",
            CHANNEL,
            "--date",
            date,
        ];
        self.stx(&[&args[..], &["--result", "success"]].concat())
    }

    /// The result of reading `mirror` with the keys of `keyring`.
    fn fetch(&self, mirror: &str, keyring: &Utf8Path, more: &[&str]) -> Ran {
        let to = self.at("fetched");
        drop(fs_err::remove_dir_all(&to));
        let args = [
            "--mirror",
            mirror,
            "fetch",
            CHANNEL,
            "iso",
            "--to",
            to.as_str(),
        ];
        let keyring = ["--keyring", keyring.as_str()];
        let ran = self.stx(&[&args[..], &keyring, more].concat());
        let there = to.join("bootimage.iso").exists();
        assert_eq!(
            there,
            ran.code == Some(0),
            "{}: {}",
            ran.command,
            ran.stderr
        );
        ran
    }

    fn serve(&self) -> Nginx {
        Nginx::of_mirror(&self.at("nginx"), &self.at("mirror"), "")
    }
}

/// Changes one byte in the middle of a file; returns the previous bytes.
fn change(file: &Utf8Path) -> Vec<u8> {
    let old = fs_err::read(file).expect("a file");
    let mut new = old.clone();
    let middle = new.len() / 2;
    new[middle] ^= 1;
    fs_err::write(file, new).expect("written");
    old
}

fn sha256(file: &Utf8Path) -> Vec<u8> {
    let bytes = fs_err::read(file).expect("a file");
    sha2::Sha256::digest(bytes).to_vec()
}

const REPOSITORY: &str = "master/centos/latest_build/outputs/RPMS/std";

/// `dnf install message` from a repository, with both signature checks unless `repo_gpgcheck` is 0.
fn install(work: &Utf8Path, repository: &str, keys: &Utf8Path, repo_gpgcheck: u8) -> Ran {
    let ran = install_all(work, repository, keys, repo_gpgcheck, &["message"]);
    let there = work.join("root/etc/message").exists();
    assert_eq!(there, ran.code == Some(0), "{}", ran.stderr);
    ran
}

/// `dnf install` of these packages.
fn install_all(
    work: &Utf8Path,
    repository: &str,
    keys: &Utf8Path,
    repo_gpgcheck: u8,
    packages: &[&str],
) -> Ran {
    drop(fs_err::remove_dir_all(work));
    fs_err::create_dir_all(work.join("repos")).expect("a directory");
    let conf = format!(
        "[main]\nreposdir={work}/repos\ncachedir={work}/cache\nlogdir={work}/log\npersistdir={work}/persist\n"
    );
    let repo = format!(
        "[stx]\nname=stx\nbaseurl={repository}\ngpgcheck=1\nrepo_gpgcheck={repo_gpgcheck}\ngpgkey=file://{keys}\n"
    );
    fs_err::write(work.join("dnf.conf"), conf).expect("a file");
    fs_err::write(work.join("repos/stx.repo"), repo).expect("a file");
    let (conf, root) = (work.join("dnf.conf"), work.join("root"));
    let args = [
        "-c",
        conf.as_str(),
        "--disableplugin=local",
        "--repo=stx",
        "--releasever=7",
        "-y",
    ];
    let install = ["--installroot", root.as_str(), "install"];
    run(&mut tool("dnf", [&args[..], &install, packages].concat()))
}

#[test]
fn dnf_installs_with_both_checks_and_refuses_what_was_tampered_with() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    signed.publish(DATES[0]).ok();
    assert_whole(&signed.at("mirror"), CHANNEL);
    let nginx = signed.serve();
    let keys = signed.at("KEYS");
    run(&mut tool(
        "curl",
        [
            "-sf",
            "--noproxy",
            "*",
            "-o",
            keys.as_str(),
            &nginx.url("KEYS"),
        ],
    ))
    .ok();

    // rpm itself, with the key imported.
    let rpm = signed.mirror(REPOSITORY).join("message-1-1.noarch.rpm");
    let db = format!("--dbpath={}", signed.at("rpmdb"));
    let unknown = run(&mut tool("rpmkeys", [&db, "--checksig", rpm.as_str()]));
    assert!(
        unknown.stdout.contains("SIGNATURES NOT OK"),
        "{}",
        unknown.stdout
    );
    run(&mut tool("rpmkeys", [&db, "--import", keys.as_str()])).ok();
    let known = run(&mut tool("rpmkeys", [&db, "--checksig", rpm.as_str()])).ok();
    assert!(known.contains("digests signatures OK"), "{known}");

    let (work, url) = (signed.at("dnf"), nginx.url(REPOSITORY));
    install(&work, &url, &keys, 1).ok();

    let repomd = signed.mirror(REPOSITORY).join("repodata/repomd.xml");
    let old = change(&repomd);
    let refused = install(&work, &url, &keys, 1).code(1);
    assert!(refused.stderr.contains("GPG"), "{}", refused.stderr);
    fs_err::write(&repomd, old).expect("written");
    install(&work, &url, &keys, 1).ok();

    let old = change(&rpm);
    install(&work, &url, &keys, 1).code(1);

    // If the metadata matches the package, only the package's own signature reveals the change.
    let forged = signed.at("forged");
    fs_err::create_dir_all(&forged).expect("a directory");
    let plain = fs_err::read(package()).expect("a package");
    for (bytes, code) in [(&old, 0), (&plain, 1)] {
        fs_err::write(forged.join("message-1-1.noarch.rpm"), bytes).expect("written");
        run(&mut tool("createrepo_c", ["--quiet", forged.as_str()])).ok();
        let ran = install(&work, &format!("file://{forged}"), &keys, 0).code(code);
        assert!(
            code == 0 || ran.stderr.contains("not signed"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn gpg_verifies_packages_signed_by_every_signer() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let at = |name: &str| key.home().join(name);
    key.export_secret(&at("secret.asc"));
    fs_err::write(at("public.asc"), key.public()).expect("a file");
    let script = format!(
        "#!/bin/sh\nexec gpg --homedir {} --batch --faked-system-time \"$SOURCE_DATE_EPOCH!\" --local-user {} --detach-sign --armor\n",
        key.home(),
        key.fingerprint()
    );
    key::executable(&at("sign.sh"), &script);
    let all = [
        key.signing(),
        format!("[signing]\nkey_file = \"{}\"", at("secret.asc")),
        format!(
            "[signing]\ncommand = [\"{}\"]\npublic_key = \"{}\"",
            at("sign.sh"),
            at("public.asc")
        ),
    ];
    for signing in all {
        let signed = Signed::new(&signing);
        signed.publish(DATES[0]).ok();
        let build = signed.mirror(CHANNEL).join(DATES[0]);
        for file in [
            build.join("SHA256SUMS"),
            build.join("outputs/RPMS/std/repodata/repomd.xml"),
            signed.mirror("index.json"),
            signed.mirror(CHANNEL).join("index.json"),
        ] {
            let signature = format!("{file}.asc");
            key.gpg(&["--verify", &signature, file.as_str()]).ok();
            let text = fs_err::read_to_string(&signature).expect("a signature");
            assert!(
                !text.contains("Comment") && !text.contains("Version"),
                "{text}"
            );
        }
        let keyring = at("public.asc");
        signed
            .fetch(signed.at("mirror").as_str(), &keyring, &[])
            .ok();
        let verified = signed.stx(&["verify", "--keyring", keyring.as_str()]);
        verified.ok();
    }
    // A key that other users can read is refused, and nothing is published.
    let secret = at("secret.asc");
    run(&mut tool("chmod", ["640", secret.as_str()])).ok();
    let signed = Signed::new(&format!("[signing]\nkey_file = \"{secret}\""));
    let refused = signed.publish(DATES[0]).code(2);
    assert!(
        refused.stderr.contains("others than its owner"),
        "{}",
        refused.stderr
    );
    assert!(!signed.at("mirror").exists());
}

#[test]
fn unchanged_packages_are_signed_once_and_shared() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    let source = signed.at("tree/outputs/RPMS/std/message-1-1.noarch.rpm");
    let before = (
        sha256(&source),
        fs_err::metadata(&source).expect("there").ctime(),
    );
    signed.publish(DATES[0]).ok();
    assert_eq!(before.0, sha256(&source), "the workspace is not written to");
    assert_eq!(before.1, fs_err::metadata(&source).expect("there").ctime());

    let again = signed.publish(DATES[0]).ok();
    assert!(again.contains("published already"), "{again}");
    // Even without the copies: the same package gives the same bytes.
    fs_err::remove_dir_all(signed.at("state")).expect("removed");
    let again = signed.publish(DATES[0]).ok();
    assert!(again.contains("published already"), "{again}");

    signed.publish(DATES[1]).ok();
    let inode = |date: &str| {
        let file = signed.mirror(CHANNEL).join(date);
        let file = file.join("outputs/RPMS/std/message-1-1.noarch.rpm");
        fs_err::metadata(file).expect("there").ino()
    };
    assert_eq!(inode(DATES[0]), inode(DATES[1]));
    assert_whole(&signed.at("mirror"), CHANNEL);

    // A package that rpmsign has signed with that key is unchanged; one that another key has signed is signed again.
    let others = Key::new("Somebody else <else@example.org>");
    for (signer, left) in [(&key, true), (&others, false)] {
        let signed = Signed::new(&key.signing());
        let rpm = signed.at("tree/outputs/RPMS/std/message-1-1.noarch.rpm");
        signer.rpmsign(&rpm);
        signed.publish(DATES[0]).ok();
        let published = signed.mirror(REPOSITORY).join("message-1-1.noarch.rpm");
        assert_eq!(sha256(&rpm) == sha256(&published), left);
        let db = format!("--dbpath={}", signed.at("rpmdb"));
        let keys = signed.mirror("KEYS");
        run(&mut tool("rpmkeys", [&db, "--import", keys.as_str()])).ok();
        run(&mut tool(
            "rpmkeys",
            [&db, "--checksig", published.as_str()],
        ))
        .ok();
    }
}

/// `gpg` does not stop its clock at the current second: a signature that takes longer than that second has a later timestamp, and
/// signing the same bytes again would give a different result.
#[test]
fn a_signature_has_the_requested_time_even_within_the_current_second() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&format!("{}\npackages = false", key.signing()));
    // Starts to sign in the requested second, and outputs a signature that was made after it.
    let bin = signed.at("bin");
    fs_err::create_dir(&bin).expect("a directory");
    let path = std::env::var("PATH").expect("a PATH");
    let slow = format!(
        r#"#!/bin/bash
PATH='{path}'
[[ "$*" == *--detach-sign* ]] || exec gpg "$@"
[[ "$*" =~ --faked-system-time\ ([0-9T]+)! ]]
while [[ $(date -u +%Y%m%dT%H%M%S) < "${{BASH_REMATCH[1]}}" ]]; do sleep 0.05; done
{{ sleep 1.2; cat; }} | gpg "$@"
"#
    );
    write_script(&bin.join("gpg"), &slow);

    // A build is signed as of its date. The program is built before that date.
    crate::harness::binary();
    let second = chrono::Utc::now() + chrono::TimeDelta::seconds(8);
    let date = second.format("%Y%m%dT%H%M%SZ").to_string();
    let (config, tree) = (signed.at("stx-builds.toml"), signed.at("tree"));
    let mut publish = stx(["--config", config.as_str(), "publish", tree.as_str()]);
    publish.args(["--channel", CHANNEL, "--date", &date, "--result", "success"]);
    publish.env("PATH", format!("{bin}:{path}"));
    run(&mut publish).ok();

    // The first of them took too long.
    let build = signed.mirror(CHANNEL).join(date);
    for name in ["outputs/RPMS/std/repodata/repomd.xml.asc", "SHA256SUMS.asc"] {
        let packets = key.gpg(&["--list-packets", build.join(name).as_str()]).ok();
        let created = format!("created {},", second.timestamp());
        assert!(
            packets.contains(&created),
            "{name}, asked for {second}: {packets}"
        );
    }
}
