//! `compare` of two builds that differ in all packages, against a loop of the tool that compares two packages. Prints the ratios of
//! the times; a missed target is reported, and is not an error.
//!
//! | packages | tool | measured pairs, scaled to all | another number |
//! |---|---|---|---|
//! | 2,000 RPM | `rpmdiff` | 200 | `STX_BENCH_RPMDIFF` |
//! | 1,000 Debian | `debdiff` | 40 | `STX_BENCH_DEBDIFF` |
//!
//! Debian packages are compared by their control members, and again with their payloads (`--contents`), which `debdiff` also reads.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark starts real processes and reads real clocks"
)]

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use md5::Digest as _;
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

#[path = "common/release.rs"]
mod release;

use release::release;

const PACKAGES: usize = 2_000;
const DEBS: usize = 1_000;
const FILES: usize = 20;
const TARGET: f64 = 0.05;
const DATES: [&str; 2] = ["20200101T000000Z", "20200102T000000Z"];

/// Two builds of packages, and the tool to compare them with.
struct Race<'a> {
    channel: &'a str,
    /// The directory of the packages in a build.
    place: &'a str,
    packages: usize,
    /// Writes a package: the directory, the number of the package, the number of the build.
    write: fn(&Utf8Path, usize, usize),
    /// The name of a package's file.
    name: fn(usize) -> String,
    /// The tool that compares two packages, and its options.
    tool: (&'a str, &'a [&'a str]),
    measured: usize,
    /// Further options of `compare` to measure.
    also: &'a [&'a str],
}

fn file_text(package: usize, file: usize, build: usize) -> String {
    let changed = if file == package % FILES { build } else { 0 };
    format!("{package} {file} {changed}\n").repeat(200)
}

/// A package of a build: one file differs between the builds, and so do the build host and a requirement.
fn write_rpm(dir: &Utf8Path, package: usize, build: usize) {
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
        let text = file_text(package, file, build);
        let options = FileOptions::new(format!("/usr/share/{name}/file-{file:02}"));
        builder
            .with_file_contents(text.into_bytes(), options)
            .expect("a file");
    }
    let package = builder.build().expect("a package");
    let file = dir.join(format!("{name}-1.0-1.noarch.rpm"));
    package.write_file(file).expect("written");
}

/// The same as a Debian package, made by `dpkg-deb`.
fn write_deb(dir: &Utf8Path, package: usize, build: usize) {
    let name = format!("package-{package:04}");
    let tree = Utf8TempDir::new().expect("a temporary directory");
    let files = tree.path().join("usr/share").join(&name);
    let control = tree.path().join("DEBIAN");
    for dir in [&files, &control] {
        fs_err::create_dir_all(dir).expect("a directory");
    }
    let mut sums = String::new();
    for file in 0..FILES {
        let text = file_text(package, file, build);
        let digest = md5::Md5::digest(text.as_bytes());
        let digits: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("usr/share/{name}/file-{file:02}");
        writeln!(sums, "{}  {path}", digits.concat()).expect("written");
        fs_err::write(tree.path().join(path), text).expect("a file");
    }
    let fields = format!(
        "Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A B <a@example.org>\n\
         Depends: base (>= {build})\nDescription: for the benchmark\n"
    );
    fs_err::write(control.join("control"), fields).expect("a file");
    fs_err::write(control.join("md5sums"), sums).expect("a file");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zgzip", "-b"]);
    ran(pack.args([tree.path(), &dir.join(deb_name(package))]), 0);
}

fn rpm_name(package: usize) -> String {
    format!("package-{package:04}-1.0-1.noarch.rpm")
}

fn deb_name(package: usize) -> String {
    format!("package-{package:04}_1.0-1_all.deb")
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

/// A number, from the environment if set there.
fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| {
        let count = count.parse();
        count.unwrap_or_else(|error| panic!("{variable} is a number: {error}"))
    })
}

fn main() {
    let binary = release();
    let rpms = Race {
        channel: "master/centos",
        place: "outputs/RPMS/std",
        packages: PACKAGES,
        write: write_rpm,
        name: rpm_name,
        tool: ("rpmdiff", &[]),
        measured: number("STX_BENCH_RPMDIFF", PACKAGES / 10),
        also: &[],
    };
    let debs = Race {
        channel: "master/debian/trixie/amd64/flock",
        place: "outputs/std/packages",
        packages: DEBS,
        write: write_deb,
        name: deb_name,
        tool: ("debdiff", &["--noconf"]),
        measured: number("STX_BENCH_DEBDIFF", DEBS / 25),
        also: &["--contents"],
    };
    for race in [rpms, debs] {
        race.run(&binary);
    }
}

impl Race<'_> {
    fn run(&self, binary: &Utf8Path) {
        let work = Utf8TempDir::new().expect("a temporary directory");
        let mirror = work.path().join("mirror");
        let dirs = DATES.iter().enumerate().map(|(build, date)| {
            let tree = work.path().join(date);
            let dir = tree.join(self.place);
            fs_err::create_dir_all(&dir).expect("a directory");
            (0..self.packages).for_each(|package| (self.write)(&dir, package, build));
            let mut publish = Command::new(binary);
            publish.args(["--mirror", mirror.as_str(), "publish", tree.as_str()]);
            publish.args(["--channel", self.channel, "--date", date]);
            ran(publish.args(["--result", "success"]), 0);
            dir
        });
        let dirs: Vec<_> = dirs.collect();

        let compare = |options: &[&str]| {
            let mut compare = Command::new(binary);
            compare
                .args(["--mirror", mirror.as_str(), "compare"])
                .args(options);
            compare.args(DATES.map(|date| format!("{}/{date}", self.channel)));
            ran(&mut compare, 1)
        };
        // The first run warms the cache, as writing the packages did for the other tool.
        compare(&[]);
        let best = |options: &[&str]| (0..3).map(|_| compare(options)).min().expect("runs");
        let (tool, options) = self.tool;
        let theirs: Duration = (0..self.measured)
            .map(|package| {
                let files = dirs.iter().map(|dir| dir.join((self.name)(package)));
                ran(Command::new(tool).args(options).args(files), 1)
            })
            .sum();
        let count = |count: usize| u32::try_from(count).expect("fits");
        let theirs = theirs * count(self.packages) / count(self.measured);
        let Self {
            packages, measured, ..
        } = self;
        println!("{tool}, {packages} times ({measured} measured): {theirs:.2?}");
        let runs = [&[][..]]
            .into_iter()
            .chain((!self.also.is_empty()).then_some(self.also));
        for options in runs {
            let ours = best(options);
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            let with = options.join(" ");
            println!("compare {with} of 2 x {packages} packages: {ours:.2?}");
            let met = if ratio <= TARGET { "met" } else { "missed" };
            println!("ratio: {ratio:.4} (target {TARGET}, {met})");
        }
    }
}
