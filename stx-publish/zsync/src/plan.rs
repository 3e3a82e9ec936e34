//! The plan for a file: the bytes to take from a seed, and the bytes to fetch.

use crate::scan::{Index, Match};

/// Consecutive bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The position of the first byte in the file.
    pub at: u64,
    /// The number of bytes.
    pub length: u64,
    /// The source: the number of a seed, and the position of the first byte in it; `None` if the piece must be fetched.
    pub seed: Option<(usize, u64)>,
}

/// The pieces of a file, in order and without a gap: each block is taken from the first seed that contains it. `seeds` is the
/// length of each seed, and the matches in it.
pub fn plan(index: &Index<'_>, seeds: &[(u64, Vec<Match>)]) -> Vec<Piece> {
    let control = index.control;
    let size = u64::from(control.block_size());
    let length_of = |block: u32| (control.length() - u64::from(block) * size).min(size);
    let mut places: Vec<Option<(usize, u64)>> = vec![None; control.blocks() as usize];
    for (seed, (seed_length, matches)) in seeds.iter().enumerate() {
        let mut put = |block: u32, at: u64| {
            let Some(place) = places.get_mut(block as usize) else {
                return;
            };
            // A block that matched with zeros beyond the end of the seed is not really present.
            let end = at.checked_add(length_of(block));
            if place.is_none() && end.is_some_and(|end| end <= *seed_length) {
                *place = Some((seed, at));
            }
        };
        for found in matches {
            let mut block = Some(found.block);
            while let Some(this) = block {
                put(this, found.at);
                if index.pair {
                    put(this + 1, found.at.saturating_add(size));
                }
                block = index.next_same(this);
            }
        }
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for (block, seed) in (0..).zip(places) {
        let (at, length) = (u64::from(block) * size, length_of(block));
        if let Some(last) = pieces.last_mut() {
            let follows = match (last.seed, seed) {
                (None, None) => true,
                (Some((one, at)), Some((other, then))) => one == other && at + last.length == then,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if follows {
                last.length += length;
                continue;
            }
        }
        pieces.push(Piece { at, length, seed });
    }
    pieces
}
