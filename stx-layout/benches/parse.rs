//! Paths per second and core, beside one regular expression with named groups.
//!
//! The ratio is printed behind the table.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use regex::Regex;
use stx_layout::report::PathReport;
use stx_layout::{ImageNameRef, MirrorPath, MirrorPathRef};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn texts(table: &'static str) -> Vec<&'static str> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .collect()
}

fn paths() -> Vec<&'static str> {
    texts(include_str!("../tests/fixtures/paths.tsv"))
}

/// The obvious alternative: the same groups, without the rules that one expression cannot say.
fn expression() -> Regex {
    Regex::new(
        r"(?x)^
        (?:https?://[^/]+/mirror/starlingx/?)?
        (?P<release>master|(?:feature|release|milestone|rc|f|r|m)(?:/[^/\\\x00-\x1f]+)?|[rm][0-9][^/\\\x00-\x1f]*)?
        (?:/(?P<distro>[^/\\\x00-\x1f]+)
          (?:/(?P<codename>bullseye|bookworm|trixie)(?:/(?P<arch>amd64|arm64))?)?
          (?:/(?P<layer>[a-z][a-z0-9-]*?))?
          (?:/(?:(?P<build>[0-9]{8}T[0-9]{6}Z)|(?P<alias>latest_[a-z_]+)))?
          (?:/(?P<section>inputs|outputs|logs)
            (?:/(?P<artifact>[^/\\\x00-\x1f]+)
              (?:/(?P<phase>std|rt|installer|containers?))?)?)?
          (?:/(?P<rest>[^\\\x00-\x1f]*))?
        )?/?$",
    )
    .expect("an expression")
}

fn main() {
    divan::main();
    if std::env::args().any(|argument| argument == "--bench") {
        let paths = paths();
        let regex = expression();
        let ours = per_second(&paths, |path| {
            black_box(MirrorPathRef::parse(path).is_ok());
        });
        let theirs = per_second(&paths, |path| {
            black_box(regex.captures(path).is_some());
        });
        let matched = paths.iter().filter(|path| regex.is_match(path)).count();
        println!(
            "{} different paths, of which the expression matches {matched}",
            paths.len()
        );
        println!(
            "MirrorPathRef {ours:.0} paths/s, regex {theirs:.0} paths/s, ratio {:.1}",
            ours / theirs
        );
    }
}

/// The best of several rounds of a fifth of a second.
fn per_second(paths: &[&str], mut parse: impl FnMut(&str)) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..10 {
        let begin = Instant::now();
        let mut count = 0_u32;
        while begin.elapsed() < Duration::from_millis(200) {
            for path in paths {
                parse(black_box(path));
                count += 1;
            }
        }
        best = best.max(f64::from(count) / begin.elapsed().as_secs_f64());
    }
    best
}

#[divan::bench]
fn borrowed(bencher: Bencher<'_, '_>) {
    let paths = paths();
    bencher
        .counter(ItemsCount::new(paths.len()))
        .bench_local(|| {
            for path in &paths {
                black_box(MirrorPathRef::parse(black_box(path)).is_ok());
            }
        });
}

#[divan::bench]
fn owned(bencher: Bencher<'_, '_>) {
    let paths = paths();
    bencher
        .counter(ItemsCount::new(paths.len()))
        .bench_local(|| {
            for path in &paths {
                black_box(black_box(path).parse::<MirrorPath>().is_ok());
            }
        });
}

/// The work of the command line on a path: parse it, and write its JSON object to a buffer.
#[divan::bench]
fn borrowed_to_json(bencher: Bencher<'_, '_>) {
    let paths = paths();
    let mut line = Vec::with_capacity(4096);
    bencher
        .counter(ItemsCount::new(paths.len()))
        .bench_local(|| {
            for path in &paths {
                line.clear();
                let path = MirrorPathRef::parse(black_box(path)).expect("a path");
                serde_json::to_writer(&mut line, &PathReport::from(path)).expect("JSON");
                black_box(&line);
            }
        });
}

#[divan::bench]
fn regex_captures(bencher: Bencher<'_, '_>) {
    let paths = paths();
    let regex = expression();
    bencher
        .counter(ItemsCount::new(paths.len()))
        .bench_local(|| {
            for path in &paths {
                black_box(regex.captures(black_box(path)).is_some());
            }
        });
}

#[divan::bench]
fn images(bencher: Bencher<'_, '_>) {
    let images = texts(include_str!("../tests/fixtures/images.tsv"));
    bencher
        .counter(ItemsCount::new(images.len()))
        .bench_local(|| {
            for image in &images {
                black_box(ImageNameRef::parse(black_box(image)).is_ok());
            }
        });
}
