//! An adoption, killed and failed at every call that changes a file.

use camino::Utf8Path;

use super::outside::builds;
use super::sweep::Sweep;
use super::tree::{Node, Tree};
use super::{TODAY, command};
use crate::adopt::past;
use crate::harness::{run, tool};

/// Two builds of an older publisher, with everything that an adoption changes: a pin, modes, a file that is there twice.
pub(super) fn sweep() -> Sweep {
    let args = ["adopt", "--jobs", "1", "--fix-modes", "--link"].map(str::to_owned);
    let sweep = Sweep::new("adopt", &args, |sandbox| {
        past::small(&sandbox.join("mirror"));
        // Makes the lock of the channel, which would have another mode with the file creation mask of the traced program.
        let build = "master/centos/20200206T060000Z";
        let pin = ["pin", build, "--reason", "none", "--author", "setup"];
        run(&mut command(sandbox, TODAY, &pin)).ok();
        let unpin = ["unpin", build, "--author", "setup"];
        run(&mut command(sandbox, TODAY, &unpin)).ok();
    });
    sweep.judged_by(wrong)
}

/// What a reader of the older publisher's mirror finds wrong: that something of it is gone or changed, that a record is there
/// without whole sums, or that anything else has come.
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
