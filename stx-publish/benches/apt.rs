//! The time that the lists of an apt repository take, compared with `apt-ftparchive` and `dpkg-scanpackages`.
//!
//! The repository has 3,000 packages made by `dpkg-deb`, each with 64 KiB of incompressible data. Each side starts with the data that it
//! has in use: ours has the digests, which publishing takes while it copies the packages, and the lists of the build before;
//! `apt-ftparchive` has its database. For the case of all new packages, a second figure includes the time in which our side takes the
//! digests. Ours makes `Packages`, packs it by gzip and xz, and makes `Release` and the names by digest; theirs makes only `Packages`,
//! with SHA256 alone. The figures are medians; all data is in the page cache. A missed target is printed; it does not fail the run.
//!
//! `STX_BENCH_RUNS` sets the number of runs of each case, `STX_BENCH_DIR` the directory to work in.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark prints its table, and what it waits for"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildId, BuildPath, Sha256};
use stx_publish::Incoming;
use stx_publish::metadata::apt::{AptRepository, EarlierPackages};
use stx_publish::store::rules::stored_file;

const PACKAGES: usize = 3_000;
const STD: &str = "outputs/std/packages";

fn main() {
    // `cargo test --benches` runs this program to list its tests, or for a quick trial.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runs = std::env::var("STX_BENCH_RUNS").map_or(5, |text| text.parse().expect("a number"));
    let dir = std::env::var("STX_BENCH_DIR").map_or_else(
        |_| Utf8PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("apt"),
        Utf8PathBuf::from,
    );
    if dir.exists() {
        fs_err::remove_dir_all(&dir).expect("removed");
    }
    fs_err::create_dir_all(dir.join("packages")).expect("made");
    let bench = Bench { dir };
    bench.shell("command -v apt-ftparchive dpkg-scanpackages dpkg-deb");
    bench.make(0..PACKAGES, 0);
    println!("{PACKAGES} packages, {runs} runs\n");
    println!("| case | against | ours | theirs | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
    all_new(&bench, runs);
    daily(&bench, runs);
    fs_err::remove_dir_all(&bench.dir).expect("removed");
}

/// Prints the medians of both sides, in seconds, and their ratio.
fn row(case: &str, peer: &str, ours: &[f64], theirs: &[f64], target: f64) {
    let median = |side: &[f64]| {
        let mut side = side.to_vec();
        side.sort_by(f64::total_cmp);
        side[side.len() / 2]
    };
    let (wall, peer_wall) = (median(ours), median(theirs));
    let ratio = wall / peer_wall;
    let verdict = if ratio <= target { "met" } else { "missed" };
    println!(
        "| {case} | {peer} | {wall:.3} s | {peer_wall:.3} s | {ratio:.4} | {target} | {verdict} |"
    );
    eprintln!("    ours {ours:.3?}; theirs {theirs:.3?}");
}

const FTPARCHIVE: &str = "apt-ftparchive -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false \
                          -o APT::FTPArchive::SHA512=false --db cache.db packages packages > theirs";
const SCAN: &str = "dpkg-scanpackages --multiversion -h sha256 packages > scanned";

/// All packages are new: only the digests are known.
fn all_new(bench: &Bench, runs: u64) {
    let (mut ours, mut hashed) = (Vec::new(), Vec::new());
    let (mut archive, mut scan) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let added = bench.added();
        ours.push(bench.index(&added, None).0);
        let start = Instant::now();
        let added = bench.added();
        let digests = start.elapsed().as_secs_f64();
        let wall = bench.index(&added, None).0 + digests;
        hashed.push(wall);
        archive.push(bench.time(&format!("rm -f cache.db; {FTPARCHIVE}")));
        // One run takes a minute.
        if run < 2 {
            scan.push(bench.time(SCAN));
        }
    }
    let case = "lists of 3,000 packages, all new";
    row(case, "apt-ftparchive, empty --db", &ours, &archive, 0.5);
    row(case, "dpkg-scanpackages", &ours, &scan, 0.1);
    let case = format!("{case}; digests included, one thread");
    row(&case, "apt-ftparchive, empty --db", &hashed, &archive, 0.5);
    row(&case, "dpkg-scanpackages", &hashed, &scan, 0.1);
}

/// The daily case: 2 % of the packages are new.
fn daily(bench: &Bench, runs: u64) {
    let (mut ours, mut archive, mut scan) = (Vec::new(), Vec::new(), Vec::new());
    bench.shell(FTPARCHIVE);
    let (_, mut files) = bench.index(&bench.added(), None);
    let count = PACKAGES / 50;
    for run in 0..runs {
        let run = usize::try_from(run).expect("few runs");
        bench.make(run * count..(run + 1) * count, run + 1);
        let added = bench.added();
        let earlier = || {
            let (release, packages) = (&files["Release"], files["Packages"].to_vec());
            EarlierPackages::new(release, packages)
        };
        let start = Instant::now();
        let earlier = earlier().expect("it fits");
        let read = start.elapsed().as_secs_f64();
        let (took, made) = bench.index(&added, Some(&earlier));
        ours.push(took + read);
        let (_, anew) = bench.index(&added, None);
        assert_eq!(made, anew, "the same lists");
        files = made;
        archive.push(bench.time(FTPARCHIVE));
        if run < 2 {
            scan.push(bench.time(SCAN));
        }
    }
    let case = "lists of 3,000 packages, 2 % new";
    row(case, "apt-ftparchive, warm --db", &ours, &archive, 0.5);
    row(case, "dpkg-scanpackages", &ours, &scan, 0.05);
}

/// The directory in which both sides work.
struct Bench {
    dir: Utf8PathBuf,
}

type Files = std::collections::BTreeMap<String, bytes::Bytes>;

impl Bench {
    /// Makes these packages, and replaces those that exist.
    fn make(&self, numbers: std::ops::Range<usize>, version: usize) {
        let script = format!(
            "export SOURCE_DATE_EPOCH=1577836800; seq {} {} | xargs -P \"$(nproc)\" -n 1 sh -ec '\
             t=tree/$0; rm -rf $t; mkdir -p $t/DEBIAN $t/usr/share/doc/package-$0 $t/usr/lib; \
             head -c 65536 /dev/urandom > $t/usr/lib/package-$0; echo text > $t/usr/share/doc/package-$0/copyright; \
             printf \"Package: package-$0\\nSource: package\\nVersion: 1.{version}-1.stx.$0\\nArchitecture: amd64\\nMaintainer: StarlingX \
             <discuss@example.org>\\nInstalled-Size: 70\\nDepends: libc6 (>= 2.36), libstdc++6 (>= 11), python3:any\\nSection: \
             admin\\nPriority: optional\\nHomepage: https://example.org/package-$0\\nDescription: package number $0\\n A description of \
             some length, as packages have it,\\n with several lines.\\n .\\n And a paragraph.\\n\" > $t/DEBIAN/control; \
             (cd $t && md5sum usr/lib/* > DEBIAN/md5sums); \
             dpkg-deb --root-owner-group -z1 -b $t packages/package-${{0}}_amd64.deb > /dev/null; rm -rf $t'",
            numbers.start,
            numbers.end - 1
        );
        eprintln!("    makes {} packages", numbers.len());
        self.shell(&script);
    }

    /// The packages as a store knows them after it has copied them.
    fn added(&self) -> Incoming {
        let mut added = Incoming::default();
        for entry in self.dir.join("packages").read_dir_utf8().expect("packages") {
            let entry = entry.expect("an entry");
            let bytes = fs_err::read(entry.path()).expect("a package");
            let digest: Sha256 = stx_publish::incoming::digest_of(&bytes);
            let path: BuildPath = format!("{STD}/{}", entry.file_name())
                .parse()
                .expect("a path");
            added
                .entries
                .insert(path, stored_file(bytes.len() as u64, digest, false));
        }
        assert_eq!(added.entries.len(), PACKAGES);
        added
    }

    /// Times the lists.
    fn index(&self, added: &Incoming, earlier: Option<&EarlierPackages>) -> (f64, Files) {
        let id: BuildId = "master/debian/20200101T000000Z".parse().expect("a build");
        let open = |path: &BuildPath| {
            let file = fs_err::File::open(self.dir.join("packages").join(path.file_name()))?;
            Ok(Box::new(file) as Box<dyn Read>)
        };
        let out = self.dir.join("ours");
        let start = Instant::now();
        let repository = AptRepository::of(&STD.parse().expect("a path"), added);
        let made = repository.make(&id, earlier, &open).expect("made");
        for (name, bytes) in &made.files {
            let file = out.join(name);
            fs_err::create_dir_all(file.parent().expect("a parent")).expect("made");
            fs_err::write(file, bytes).expect("written");
        }
        let wall = start.elapsed().as_secs_f64();
        assert!(made.indexed.is_complete() && made.indexed.listed == PACKAGES as u64);
        (wall, made.files)
    }

    fn shell(&self, command: &str) {
        self.time(command);
    }

    /// Times a shell command, which must succeed.
    fn time(&self, command: &str) -> f64 {
        let start = Instant::now();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .current_dir::<&Utf8Path>(&self.dir)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("bash");
        let wall = start.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert!(output.status.success(), "{command}: {last}");
        wall
    }
}
