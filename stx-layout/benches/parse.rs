//! Paths and image names per second and core.

use std::hint::black_box;

use divan::{Bencher, counter::ItemsCount};
use stx_layout::report::PathReport;
use stx_layout::{ImageNameRef, MirrorPath, MirrorPathRef};

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

fn main() {
    divan::main();
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

/// The command line's work on a path: parse it, and write its JSON object to a buffer.
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
