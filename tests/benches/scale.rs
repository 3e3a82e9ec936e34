//! The growth of commands with the mirror: 1,000 builds in 10 channels, 10,000 builds in 100.
//!
//! Each build has four files and their sums; most files are hard links. Each command includes the start of the program. A command
//! that reads all builds may take ten times as long for ten times as many builds; one that reads one build, or one channel, may not
//! take longer. A missed target is reported, and is not an error.
//!
//! `STX_BENCH_RUNS` sets the number of runs of each command, `STX_BENCH_DIR` the directory.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

use std::process::{Command, Stdio};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use stx_service::ledger::SqliteLedger;

#[path = "common/builds.rs"]
mod builds;
#[path = "common/release.rs"]
mod release;
#[path = "common/settings.rs"]
#[expect(dead_code, reason = "other benchmarks choose how much data there is")]
mod settings;

use settings::{Settings, median};

/// Builds of each channel.
const EACH: u32 = 100;
/// Channels of the small and of the large mirror.
const CHANNELS: [u32; 2] = [10, 100];
/// More than two weeks after the newest build, so that the plan has an entry for each build.
const NOW: &str = "2010-06-01T00:00:00Z";

/// The case of a publish that adds bytes, for which the files of all channels have to be known.
const NEW: &str = "publish one build of new bytes, with its pages";

/// A command to measure.
struct Case {
    name: &'static str,
    /// Its arguments.
    args: String,
    /// True if the tree to publish has other bytes in each run.
    is_new: bool,
    /// The maximal factor by which its time and memory may grow from the small mirror to the large one.
    most: f64,
}

/// The cost of a command.
#[derive(Clone, Copy)]
struct Took {
    seconds: f64,
    /// The maximal memory, in MiB.
    memory: f64,
}

fn main() {
    let Some(Settings { runs, dir, .. }) = Settings::of("scale", 5) else {
        return;
    };
    if dir.exists() {
        fs_err::remove_dir_all(&dir).expect("removed");
    }
    let stx = release::release();
    let mirrors = CHANNELS.map(|channels| make(&stx, &dir.join(channels.to_string()), channels));
    let build = format!("{}/20100101T000000Z", channel(0));
    let publish = |hour| {
        let channel = channel(0);
        format!("publish ../tree --channel {channel} --date 201005DAYT{hour}0000Z --result success")
    };
    let cases = [
        ("list", "list --format json".to_owned(), 10.0),
        (
            "plan of retention",
            "prune --dry-run --format json".to_owned(),
            10.0,
        ),
        ("pages, nothing changed", "pages".to_owned(), 10.0),
        (
            "list one channel",
            format!("list {} --format json", channel(0)),
            1.5,
        ),
        ("verify one build", format!("verify {build}"), 1.5),
        ("publish one build, with its pages", publish("00"), 1.5),
        (NEW, publish("12"), 1.5),
        ("status", "status --format json".to_owned(), 1.5),
    ];
    let cases = cases.map(|(name, args, most)| Case {
        name,
        args,
        is_new: name == NEW,
        most,
    });
    let [small, large] = CHANNELS.map(|channels| channels * EACH);
    println!(
        "| command | {small} builds | {large} builds | growth | target | |\n|---|---|---|---|---|---|"
    );
    for case in &cases {
        let [small, large] = [0, 1].map(|index| {
            let all = (1..=runs).map(|day| {
                let args = case.args.replace("DAY", &format!("{day:02}"));
                if case.is_new {
                    let image = mirrors[index].join("../tree/outputs/iso/bootimage.iso");
                    fs_err::write(image, format!("image {day}")).expect("a file");
                }
                run(&stx, &mirrors[index], &args)
            });
            let all: Vec<_> = all.collect();
            Took {
                seconds: median(all.iter().map(|took| took.seconds).collect()),
                memory: median(all.iter().map(|took| took.memory).collect()),
            }
        });
        let growth = large.seconds / small.seconds;
        println!(
            "| {} | {:.3} s, {:.0} MiB | {:.3} s, {:.0} MiB | {growth:.2} | {} | {} |",
            case.name,
            small.seconds,
            small.memory,
            large.seconds,
            large.memory,
            case.most,
            if growth <= case.most { "met" } else { "missed" }
        );
    }
    fs_err::remove_dir_all(&dir).expect("removed");
}

fn channel(number: u32) -> String {
    format!("master/os{number}")
}

/// Makes a mirror of so many channels below `dir`, with its pages.
fn make(stx: &Utf8Path, dir: &Utf8Path, channels: u32) -> Utf8PathBuf {
    let tree = dir.join("tree/outputs");
    fs_err::create_dir_all(tree.join("iso")).expect("a directory");
    fs_err::write(tree.join("iso/bootimage.iso"), "an image").expect("a file");
    let work = dir.join("work");
    fs_err::create_dir_all(&work).expect("a directory");
    fs_err::write(
        work.join("stx-builds.toml"),
        "mirror = \"../mirror\"\nstate = \"../state\"\n[service]\n",
    )
    .expect("a file");
    let publish = format!(
        "publish ../tree --channel {} --date 20100101T000000Z --result success",
        channel(0)
    );
    run(stx, &work, &publish);
    let mirror = dir.join("mirror");
    let first = mirror.join(channel(0)).join("20100101T000000Z");
    for number in 0..channels {
        let to = mirror.join(channel(number));
        for build in u32::from(number == 0)..EACH {
            let (month, day) = (build / 28 + 1, build % 28 + 1);
            let date = format!("2010{month:02}{day:02}T000000Z");
            builds::copy_build(&first, &to.join(date), &mirror);
        }
    }
    for number in 0..channels {
        let alias = mirror.join(channel(number)).join("latest_build");
        fs_err::remove_file(&alias).ok();
        let newest = format!(
            "2010{:02}{:02}T000000Z",
            (EACH - 1) / 28 + 1,
            (EACH - 1) % 28 + 1
        );
        fs_err::os::unix::fs::symlink(newest, alias).expect("an alias");
    }
    run(stx, &work, "pages");
    let service = dir.join("state/.service");
    fs_err::create_dir_all(&service).expect("a directory");
    SqliteLedger::open(&service.join("ledger.sqlite")).expect("a ledger");
    work
}

/// Runs `stx-builds` under GNU time.
fn run(stx: &Utf8Path, work: &Utf8Path, args: &str) -> Took {
    let start = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["--quiet", "-f", "%M", stx.as_str(), "--quiet", "--now", NOW])
        .args(args.split(' '))
        .current_dir(work)
        .stdout(Stdio::null())
        .output()
        .expect("GNU time; `scripts/setup.sh bench` installs it");
    // GNU time rounds to hundredths of a second, which is too coarse for some commands.
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args}: {said}");
    let kib = said.lines().last().expect("the memory");
    let kib: f64 = kib.parse().expect("a number");
    Took {
        seconds,
        memory: kib / 1024.0,
    }
}
