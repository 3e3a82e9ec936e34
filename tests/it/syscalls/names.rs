//! A publish to a newer release, killed and failed at every call that changes a file: `release/latest_release` and paths without
//! a date.

use camino::Utf8Path;

use super::outside;
use super::sweep::Sweep;
use super::tree::{Node, Tree};
use super::{command, write};
use crate::harness::{publish_args, run};

const OLD: &str = "release/9.0/centos";
const NEW: &str = "release/10.0/centos";

/// A finished tree of two files.
fn finished(sandbox: &Utf8Path, text: &str) {
    write(&sandbox.join("tree/outputs/iso/bootimage.iso"), text);
    write(
        &sandbox.join("tree/inputs/downloads/source.tar"),
        "a download",
    );
}

pub(super) fn sweep() -> Sweep {
    let args = publish_args("tree", NEW, "20200202T060000Z", "success");
    let args = args.map(str::to_owned);
    let sweep = Sweep::new("publish to a release", &args, |sandbox| {
        finished(sandbox, "the old one");
        let old = publish_args("tree", OLD, "20200201T060000Z", "success");
        run(&mut command(sandbox, 1, &old)).ok();
        // A failure creates the lock of the channel, to which the umask of the traced program would give another mode; readers do not
        // see the failure.
        let failed = publish_args("tree", NEW, "20200201T060000Z", "fail");
        run(&mut command(sandbox, 1, &failed)).ok();
        finished(sandbox, "the new one");
    });
    sweep.judged_by(wrong)
}

/// True if a path of a mirror is that of a name above the channels, or of a section without a date.
fn is_name(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    ["latest_release", "outputs", "inputs"].contains(&last) && path.split('/').count() <= 4
}

/// The same tree without these names.
fn without_names(tree: &Tree) -> Tree {
    let mut rest = tree.clone();
    let is_link = |node: &Node| matches!(node, Node::Link(_));
    rest.nodes
        .retain(|path, node| !(is_link(node) && is_name(path)));
    rest
}

/// Finds the faults that a reader would see: a missing name, or one that does not lead to a complete build.
fn wrong(mirror: &Utf8Path, tree: &Tree, known: &[&Tree]) -> Vec<String> {
    let others: Vec<_> = known.iter().map(|known| without_names(known)).collect();
    let others: Vec<_> = others.iter().collect();
    let mut wrong = outside::wrong(mirror, &without_names(tree), &others);
    for (path, node) in tree.nodes.iter().filter(|(path, _)| is_name(path)) {
        let Node::Link(text) = node else {
            continue;
        };
        let success = match path.rsplit('/').next() {
            Some("latest_release") => "centos/outputs/success",
            Some("outputs") => "success",
            _ => "downloads/source.tar",
        };
        if text.starts_with('/') || !mirror.join(path).join(success).is_file() {
            wrong.push(format!("{path} -> {text}: leads to no build"));
        }
    }
    for path in known[0].nodes.keys().filter(|path| is_name(path)) {
        if !matches!(tree.nodes.get(path), Some(Node::Link(_))) {
            wrong.push(format!("{path}: missing"));
        }
    }
    wrong
}

#[test]
fn a_publish_to_a_release_survives_every_system_call() {
    let sweep = sweep();
    let latest = |slot: &str| {
        let link = sweep.at(slot).join("mirror/release/latest_release");
        link.read_link_utf8().expect("a symlink")
    };
    assert_eq!(latest("before"), "9.0");
    sweep.run();
    assert_eq!(latest("undisturbed"), "10.0");
    let undated = sweep
        .at("undisturbed")
        .join("mirror")
        .join(NEW)
        .join("outputs");
    assert_eq!(
        undated.read_link_utf8().expect("a symlink"),
        "latest_build/outputs"
    );
}
