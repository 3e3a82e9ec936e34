//! Every change that the real program makes to files, killed and failed in turn.
//!
//! The changes of an undisturbed run are the points of the sweep: each is reached in a separate run for each fault. The remaining
//! state is checked from outside; a rerun of the same command must produce the tree of the undisturbed run.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};

use crate::apt::{control, deb};
use crate::harness::{names, run, stx_without_pages};

mod adopt;
mod decode;
mod names;
pub(crate) mod outside;
mod release;
mod strace;
mod sweep;
mod tracer;
pub(crate) mod tree;

use sweep::Sweep;

/// The day of February 2020 on which the swept commands run.
const TODAY: u32 = 18;

/// The command on the mirror of a sandbox, on a day of February 2020. Its paths are relative, so that all sandboxes give
/// the same points.
fn command<S: AsRef<str>>(sandbox: &Utf8Path, day: u32, args: &[S]) -> Command {
    let now = format!("2020-02-{day:02}T12:00:00Z");
    let mut command = stx_without_pages(["--mirror", "mirror", "--now", &now]);
    command
        .args(args.iter().map(AsRef::as_ref))
        .env_remove("XDG_CACHE_HOME")
        .current_dir(sandbox);
    command
}

fn write(path: &Utf8Path, text: &str) {
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs_err::write(path, text).expect("a file");
}

/// A finished tree with a package, logs, a symlink, a program; `day` is in some of its bytes.
fn finished(sandbox: &Utf8Path, day: u32) -> Utf8PathBuf {
    let tree = sandbox.join(format!("tree-{day}"));
    write(&tree.join("inputs/downloads/source.tar"), "a download");
    write(&tree.join("outputs/CONTEXT"), "the same in every build");
    write(
        &tree.join("outputs/logs/phase.log"),
        &format!("day {day}\n"),
    );
    write(
        &tree.join("outputs/iso/bootimage.iso"),
        &format!("image of day {day}"),
    );
    fs_err::os::unix::fs::symlink("bootimage.iso", tree.join("outputs/iso/latest.iso"))
        .expect("a link");
    let package = tree.join("outputs/RPMS/std/message-1-1.noarch.rpm");
    fs_err::create_dir_all(package.parent().expect("a parent")).expect("a directory");
    fs_err::copy(crate::harness::package(), &package).expect("a package");
    tree
}

/// Adds a Debian package, so that the build has a repository with its lists and their names by digest.
fn with_debian_package(tree: &Utf8Path) {
    static PACKAGE: OnceLock<Utf8PathBuf> = OnceLock::new();
    let package = PACKAGE.get_or_init(|| {
        let dir = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join("swept-deb");
        fs_err::create_dir_all(&dir).expect("a directory");
        let package = dir.join("hello_1.0_all.deb");
        deb(&dir, &package, &control("hello", "1.0"), &[]);
        package
    });
    let packages = tree.join("outputs/std/packages");
    fs_err::create_dir_all(&packages).expect("a directory");
    fs_err::copy(package, packages.join("hello_1.0_all.deb")).expect("a package");
}

/// Publishes a build of a day.
fn publish(sandbox: &Utf8Path, day: u32, result: &str) {
    let tree = finished(sandbox, day);
    let args = publish_args(day, result);
    run(&mut command(sandbox, day, &args)).ok();
    fs_err::remove_dir_all(tree).expect("removed");
}

fn publish_args(day: u32, result: &str) -> Vec<String> {
    let (tree, date) = (format!("tree-{day}"), format!("202002{day:02}T060000Z"));
    let args = crate::harness::publish_args(&tree, "master/centos", &date, result);
    args.map(str::to_owned).to_vec()
}

/// The leftovers of a publisher that was killed.
fn leave_behind(sandbox: &Utf8Path) {
    let staging = sandbox.join("mirror/.stx/staging/master/centos/20200220T060000Z");
    write(&staging.join("outputs/half"), "half");
    write(&staging.join("build.json.part"), "{");
}

fn publish_sweep() -> Sweep {
    Sweep::new("publish", &publish_args(2, "success"), |sandbox| {
        let tree = finished(sandbox, 1);
        with_debian_package(&tree);
        run(&mut command(sandbox, 1, &publish_args(1, "success"))).ok();
        fs_err::remove_dir_all(tree).expect("removed");
        with_debian_package(&finished(sandbox, 2));
        leave_behind(sandbox);
    })
}

/// Retires a build, and purges one that was retired before.
fn prune_sweep() -> Sweep {
    Sweep::new("prune", &["prune".to_owned()], |sandbox| {
        publish(sandbox, 1, "fail");
        publish(sandbox, 5, "success");
        publish(sandbox, 6, "success");
        run(&mut command(sandbox, 10, &["prune"])).ok();
        publish(sandbox, 9, "fail");
        publish(sandbox, 16, "success");
        publish(sandbox, 17, "success");
        leave_behind(sandbox);
    })
}

/// An alias is outdated, and there are leftovers.
fn repair_sweep() -> Sweep {
    let args = ["verify", "--repair"].map(str::to_owned);
    Sweep::new("verify --repair", &args, |sandbox| {
        publish(sandbox, 1, "success");
        publish(sandbox, 2, "success");
        leave_behind(sandbox);
        let alias = sandbox.join("mirror/master/centos/latest_build");
        fs_err::remove_file(&alias).expect("removed");
        fs_err::os::unix::fs::symlink("20200201T060000Z", alias).expect("a stale alias");
    })
}

#[test]
fn the_calls_of_the_sweep_agree_with_strace() {
    for sweep in [
        publish_sweep(),
        prune_sweep(),
        repair_sweep(),
        adopt::sweep(),
    ] {
        let mut ours = BTreeMap::<String, usize>::new();
        for point in sweep.trace("undisturbed", None).made {
            *ours.entry(point.name.to_owned()).or_default() += 1;
        }
        assert_eq!(ours, strace::counted(&sweep), "{}", sweep.name);
    }
}

#[test]
fn publish_survives_every_system_call() {
    publish_sweep().run();
}

#[test]
fn prune_survives_every_system_call() {
    let sweep = prune_sweep();
    let trash = |slot: &str| names(&sweep.at(slot).join("mirror/.stx/trash/master/centos"));
    assert_eq!(trash("before"), ["20200201T060000Z@20200210T120000Z"]);
    sweep.run();
    assert_eq!(trash("undisturbed"), ["20200209T060000Z@20200218T120000Z"]);
}

#[test]
fn repair_survives_every_system_call() {
    repair_sweep().run();
}
