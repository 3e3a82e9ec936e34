//! Debian builds in a bucket, read by apt as from any web server.

use std::sync::Arc;

use camino_tempfile::tempdir;

use super::{Server, asked, open_to_all, shared};
use crate::apt::{CHANNEL, Client, STD, control, deb, signed};
use crate::harness::{run, tool};
use crate::signing::key::Key;

#[test]
fn apt_installs_and_upgrades_from_a_bucket_and_refuses_a_changed_byte() {
    let work = tempdir().expect("a directory");
    let key = Key::new("StarlingX builds <builds@example.org>");
    let ring = work.path().join("keys.asc");
    fs_err::write(&ring, key.public()).expect("a keyring");
    let debian = signed(&key);
    let ceph: Arc<dyn Server> = shared();
    ceph.make_bucket("debian");
    open_to_all(&*ceph, "debian");
    let mirror = "s3://debian/mirror";
    let (config, tree) = (debian.at("stx-builds.toml"), debian.at("tree"));
    let stx = |args: &[&str]| run(asked(&*ceph, mirror, args).args(["--config", config.as_str()]));
    let publish = |date: &str| {
        let args = [
            "publish",
            tree.as_str(),
            "--channel",
            CHANNEL,
            "--result",
            "success",
            "--date",
            date,
        ];
        stx(&args).code(0)
    };
    // `verify` would report a broken package, so it is removed.
    fs_err::remove_file(debian.tree(&format!("{STD}/broken_1_all.deb"))).expect("removed");
    publish("20200101T000000Z");
    let url = |date: &str| format!("{}/debian/mirror/{CHANNEL}/{date}", ceph.endpoint());
    let client = Client::new();
    client.use_sources(&url("20200101T000000Z"), &ring);
    client.apt(&["update"]).ok();
    // Its file name contains `%3a`.
    client.apt(&["install", "hello", "other"]).ok();
    assert_eq!(
        (&*client.installed("hello"), &*client.installed("other")),
        ("1.0", "3:1+b1")
    );
    client.apt(&["--download-only", "source", "hello"]).ok();
    assert!(client.at("hello_1.0.dsc").is_file());

    let newer = debian.tree(&format!("{STD}/hello_1.1_all.deb"));
    deb(&debian.at("work"), &newer, &control("hello", "1.1"), &[]);
    publish("20200102T000000Z");
    client.use_sources(&url("20200102T000000Z"), &ring);
    client.apt(&["update"]).ok();
    client.apt(&["upgrade"]).ok();
    assert_eq!(client.installed("hello"), "1.1");
    stx(&["verify", "--keyring", ring.as_str()]).ok();

    let release = format!("{}/{STD}/InRelease", url("20200102T000000Z"));
    let text = run(tool("curl", ["--silent", "--fail"]).arg(&release)).ok();
    let changed = text.replacen("Origin: starlingx", "Origin: starlingy", 1);
    assert_ne!(text, changed);
    ceph.put(
        release
            .strip_prefix(&format!("{}/", ceph.endpoint()))
            .expect("a path"),
        &changed,
    );
    let other = Client::new();
    other.use_sources(&url("20200102T000000Z"), &ring);
    let refused = other.apt(&["update"]);
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    assert!(refused.stderr.contains("invalid"), "{}", refused.stderr);
    let found = stx(&["verify", "--keyring", ring.as_str()]).code(4);
    assert!(
        found.stdout.contains("InRelease") || found.stderr.contains("InRelease"),
        "{}",
        found.stdout
    );
}
