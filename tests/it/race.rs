//! Publishers, a pruner, readers and `verify` at the same time, and their locks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use sha2::{Digest as _, Sha256};

use crate::harness::{Ran, assert_whole, builds, in_memory, package, publish_args, run, stx};

mod locks;

const CHANNELS: [&str; 2] = ["master/centos", "feature/race/centos"];

/// Builds are retired as soon as possible, even while readers use them.
const POLICY: &str = r#"
[limits]
percent = 100
[kind.master]
keep = "1 day"
newest = 1
failed = "1 day"
[kind.feature]
keep = "1 day"
newest = 1
failed = "1 day"
"#;

/// A mirror and a finished tree for each publisher.
struct Site {
    dir: Utf8TempDir,
}

impl Site {
    fn new(trees: usize) -> Self {
        let site = Self { dir: in_memory() };
        fs_err::write(site.dir.path().join("policy.toml"), POLICY).expect("a file");
        fs_err::write(site.config(), "policy = \"policy.toml\"\n").expect("a file");
        for tree in 0..trees {
            let std = site.tree(tree).join("outputs/RPMS/std");
            fs_err::create_dir_all(&std).expect("a directory");
            fs_err::copy(package(), std.join("message-1-1.noarch.rpm")).expect("a package");
            fs_err::write(site.tree(tree).join("outputs/CONTEXT"), "always the same")
                .expect("a file");
        }
        site
    }

    fn mirror(&self) -> Utf8PathBuf {
        self.dir.path().join("mirror")
    }

    fn config(&self) -> Utf8PathBuf {
        self.dir.path().join("stx-builds.toml")
    }

    fn tree(&self, tree: usize) -> Utf8PathBuf {
        self.dir.path().join(format!("tree-{tree}"))
    }

    fn stx(&self, args: &[&str]) -> Command {
        let (mirror, config) = (self.mirror(), self.config());
        let mut command = stx(["--mirror", mirror.as_str(), "--config", config.as_str()]);
        command.args(args);
        command
    }

    fn publish(&self, tree: usize, channel: &str, date: &str) -> Command {
        let tree = self.tree(tree);
        self.stx(&publish_args(tree.as_str(), channel, date, "success"))
    }
}

/// Build dates one day apart, beginning in 2010, so that retention has builds to retire.
fn date(day: u64) -> String {
    let (year, day) = (2010 + day / 336, day % 336);
    format!("{year}{:02}{:02}T060000Z", 1 + day / 28, 1 + day % 28)
}

/// A time, an hour after the build of a day.
fn after(day: u64) -> String {
    date(day).replace("T06", "T07")
}

/// The number of events of each kind, and the observed mistakes.
#[derive(Default)]
struct Counts {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Counts {
    fn one(&self, what: &'static str) {
        *self.counts.lock().expect("a lock").entry(what).or_default() += 1;
    }

    fn get(&self, what: &str) -> u64 {
        let counts = self.counts.lock().expect("a lock");
        counts.get(what).copied().unwrap_or_default()
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("a lock").push(what);
    }

    fn unexpected(&self, ran: &Ran) {
        let Ran {
            command,
            code,
            stdout,
            stderr,
        } = ran;
        self.wrong(format!("{command}: {code:?}: {stdout}{stderr}"));
    }
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("a small number")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The state of a build as a reader found it.
enum Read {
    Right,
    /// The build was retired in between.
    Gone,
    Wrong(String),
}

/// Reads the sums of a build and one of its files, as a web server would for a client.
fn read(build: &Utf8Path, random: &mut Random, pause: Duration) -> Read {
    let read = |path: &Utf8Path| std::fs::read(path).map_err(|error| (path.to_owned(), error));
    let found = (|| {
        let sums = read(&build.join("SHA256SUMS"))?;
        let sums = String::from_utf8(sums).expect("UTF-8");
        let lines: Vec<_> = sums.lines().collect();
        let line = lines.get(random.below(lines.len().max(1))).copied();
        let (digest, path) = line
            .and_then(|line| line.split_once("  "))
            .unwrap_or(("", "-"));
        std::thread::sleep(pause);
        let file = build.join(path);
        let bytes = read(&file)?;
        Ok((digest.to_owned(), bytes, file))
    })();
    match found {
        Ok((digest, bytes, file)) => {
            let hex = hex(&Sha256::digest(&bytes));
            if hex == digest {
                Read::Right
            } else {
                Read::Wrong(format!("{file}: {hex}, not {digest}"))
            }
        }
        Err((_, error)) if error.kind() == std::io::ErrorKind::NotFound && !build.exists() => {
            Read::Gone
        }
        Err((path, error)) => Read::Wrong(format!("{path}: {error}")),
    }
}

/// Reads the target of an alias; if it was retired meanwhile, the alias must have been moved.
fn read_alias(channel: &Utf8Path, random: &mut Random, counts: &Counts) {
    let alias = channel.join("latest_build");
    let resolve = || alias.read_link_utf8();
    let mut seen = match resolve() {
        Ok(seen) => seen,
        Err(error) => return counts.wrong(format!("{alias}: {error}")),
    };
    // Some clients are slow.
    let slowest = if random.below(8) == 0 { 500_000 } else { 2_000 };
    let mut pause = Duration::from_micros(random.below(slowest) as u64);
    loop {
        match read(&channel.join(&seen), random, pause) {
            Read::Right => return counts.one("reads through an alias"),
            Read::Wrong(what) => return counts.wrong(what),
            Read::Gone => {
                counts.one("retired between resolve and read");
                let again = resolve();
                match again {
                    Ok(now) if now != seen => seen = now,
                    other => {
                        return counts.wrong(format!("{alias} -> {seen} is gone, then {other:?}"));
                    }
                }
                pause = Duration::ZERO;
            }
        }
    }
}

/// Reads any of the builds that a listing shows.
fn read_listed(channel: &Utf8Path, random: &mut Random, counts: &Counts) {
    let name = channel.as_str();
    let (parent, last) = name.rsplit_once('/').expect("a channel of a mirror");
    let listed = builds(Utf8Path::new(parent), last);
    let Some(build) = listed.get(random.below(listed.len().max(1))) else {
        return counts.wrong(format!("{channel}: no builds"));
    };
    let pause = Duration::from_micros(random.below(2_000) as u64);
    match read(&channel.join(build), random, pause) {
        Read::Right => counts.one("reads of a listed build"),
        Read::Gone => counts.one("retired between listing and read"),
        Read::Wrong(what) => counts.wrong(what),
    }
}

/// Publishes, and retries if another publisher was faster.
fn publish(site: &Site, publisher: usize, day: u64, counts: &Counts, going: &dyn Fn() -> bool) {
    let log = site.tree(publisher).join("outputs/build.log");
    fs_err::write(log, format!("day {day}\n")).expect("a file");
    loop {
        let ran = run(&mut site.publish(publisher, CHANNELS[publisher % 2], &date(day)));
        match ran.code {
            Some(0) => return counts.one("published"),
            Some(6) if going() => counts.one("busy, tried again"),
            Some(6) => return,
            _ => return counts.unexpected(&ran),
        }
    }
}

fn prune(site: &Site, day: u64, counts: &Counts) {
    let now = after(day);
    let args = [
        "--format", "json", "--now", &now, "prune", "--allow", "9999",
    ];
    let ran = run(&mut site.stx(&args));
    // 4: a build was skipped, because its channel was busy.
    if !matches!(ran.code, Some(0 | 4)) {
        return counts.unexpected(&ran);
    }
    let said = ran.json();
    for kind in ["retired", "purged"] {
        for _ in said[kind].as_array().expect("a list") {
            counts.one(kind);
        }
    }
    counts.one("prunes");
}

fn verify(site: &Site, counts: &Counts) {
    let ran = run(&mut site.stx(&["verify"]));
    match ran.code {
        Some(0) => counts.one("verified"),
        _ => counts.unexpected(&ran),
    }
}

#[test]
fn readers_see_complete_builds_during_all_other_work() {
    let seconds = std::env::var("STX_TEST_RACE_SECONDS").map_or(10, |text| {
        text.parse().expect("STX_TEST_RACE_SECONDS is a number")
    });
    let site = Site::new(4);
    let days = AtomicU64::new(0);
    for channel in CHANNELS {
        let day = days.fetch_add(1, Ordering::Relaxed);
        run(&mut site.publish(0, channel, &date(day))).ok();
    }
    let (counts, stop) = (Counts::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (site, days, counts, stop) = (&site, &days, &counts, &stop);
        let going = || !stop.load(Ordering::Relaxed);
        for publisher in 0..4 {
            scope.spawn(move || {
                while going() {
                    let day = days.fetch_add(1, Ordering::Relaxed);
                    publish(site, publisher, day, counts, &going);
                }
            });
        }
        scope.spawn(move || {
            while going() {
                prune(site, days.load(Ordering::Relaxed), counts);
            }
        });
        scope.spawn(move || {
            while going() {
                verify(site, counts);
            }
        });
        for reader in 0..8 {
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 + reader);
                while going() {
                    let channel = site.mirror().join(CHANNELS[random.below(2)]);
                    if random.below(2) == 0 {
                        read_alias(&channel, &mut random, counts);
                    } else {
                        read_listed(&channel, &mut random, counts);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    println!("race of {seconds} s:");
    for (what, count) in counts.counts.lock().expect("a lock").iter() {
        println!("  {count:>7} {what}");
    }
    let wrong = counts.wrong.lock().expect("a lock");
    println!("  {:>7} errors", wrong.len());
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(20)].join("\n")
    );
    for what in [
        "published",
        "busy, tried again",
        "retired",
        "purged",
        "verified",
        "reads through an alias",
        "reads of a listed build",
    ] {
        assert!(counts.get(what) > 0, "{what}: never");
    }
    for channel in CHANNELS {
        assert_whole(&site.mirror(), channel);
    }
    run(&mut site.stx(&["verify"])).ok();
}
