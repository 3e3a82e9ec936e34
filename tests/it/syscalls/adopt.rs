//! An adoption, killed and failed at every call that changes a file.

use std::os::unix::fs::PermissionsExt;

use camino::Utf8Path;

use super::outside::builds;
use super::sweep::Sweep;
use super::tree::{Node, Tree};
use super::{TODAY, command};
use crate::adopt::past;
use crate::harness::{run, tool};

/// Two builds of an older publisher, with everything that an adoption changes: a pin, modes, a duplicate file.
pub(super) fn sweep() -> Sweep {
    let args = ["adopt", "--jobs", "1", "--fix-modes", "--link"].map(str::to_owned);
    let sweep = Sweep::new("adopt", &args, |sandbox| {
        past::small(&sandbox.join("mirror"));
        // Creates the lock of the channel beforehand; the umask of the traced program would give it another mode.
        let build = "master/centos/20200206T060000Z";
        let pin = ["pin", build, "--reason", "none", "--author", "setup"];
        run(&mut command(sandbox, TODAY, &pin)).ok();
        let unpin = ["unpin", build, "--author", "setup"];
        run(&mut command(sandbox, TODAY, &unpin)).ok();
    });
    sweep.judged_by(wrong)
}

/// Finds the faults that a reader of the older publisher's mirror would see: a missing or changed file, a record without complete
/// sums, or an unexpected new file.
fn wrong(mirror: &Utf8Path, tree: &Tree, known: &[&Tree]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (before, goal) = (known[0], known[known.len() - 1]);
    for (path, node) in &before.nodes {
        let is_right = |known: &Tree| known.nodes.get(path) == tree.nodes.get(path);
        if !is_right(before) && !is_right(goal) {
            wrong.push(format!("{path}: gone or changed"));
        }
        if let (Node::File(_, bytes), Some(Node::File(_, now))) = (node, tree.nodes.get(path))
            && bytes != now
        {
            wrong.push(format!("{path}: other bytes"));
        }
    }
    for (path, node) in &tree.nodes {
        let is_private = path == ".stx" || path.starts_with(".stx/");
        let is_known = before.nodes.contains_key(path) || goal.nodes.get(path) == Some(node);
        if !is_private && !is_known {
            wrong.push(format!("{path}: has come"));
        }
    }
    for build in builds(tree) {
        if !tree.nodes.contains_key(&format!("{build}/build.json")) {
            continue;
        }
        let check = ["--check", "--strict", "--quiet", "SHA256SUMS"];
        let sums = run(tool("sha256sum", check).current_dir(mirror.join(build)));
        if sums.code != Some(0) {
            wrong.push(format!("{build}: {}{}", sums.stdout, sums.stderr));
        }
    }
    if tree
        .nodes
        .get(".stx")
        .is_some_and(|node| *node != Node::Dir(0o700))
    {
        wrong.push(".stx: open to readers".to_owned());
    }
    wrong
}

#[test]
fn adopt_survives_every_system_call() {
    sweep().run();
}

/// A release without a date, whose parts are moved.
fn undated_sweep() -> Sweep {
    let args = ["adopt", "--jobs", "1"].map(str::to_owned);
    let sweep = Sweep::new("adopt, undated", &args, |sandbox| {
        let mirror = sandbox.join("mirror");
        past::small_undated(&mirror);
        past::small(&mirror);
        // Creates the locks, as above; this also adopts the other channel.
        run(&mut command(
            sandbox,
            TODAY,
            &["adopt", "--fix-modes", "master/centos"],
        ))
        .ok();
        let lock = mirror.join(".stx/locks/release/2.0.0/centos/%2Elock");
        fs_err::create_dir_all(lock.parent().expect("a parent")).expect("a directory");
        fs_err::write(&lock, "").expect("a file");
        fs_err::write(mirror.join(".stx/aliases/lock"), "").expect("a file");
        for dir in ["release", "release/2.0.0", "release/2.0.0/centos"] {
            let dir = mirror.join(".stx/locks").join(dir);
            fs_err::set_permissions(dir, PermissionsExt::from_mode(0o700)).expect("a mode");
        }
    });
    sweep.judged_by(unanswered)
}

/// The paths that a reader could request before, and that no longer return the same bytes.
fn unanswered(mirror: &Utf8Path, tree: &Tree, known: &[&Tree]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, node) in &known[0].nodes {
        let Node::File(_, bytes) = node else {
            continue;
        };
        // Through the symlinks, as a web server reads it.
        let found = fs_err::read(mirror.join(path));
        if !path.starts_with(".stx/") && !found.is_ok_and(|found| found == *bytes) {
            wrong.push(format!("{path}: does not answer"));
        }
    }
    for build in builds(tree) {
        let record = format!("{build}/build.json");
        if tree.nodes.contains_key(&record) {
            let check = ["--check", "--strict", "--quiet", "SHA256SUMS"];
            let sums = run(tool("sha256sum", check).current_dir(mirror.join(build)));
            if sums.code != Some(0) {
                wrong.push(format!("{build}: {}{}", sums.stdout, sums.stderr));
            }
        }
    }
    wrong
}

#[test]
fn moving_a_release_into_a_build_survives_every_system_call() {
    undated_sweep().run();
}
