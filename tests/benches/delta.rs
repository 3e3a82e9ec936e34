//! The time of `fetch` for an image of the next day if the image of the previous day exists, compared with `curl` and `sha256sum`,
//! and with `zsync`; the bytes that this transfers; and the time to make the control file.
//!
//! One image of packages of 2 KiB to 4 MiB, 5 % of which were rebuilt with another size, from nginx, in the page cache: at the speed
//! of the loopback interface, and with 12.5 MB/s per connection, which is 100 Mbit/s for a client with one connection. The figures
//! are medians; a missed target is reported, and is not an error. `STX_BENCH_RUNS`, `STX_BENCH_DIR` and `STX_BENCH_MIB` are as in the
//! other benchmarks; 2 GiB need 14 GiB there.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use camino::Utf8Path;

#[path = "common/nginx.rs"]
mod nginx;
#[path = "common/release.rs"]
mod release;
#[path = "common/settings.rs"]
mod settings;

use nginx::Nginx;
use release::release;
use settings::{Settings, median};

const CHANNEL: &str = "master/centos";

/// The bytes per second of a limited connection.
const LIMIT: u64 = 12_500_000;

fn main() {
    let Some(Settings { runs, bytes, dir }) = Settings::of("delta", 3) else {
        return;
    };
    let stx = release();
    clear(&dir);
    let iso = dir.join("tree/outputs/iso");
    fs_err::create_dir_all(&iso).expect("a directory");
    println!(
        "{} MiB, 5 % of its packages changed, {runs} runs\n",
        bytes >> 20
    );
    println!(
        "| case | against | ours | theirs | ratio | target | |\n|---|---|---|---|---|---|---|"
    );

    image(&dir.join("old.iso"), bytes, 1);
    image(&iso.join("bootimage.iso"), bytes, 2);
    publishes(&stx, &dir, runs);
    downloads(&stx, &dir, runs);
    fs_err::remove_dir_all(&dir).expect("removed");
}

fn row(case: &str, against: &str, ours: f64, theirs: f64, target: f64) {
    let ratio = ours / theirs;
    let met = if ratio <= target { "met" } else { "missed" };
    println!("| {case} | {against} | {ours:.3} | {theirs:.3} | {ratio:.3} | {target} | {met} |");
}

/// Writes the image of a day, of `bytes` bytes or slightly more.
fn image(path: &Utf8Path, bytes: u64, day: u64) {
    let mut file = BufWriter::new(fs_err::File::create(path).expect("a file"));
    let (mut written, mut package) = (0, 0_u64);
    while written < bytes {
        let new = package % 20 == 7;
        let mut state =
            (package + if new { day << 32 } else { 0 }).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // Sizes with a uniform distribution of logarithms, as packages have, and equal on both days except for rebuilt packages.
        let size = 2_048_u64 << (package * 7 % 12);
        let size = size / 2 * 3 + if new { day * 5_000 } else { 0 };
        let mut length = 0;
        while length < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes()).expect("written");
            length += 8;
        }
        let padded = length.next_multiple_of(2_048);
        let zeros = usize::try_from(padded - length).expect("small");
        file.write_all(&vec![0; zeros]).expect("written");
        written += padded;
        package += 1;
    }
    file.flush().expect("written");
}

fn publish(stx: &Utf8Path, mirror: &str, date: &str, config: &str) -> String {
    format!(
        "{stx} --quiet --config {config} --mirror {mirror} publish tree --channel {CHANNEL} --date {date} --result success"
    )
}

/// Publishes the image with its control file, and one without.
fn publishes(stx: &Utf8Path, dir: &Utf8Path, runs: u64) {
    fs_err::write(dir.join("with.toml"), "").expect("a file");
    fs_err::write(dir.join("without.toml"), "[zsync]\nenabled = false\n").expect("a file");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        for (config, times) in [("with.toml", &mut with), ("without.toml", &mut without)] {
            clear(&dir.join("mirror"));
            times.push(time(
                dir,
                &publish(stx, "mirror", "20200102T000000Z", config),
            ));
        }
    }
    row(
        "publish, s",
        "without a control file",
        median(with),
        median(without),
        1.1,
    );
}

fn downloads(stx: &Utf8Path, dir: &Utf8Path, runs: u64) {
    clear(&dir.join("mirror"));
    time(
        dir,
        &publish(stx, "mirror", "20200102T000000Z", "with.toml"),
    );
    let build = dir.join("mirror").join(CHANNEL).join("latest_build");
    let sums = fs_err::read_to_string(build.join("SHA256SUMS")).expect("sums");
    let sum = sums
        .lines()
        .find(|line| line.ends_with("/bootimage.iso"))
        .expect("an image");
    let sum = format!("{}  to/bootimage.iso\n", &sum[..64]);
    fs_err::write(dir.join("sums"), sum).expect("a file");
    let size = fs_err::metadata(build.join("outputs/iso/bootimage.iso"))
        .expect("an image")
        .len();

    for limit in [true, false] {
        let server = Nginx::start(dir, if limit { LIMIT } else { 0 });
        let url = &server.url;
        let image = format!("{url}{CHANNEL}/latest_build/outputs/iso/bootimage.iso");
        let ours = |more: &str| {
            format!(
                "{stx} --quiet --mirror {url} fetch {CHANNEL} iso --to to --seed old.iso {more}"
            )
        };
        let curl = format!("curl -s -o to/bootimage.iso {image} && sha256sum --quiet -c sums");
        let zsync = format!(
            "zsync -q -i old.iso -o to/bootimage.iso {image}.zsync && sha256sum --quiet -c sums"
        );
        let taken = |command: &str, runs: u64| {
            let times = (0..runs).map(|_| time(dir, command)).collect();
            median(times)
        };
        let sent = sent_by(dir);
        let mine = taken(&ours(""), runs);
        let sent = megabytes((sent_by(dir) - sent) / runs);
        let zsync = taken(&zsync, runs);
        if limit {
            let one = taken(&ours("--connections 1"), runs);
            // It takes long, and the same time in each run.
            let curl = taken(&curl, 1);
            row(
                "fetch at 12.5 MB/s a connection, s",
                "curl, sha256sum",
                mine,
                curl,
                0.12,
            );
            row(
                "fetch at 12.5 MB/s a connection, s",
                "zsync, sha256sum",
                mine,
                zsync,
                0.8,
            );
            row(
                "the same with one connection, s",
                "curl, sha256sum",
                one,
                curl,
                0.12,
            );
            row(
                "the same with one connection, s",
                "zsync, sha256sum",
                one,
                zsync,
                0.8,
            );
            row("transferred, MB", "the file", sent, megabytes(size), 0.1);
        } else {
            row(
                "fetch over loopback, s",
                "zsync, sha256sum",
                mine,
                zsync,
                0.5,
            );
        }
    }
}

fn clear(dir: &Utf8Path) {
    if dir.exists() {
        fs_err::remove_dir_all(dir).expect("removed");
    }
    fs_err::create_dir_all(dir).expect("a directory");
}

/// Times a shell command that starts with an empty directory `to`.
fn time(dir: &Utf8Path, command: &str) -> f64 {
    clear(&dir.join("to"));
    // Pending writes must not count.
    rustix::fs::sync();
    let start = Instant::now();
    let status = Command::new("sh")
        .args(["-ec", command])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(
            fs_err::File::create(dir.join("errors"))
                .expect("a file")
                .into_parts()
                .0,
        )
        .status()
        .expect("sh");
    let took = start.elapsed().as_secs_f64();
    let errors = fs_err::read_to_string(dir.join("errors")).unwrap_or_default();
    assert!(
        status.success(),
        "{command}: {status}: {errors}; `scripts/setup.sh bench` installs what it needs"
    );
    took
}

/// The number of body bytes sent so far.
fn sent_by(dir: &Utf8Path) -> u64 {
    let log = fs_err::read_to_string(dir.join("access.log")).unwrap_or_default();
    let counts = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\" ")?;
        rest.split(' ').nth(1)?.parse::<u64>().ok()
    });
    counts.sum()
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1_000).expect("less than 4 TB")) / 1e3
}
