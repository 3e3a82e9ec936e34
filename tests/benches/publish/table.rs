//! The table of measurements, side by side.

use std::process::{Command, Stdio};

use camino::Utf8Path;

use crate::settings::median;

/// The time that a command took, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// The elapsed time.
    pub(crate) wall: f64,
    /// The processor time of all processes; `None` if it was not measured.
    pub(crate) cpu: Option<f64>,
}

impl Took {
    /// Times a shell command in a directory; it must succeed.
    pub(crate) fn of(dir: &Utf8Path, command: &str) -> Self {
        let script = format!("TIMEFORMAT='%3R %3U %3S'; time {{ {command}; }}");
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(dir)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        let last = said.lines().last().expect("the times");
        let times: Vec<f64> = last
            .split(' ')
            .map(|time| time.parse().expect("seconds"))
            .collect();
        Self {
            wall: times[0],
            cpu: Some(times[1] + times[2]),
        }
    }
}

/// Begins the table. Each row is printed as soon as it is known, so that an interrupted run has printed its results.
pub(crate) fn begin(title: &str) {
    println!("{title}\n");
    println!("| case | against | ours | theirs | ratio | target | | processor time | ratio |");
    println!("|---|---|---|---|---|---|---|---|---|");
}

/// The medians of both sides, and their ratio; notes if there are too few runs for the case.
pub(crate) fn row(case: &str, peer: &str, ours: &[Took], theirs: &[Took], target: f64) {
    if ours.is_empty() || theirs.is_empty() {
        println!("| {case} | {peer} | too few runs | | | {target} | | | |");
        return;
    }
    let walls = |side: &[Took]| median(side.iter().map(|took| took.wall).collect());
    let cpus = |side: &[Took]| {
        let all: Option<Vec<_>> = side.iter().map(|took| took.cpu).collect();
        all.map(median)
    };
    let (wall, peer_wall) = (walls(ours), walls(theirs));
    let cpu = match (cpus(ours), cpus(theirs)) {
        (Some(ours), Some(theirs)) => {
            format!("{ours:.3} s, {theirs:.3} s | {:.3}", ours / theirs)
        }
        (None, _) | (_, None) => "not measured | ".to_owned(),
    };
    let ratio = wall / peer_wall;
    println!(
        "| {case} | {peer} | {wall:.3} s | {peer_wall:.3} s | {ratio:.3} | {target} | {} | {cpu} |",
        verdict(ratio, target)
    );
    let list = |side: &[Took]| {
        let walls: Vec<_> = side
            .iter()
            .map(|took| format!("{:.3}", took.wall))
            .collect();
        walls.join(" ")
    };
    eprintln!("    ours {}; theirs {}", list(ours), list(theirs));
}

/// Bytes of both sides, and their ratio.
pub(crate) fn bytes(case: &str, ours: u64, theirs: u64, target: Option<f64>) {
    let ratio = kib(ours) / kib(theirs);
    let verdict = target.map_or("", |target| verdict(ratio, target));
    let target = target.map_or_else(|| "-".to_owned(), |target| target.to_string());
    println!(
        "| {case} | rsync -a --link-dest, sha256sum | {ours} B | {theirs} B | {ratio:.4} | {target} | {verdict} | | |"
    );
}

/// In KiB, so that sizes below 4 TiB fit into 32 bits.
fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).expect("less than 4 TiB"))
}

fn verdict(ratio: f64, target: f64) -> &'static str {
    if ratio <= target { "met" } else { "missed" }
}
