//! Mirrors in buckets: the same tests as for a mirror in a directory, on real servers that speak S3.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use serde_json::Value;

use crate::harness::{Ran, free_port, package, root, run, stx, tool, wait_or_show};

mod apt;
mod ceph;
mod copies;
mod delta;
mod far;
mod images;
mod in_process;
mod names;
mod promote;
mod refusals;
mod server;
mod trips;
mod verdicts;

use ceph::Ceph;
use in_process::{Lying, S3s};
use server::Server;

const CHANNEL: &str = "master/centos";

/// The Ceph of this process, started by the first test that needs it and stopped by the last.
fn shared() -> Arc<Ceph> {
    static SHARED: Mutex<Weak<Ceph>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ceph) = shared.upgrade() {
        return ceph;
    }
    let ceph = Arc::new(Ceph::start(2 << 30, &[]));
    *shared = Arc::downgrade(&ceph);
    ceph
}

/// `stx-builds` for a mirror in a bucket of a server.
fn asked(server: &dyn Server, mirror: &str, args: &[&str]) -> Command {
    let mut command = stx(["--mirror", mirror]);
    let (key, secret) = server.credentials();
    command
        .args(args)
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    command
}

/// Makes the mirror in a bucket public, except for its private area: the policy of the documentation.
fn open_to_all(server: &dyn Server, bucket: &str) {
    let text = fs_err::read_to_string(root().join("docs/buckets.md")).expect("documentation");
    let mut blocks = text.split("```json\n").skip(1);
    let policy = blocks.find(|block| block.contains("s3:GetObject"));
    let policy = policy.and_then(|block| block.split_once("```"));
    let (policy, _) = policy.expect("a policy");
    let policy = policy.replace("BUCKET", bucket).replace("PREFIX", "mirror");
    server.put(&format!("{bucket}?policy="), &policy);
}

/// The location of a mirror, and the way to run commands on it.
enum Place {
    Directory(Utf8TempDir),
    Bucket {
        server: Arc<dyn Server>,
        bucket: &'static str,
    },
}

impl Place {
    fn bucket(server: &Arc<dyn Server>, bucket: &'static str) -> Self {
        server.make_bucket(bucket);
        Self::Bucket {
            server: Arc::clone(server),
            bucket,
        }
    }

    fn mirror(&self) -> String {
        match self {
            Self::Directory(dir) => dir.path().join("mirror").into_string(),
            Self::Bucket { bucket, .. } => format!("s3://{bucket}/mirror"),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        match self {
            Self::Directory(_) => {
                let mut command = stx(["--mirror", &self.mirror()]);
                command.args(args);
                command
            }
            Self::Bucket { server, .. } => asked(&**server, &self.mirror(), args),
        }
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let mut command = self.command(args);
        run(command.args(["--format", "json"])).code(0).json()
    }

    #[track_caller]
    fn publish(&self, tree: &Utf8Path, day: u32) -> Ran {
        let date = date(day);
        let now = format!("2018-11-{day:02}T12:00:00Z");
        self.run(&[&publish_args(tree, &date)[..], &["--now", &now]].concat())
    }

    /// Overwrites a file of a build.
    fn tamper(&self, path: &str, text: &str) {
        match self {
            Self::Directory(dir) => {
                let file = dir.path().join("mirror").join(path);
                fs_err::remove_file(&file).expect("removed");
                fs_err::write(&file, text).expect("written");
            }
            Self::Bucket { server, bucket } => {
                server.put(&format!("{bucket}/mirror/{path}"), text);
            }
        }
    }
}

/// The arguments that publish a tree as the success of a date.
fn publish_args<'a>(tree: &'a Utf8Path, date: &'a str) -> [&'a str; 8] {
    crate::harness::publish_args(tree.as_str(), CHANNEL, date, "success")
}

fn date(day: u32) -> String {
    format!("201811{day:02}T060000Z")
}

/// A file of each tree, with characters that have a special meaning in a URL.
const ODD: &str = "outputs/installer/libstdc++-8^1~2 (a)#1.tar";

/// A finished tree: a repository, an image, a program, symlinks; one file that is the same every day, and one that differs.
fn tree(dir: &Utf8Path, day: u32) -> Utf8PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = dir.join(format!("tree{day}"));
    let outputs = tree.join("outputs");
    for name in ["RPMS/std", "iso", "installer", "logs"] {
        fs_err::create_dir_all(outputs.join(name)).expect("a directory");
    }
    fs_err::create_dir_all(tree.join("inputs/downloads")).expect("a directory");
    let write = |name: &str, text: &str| fs_err::write(tree.join(name), text).expect("written");
    fs_err::copy(package(), outputs.join("RPMS/std/message-1-1.noarch.rpm")).expect("copied");
    write(
        "inputs/downloads/source.tar",
        &"the same every day ".repeat(5_000),
    );
    write("outputs/CONTEXT", &format!("day {day}\n"));
    write("outputs/iso/bootimage.iso", &format!("image of day {day}"));
    write("outputs/installer/install.sh", "#!/bin/sh\n");
    write("outputs/logs/build.log", "all went well\n");
    write(ODD, "a name that has to be encoded");
    let script = outputs.join("installer/install.sh");
    fs_err::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    for (link, target) in [("iso/latest.iso", "bootimage.iso"), ("newest", "installer")] {
        fs_err::os::unix::fs::symlink(target, outputs.join(link)).expect("a symlink");
    }
    tree
}

/// Restores the second build, which is then pinned; without the pin it may be retired again.
fn back_for_a_while(place: &Place, build: &str) {
    let now = "2018-11-20T00:00:00Z";
    place.run(&["undelete", build, "--now", now]).ok();
    place.run(&["verify"]).ok();
    let pruned = place.json(&["prune", "--now", now]);
    assert_eq!(pruned["retired"], serde_json::json!([]), "{pruned}");
    place.run(&["unpin", build, "--author", "undelete"]).ok();
}

/// The tests of a mirror at any location.
fn a_mirror(place: &Place) {
    let work = tempdir().expect("a directory");
    let trees: Vec<_> = (1..=4).map(|day| tree(work.path(), day)).collect();
    let build = |day| format!("{CHANNEL}/{}", date(day));

    // Publish: shown first by a dry run; the same again changes nothing; another build with the same date is refused.
    let said = place.publish(&trees[0], 1).ok();
    assert!(said.contains("latest_build -> 20181101T060000Z"), "{said}");
    let again = place.publish(&trees[0], 1).ok();
    assert!(again.contains("published already"), "{again}");
    drop(place.publish(&trees[1], 1).code(4));
    for day in 2..=4 {
        let (date, now) = (date(day), format!("2018-11-{day:02}T12:00:00Z"));
        let args = publish_args(&trees[day as usize - 1], &date);
        let said = place.json(&[&args[..], &["--now", &now]].concat());
        let shared = said["shared"].as_u64().expect("bytes");
        assert!(shared > 90_000, "what does not change is not sent: {said}");
    }
    let listed = place.json(&["list"]);
    assert_eq!(
        listed["builds"].as_array().map(Vec::len),
        Some(4),
        "{listed}"
    );
    let shown = place.json(&["show", &format!("{CHANNEL}/latest_build")]);
    assert_eq!(shown["build"], build(4));

    // Fetch: by alias, through a symlink, completely.
    let to = work.path().join("fetched");
    let what = [
        "outputs/iso/latest.iso",
        "rpms",
        "outputs/installer/install.sh",
        ODD,
    ];
    let args = [
        "fetch",
        CHANNEL,
        what[0],
        what[1],
        what[2],
        what[3],
        "--to",
        to.as_str(),
    ];
    place.run(&args).ok();
    let read = |path: Utf8PathBuf| fs_err::read(path).expect("fetched");
    let named = |name: &str| {
        let found = walkdir::WalkDir::new(&to)
            .into_iter()
            .filter_map(Result::ok);
        let mut found = found.filter(|entry| entry.file_name() == name);
        let found = found.next().unwrap_or_else(|| panic!("{name} is fetched"));
        Utf8PathBuf::from_path_buf(found.into_path()).expect("UTF-8")
    };
    assert_eq!(read(named("latest.iso")), b"image of day 4");
    let odd = read(named("libstdc++-8^1~2 (a)#1.tar"));
    assert_eq!(odd, b"a name that has to be encoded");
    assert_eq!(
        read(named("message-1-1.noarch.rpm")),
        read(package().to_owned())
    );

    // Pins; prune by a plan, and the kept builds; undelete; purge after the grace period.
    let pin = [
        "pin",
        &build(1),
        "--reason",
        "a customer runs it",
        "--author",
        "ann",
    ];
    place.run(&pin).ok();
    let pruned = place.json(&["prune", "--now", "2018-11-20T00:00:00Z"]);
    assert_eq!(pruned["retired"], serde_json::json!([build(2)]), "{pruned}");
    drop(place.run(&["show", &build(2)]).code(5));
    let trash = place.json(&["trash", "--now", "2018-11-20T00:00:00Z"]);
    assert_eq!(trash[0]["build"], build(2));
    assert_eq!(trash[0]["result"], "success");
    back_for_a_while(place, &build(2));
    place.run(&["unpin", &build(1), "--author", "ann"]).ok();
    let pruned = place.json(&["prune", "--now", "2018-11-21T00:00:00Z"]);
    assert_eq!(
        pruned["retired"],
        serde_json::json!([build(1), build(2)]),
        "{pruned}"
    );
    let pruned = place.json(&["prune", "--now", "2018-11-25T00:00:00Z"]);
    assert_eq!(
        pruned["purged"].as_array().expect("a list").len(),
        2,
        "{pruned}"
    );
    drop(place.run(&["undelete", &build(2)]).code(5));

    // Verify: correct at first, and a changed byte is found.
    place.run(&["verify"]).ok();
    place.tamper(&format!("{}/outputs/CONTEXT", build(3)), "day 4\n");
    let found = place.run(&["verify"]).code(4).stdout;
    assert!(found.contains("outputs/CONTEXT"), "{found}");
    place.tamper(&format!("{}/outputs/CONTEXT", build(3)), "day 3\n");
    place.run(&["verify"]).ok();

    // Tools that move packages between builds identify them by their metadata.
    let since = ["since", "message", "--in", CHANNEL];
    let said = place.run(&since).ok();
    assert!(said.contains(&date(3)), "{said}");
}

#[test]
fn a_directory_is_a_mirror() {
    a_mirror(&Place::Directory(tempdir().expect("a directory")));
}

#[test]
fn a_bucket_of_ceph_is_a_mirror() {
    let ceph: Arc<dyn Server> = shared();
    a_mirror(&Place::bucket(&ceph, "whole"));
}

#[test]
fn a_bucket_of_another_server_is_a_mirror() {
    let server: Arc<dyn Server> = Arc::new(S3s::start());
    a_mirror(&Place::bucket(&server, "whole"));
}

/// A server that ignores conditions cannot keep publishers apart.
#[test]
fn a_server_that_ignores_conditions_is_refused() {
    let work = tempdir().expect("a directory");
    let tree = tree(work.path(), 1);
    let server: Arc<dyn Server> = Arc::new(Lying::start());
    let place = Place::Bucket {
        server,
        bucket: "lying",
    };
    let ran = place.publish(&tree, 1).code(4);
    assert!(
        ran.stderr.contains("ignores `If-None-Match: *`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn missing_credentials_are_a_usage_error() {
    let ran = run(&mut stx(["--mirror", "s3://stx/mirror", "list"])).code(2);
    assert!(ran.stderr.contains("AWS_ACCESS_KEY_ID"), "{}", ran.stderr);
}

/// Readers over plain HTTP, without support for object stores.
#[test]
fn a_public_bucket_is_read_like_a_web_server() {
    let work = tempdir().expect("a directory");
    let ceph: Arc<dyn Server> = shared();
    let place = Place::bucket(&ceph, "public");
    open_to_all(&*ceph, "public");
    for day in [1, 2] {
        drop(place.publish(&tree(work.path(), day), day).ok());
    }
    let url = format!("{}/public/mirror", ceph.endpoint());
    let web = |args: &[&str]| {
        let mut command = stx(["--mirror", &url]);
        run(command.args(args))
    };
    let listed = web(&["list", "--format", "json"]).json();
    assert_eq!(
        listed["builds"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    web(&["verify"]).ok();
    let to = work.path().join("fetched");
    let what = ["iso", "outputs/iso/latest.iso", "context", ODD];
    let args = [&["fetch", CHANNEL][..], &what, &["--to", to.as_str()]].concat();
    let said = web(&args).code(0).stderr;
    assert!(said.contains("latest_build is 20181102T060000Z"), "{said}");
    let image = fs_err::read(to.join("bootimage.iso")).expect("fetched");
    assert_eq!(image, b"image of day 2");
    let odd = to.join(ODD.strip_prefix("outputs/").expect("an output"));
    assert_eq!(
        fs_err::read(odd).expect("fetched"),
        b"a name that has to be encoded"
    );
    // Objects that readers do not need are private.
    let manifest = format!("{url}/.stx/manifests/{CHANNEL}/{}.json", date(1));
    let args = [
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ];
    let code = run(tool("curl", args).arg(manifest)).ok();
    assert_eq!(code, "403");
    let head = |path: &str| {
        let args = ["--silent", "--head"];
        run(tool("curl", args).arg(format!("{url}/{path}")))
            .ok()
            .to_ascii_lowercase()
    };
    let of_build = format!("{CHANNEL}/{}.html", date(1));
    for page in ["index.html", &of_build] {
        let page = head(page);
        assert!(
            page.contains("content-type: text/html") && page.contains("cache-control: no-cache"),
            "{page}"
        );
    }
    let file = head(&format!("{CHANNEL}/{}/outputs/iso/bootimage.iso", date(1)));
    assert!(file.contains("immutable"), "{file}");
}
