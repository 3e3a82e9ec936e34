//! The time of publishing, verifying and removing, compared with the common tools: `rsync`, `sha256sum`, `createrepo_c`,
//! `apt-ftparchive` and `rm`.
//!
//! Both sides do the same work on the same data in turn, in one run: 2,000 files, 2 GiB in total, of which a few are large,
//! incompressible, the same each time. The figures are medians. The processor time of all processes is printed beside the elapsed
//! time, for machines with other load. All data is in the page cache, like that of a build that has just ended. A missed target is
//! reported, and is not an error.
//!
//! The Debian packages are 420 of those that this machine has installed, from its own apt sources; `STX_DEBS` names a directory of
//! others.
//!
//! `STX_BENCH_RUNS` sets the number of runs of each case, `STX_BENCH_DIR` the directory, `STX_BENCH_MIB` the amount of data; 2 GiB
//! need 12 GiB there.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark prints its table, and what it waits for"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

mod data;
mod debs;
mod peers;
#[path = "../common/release.rs"]
mod release;
#[path = "../common/settings.rs"]
mod settings;
mod table;

use data::Tree;
use peers::{Bench, CHANNEL};
use settings::Settings;

/// Files of a build.
const FILES: usize = 2_000;

fn main() {
    let Some(Settings { runs, bytes, dir }) = Settings::of("publish", 5) else {
        return;
    };
    let bench = Bench::new(&dir);
    table::begin(&format!("{FILES} files, {bytes} bytes, {runs} runs"));
    let tree = Tree::make(&bench.dir.join("tree"), FILES, bytes);
    first(&bench, &tree, runs);
    daily(&bench, tree, runs);
    disk(&bench, bytes / 4);
    metadata(&bench, runs);
    debs::first(&bench, runs);
    fs_err::remove_dir_all(&bench.dir).expect("removed");
}

/// The first publish into an empty mirror.
fn first(bench: &Bench, tree: &Tree, runs: u64) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        bench.clear();
        ours.push(bench.publish(tree, 1));
        theirs.push(bench.time(&format!(
            "rsync -a {tree}/ theirs/1/ && {} && sync -f theirs",
            peers::sums("theirs/1"),
            tree = tree.dir
        )));
    }
    let peer = "rsync -a, sha256sum, sync -f";
    table::row(
        "first publish, sums included, durable",
        peer,
        &ours,
        &theirs,
        0.6,
    );
}

/// Repeated daily builds with 2 % changed files; then the builds are verified and removed.
fn daily(bench: &Bench, mut tree: Tree, runs: u64) {
    let mut day = 1;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        tree.change(FILES / 50);
        tree.rewrite();
        bench.settle();
        day += 1;
        ours.push(bench.publish(&tree, day));
        theirs.push(bench.time(&format!(
            "rsync -a --link-dest=../{before} {tree}/ theirs/{day}/ && {}",
            peers::sums(&format!("theirs/{day}")),
            before = day - 1,
            tree = tree.dir
        )));
    }
    let peer = "rsync -a --link-dest, sha256sum";
    table::row(
        "next build, 2 % changed, all inodes new",
        peer,
        &ours,
        &theirs,
        0.2,
    );

    let (mut ours, mut theirs, mut durable) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        tree.change(FILES / 50);
        bench.settle();
        day += 1;
        ours.push(bench.publish(&tree, day));
        let rsync = format!(
            "rsync -a --link-dest=../{before} {tree}/ theirs/{day}/",
            before = day - 1,
            tree = tree.dir
        );
        theirs.push(bench.time(&rsync));
        bench.time("rm -rf theirs/again");
        durable.push(bench.time(&format!(
            "{} && sync -f theirs",
            rsync.replace(&format!("theirs/{day}/"), "theirs/again/")
        )));
        bench.time("rm -rf theirs/again");
        bench.time(&peers::sums(&format!("theirs/{day}")));
    }
    let case = "next build, 2 % changed, the rest untouched";
    table::row(
        case,
        "rsync -a --link-dest, not durable",
        &ours,
        &theirs,
        1.0,
    );
    table::row(case, "rsync -a --link-dest, sync -f", &ours, &durable, 1.0);

    let (mut ours, mut all, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(bench.stx(&format!("verify {CHANNEL}/{}", peers::date(day))));
        all.push(bench.stx("verify"));
        theirs.push(bench.time(&format!(
            "cd theirs/{day} && sha256sum --quiet -c SHA256SUMS"
        )));
    }
    let case = "verify, one build";
    table::row(case, "sha256sum -c", &ours, &theirs, 0.15);
    let mut each = Vec::new();
    for _ in 0..runs.min(2) {
        each.push(bench.time(&format!(
            "for day in $(seq {day}); do (cd theirs/$day && sha256sum --quiet -c SHA256SUMS) || exit; done"
        )));
    }
    let case = format!("verify, a mirror of {day} builds");
    table::row(&case, "sha256sum -c in each", &all, &each, 0.15);

    // As every day: the oldest build is retired, and the one that was retired three days ago is purged.
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for oldest in 1..=day - 2 {
        let now = peers::time(oldest + 14, 1);
        bench.stx(&format!("prune --plan-out plan.json --now {now}"));
        bench.settle();
        let took = bench.stx(&format!("prune --plan plan.json --now {now}"));
        assert!(!bench.is_visible(oldest), "day {oldest} is out of sight");
        if let Some(gone @ 1..) = oldest.checked_sub(3) {
            assert!(!bench.has(gone), "day {gone} is gone");
            ours.push(took);
            theirs.push(bench.time(&format!("rm -rf theirs/{gone}")));
        }
    }
    table::row(
        "retire a build and purge another",
        "rm -rf",
        &ours,
        &theirs,
        1.2,
    );
}

/// Fourteen daily builds with 5 % changed files each.
fn disk(bench: &Bench, bytes: u64) {
    bench.clear();
    let mut tree = Tree::make(&bench.dir.join("tree"), FILES, bytes);
    for day in 1..=14 {
        bench.publish(&tree, day);
        bench.time(&format!(
            "rsync -a --link-dest=../{before} {tree}/ theirs/{day}/ && {}",
            peers::sums(&format!("theirs/{day}")),
            before = day - 1,
            tree = tree.dir
        ));
        tree.change(FILES / 20);
    }
    let case = "disk, 14 daily builds, 5 % changed each";
    // Only the data that the peer also makes: the files and their sums.
    let ours = bench.disk(
        "mirror",
        &[
            "provenance.json",
            "build.json",
            "index.*",
            "feed.xml",
            ".stx",
        ],
    );
    let theirs = bench.disk("theirs", &[]);
    table::bytes(case, ours, theirs, Some(1.0));
    let case = format!("{case}; with records, provenance, pages and caches");
    table::bytes(&case, bench.disk("mirror", &[]), theirs, None);
}

/// The metadata of 2,000 packages, 2 % of them new.
fn metadata(bench: &Bench, runs: u64) {
    bench.clear();
    let mut packages = data::Packages::make(&bench.dir.join("packages"), FILES);
    let ours_dir = bench.dir.join("ours");
    peers::index(&packages.known(), &packages.dir, &ours_dir);
    bench.time("cd packages && createrepo_c --quiet --no-database .");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        packages.renew(FILES / 50);
        bench.settle();
        let known = packages.known_after(&ours_dir);
        let theirs_dir = packages.dir.join("repodata");
        let aside = bench.dir.join("theirs-repodata");
        fs_err::rename(&theirs_dir, &aside).expect("moved");
        ours.push(peers::index(&known, &packages.dir, &ours_dir));
        fs_err::rename(&aside, &theirs_dir).expect("moved");
        theirs.push(bench.time("cd packages && createrepo_c --quiet --no-database --update ."));
    }
    let peer = "createrepo_c --update --no-database";
    table::row(
        "metadata of 2,000 packages, 2 % new",
        peer,
        &ours,
        &theirs,
        1.0,
    );
}
