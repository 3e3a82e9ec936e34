use proptest::prelude::*;

use super::*;
use crate::{Maker, Piece, plan};

/// Pseudorandom bytes that occur nowhere else, and are the same in each run.
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn control(bytes: &[u8]) -> Control {
    let mut maker = Maker::new("a", "a", bytes.len() as u64);
    maker.update(bytes);
    Control::parse(&maker.finish().expect("all of it")).expect("a control file")
}

/// The plan of `new` from the seed `old`, checked: the bytes that it takes from the seed are those of the file.
fn pieces(new: &[u8], old: &[u8], parts: usize) -> Vec<Piece> {
    let control = control(new);
    let index = Index::new(&control);
    let step = old.len().div_ceil(parts).max(1);
    let mut found = Vec::new();
    for from in (0..old.len()).step_by(step) {
        let until = (from + step).min(old.len());
        let input = &mut &old[from..];
        found.extend(index.scan(input, from as u64, until as u64).expect("read"));
    }
    let pieces = plan(&index, &[(old.len() as u64, found)]);
    let mut next = 0;
    for piece in &pieces {
        assert_eq!(piece.at, next, "no gap");
        next += piece.length;
        if let Some((_, at)) = piece.seed {
            let (at, to, length) = (usize(at), usize(piece.at), usize(piece.length));
            assert!(old[at..at + length] == new[to..to + length], "{piece:?}");
        }
    }
    assert_eq!(next, new.len() as u64);
    pieces
}

fn usize(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

fn fetched(pieces: &[Piece]) -> u64 {
    let fetched = pieces.iter().filter(|piece| piece.seed.is_none());
    fetched.map(|piece| piece.length).sum()
}

#[test]
fn an_identical_file_of_any_length_is_found_completely() {
    for length in [0, 1, 2047, 2048, 2049, 4096, 4097, 100_000, 3 << 20] {
        let bytes = noise(1, length);
        assert_eq!(fetched(&pieces(&bytes, &bytes, 1)), 0, "{length}");
    }
}

#[test]
fn moved_blocks_are_found() {
    let old = noise(2, 2_000_000);
    for shift in [1, 7, 2048, 4095, 300_001] {
        let mut new = noise(3, shift);
        new.extend_from_slice(&old);
        let cost = fetched(&pieces(&new, &old, 1));
        // At most the new bytes, and the block that contains both new and old ones.
        assert!(
            cost <= (shift as u64).next_multiple_of(2048),
            "{shift}: {cost}"
        );
        let cost = fetched(&pieces(&old, &new, 1));
        assert_eq!(cost, 0, "{shift} bytes less");
    }
}

#[test]
fn a_seed_may_be_searched_in_parts() {
    let old = noise(4, 3_000_001);
    let mut new = noise(5, 777);
    new.extend_from_slice(&old[500_000..]);
    new.extend_from_slice(&old[..500_000]);
    let whole = fetched(&pieces(&new, &old, 1));
    for parts in [2, 3, 7] {
        // At the start of a part, the search must synchronise again.
        let cost = fetched(&pieces(&new, &old, parts));
        assert!(
            cost <= whole + 2048 * parts as u64,
            "{parts}: {cost} {whole}"
        );
    }
}

#[test]
fn all_equal_blocks_are_found_at_no_cost() {
    let mut new = vec![0; 4 << 20];
    new.extend_from_slice(&noise(6, 10_000));
    new.extend_from_slice(&vec![0; 4 << 20]);
    let mut old = noise(6, 10_000);
    old.extend_from_slice(&vec![0; 20_000]);
    let cost = fetched(&pieces(&new, &old, 1));
    assert!(cost <= 3 * 2048, "{cost}");
}

#[test]
fn an_unrelated_seed_has_no_matches() {
    let (new, old) = (noise(7, 1_000_000), noise(8, 1_000_000));
    let found = pieces(&new, &old, 1);
    assert_eq!(found.len(), 1);
    assert_eq!(fetched(&found), 1_000_000);
    assert_eq!(fetched(&pieces(&new, &[], 1)), 1_000_000);
}

#[test]
fn single_blocks_are_found_if_one_match_suffices() {
    let (old, size) = (noise(9, 50_000), 2048);
    let text = format!(
        "zsync: 0.6.2\nBlocksize: {size}\nLength: {}\nHash-Lengths: 1,4,16\nURL: a\n\n",
        old.len()
    );
    let mut bytes = text.into_bytes();
    for block in old.chunks(size) {
        let mut block = block.to_vec();
        block.resize(size, 0);
        bytes.extend_from_slice(&Rsum::of(&block).bits().to_be_bytes());
        bytes.extend_from_slice(&strong(&block));
    }
    let control = Control::parse(&bytes).expect("a control file");
    let index = Index::new(&control);
    let mut seed = noise(10, 100);
    seed.extend_from_slice(&old[size * 3..size * 4]);
    seed.extend_from_slice(&noise(11, 100));
    let found = index.scan(&mut &*seed, 0, seed.len() as u64).expect("read");
    assert_eq!(found, [Match { block: 3, at: 100 }]);
    let all = index.scan(&mut &*old, 0, old.len() as u64).expect("read");
    assert_eq!(fetched(&plan(&index, &[(old.len() as u64, all)])), 0);
}

#[test]
fn sums_that_match_everywhere_end_the_search() {
    // The weak sums of zeros, with strong sums that never match: a strong sum is calculated at every position of the seed.
    let (size, blocks) = (65_536_u64, 3_000_u64);
    let length = size * blocks;
    let text = format!(
        "zsync: 0.6.2\nBlocksize: {size}\nLength: {length}\nHash-Lengths: 1,1,16\nURL: a\n\n"
    );
    let mut bytes = text.into_bytes();
    for block in 0..blocks {
        bytes.push(0);
        bytes.extend_from_slice(&noise(block + 1, 16));
    }
    let control = Control::parse(&bytes).expect("a control file");
    let index = Index::new(&control);
    let seed = vec![0; 8 << 20];
    let mut rest = &*seed;
    let found = index.scan(&mut rest, 0, seed.len() as u64).expect("read");
    assert_eq!(found, []);
    assert!(
        rest.len() > 6 << 20,
        "it went on for {} bytes",
        seed.len() - rest.len()
    );
}

#[test]
fn a_read_error_of_the_seed_fails_the_search() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let control = control(&noise(1, 10_000));
    let error = Index::new(&control).scan(&mut Broken, 0, 10_000);
    assert_eq!(error.expect_err("broken").to_string(), "broken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_plan_is_correct_and_finds_every_kept_block(
        cuts in prop::collection::vec((0_usize..4_000, 0_usize..60_000, 0_u64..3), 1..12),
        parts in 1_usize..4,
    ) {
        let old = noise(99, 12 * 64_000);
        // Each part of the old file is kept once: of a part that is kept at two alignments, only one may be found.
        let (mut new, mut taken) = (Vec::new(), 0);
        let mut strange = 0;
        let edges = (cuts.len() + parts) as u64;
        for (index, (left_out, length, kind)) in cuts.into_iter().enumerate() {
            match kind {
                0 => {
                    new.extend_from_slice(&noise(1_000 + index as u64, length));
                    strange += length as u64;
                }
                1 => {
                    new.extend_from_slice(&vec![0; length]);
                    strange += length as u64;
                }
                _ => {
                    let from = taken + left_out;
                    taken = from + length;
                    new.extend_from_slice(&old[from..taken]);
                }
            }
        }
        let found = pieces(&new, &old, parts);
        // At the edges of kept parts, incomplete blocks are lost, or are found without a neighbour.
        prop_assert!(fetched(&found) <= strange + edges * 4 * 2048);
    }

    #[test]
    fn hostile_sums_never_stop_the_search(
        sums in prop::collection::vec(any::<u8>(), 5 * 40),
        run in 1_u8..3,
        seed in prop::collection::vec(any::<u8>(), 0..3_000),
    ) {
        let text = format!("zsync: 0.6.2\nBlocksize: 64\nLength: 2560\nHash-Lengths: {run},1,4\nURL: a\n\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&sums);
        let control = Control::parse(&bytes).expect("a control file");
        let index = Index::new(&control);
        let found = index.scan(&mut &*seed, 0, seed.len() as u64).expect("read");
        let pieces = plan(&index, &[(seed.len() as u64, found)]);
        prop_assert_eq!(pieces.iter().map(|it| it.length).sum::<u64>(), 2560);
    }
}
