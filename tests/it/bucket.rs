//! Mirrors in buckets: what a mirror in a directory does, on real servers that speak S3.

use std::process::Command;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use serde_json::Value;

use crate::harness::{Ran, package, run, stx};

mod ceph;
mod server;

use ceph::Ceph;
use server::Server;

const CHANNEL: &str = "master/centos";

/// Where a mirror is, and how it is asked.
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
            Self::Bucket { server, .. } => server.stx(&self.mirror(), args),
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
        let args = [
            "publish",
            tree.as_str(),
            "--channel",
            CHANNEL,
            "--date",
            &date,
        ];
        self.run(&[&args[..], &["--result", "success", "--now", &now]].concat())
    }

    /// Writes over a file of a build, as a careless hand would.
    fn tamper(&self, path: &str, text: &str) {
        match self {
            Self::Directory(dir) => {
                let file = dir.path().join("mirror").join(path);
                fs_err::remove_file(&file).expect("removed");
                fs_err::write(&file, text).expect("written");
            }
            Self::Bucket { server, bucket } => {
                drop(server.put(&format!("{bucket}/mirror/{path}"), text).ok());
            }
        }
    }
}

fn date(day: u32) -> String {
    format!("201811{day:02}T060000Z")
}

/// A finished tree: a repository, an image, a program, symlinks; a file that is the same every day, and one that is not.
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
    let script = outputs.join("installer/install.sh");
    fs_err::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    for (link, target) in [("iso/latest.iso", "bootimage.iso"), ("newest", "installer")] {
        fs_err::os::unix::fs::symlink(target, outputs.join(link)).expect("a symlink");
    }
    tree
}

/// All that is asked of a mirror, whatever it lies in.
fn a_mirror(place: &Place) {
    let work = tempdir().expect("a directory");
    let trees: Vec<_> = (1..=4).map(|day| tree(work.path(), day)).collect();
    let build = |day| format!("{CHANNEL}/{}", date(day));

    // Publish: shown before, the same again is nothing, another one under the same date is refused.
    let said = place.publish(&trees[0], 1).ok();
    assert!(said.contains("latest_build -> 20181101T060000Z"), "{said}");
    let again = place.publish(&trees[0], 1).ok();
    assert!(again.contains("published already"), "{again}");
    drop(place.publish(&trees[1], 1).code(4));
    for day in 2..=4 {
        let said = place.publish(&trees[day as usize - 1], day).ok();
        let shared = said
            .split(", of which ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let shared: u64 = shared.expect("a count").parse().expect("a number");
        assert!(shared > 90_000, "what does not change is not sent: {said}");
    }
    let listed = place.json(&["list"]);
    let builds: Vec<_> = listed.as_array().expect("a list").iter().collect();
    assert_eq!(builds.len(), 4, "{listed}");
    let shown = place.json(&["show", &format!("{CHANNEL}/latest_build")]);
    assert_eq!(shown["build"], build(4));

    // Fetch: by alias, through a symlink, whole.
    let to = work.path().join("fetched");
    let what = [
        "outputs/iso/latest.iso",
        "rpms",
        "outputs/installer/install.sh",
    ];
    let args = [
        "fetch",
        CHANNEL,
        what[0],
        what[1],
        what[2],
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
    assert_eq!(
        read(named("message-1-1.noarch.rpm")),
        read(package().to_owned())
    );

    // Pins, prune by a plan, what is kept; undelete; purge after the grace.
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
    place.run(&["undelete", &build(2)]).ok();
    place.run(&["verify"]).ok();
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

    // Verify: right as it is, and a changed byte is found.
    place.run(&["verify"]).ok();
    place.tamper(&format!("{}/outputs/CONTEXT", build(3)), "day 4\n");
    let found = place.run(&["verify"]).code(4).stdout;
    assert!(found.contains("outputs/CONTEXT"), "{found}");
    place.tamper(&format!("{}/outputs/CONTEXT", build(3)), "day 3\n");
    place.run(&["verify"]).ok();

    // What moves packages between builds knows them by their metadata.
    let since = ["since", "message", "in", CHANNEL];
    let said = place.run(&since).ok();
    assert!(said.contains(&date(3)), "{said}");
}

#[test]
fn a_directory_is_a_mirror() {
    a_mirror(&Place::Directory(tempdir().expect("a directory")));
}

#[test]
fn a_bucket_of_ceph_is_a_mirror() {
    let ceph: Arc<dyn Server> = Ceph::shared();
    a_mirror(&Place::bucket(&ceph, "whole"));
}
