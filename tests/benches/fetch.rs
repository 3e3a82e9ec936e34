//! The time of `fetch`, compared with the common tools for that: `curl` or `aria2c`, then `sha256sum`; and the time of making the
//! catalog pages of a channel with 1,000 builds.
//!
//! One ISO image, 2 GiB, over the loopback interface from nginx, in the page cache. Both sides end with a verified file. The figures
//! are medians; a missed target is reported, and is not an error. `STX_BENCH_RUNS` sets the number of runs of each case,
//! `STX_BENCH_DIR` the directory, `STX_BENCH_MIB` the size of the image; 2 GiB need 8 GiB there.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use camino::Utf8Path;

#[path = "common/builds.rs"]
mod builds;
#[path = "common/nginx.rs"]
mod nginx;
#[path = "common/release.rs"]
mod release;
#[path = "common/settings.rs"]
mod settings;

use builds::copy_build;
use nginx::Nginx;
use release::release;
use settings::{Settings, median};

const CHANNEL: &str = "master/centos";
const BUILDS: u32 = 1_000;

fn main() {
    let Some(Settings { runs, bytes, dir }) = Settings::of("fetch", 5) else {
        return;
    };
    let stx = release();
    downloads(&stx, &dir, bytes >> 20, runs);
    pages(&stx, &dir, runs);
    fs_err::remove_dir_all(&dir).expect("removed");
}

fn downloads(stx: &Utf8Path, dir: &Utf8Path, mib: u64, runs: u64) {
    let iso = dir.join("tree/outputs/iso");
    clear(dir);
    fs_err::create_dir_all(&iso).expect("a directory");
    let mut file = fs_err::File::create(iso.join("bootimage.iso")).expect("a file");
    let mut state = 1_u64;
    for _ in 0..mib {
        let block: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take((1 << 20) / 8)
        .flatten()
        .collect();
        file.write_all(&block).expect("written");
    }
    publish(stx, dir);
    let sums = dir
        .join("mirror")
        .join(CHANNEL)
        .join("latest_build/SHA256SUMS");
    let sums = fs_err::read_to_string(sums).expect("sums");
    let sum = sums
        .lines()
        .find(|line| line.contains("outputs/iso/"))
        .expect("an image");
    fs_err::write(
        dir.join("sums"),
        format!("{}  to/bootimage.iso\n", &sum[..64]),
    )
    .expect("a file");
    let server = Nginx::start(dir, 0);
    let url = &server.url;
    let image = format!("{url}{CHANNEL}/latest_build/outputs/iso/bootimage.iso");
    let ours = format!("{stx} --quiet --mirror {url} fetch {CHANNEL} iso --to to");
    println!("{mib} MiB over loopback, {runs} runs\n");
    println!(
        "| case | against | ours | theirs | ratio | target | |\n|---|---|---|---|---|---|---|"
    );
    for (name, peer) in [
        (
            "curl, sha256sum",
            format!("curl -s -o to/bootimage.iso {image}"),
        ),
        (
            "aria2c -x4, sha256sum",
            format!("aria2c -q -x4 -s4 --file-allocation=none -d to -o bootimage.iso {image}"),
        ),
    ] {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            mine.push(time(dir, &ours));
            theirs.push(time(dir, &format!("{peer} && sha256sum --quiet -c sums")));
        }
        let (mine, theirs) = (median(mine), median(theirs));
        let ratio = mine / theirs;
        let met = if ratio <= 0.8 { "met" } else { "missed" };
        println!("| fetch iso | {name} | {mine:.3} s | {theirs:.3} s | {ratio:.3} | 0.8 | {met} |");
    }
}

/// A channel of many builds, each of three files, and its pages: made for the first time, made again without a change, and made after
/// one more build.
fn pages(stx: &Utf8Path, dir: &Utf8Path, runs: u64) {
    clear(dir);
    let tree = dir.join("tree/outputs");
    fs_err::create_dir_all(tree.join("iso")).expect("a directory");
    fs_err::write(tree.join("iso/bootimage.iso"), "an image").expect("a file");
    publish(stx, dir);
    let mirror = dir.join("mirror");
    let channel = mirror.join(CHANNEL);
    let first = channel.join("20100101T000000Z");
    for number in 1..BUILDS {
        let (hour, day, month) = (number % 24, number / 24 % 28 + 1, number / 672 + 2);
        let date = format!("2010{month:02}{day:02}T{hour:02}0000Z");
        copy_build(&first, &channel.join(date), &mirror);
    }
    let command = format!("{stx} --quiet --mirror mirror pages");
    let newest = channel.join("20191231T000000Z");
    let (mut whole, mut again, mut one_more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        for dir in [&dir.join("mirror"), &channel] {
            for entry in dir.read_dir_utf8().expect("a directory") {
                let entry = entry.expect("an entry");
                let extension = entry.path().extension();
                if matches!(extension, Some("json" | "html" | "xml")) {
                    fs_err::remove_file(entry.path()).expect("removed");
                }
            }
        }
        whole.push(time(dir, &command));
        again.push(time(dir, &command));
        // As after a publish: the build exists, and its page does not.
        copy_build(&first, &newest, &mirror);
        one_more.push(time(dir, &command));
        assert!(
            newest.with_extension("html").is_file(),
            "{newest} has no page"
        );
        fs_err::remove_dir_all(&newest).expect("removed");
        time(dir, &command);
    }
    let met = |seconds: f64| if seconds <= 0.2 { "met" } else { "missed" };
    let (whole, again, one_more) = (median(whole), median(again), median(one_more));
    println!("\n| pages of {BUILDS} builds, the whole command | | target | |\n|---|---|---|---|");
    println!("| none there | {whole:.3} s | | |");
    println!(
        "| nothing changed, each page read | {again:.3} s | 0.2 s | {} |",
        met(again)
    );
    println!(
        "| one more build | {one_more:.3} s | 0.2 s | {} |",
        met(one_more)
    );
}

fn publish(stx: &Utf8Path, dir: &Utf8Path) {
    let command = format!(
        "{stx} --quiet --mirror mirror publish tree --channel {CHANNEL} --date 20100101T000000Z --result success"
    );
    time(dir, &command);
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
    let start = Instant::now();
    let status = Command::new("sh")
        .args(["-ec", command])
        .current_dir(dir)
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
