//! `publish` and `verify` on trees that were not built by a recipe.

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use crate::harness::{assert_whole, builds, publish_args, run, stx, tool};

struct Tree {
    dir: Utf8TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        tree.write("outputs/iso/bootimage.iso", "an image");
        tree.write(
            "outputs/CONTEXT",
            "(cd ./x && git checkout -f 0123456789012345678901234567890123456789)\n",
        );
        tree.write("inputs/downloads/source.tar", "a download");
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.dir.path().join("tree").join(path);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, text).expect("a file");
    }

    fn mirror(&self) -> Utf8PathBuf {
        self.dir.path().join("mirror")
    }

    fn publish(&self, date: &str, result: &str) -> Command {
        let tree = self.dir.path().join("tree");
        let mirror = self.mirror();
        let mut command = stx(["--mirror", mirror.as_str()]);
        command.args(publish_args(tree.as_str(), "master/centos", date, result));
        command
    }

    fn latest(&self) -> String {
        self.mirror()
            .join("master/centos/latest_build")
            .read_link_utf8()
            .expect("an alias")
            .into_string()
    }
}

#[test]
fn the_same_build_again_is_a_no_op_and_another_under_its_id_is_refused() {
    let tree = Tree::new();
    run(&mut tree.publish("20200101T000000Z", "success")).code(0);
    let again = run(&mut tree.publish("20200101T000000Z", "success")).code(0);
    assert!(
        format!("{}{}", again.stdout, again.stderr).contains("already"),
        "{again:?}"
    );
    tree.write("outputs/iso/bootimage.iso", "another image");
    let refused = run(&mut tree.publish("20200101T000000Z", "success")).code(4);
    assert!(
        refused.stderr.contains("outputs/iso/bootimage.iso"),
        "{}",
        refused.stderr
    );
    assert_whole(&tree.mirror(), "master/centos");
}

#[test]
fn the_alias_never_goes_back_unless_forced_and_never_to_a_failure() {
    let tree = Tree::new();
    run(&mut tree.publish("20200103T000000Z", "success")).code(0);
    run(&mut tree.publish("20200102T000000Z", "success")).code(0);
    assert_eq!(tree.latest(), "20200103T000000Z");
    run(&mut tree.publish("20200104T000000Z", "fail")).code(0);
    assert_eq!(tree.latest(), "20200103T000000Z");
    run(tree
        .publish("20200101T000000Z", "success")
        .arg("--force-alias"))
    .code(0);
    assert_eq!(tree.latest(), "20200101T000000Z");
}

#[test]
fn a_dry_run_publishes_nothing() {
    let tree = Tree::new();
    let plan = run(tree.publish("20200101T000000Z", "success").arg("--dry-run")).ok();
    assert!(
        plan.contains("outputs/iso/bootimage.iso") && plan.contains("latest_build"),
        "{plan}"
    );
    assert!(builds(&tree.mirror(), "master/centos").is_empty());
}

#[test]
fn all_forbidden_files_are_reported_at_once_and_nothing_is_published() {
    let tree = Tree::new();
    let outputs = tree.dir.path().join("tree/outputs");
    fs_err::os::unix::fs::symlink("/etc/passwd", outputs.join("absolute")).expect("a link");
    fs_err::os::unix::fs::symlink("nowhere", outputs.join("dangling")).expect("a link");
    run(&mut tool("mkfifo", [outputs.join("pipe").as_str()])).ok();
    tree.write("outputs/logs/back\\slash", "");
    let refused = run(&mut tree.publish("20200101T000000Z", "success")).code(4);
    for name in ["absolute", "dangling", "pipe", "slash"] {
        assert!(refused.stderr.contains(name), "{name}: {}", refused.stderr);
    }
    assert!(builds(&tree.mirror(), "master/centos").is_empty());
}

#[test]
fn equal_bytes_are_stored_once_and_never_shared_with_the_workspace() {
    let tree = Tree::new();
    run(&mut tree.publish("20200101T000000Z", "success")).code(0);
    run(&mut tree.publish("20200102T000000Z", "success")).code(0);
    let inode = |path: Utf8PathBuf| fs_err::metadata(path).expect("a file").ino();
    let iso = "outputs/iso/bootimage.iso";
    let [first, second] = ["20200101T000000Z", "20200102T000000Z"]
        .map(|date| inode(tree.mirror().join("master/centos").join(date).join(iso)));
    assert_eq!(first, second);
    assert_ne!(first, inode(tree.dir.path().join("tree").join(iso)));
}

#[test]
fn verify_finds_damage_and_repairs_derived_files() {
    let tree = Tree::new();
    let verify = |args: &[&str]| {
        let mut command = stx([
            "--mirror",
            tree.mirror().as_str(),
            "--format",
            "json",
            "verify",
        ]);
        run(command.args(args))
    };
    run(&mut tree.publish("20200101T000000Z", "success")).code(0);
    run(&mut tree.publish("20200102T000000Z", "success")).code(0);
    verify(&[]).code(0);
    let alias = tree.mirror().join("master/centos/latest_build");
    fs_err::remove_file(&alias).expect("the alias");
    fs_err::os::unix::fs::symlink("20200101T000000Z", &alias).expect("an old alias");
    verify(&[]).code(4);
    verify(&["--repair"]).code(0);
    assert_eq!(tree.latest(), "20200102T000000Z");
    let iso = tree
        .mirror()
        .join("master/centos/20200102T000000Z/outputs/iso/bootimage.iso");
    fs_err::write(&iso, "an imagE").expect("a changed file");
    let found = verify(&[]).code(4).stdout;
    assert!(found.contains("outputs/iso/bootimage.iso"), "{found}");
    verify(&["--repair"]).code(4);
}

#[test]
fn a_missing_mirror_is_reported_as_not_found() {
    let refused = run(&mut stx(["--mirror", "/nonexistent/mirror", "list"])).code(5);
    assert!(
        refused.stderr.contains("/nonexistent/mirror"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_file_system_without_symlinks_is_refused_before_anything_is_published() {
    let tree = Tree::new();
    let publish = tree.publish("20200101T000000Z", "success");
    // As vfat and exFAT answer.
    let fault = "inject=symlink,symlinkat:error=EPERM";
    let mut traced = tool("strace", ["-f", "-qq", "-o", "/dev/null", "-e", fault]);
    traced.arg(publish.get_program()).args(publish.get_args());
    for _ in 0..2 {
        let refused = run(&mut traced).code(4).stderr;
        assert!(refused.contains("no symlinks"), "{refused}");
        assert!(
            refused.contains("put the mirror on another one"),
            "{refused}"
        );
        assert!(!tree.mirror().join("master").exists());
    }
    run(&mut tree.publish("20200101T000000Z", "success")).code(0);
}

#[test]
fn a_build_that_retention_retires_at_once_is_warned_of() {
    let tree = Tree::new();
    let publish = |date: &str, now: &str, more: &[&str]| {
        run(tree
            .publish(date, "success")
            .args(["--now", now])
            .args(more))
    };
    let now = "2020-06-30T00:00:00Z";
    let dates = ["20200628T000000Z", "20200629T000000Z"];
    for date in dates {
        let new = publish(date, now, &[]).code(0);
        assert!(!new.stderr.contains("prune"), "{}", new.stderr);
    }
    let old = "20100101T000000Z";
    let words = "the next `prune` retires it: older than 14 days";
    let planned = publish(old, now, &["--dry-run"]).code(0);
    assert!(planned.stdout.contains(words), "{}", planned.stdout);
    let published = publish(old, now, &[]).code(0);
    let pin = format!("`stx-builds pin master/centos/{old} --reason TEXT` keeps it");
    assert!(published.stderr.contains(words), "{}", published.stderr);
    assert!(published.stderr.contains(&pin), "{}", published.stderr);
    // The way out works, and ends the warning.
    let mirror = tree.mirror();
    let build = format!("master/centos/{old}");
    let pin = [
        "--mirror",
        mirror.as_str(),
        "pin",
        &build,
        "--reason",
        "history",
    ];
    run(&mut stx(pin)).code(0);
    let again = publish(old, now, &[]).code(0);
    assert!(!again.stderr.contains("prune"), "{}", again.stderr);
    let mut prune = stx(["--mirror", mirror.as_str(), "--now", now]);
    run(prune.args(["prune", "--dry-run"])).code(0);
    assert_eq!(builds(&mirror, "master/centos").len(), 3);
    // By a clock that was never set, the build is not old.
    let unset = publish("19700101T000000Z", "1970-01-01T00:00:00Z", &[]).code(0);
    let words = [dates[1], "the clock says 1970-01-01", "set it"];
    for words in words {
        assert!(unset.stderr.contains(words), "{words}: {}", unset.stderr);
    }
}

#[test]
fn a_missing_retention_policy_is_reported_with_the_next_step() {
    let tree = Tree::new();
    let dir = tree.dir.path();
    for (site, words) in [
        ("", "the catalog pages are not up to date"),
        (
            "[site]\nenabled = false\n",
            "it is not known how long retention keeps it",
        ),
    ] {
        let text = format!("policy = \"lost.toml\"\n{site}");
        fs_err::write(dir.join("stx-builds.toml"), text).expect("a configuration");
        run(tree.publish("20200102T000000Z", "success").current_dir(dir)).code(0);
        let old = run(tree.publish("20200101T000000Z", "success").current_dir(dir)).code(0);
        for words in [words, "lost.toml", "put the retention policy back"] {
            assert!(old.stderr.contains(words), "{words}: {}", old.stderr);
        }
        assert_eq!(old.stderr.matches("lost.toml").count(), 1, "{}", old.stderr);
        let mut planned = tree.publish("20191231T000000Z", "success");
        let planned = run(planned.arg("--dry-run").current_dir(dir)).code(0);
        assert!(
            planned.stdout.contains("put the retention policy back"),
            "{}",
            planned.stdout
        );
    }
}
