//! A disk with too little room: a small file system, filled up except for a number of bytes.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::builds::Small;
use crate::harness::{Ran, builds, in_memory, names, package, run, stx_without_pages, tool};
use crate::syscalls::outside::wrong;
use crate::syscalls::tree::Tree;

/// The size of the file system, and of its blocks unless a test requests others.
const SIZE: u64 = 4 << 20;
const BLOCK: u64 = 1024;

/// A small ext4 file system, mounted while the value lives.
pub(crate) struct Disk {
    dir: Utf8TempDir,
    block: u64,
}

/// A tool that requires root.
fn root_tool(program: &str, args: &[&str]) -> Command {
    if rustix::process::geteuid().is_root() {
        return tool(program, args);
    }
    tool("sudo", ["--non-interactive", program].iter().chain(args))
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with_blocks(BLOCK)
    }

    pub(crate) fn with_blocks(block: u64) -> Self {
        let dir = in_memory();
        let disk = Self { dir, block };
        let (image, mount) = (disk.dir.path().join("image"), disk.path());
        let file = fs_err::File::create(&image).expect("a file");
        file.set_len(SIZE).expect("a size");
        let block = block.to_string();
        let options = [
            "-q",
            "-F",
            "-m",
            "0",
            "-b",
            &block,
            "-O",
            "^has_journal",
            image.as_str(),
        ];
        run(&mut tool("mkfs.ext4", options)).ok();
        fs_err::create_dir(&mount).expect("a directory");
        run(&mut root_tool(
            "mount",
            &["-o", "loop", image.as_str(), mount.as_str()],
        ))
        .ok();
        let user = rustix::process::geteuid().as_raw().to_string();
        run(&mut root_tool("chown", &[&user, mount.as_str()])).ok();
        disk
    }

    /// Its mount point.
    pub(crate) fn path(&self) -> Utf8PathBuf {
        self.dir.path().join("disk")
    }

    fn mirror(&self) -> Utf8PathBuf {
        self.path().join("mirror")
    }

    fn free(&self) -> u64 {
        // Delayed allocations get their blocks now.
        run(&mut tool("sync", ["--file-system", self.path().as_str()])).ok();
        let found = rustix::fs::statvfs(self.path().as_std_path()).expect("a file system");
        found.f_bavail * found.f_frsize
    }

    /// Fills the disk except for `left` bytes, as closely as blocks allow.
    fn fill(&self, left: u64) {
        let filler = fs_err::File::create(self.path().join("filler")).expect("a file");
        let room = self.free().saturating_sub(left);
        // The block map of a large file takes room, too.
        for less in 0.. {
            let size = (room / self.block).saturating_sub(less) * self.block;
            let flags = rustix::fs::FallocateFlags::empty();
            if size == 0 || rustix::fs::fallocate(filler.file(), flags, 0, size).is_ok() {
                break;
            }
        }
        let free = self.free();
        assert!(
            free <= left + 8 * self.block,
            "{free} bytes are left, not {left}"
        );
    }

    /// Fills the disk to the last block.
    pub(crate) fn exhaust(&self) {
        self.fill(0);
        let mut crumbs = 0..100;
        let crumb = |number| fs_err::write(self.path().join(format!("crumb-{number}")), "x");
        assert!(crumbs.any(|number| crumb(number).is_err()));
    }

    pub(crate) fn empty(&self) {
        fs_err::remove_file(self.path().join("filler")).expect("removed");
    }

    /// Restores the mirror from `before`.
    fn restore(&self, before: &Utf8Path) {
        if self.mirror().exists() {
            fs_err::remove_dir_all(self.mirror()).expect("removed");
        }
        run(&mut tool(
            "cp",
            ["-a", before.as_str(), self.mirror().as_str()],
        ))
        .ok();
    }

    fn stx(&self, args: &[&str]) -> Ran {
        run(stx_without_pages(["--mirror", self.mirror().as_str()]).args(args))
    }

    #[track_caller]
    fn assert_right(&self, known: &[&Tree]) {
        let mirror = self.mirror();
        let wrong = wrong(&mirror, &Tree::read(&mirror), known);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not while a failed test is unwinding: a second panic would hide the first.
        let unmounted = root_tool("umount", &[self.path().as_str()]).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.path());
        }
    }
}

/// A finished tree of about 60 KiB; `day` is in most of its bytes.
fn finished(dir: &Utf8Path, day: u32) -> Utf8PathBuf {
    let tree = dir.join(format!("tree-{day}"));
    let std = tree.join("outputs/RPMS/std");
    fs_err::create_dir_all(&std).expect("a directory");
    fs_err::copy(package(), std.join("message-1-1.noarch.rpm")).expect("a package");
    for name in ["iso/bootimage.iso", "logs/build.log", "wheels/a.whl"] {
        let file = tree.join("outputs").join(name);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, format!("{name} of day {day}\n").repeat(700)).expect("a file");
    }
    tree
}

fn publish_args(tree: &Utf8Path, day: u32) -> Vec<String> {
    let date = format!("202002{day:02}T060000Z");
    let args = [
        "publish",
        tree.as_str(),
        "--channel",
        "master/centos",
        "--date",
        &date,
        "--result",
    ];
    let outcome = if day == 1 { "fail" } else { "success" };
    args.into_iter()
        .chain([outcome])
        .map(str::to_owned)
        .collect()
}

/// A mirror with builds of these days.
fn mirror(dir: &Utf8Path, days: &[u32]) -> Utf8PathBuf {
    let mirror = dir.join("before");
    for day in days {
        let args = publish_args(&finished(dir, *day), *day);
        run(stx_without_pages(["--mirror", mirror.as_str()]).args(args)).ok();
    }
    mirror
}

#[test]
fn publish_fails_cleanly_with_too_little_space_and_succeeds_with_enough() {
    let disk = Disk::new();
    let dir = disk.dir.path();
    let before = mirror(dir, &[2]);
    let args = publish_args(&finished(dir, 3), 3);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    disk.restore(&before);
    disk.stx(&args).ok();
    let (before_tree, goal) = (Tree::read(&before), Tree::read(&disk.mirror()));
    let mut failed = 0;
    for step in 0.. {
        disk.restore(&before);
        disk.fill(step * 2 * BLOCK);
        let ran = disk.stx(&args);
        disk.assert_right(&[&before_tree, &goal]);
        if ran.code == Some(0) {
            assert_eq!(
                Tree::read(&disk.mirror()).differences(&goal),
                Vec::<String>::new()
            );
            disk.empty();
            break;
        }
        failed += 1;
        let ran = ran.code(4);
        assert!(
            ran.stderr.contains("No space left on device") || ran.stderr.contains("createrepo_c"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let staging = disk.mirror().join(".stx/staging/master/centos");
        assert_eq!(names(&staging), Vec::<String>::new(), "{}", ran.stderr);
        disk.empty();
        disk.stx(&args).ok();
        assert_eq!(
            Tree::read(&disk.mirror()).differences(&goal),
            Vec::<String>::new()
        );
        assert!(step < 200, "never enough room");
    }
    println!("publish: {failed} amounts of room were too little");
    assert!(failed > 20, "only {failed}");
    disk.stx(&["verify"]).ok();
}

#[test]
fn repair_works_on_a_full_disk() {
    let disk = Disk::new();
    let before = mirror(disk.dir.path(), &[2, 3]);
    let goal = Tree::read(&before);
    let staging = before.join(".stx/staging/master/centos/20200220T060000Z");
    fs_err::create_dir_all(&staging).expect("a directory");
    fs_err::write(staging.join("half"), "half".repeat(2000)).expect("a file");
    let alias = before.join("master/centos/latest_build");
    fs_err::remove_file(&alias).expect("removed");
    fs_err::os::unix::fs::symlink("20200202T060000Z", alias).expect("a stale alias");
    disk.restore(&before);
    disk.fill(0);
    disk.stx(&["verify", "--repair"]).ok();
    assert_eq!(
        Tree::read(&disk.mirror()).differences(&goal),
        Vec::<String>::new()
    );
    disk.stx(&["verify"]).ok();
}

#[test]
fn prune_frees_space_on_a_full_disk() {
    let disk = Disk::new();
    let before = mirror(disk.dir.path(), &[1, 3, 4]);
    disk.restore(&before);
    let tree = Tree::read(&before);
    // A first run only retires; it needs no room, although nothing was retired here before.
    disk.fill(0);
    let full = disk.free();
    let said = disk.stx(&["prune", "--now", "2020-02-10T12:00:00Z"]).ok();
    assert!(
        said.contains("retired master/centos/20200201T060000Z"),
        "{said}"
    );
    disk.assert_right(&[&tree]);
    let later = disk.stx(&["prune", "--now", "2020-02-14T12:00:00Z"]).ok();
    assert!(
        later.contains("purged  master/centos/20200201T060000Z"),
        "{later}"
    );
    disk.assert_right(&[&tree]);
    let free = disk.free();
    println!("prune: {full} bytes were free, {free} are");
    assert!(free > full + 50_000, "{full} bytes were free, {free} are");
    disk.stx(&["verify"]).ok();
}

#[test]
fn prune_on_a_full_disk_reports_what_it_did_and_can_always_free_something() {
    let disk = Disk::new();
    let dir = disk.dir.path();
    let before = mirror(dir, &[1, 2, 3, 4]);
    disk.restore(&before);
    let tree = Tree::read(&before);
    let policy = "[kind.master]\ntiers = [{ section = \"outputs/logs\", after = \"5 days\" }]\n";
    fs_err::write(dir.join("policy.toml"), policy).expect("a policy");
    let config = dir.join("config.toml");
    fs_err::write(
        &config,
        "policy = \"policy.toml\"\n[site]\nenabled = false\n",
    )
    .expect("a file");
    let mirror = disk.mirror();
    let prune = |more: &[&str]| {
        let args = [
            "--mirror",
            mirror.as_str(),
            "prune",
            "--now",
            "2020-02-10T12:00:00Z",
        ];
        run(stx_without_pages(args)
            .args(more)
            .env("STX_BUILDS_CONFIG", &config))
    };
    disk.exhaust();
    let full = disk.free();
    // Retiring needs no room. Thinning does, and fails.
    let failed = prune(&[]).code(4);
    for said in [
        "retired master/centos/20200201T060000Z",
        "left    master/centos/20200202T060000Z/outputs/logs: ",
        "No space left on device",
        "1 build retired",
    ] {
        assert!(failed.stdout.contains(said), "{said}: {}", failed.stdout);
    }
    assert!(failed.stderr.contains("--empty-trash"), "{}", failed.stderr);
    disk.assert_right(&[&tree]);
    // Nothing in the trash is due; emptying it makes room nevertheless.
    let emptied = prune(&["--empty-trash"]).ok();
    for said in [
        "purged  master/centos/20200201T060000Z",
        "thinned master/centos/20200202T060000Z/outputs/logs",
    ] {
        assert!(emptied.contains(said), "{said}: {emptied}");
    }
    assert!(disk.free() > full + 50_000);
    // Only checks that no visible data is lost: `assert_right` does not support thinned builds.
    disk.stx(&["verify"]).ok();
}

#[test]
fn a_build_that_a_full_disk_stops_is_published_later_without_running_again() {
    let disk = Disk::new();
    let small = Small::new();
    let ran = small.at("ran");
    small.commit(
        "image.sh",
        &format!("echo ran >> {ran}\nmkdir image && cp wheels/message.whl image/bootimage.iso\n"),
    );
    let (mirror, state) = (disk.mirror(), small.at("state"));
    let config = small.at("config.toml");
    let text = format!(
        "mirror = {mirror:?}\nstate = {state:?}\nrecipe = \"recipe.toml\"\n[site]\nenabled = false\n"
    );
    fs_err::write(&config, text).expect("a file");
    let stx = |args: &[&str]| {
        let mut command = stx_without_pages(args);
        run(command.env("STX_BUILDS_CONFIG", &config))
    };
    let build = |day: u32| stx(&["build", "--date", &format!("202001{day:02}T000000Z")]);
    let dates = || {
        builds(&mirror, "master/centos")
            .join(" ")
            .replace("T000000Z", "")
    };
    let images = || {
        fs_err::read_to_string(&ran)
            .expect("a file")
            .lines()
            .count()
    };
    let unpublished = |ran: Ran| {
        let said = ran.code(4).stderr;
        for words in [
            "No space left on device",
            "run `stx-builds resume master/centos`",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("same command"), "{said}");
    };
    build(1).code(0);
    small.commit("message", "two\n");
    disk.fill(0);
    unpublished(build(2));
    // No data is lost while the disk is full.
    unpublished(build(3));
    unpublished(stx(&["resume", "master/centos"]));
    assert_eq!(images(), 2);
    let journal =
        ["build.json", "finished.jsonl"].map(|name| state.join("master/centos").join(name));
    let texts = journal
        .each_ref()
        .map(|file| fs_err::read(file).expect("a journal"));
    disk.empty();

    // The leftovers of a publisher that was killed while it staged.
    let staging = mirror.join(".stx/staging/master/centos");
    fs_err::create_dir_all(staging.join("20200102T000000Z/outputs")).expect("a directory");
    let said = build(3).code(0).stderr;
    assert!(
        said.contains("resuming master/centos/20200102T000000Z with its publication"),
        "{said}"
    );
    assert_eq!(
        (dates(), images()),
        ("20200101 20200102".to_owned(), 2),
        "{said}"
    );

    assert_eq!(names(&staging), Vec::<String>::new());

    // The state after a kill before it removed its journal.
    for (file, text) in journal.iter().zip(&texts) {
        fs_err::write(file, text).expect("a journal");
    }
    let said = build(3).code(0).stderr;
    assert!(said.contains("20200102T000000Z was published"), "{said}");
    assert!(
        !said.contains("interrupted") && !said.contains("abandoned"),
        "{said}"
    );

    // After the publication, another commit is built, and a build with the same date is the same build.
    small.commit("message", "three\n");
    disk.fill(0);
    unpublished(build(3));
    disk.empty();
    small.commit("message", "four\n");
    build(4).code(0);
    assert_eq!(
        (dates(), images()),
        ("20200101 20200102 20200103 20200104".to_owned(), 4)
    );
    small.commit("message", "five\n");
    disk.fill(0);
    unpublished(build(5));
    disk.empty();
    build(5).code(0);
    assert_eq!(images(), 5);
    assert!(dates().ends_with("20200104 20200105"));
}
