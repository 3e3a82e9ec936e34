//! `compare` of two builds with 2,000 packages each, all of which differ, against a loop of `rpmdiff` over the same
//! packages. Prints the ratio of the times; a target that is missed is said, and no error.
//!
//! `rpmdiff` runs on 200 of the packages, or on as many as `STX_BENCH_RPMDIFF` says, and its time is taken for that of all.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark starts real processes and reads real clocks"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

#[path = "common/release.rs"]
mod release;

use release::release;

const PACKAGES: usize = 2_000;
const FILES: usize = 20;
const TARGET: f64 = 0.05;
const DATES: [&str; 2] = ["20200101T000000Z", "20200102T000000Z"];

/// A package of a build: in each build another file is different, and so are the build host and a requirement.
fn write(dir: &Utf8Path, package: usize, build: usize) {
    let name = format!("package-{package:04}");
    let config = BuildConfig::default()
        .compression(CompressionType::Gzip)
        .source_date(1_577_836_800);
    let mut builder = PackageBuilder::new(&name, "1.0", "MIT", "noarch", "for the benchmark");
    builder
        .using_config(config)
        .release("1")
        .build_host(format!("host-{build}.example.org"))
        .requires(Dependency::greater_eq("base", format!("{build}")));
    for file in 0..FILES {
        let changed = if file == package % FILES { build } else { 0 };
        let text = format!("{package} {file} {changed}\n").repeat(200);
        let options = FileOptions::new(format!("/usr/share/{name}/file-{file:02}"));
        builder
            .with_file_contents(text.into_bytes(), options)
            .expect("a file");
    }
    let package = builder.build().expect("a package");
    let file = dir.join(format!("{name}-1.0-1.noarch.rpm"));
    package.write_file(file).expect("written");
}

fn ran(command: &mut Command, code: i32) -> Duration {
    let begin = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup.sh test"));
    assert_eq!(status.code(), Some(code), "{command:?}");
    begin.elapsed()
}

fn main() {
    let binary = release();
    let work = Utf8TempDir::new().expect("a temporary directory");
    let mirror = work.path().join("mirror");
    let dirs: Vec<_> = DATES
        .iter()
        .enumerate()
        .map(|(build, date)| {
            let tree = work.path().join(date);
            let dir = tree.join("outputs/RPMS/std");
            fs_err::create_dir_all(&dir).expect("a directory");
            (0..PACKAGES).for_each(|package| write(&dir, package, build));
            let mut publish = Command::new(&binary);
            publish.args(["--mirror", mirror.as_str(), "publish", tree.as_str()]);
            publish.args(["--channel", "master/centos", "--date", date]);
            ran(publish.args(["--result", "success"]), 0);
            dir
        })
        .collect();

    let compare = || {
        let mut compare = Command::new(&binary);
        compare.args(["--mirror", mirror.as_str(), "compare"]);
        ran(
            compare.args(DATES.map(|date| format!("master/centos/{date}"))),
            1,
        )
    };
    // The first run warms the cache, as writing the packages did for rpmdiff.
    compare();
    let ours = (0..3).map(|_| compare()).min().expect("runs");

    let count = std::env::var("STX_BENCH_RPMDIFF").map_or(PACKAGES / 10, |count| {
        count.parse().expect("STX_BENCH_RPMDIFF is a number")
    });
    let theirs: Duration = (0..count)
        .map(|package| {
            let name = format!("package-{package:04}-1.0-1.noarch.rpm");
            let files = dirs.iter().map(|dir| dir.join(&name));
            ran(Command::new("rpmdiff").args(files), 1)
        })
        .sum();
    let scale = u32::try_from(PACKAGES).expect("fits");
    let theirs = theirs * scale / u32::try_from(count).expect("fits");
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("compare of 2 x {PACKAGES} packages: {ours:.2?}");
    println!("rpmdiff, {PACKAGES} times ({count} measured): {theirs:.2?}");
    let met = if ratio <= TARGET { "met" } else { "missed" };
    println!("ratio: {ratio:.4} (target {TARGET}, {met})");
}
