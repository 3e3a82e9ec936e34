use std::cell::RefCell;

use stx_layout::{Sha256, SumLine};

use super::*;
use crate::conformance::sample_id;

fn stamp(tag: u64) -> Stamp {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, vec![0; usize::try_from(tag).expect("small")]).expect("written");
    Stamp::at(&file).expect("a file")
}

fn build(day: u32, sums: Stamp) -> Indexed {
    Indexed {
        date: sample_id(day).date,
        sums,
    }
}

fn sums(day: u32) -> Sums {
    let line = |path: &str, byte: u8| SumLine {
        path: path.parse().expect("a path"),
        digest: Sha256([byte; 32]),
    };
    let day = u8::try_from(day).expect("a day");
    [line("outputs/same", 0), line("outputs/new", day)]
        .into_iter()
        .collect()
}

/// The index in an order that does not depend on the order of updates.
fn sorted(mut index: Index) -> Index {
    for file in &mut index.files {
        file.builds.sort_unstable();
    }
    index
        .files
        .sort_by(|a, b| (a.digest, &a.path).cmp(&(b.digest, &b.path)));
    index
}

#[test]
fn an_incremental_index_equals_a_complete_one() {
    let stamps: Vec<_> = (0..6).map(stamp).collect();
    let at = |days: &[u32]| -> Vec<_> {
        days.iter()
            .map(|&day| build(day, stamps[day as usize]))
            .collect()
    };
    let mut replaced = at(&[2, 4, 5]);
    replaced[1].sums = stamps[0];
    let mut index = Index::default();
    for (now, expected) in [
        (at(&[2, 3]), vec![2, 3]),
        (at(&[2, 3]), vec![]),
        (at(&[1, 2, 3, 4]), vec![1, 4]),
        (at(&[2, 4]), vec![]),
        (at(&[2, 4, 5]), vec![5]),
        (replaced, vec![4]),
        (vec![], vec![]),
    ] {
        let read = RefCell::new(Vec::new());
        let day = |date: BuildDate| (1..6).find(|&day| sample_id(day).date == date);
        index = index.update(now.clone(), |date| {
            let day = day(date).expect("a day");
            read.borrow_mut().push(day);
            Some(sums(day))
        });
        assert_eq!(read.into_inner(), expected, "{now:?}");
        let afresh = Index::default().update(now, |date| day(date).map(sums));
        assert_eq!(sorted(index.clone()), sorted(afresh));
    }
}

#[test]
fn a_build_without_sums_shares_nothing() {
    let index = Index::default().update(vec![build(1, stamp(1))], |_| None);
    assert_eq!(index.files, []);
}
