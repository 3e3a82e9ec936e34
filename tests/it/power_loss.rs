//! Power failures at any time: tests with the real program that data is durable before it is visible.
//!
//! `strace` records each call of the program that changes the mirror or makes a change durable. The record is replayed on a file
//! system in memory ([`disk`]) that knows which data is durable. There, the power fails after every single call, in every way that
//! [`disk::Disk::after_power_loss`] lists. The remaining state must keep the promises of [`view`], and from it the real program must
//! reach the same state as without the failure.
//!
//! A file system in user space that loses data on demand would be an alternative, but does not work for this program: the kernel
//! passes `syncfs` only to virtiofs and fuseblk, so that the one call on which publishing relies would be invisible there. A record
//! can also be edited: [`every_sync_is_necessary`] removes the syncs from it one by one, and each time a promise breaks. This proves
//! that the checks are effective and that the program makes no unnecessary sync.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{Ran, assert_whole, run, stx_without_pages};

mod disk;
mod image;
mod reader;
mod trace;
mod view;

use disk::Disk;
use image::Image;
use trace::{Call, Event, record};
use view::{Expected, View, fingerprint};

const CHANNEL: &str = "master/centos";

/// No call is left out.
const ALL: Range<usize> = 0..0;

/// One run of the program on a mirror.
struct Scenario {
    /// Its name, for messages.
    name: &'static str,
    /// The arguments of the run.
    args: &'static [&'static str],
    /// The state of the disk before it.
    before: Image,
    /// The calls of the run.
    events: Vec<Event>,
    /// The promises that hold before and after it.
    expected: Expected,
}

/// A directory for a mirror, a tree to publish and a record; its parents are durable.
struct Place {
    dir: Utf8TempDir,
}

impl Place {
    fn new(image: &Image) -> Self {
        // In a file system without a disk, if one exists: the behaviour of the real disk is not tested here, and it is slow.
        let memory = Utf8Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            Utf8TempDir::new_in(memory)
        } else {
            Utf8TempDir::new()
        };
        let dir = dir.expect("a temporary directory");
        fs_err::create_dir(dir.path().join("disk")).expect("made");
        let place = Self { dir };
        image.write(&place.disk());
        place
    }

    fn disk(&self) -> Utf8PathBuf {
        self.dir.path().join("disk")
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command =
            stx_without_pages(["--mirror", self.disk().join("mirror").as_str(), "--quiet"]);
        command.args(args).current_dir(trees());
        command
    }

    fn image(&self) -> Image {
        Image::read(&self.disk())
    }
}

/// The trees to publish, made once.
fn trees() -> &'static Utf8Path {
    static TREES: OnceLock<Utf8TempDir> = OnceLock::new();
    let made = || {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        for (path, text) in [
            ("one/outputs/iso/bootimage.iso", "an image"),
            ("one/outputs/CONTEXT", "the same in both"),
            ("two/outputs/iso/bootimage.iso", "another image"),
            ("two/outputs/CONTEXT", "the same in both"),
            ("fail/outputs/logs/log", "it failed"),
        ] {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs_err::write(path, text).expect("a file");
        }
        fs_err::os::unix::fs::symlink("bootimage.iso", dir.path().join("two/outputs/iso/latest"))
            .expect("a link");
        dir
    };
    TREES.get_or_init(made).path()
}

/// At this time, the failure is over a week old, and no success is over two.
const RETIRE: &[&str] = &["prune", "--now", "2020-01-10T12:00:00Z"];

/// The failure is restored, and its pin ends when the next `prune` retires it.
const UNDELETE: &[&str] = &[
    "undelete",
    "master/centos/20200103T000000Z",
    "--now",
    "2020-01-07T12:00:00Z",
];

/// The arguments that publish a tree.
macro_rules! publish {
    ($tree:literal, $date:literal, $result:literal $(, $more:literal)*) => {
        ["publish", $tree, "--channel", CHANNEL, "--date", $date, "--result", $result $(, $more)*]
    };
}
/// Every kind of run that changes a mirror, one after the other on the same mirror.
fn scenarios() -> &'static [Scenario] {
    static SCENARIOS: OnceLock<Vec<Scenario>> = OnceLock::new();
    SCENARIOS.get_or_init(run_scenarios)
}

fn run_scenarios() -> Vec<Scenario> {
    let place = Place::new(&Image::empty());
    let mut scenarios = Vec::new();
    let mut go = |name: &'static str, place: &Place, args: &'static [&'static str]| {
        let before = place.image();
        let (ran, events) = record(&place.stx(args), &place.disk());
        ran.ok();
        let events = Disk::new(before.clone()).in_order(events);
        let mirror = place.disk().join("mirror");
        assert_whole(&mirror, CHANNEL);
        scenarios.push(Scenario {
            name,
            args,
            expected: Expected {
                before: View::of(&before),
                after: View::of(&place.image()),
            },
            before,
            events,
        });
    };
    go(
        "the first publish",
        &place,
        &publish!("one", "20200101T000000Z", "success"),
    );
    go(
        "the next publish",
        &place,
        &publish!("two", "20200102T000000Z", "success"),
    );
    go(
        "a failure is published",
        &place,
        &publish!("fail", "20200103T000000Z", "fail"),
    );
    go(
        "the alias goes back",
        &place,
        &publish!("one", "20200101T000000Z", "success", "--force-alias"),
    );
    // The leftovers of crashes between a build and its alias, and in the middle of staging.
    let held = place.disk().join("mirror/.stx/held").join(CHANNEL);
    fs_err::remove_file(held.join("latest_build")).expect("held");
    let alias = place
        .disk()
        .join("mirror")
        .join(CHANNEL)
        .join("latest_build");
    let staging = place.disk().join("mirror/.stx/staging").join(CHANNEL);
    fs_err::create_dir_all(staging.join("20200104T000000Z/outputs")).expect("made");
    fs_err::write(staging.join("20200104T000000Z/outputs/CONTEXT"), "half").expect("written");
    assert_eq!(
        alias.read_link_utf8().expect("an alias"),
        "20200101T000000Z"
    );
    go("a repair", &place, &["verify", "--repair"]);
    run(&mut place.stx(&publish!("one", "20200105T000000Z", "success"))).ok();
    // A mirror that was copied without its private area.
    fs_err::remove_dir_all(place.disk().join("mirror/.stx")).expect("removed");
    go("a build is retired", &place, RETIRE);
    let emptied = Place::new(&place.image());
    fs_err::remove_dir_all(emptied.disk().join("mirror/master")).expect("removed");
    go("a build is brought back alone", &emptied, UNDELETE);
    go("a build is brought back", &place, UNDELETE);
    run(&mut place.stx(RETIRE)).ok();
    go(
        "a build is purged",
        &place,
        &["prune", "--now", "2020-01-14T00:00:00Z"],
    );
    scenarios
}

impl Scenario {
    /// Replays the record and lets the power fail after every call; `skip` leaves one call out, and calls before it are not tested
    /// again. Returns the first broken promise, with its place.
    fn play(
        &self,
        disk: &mut Disk,
        events: &[Event],
        without: &Range<usize>,
        promises: bool,
        mut seen: impl FnMut(&Image),
    ) -> Option<String> {
        let mut known = std::collections::BTreeSet::new();
        let mut ended = false;
        for (index, event) in events.iter().enumerate() {
            let left_out = events.get(without.start).map(|event| &event.call);
            if !(without.contains(&index) && Some(&event.call) == left_out) {
                disk.call(event);
            }
            ended |= promises && event.call == Call::Exit;
            if index < without.start {
                continue;
            }
            for image in disk.after_power_loss() {
                if !known.insert((fingerprint(&image), ended)) {
                    continue;
                }
                if let Some(broken) = self.expected.broken(&image, ended) {
                    return Some(format!("{}: after {:?}: {broken}", self.name, event.call));
                }
                seen(&image);
            }
        }
        None
    }

    /// The calls that made new data durable, each with the calls up to the next change.
    fn syncs(&self) -> Vec<Range<usize>> {
        let mut disk = Disk::new(self.before.clone());
        let mut syncs = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            if disk.call(event) {
                let rest = self.events[index..].iter();
                let rest = rest.take_while(|event| event.call.is_sync());
                syncs.push(index..index + rest.count());
            }
        }
        syncs
    }

    /// Fails the test unless a rerun succeeded, or found that a build had already been restored.
    #[track_caller]
    fn is_done(&self, ran: &Ran) {
        let back = self.args[0] == "undelete" && ran.code == Some(5);
        assert!(back || ran.code == Some(0), "{ran:#?}");
    }

    /// Runs the real program on the state after a power loss; it must reach the state that it would have reached without the failure.
    fn converge(&self, image: &Image) {
        let place = Place::new(image);
        self.is_done(&run(&mut place.stx(self.args)));
        let after = View::of(&place.image());
        assert_eq!(after, self.expected.after, "{}", self.name);
        run(&mut place.stx(&["verify", "--repair"])).ok();
    }
}

#[test]
fn a_power_loss_leaves_nothing_incomplete_visible_and_a_rerun_completes() {
    let mut left = Vec::new();
    for scenario in scenarios() {
        let mut distinct = BTreeMap::new();
        let mut disk = Disk::new(scenario.before.clone());
        let broken = scenario.play(&mut disk, &scenario.events, &ALL, true, |image| {
            distinct
                .entry(fingerprint(image))
                .or_insert_with(|| image.clone());
        });
        assert_eq!(broken, None);
        left.extend(distinct.into_values().map(|image| (scenario, image)));
    }
    assert!(left.len() > 300, "only {} images", left.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            threads.spawn(|| {
                while let Some((scenario, image)) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
                    scenario.converge(image);
                }
            });
        }
    });
}

#[test]
fn every_sync_is_necessary() {
    let mut vain = Vec::new();
    let mut needed = 0;
    for scenario in scenarios() {
        for sync in scenario.syncs() {
            let mut disk = Disk::new(scenario.before.clone());
            let broken = scenario.play(&mut disk, &scenario.events, &sync, true, |_| ());
            let call = &scenario.events[sync.start].call;
            match broken {
                None => vain.push(format!("{}: {call:?}", scenario.name)),
                Some(broken) => {
                    needed += 1;
                    println!("without {call:?}: {broken}");
                }
            }
        }
    }
    assert!(vain.is_empty(), "made in vain: {vain:#?}");
    assert!(needed > 15, "only {needed} syncs");
}

#[test]
fn a_program_that_was_killed_before_it_synced_leaves_nothing_to_a_later_power_loss() {
    for scenario in scenarios() {
        for sync in scenario.syncs() {
            let mut disk = Disk::new(scenario.before.clone());
            for event in &scenario.events[..sync.start] {
                disk.call(event);
            }
            let place = Place::new(disk.now());
            let (ran, events) = record(&place.stx(scenario.args), &place.disk());
            scenario.is_done(&ran);
            disk.begin_program();
            let events = disk.clone().in_order(events);
            // A user whose rerun reports success may delete the tree.
            let promises = scenario.args[0] == "publish";
            let broken = scenario.play(&mut disk, &events, &ALL, promises, |_| ());
            let call = &scenario.events[sync.start].call;
            assert_eq!(broken, None, "killed before {call:?}");
        }
    }
}
