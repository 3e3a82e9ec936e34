//! The time of publishing a build to a bucket, compared with the common tools for that: `rclone copy` and `aws s3 cp`.
//!
//! The server is Ceph with its RADOS gateway, in memory, over the loopback interface: once as its packages run it, with the delays of
//! Nagle's algorithm and with memory that is used for the first time, and once tuned. The tuned server stands for one with hard
//! disks, so all of its memory is filled once before the measurement: it is allocated by tcmalloc, as Ceph's own packages do, and not
//! returned to the system, since otherwise the first use of each page would dominate the time. Each side is measured near and far: by
//! a proxy that forwards every byte 50 ms later in each direction, and delays a new connection by the round trip of its handshake.
//! Both sides upload 2,000 files, 2 GiB in total, incompressible and in the page cache, to prefixes of their own; a build gets a date
//! of its own each time, as published builds never change. The peers only upload files: no sums, no pages, no atomic visibility. The
//! second build is also compared with the peers' time if they first let the server copy the previous build, and if they overwrite the
//! previous build in place, which loses it. A third case is three small files. The figures are medians; a missed target is reported,
//! and is not an error.
//!
//! `STX_BENCH_RUNS` sets the number of runs of each case, `STX_BENCH_DIR` the directory, `STX_BENCH_MIB` the amount of data; 2 GiB
//! need 2 GiB there and 16 GiB of memory. `scripts/setup.sh bench` installs the peers.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

use std::cell::Cell;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

#[path = "common/bucket.rs"]
mod bucket;
#[path = "common/release.rs"]
mod release;
#[path = "common/settings.rs"]
mod settings;

use bucket::{Ceph, Far, Server};
use settings::{Settings, median};

const FILES: u64 = 2_000;

/// Makes the server allocate memory with the allocator of Ceph's own packages, and keep it.
const MEMORY: [(&str, &str); 2] = [
    ("LD_PRELOAD", "libtcmalloc_minimal.so.4"),
    ("TCMALLOC_RELEASE_RATE", "0"),
];

/// Fills the memory of the server as much as a measured side does. A tenth stays free: its byte count is inexact, and below zero it
/// considers itself full.
const FILL: &str = "aws s3 sync --quiet --exclude '*' --include '*0.bin' tree s3://bench/kept
for copy in 1 2 3; do aws s3 sync --quiet tree s3://bench/filled/$copy; done";

/// Removes the objects below a prefix, after each side, so that the memory suffices.
const REMOVE: &str = "aws s3 rm --quiet --recursive s3://bench";

/// The time that each byte takes to a distant server.
const DELAY: Duration = Duration::from_millis(50);

fn main() {
    let Some(Settings { runs, bytes, dir }) = Settings::of("bucket", 3) else {
        return;
    };
    println!("{FILES} files, {bytes} bytes, {runs} runs");
    for is_tuned in [false, true] {
        let bench = Bench::new(&dir, bytes, is_tuned);
        let far = Far::from(&bench.ceph, DELAY);
        let name = if is_tuned { "tuned" } else { "as packaged" };
        for (place, server) in [("near", &bench.ceph as &dyn Server), ("far", &far)] {
            println!(
                "\nCeph {name}, {place}\n\n| case | against | ours | theirs | ratio | target | |\n\
                 |---|---|---|---|---|---|---|"
            );
            bench.compare(server, runs, place == "far");
        }
    }
    fs_err::remove_dir_all(&dir).expect("removed");
}

#[derive(Default)]
struct Times {
    tiny: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    copied: Vec<f64>,
    over: Vec<f64>,
}

/// Another tool: the command to upload `tree` to the prefix `$DAY`, and the command to let the server copy the previous build there.
struct Peer {
    name: &'static str,
    upload: &'static str,
    /// The command to upload `tiny`.
    tiny: &'static str,
    copy: &'static str,
    /// The parent of its prefixes.
    prefix: &'static str,
}

impl Peer {
    const ALL: [Self; 2] = [
        Self {
            name: "rclone copy",
            upload: "rclone copy --quiet --transfers 16 --checkers 16 tree s3:bench/rclone/$DAY",
            tiny: "rclone copy --quiet --transfers 16 --checkers 16 tiny s3:bench/rclone/tiny/$DAY",
            copy: "rclone copy --quiet --transfers 16 --checkers 16 s3:bench/rclone/1 s3:bench/rclone/$DAY",
            prefix: "rclone",
        },
        Self {
            name: "aws s3 cp --recursive",
            upload: "aws s3 cp --quiet --recursive tree s3://bench/aws/$DAY",
            tiny: "aws s3 cp --quiet --recursive tiny s3://bench/aws/tiny/$DAY",
            copy: "aws s3 sync --quiet s3://bench/aws/1 s3://bench/aws/$DAY",
            prefix: "aws",
        },
    ];
}

struct Bench {
    dir: Utf8PathBuf,
    stx: Utf8PathBuf,
    size: u64,
    ceph: Ceph,
    /// The number of times that files were changed.
    changes: Cell<u64>,
}

impl Bench {
    fn new(dir: &Utf8Path, bytes: u64, is_tuned: bool) -> Self {
        if dir.exists() {
            fs_err::remove_dir_all(dir).expect("removed");
        }
        fs_err::create_dir_all(dir.join("tree/outputs/packages")).expect("a directory");
        fs_err::create_dir_all(dir.join("tiny/outputs")).expect("a directory");
        for name in ["CONTEXT", "image.iso", "build.log"] {
            fs_err::write(dir.join("tiny/outputs").join(name), name).expect("written");
        }
        // The dynamic loader reports a library that it cannot load, and continues.
        let loaded = Command::new("true").envs(MEMORY).output().expect("true");
        let said = String::from_utf8_lossy(&loaded.stderr);
        assert!(
            said.is_empty(),
            "{said}; `scripts/setup.sh bench` installs what is missing"
        );
        // Includes room for removed objects that the server still holds.
        let room = 8 * bytes + (4 << 30);
        let bench = Self {
            dir: dir.to_owned(),
            stx: release::release(),
            size: bytes / FILES,
            ceph: if is_tuned {
                Ceph::start(room, &MEMORY)
            } else {
                Ceph::start_with(room, &[], "")
            },
            changes: Cell::default(),
        };
        bench.ceph.make_bucket("bench");
        for file in 0..FILES {
            bench.write(file, 0);
        }
        if is_tuned {
            bench.time(&bench.ceph, FILL, 0);
            bench.time(&bench.ceph, &format!("{REMOVE}/filled"), 0);
        }
        bench
    }

    /// Compares with the peers at one place.
    fn compare(&self, server: &dyn Server, runs: u64, is_far: bool) {
        let (mut tiny, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        let mut peers: Vec<_> = Peer::ALL
            .iter()
            .map(|peer| (peer, Times::default()))
            .collect();
        for _ in 0..runs {
            first.push(self.ours(server, "tree", 1));
            self.change();
            second.push(self.ours(server, "tree", 2));
            // In a channel of its own, which is otherwise empty.
            tiny.push(self.ours(server, "tiny", 3));
            self.remove("ours");
            for (peer, times) in &mut peers {
                times.first.push(self.time(server, peer.upload, 1));
                self.change();
                times.second.push(self.time(server, peer.upload, 2));
                times.tiny.push(self.time(server, peer.tiny, 3));
                if !is_far {
                    let copied = format!("{}\n{}", peer.copy, peer.upload);
                    times.copied.push(self.time(server, &copied, 3));
                    times.over.push(self.time(server, peer.upload, 3));
                }
                self.remove(peer.prefix);
            }
        }
        let (tiny, first, second) = (median(tiny), median(first), median(second));
        for (peer, times) in peers {
            let (most_first, most_second) = if is_far { (1.2, 1.2) } else { (0.8, 0.5) };
            let name = peer.name;
            row(
                "first build",
                name,
                first,
                median(times.first),
                Some(most_first),
            );
            let case = "next build, 2 % changed";
            row(case, name, second, median(times.second), Some(most_second));
            if !is_far {
                let copied = format!("{name}, the build before copied by the server");
                row(case, &copied, second, median(times.copied), None);
                let over = format!("{name}, over the same files, nothing changed");
                row(case, &over, second, median(times.over), None);
            }
            row("three files", name, tiny, median(times.tiny), None);
        }
    }

    /// Removes the objects that a side uploaded, without the proxy.
    fn remove(&self, prefix: &str) {
        self.time(&self.ceph, &format!("{REMOVE}/{prefix}"), 0);
    }

    /// Changes the content of 2 % of the files.
    fn change(&self) {
        let version = self.changes.get() + 1;
        self.changes.set(version);
        for file in (0..FILES).filter(|file| file % 50 == version % 50) {
            self.write(file, version + 1);
        }
    }

    fn write(&self, file: u64, version: u64) {
        let mut state = (version * FILES + file + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let count = usize::try_from(self.size / 8).expect("fits");
        let bytes: Vec<u8> = words.take(count).flatten().collect();
        let path = self
            .dir
            .join(format!("tree/outputs/packages/file-{file:04}.bin"));
        let file = fs_err::File::create(path);
        file.and_then(|mut file| file.write_all(&bytes))
            .expect("written");
    }

    /// Publishes a tree as the build of a day, pages included.
    fn ours(&self, server: &dyn Server, tree: &str, day: u64) -> f64 {
        let channel = if tree == "tiny" {
            "feature/tiny/centos"
        } else {
            "master/centos"
        };
        let command = format!(
            "{} --quiet --mirror s3://bench/ours publish {tree} --channel {channel} \
             --date 201811{day:02}T060000Z --result success",
            self.stx
        );
        self.time(server, &command, day)
    }

    /// Times a shell command.
    fn time(&self, server: &dyn Server, command: &str, day: u64) -> f64 {
        let named = |name: &str| std::env::var(name).ok();
        let cache = named("STX_BUILDS_CACHE").unwrap_or_else(|| {
            let home = || format!("{}/.cache", named("HOME").unwrap_or_default());
            format!(
                "{}/stx-builds",
                named("XDG_CACHE_HOME").unwrap_or_else(home)
            )
        });
        let path = std::env::var("PATH").expect("PATH");
        let (key, secret) = server.credentials();
        let start = Instant::now();
        let status = Command::new("sh")
            .args(["-ec", command])
            .current_dir(&self.dir)
            .env("PATH", format!("{cache}/s3-peers-1/bin:{path}"))
            .env("DAY", day.to_string())
            .env("AWS_ENDPOINT_URL", server.endpoint())
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
            .env("RCLONE_CONFIG_S3_TYPE", "s3")
            .env("RCLONE_CONFIG_S3_PROVIDER", "Ceph")
            .env("RCLONE_CONFIG_S3_ENDPOINT", server.endpoint())
            .env("RCLONE_CONFIG_S3_ENV_AUTH", "true")
            .stdout(Stdio::null())
            .status()
            .expect("sh");
        let took = start.elapsed().as_secs_f64();
        assert!(
            status.success(),
            "{command}: {status}; `scripts/setup.sh bench` installs what it needs"
        );
        took
    }
}

fn row(case: &str, peer: &str, ours: f64, theirs: f64, target: Option<f64>) {
    let ratio = ours / theirs;
    let (target, met) = match target {
        Some(target) if ratio <= target => (target.to_string(), "met"),
        Some(target) => (target.to_string(), "missed"),
        None => ("-".to_owned(), ""),
    };
    println!("| {case} | {peer} | {ours:.3} s | {theirs:.3} s | {ratio:.3} | {target} | {met} |");
}
