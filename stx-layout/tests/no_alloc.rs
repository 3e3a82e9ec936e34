//! Accepted texts are parsed without allocating. Alone in its process, since other tests would allocate beside it.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use stx_layout::{ImageNameRef, MirrorPathRef};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn texts(table: &'static str) -> Vec<&'static str> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .collect()
}

#[test]
fn accepted_texts_cost_no_allocation() {
    let paths = texts(include_str!("fixtures/paths.tsv"));
    let images = texts(include_str!("fixtures/images.tsv"));
    // The harness allocates on its own thread now and then; a parser that does would do so in every round.
    let fewest = (0..16)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            let mut parts = 0;
            for path in &paths {
                let path = MirrorPathRef::parse(path).expect("a path");
                parts += usize::from(path.rest().is_some()) + path.path().len();
            }
            for image in &images {
                parts += ImageNameRef::parse(image).expect("a name").org.len();
            }
            assert!(parts > 0);
            region.change().allocations
        })
        .min();
    assert_eq!(fewest, Some(0));
}
