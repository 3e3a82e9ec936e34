//! Copies of mirrors: to a bucket and back, with their signatures, and from a web server.

use std::sync::Arc;

use camino::Utf8Path;
use camino_tempfile::tempdir;

use super::server::Server;
use super::{CHANNEL, Place, asked, date, publish_args, shared, tree};
use crate::harness::{assert_whole, run, stx};
use crate::signing::key::Key;

/// A description of a tree: names, kinds, modes, times, bytes, and hard links.
fn listing(root: &Utf8Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut inodes = std::collections::BTreeMap::new();
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| {
        // Ignores the private area, and derived files.
        let name = entry.file_name().to_str().unwrap_or_default();
        name != ".stx" && !stx_layout::index::PageName::is(name)
    });
    let mut lines = Vec::new();
    for entry in entries {
        let entry = entry.expect("a readable tree");
        let path = Utf8Path::from_path(entry.path()).expect("UTF-8");
        let name = path.strip_prefix(root).expect("below").to_string();
        let found = entry.metadata().expect("there");
        let kind = entry.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", path.read_link_utf8().expect("a symlink"))
        } else if kind.is_file() {
            let first = inodes.entry(found.ino()).or_insert_with(|| name.clone());
            // These files are written with the build.
            let own = ["build.json", "SHA256SUMS", "THINNED.json", "success"]
                .contains(&entry.file_name().to_str().unwrap_or_default());
            let time = (found.mtime(), found.mtime_nsec());
            let time = (!own).then_some(time);
            let bytes = fs_err::read(path).expect("read");
            format!("{:o} {time:?} {first} {bytes:?}", found.mode() & 0o7777)
        } else {
            format!("{:o}/", found.mode() & 0o7777)
        };
        lines.push(format!("{name} {what}"));
    }
    lines
}

#[test]
fn a_mirror_is_copied_to_a_bucket_and_back() {
    let work = tempdir().expect("a directory");
    let first = Place::Directory(tempdir().expect("a directory"));
    for day in 1..=3 {
        drop(first.publish(&tree(work.path(), day), day).ok());
    }
    let ceph: Arc<dyn Server> = shared();
    let bucket = Place::bucket(&ceph, "copied");
    let copy = |from: &str, to: &str, more: &[&str]| {
        let mut command = asked(&*ceph, "unused", &["copy", from, to]);
        run(command.args(more).args(["--format", "json"]))
    };
    let (from, there) = (first.mirror(), bucket.mirror());
    let planned = copy(&from, &there, &["--dry-run"]).code(0).json();
    assert_eq!(
        planned["builds"].as_array().map(Vec::len),
        Some(3),
        "{planned}"
    );
    assert_eq!(planned["builds"][0]["verdict"], "copy");
    let copied = copy(&from, &there, &[]).code(0).json();
    assert_eq!(
        copied["copied"].as_array().map(Vec::len),
        Some(3),
        "{copied}"
    );
    assert!(
        copied["shared"].as_u64() > Some(180_000),
        "what is there is not sent: {copied}"
    );
    bucket.run(&["verify"]).ok();
    let again = copy(&from, &there, &[]).code(0).json();
    assert_eq!(again["copied"], serde_json::json!([]));
    assert_eq!(again["transferred"], 0);

    let back = work.path().join("back");
    copy(&there, back.as_str(), &[]).code(0);
    assert_whole(&back, CHANNEL);
    let (one, other) = (listing(Utf8Path::new(&from)), listing(&back));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
    assert!(
        !back.with_file_name("back.copy").exists(),
        "nothing is left on its way"
    );

    // Removed builds are retired, and pinned ones stay; a different build with a known date is refused.
    first.run(&["prune", "--now", "2018-11-20T00:00:00Z"]).ok();
    let kept = copy(&from, back.as_str(), &[]).code(0).json();
    assert_eq!(kept["retired"], serde_json::json!([]));
    let gone = copy(&from, back.as_str(), &["--delete"]).code(0).json();
    let oldest = format!("{CHANNEL}/{}", date(1));
    assert_eq!(gone["retired"], serde_json::json!([oldest]), "{gone}");
    let other = Place::Directory(tempdir().expect("a directory"));
    drop(other.publish(&tree(work.path(), 4), 3).ok());
    let refused = copy(&other.mirror(), back.as_str(), &[]).code(4).json();
    assert!(
        refused["left"][0]
            .as_str()
            .is_some_and(|why| why.contains("another build")),
        "{refused}"
    );
}

#[test]
fn pins_and_thinned_builds_are_copied_to_a_bucket_and_back() {
    let work = tempdir().expect("a directory");
    let first = Place::Directory(tempdir().expect("a directory"));
    for day in 1..=3 {
        drop(first.publish(&tree(work.path(), day), day).ok());
    }
    let config = work.path().join("stx-builds.toml");
    fs_err::write(&config, "policy = \"policy.toml\"\n").expect("a file");
    let policy = "[kind.master]\ntiers = [{ section = \"outputs/iso\", after = \"2 days\" }]\n";
    fs_err::write(work.path().join("policy.toml"), policy).expect("a file");
    let now = ["--now", "2018-11-04T00:00:00Z"];
    let prune = ["--config", config.as_str(), "prune"];
    first.run(&[&prune[..], &now].concat()).ok();
    let oldest = format!("{CHANNEL}/{}", date(1));
    let pin = ["pin", &oldest, "--reason", "a customer runs it"];
    first
        .run(&[&pin[..], &["--author", "anna"], &now].concat())
        .ok();

    let ceph: Arc<dyn Server> = shared();
    let bucket = Place::bucket(&ceph, "pinned");
    let back = work.path().join("back");
    let places = [first.mirror(), bucket.mirror(), back.to_string()];
    for pair in places.windows(2) {
        let copy = ["copy", &pair[0], &pair[1], "--format", "json"];
        let copied = run(&mut asked(&*ceph, "unused", &[&copy[..], &now].concat()));
        let copied = copied.code(0).json();
        assert_eq!(copied["copied"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            (&copied["pinned"], &copied["left"]),
            (&1.into(), &serde_json::json!([]))
        );
        run(&mut asked(&*ceph, &pair[1], &["verify"])).ok();
        let pins = run(&mut asked(&*ceph, &pair[1], &["pins"])).ok();
        assert!(pins.contains(&oldest) && pins.contains("anna"), "{pins}");
    }
    let (one, other) = (listing(Utf8Path::new(&places[0])), listing(&back));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
    let is_there = |day: u32, name: &str| back.join(CHANNEL).join(date(day)).join(name).exists();
    assert!(is_there(1, "THINNED.json") && !is_there(1, "outputs/iso"));
    assert!(is_there(3, "outputs/iso/bootimage.iso"));
}

/// Signatures and the signed files are copied together, in both directions, and verified on the way.
#[test]
fn a_signed_mirror_is_copied_with_its_signatures() {
    let work = tempdir().expect("a directory");
    let at = |name: &str| work.path().join(name);
    let key = Key::new("StarlingX builds <builds@example.org>");
    fs_err::write(at("stx-builds.toml"), key.signing()).expect("a configuration");
    fs_err::write(at("ring.asc"), key.public()).expect("a keyring");
    let ceph: Arc<dyn Server> = shared();
    ceph.make_bucket("signed");
    let (config, ring) = (at("stx-builds.toml"), at("ring.asc"));
    let stx = |mirror: &str, args: &[&str]| {
        let mut command = asked(&*ceph, mirror, args);
        run(command.args(["--config", config.as_str()]))
    };
    let (first, bucket, back) = (at("first"), "s3://signed/mirror", at("back"));
    let (tree, date) = (tree(work.path(), 1), date(1));
    stx(first.as_str(), &publish_args(&tree, &date)).ok();
    let asked_for = ["--keyring", ring.as_str()];
    for (from, to) in [(first.as_str(), bucket), (bucket, back.as_str())] {
        stx("unused", &[&["copy", from, to], &asked_for[..]].concat()).ok();
        stx(to, &[&["verify"], &asked_for[..]].concat()).ok();
        let fetched = at("fetched");
        let latest = format!("{CHANNEL}/latest_build");
        let fetch = ["fetch", &latest, "iso", "--to", fetched.as_str()];
        stx(to, &[&fetch, &asked_for[..]].concat()).ok();
        fs_err::remove_dir_all(fetched).expect("removed");
    }
    let read = |mirror: &Utf8Path, name: &str| {
        fs_err::read(mirror.join(CHANNEL).join(&date).join(name)).expect("a file")
    };
    for name in [
        "SHA256SUMS",
        "SHA256SUMS.asc",
        "provenance.json",
        "outputs/RPMS/std/repodata/repomd.xml.asc",
    ] {
        assert!(read(&first, name) == read(&back, name), "{name} is another");
    }
    let sums = back.join(CHANNEL).join(&date).join("SHA256SUMS");
    key.gpg(&["--verify", &format!("{sums}.asc"), sums.as_str()])
        .ok();

    // Builds signed by another key are not copied if this key is required.
    let other = Key::new("Somebody else <else@example.org>");
    fs_err::write(&ring, other.public()).expect("a keyring");
    let refused = stx(
        "unused",
        &[&["copy", bucket, at("none").as_str()], &asked_for[..]].concat(),
    );
    drop(refused.code(4));
    assert!(crate::harness::builds(&at("none"), CHANNEL).is_empty());
}

/// A byte that changed before or during the transfer never gets into a copy.
#[test]
fn a_damaged_build_is_not_copied() {
    let work = tempdir().expect("a directory");
    let first = Place::Directory(tempdir().expect("a directory"));
    drop(first.publish(&tree(work.path(), 1), 1).ok());
    first.tamper(&format!("{CHANNEL}/{}/outputs/CONTEXT", date(1)), "day 2\n");
    let to = work.path().join("to");
    let args = ["copy", &first.mirror(), to.as_str()];
    let ran = run(&mut stx(args)).code(4);
    assert!(ran.stderr.contains("outputs/CONTEXT"), "{}", ran.stderr);
    assert!(
        crate::harness::builds(&to, CHANNEL).is_empty(),
        "nothing of it is seen"
    );
}

/// A copy from a web server, killed and resumed.
#[test]
fn a_downstream_mirror_is_made_over_http() {
    let work = tempdir().expect("a directory");
    let first = Place::Directory(tempdir().expect("a directory"));
    for day in [1, 2] {
        drop(first.publish(&tree(work.path(), day), day).ok());
    }
    let conf = "daemon off; pid nginx.pid; events {}\nhttp { access_log off; client_body_temp_path body; \
        server { listen 127.0.0.1:8080; root mirror; } }\n";
    let Place::Directory(dir) = &first else {
        unreachable!("it is a directory");
    };
    let user = if rustix::process::geteuid().is_root() {
        "user root; "
    } else {
        ""
    };
    let conf = format!("{user}{conf}").replace("root mirror", &format!("root {}", first.mirror()));
    let server = crate::nginx::Nginx::serve(dir.path(), &conf);
    let to = work.path().join("to");
    let url = server.url("");
    let args = ["copy", url.as_str(), to.as_str(), "--format", "json"];
    let copied = run(&mut stx(args)).code(0).json();
    assert_eq!(
        copied["copied"].as_array().map(Vec::len),
        Some(2),
        "{copied}"
    );
    assert!(copied["shared"].as_u64() > Some(90_000), "{copied}");
    assert_whole(&to, CHANNEL);
    for name in ["build.json", "SHA256SUMS"] {
        let read = |mirror: &Utf8Path| fs_err::read(mirror.join(CHANNEL).join(date(2)).join(name));
        let same =
            read(&to).expect("copied") == read(Utf8Path::new(&first.mirror())).expect("published");
        assert!(same, "{name} is the very same");
    }
}
