//! The strong sum of a block, MD4 (RFC 1320); of several consecutive blocks at a time.
//!
//! One MD4 is a chain of operations that each wait for the previous one, so a processor computes several in the time of one. The
//! crate `md4` computes one, and is the reference for the others.

use md4::{Digest as _, Md4};

/// Its length in bytes.
pub(crate) const STRONG: usize = 16;

/// The number of blocks that are summed at a time.
pub(crate) const LANES: usize = 8;

/// The number of bytes that MD4 processes at a time.
const CHUNK: usize = 64;

/// The same word of each block.
type Words = [u32; LANES];

/// The MD4 of a block.
pub(crate) fn strong(block: &[u8]) -> [u8; STRONG] {
    Md4::digest(block).into()
}

/// The MD4s of consecutive blocks of one size, a multiple of 64 bytes.
pub(crate) fn strong_lanes(blocks: &[u8]) -> [[u8; STRONG]; LANES] {
    debug_assert!(blocks.len().is_multiple_of(LANES * CHUNK));
    let size = blocks.len() / LANES;
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476].map(|word| [word; LANES]);
    for at in (0..size).step_by(CHUNK) {
        let mut words = [[0; LANES]; 16];
        for lane in 0..LANES {
            let chunk = &blocks[lane * size + at..][..CHUNK];
            for (word, bytes) in words.iter_mut().zip(chunk.chunks_exact(4)) {
                word[lane] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        compress(&mut state, &words);
    }
    // The padding: a bit, zeros, and the length in bits.
    let bits = (size as u64).wrapping_mul(8);
    let mut words = [[0; LANES]; 16];
    words[0] = [0x80; LANES];
    words[14] = [low(bits); LANES];
    words[15] = [low(bits >> 32); LANES];
    compress(&mut state, &words);
    let mut sums = [[0; STRONG]; LANES];
    for (lane, sum) in sums.iter_mut().enumerate() {
        for (bytes, word) in sum.chunks_exact_mut(4).zip(&state) {
            bytes.copy_from_slice(&word[lane].to_le_bytes());
        }
    }
    sums
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).unwrap_or_default()
}

/// Processes a chunk of each block.
fn compress(state: &mut [Words; 4], words: &[Words; 16]) {
    /// The order of the words in the first round, in the second and in the third.
    const ROWS: [[usize; 4]; 4] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]];
    const COLUMNS: [[usize; 4]; 4] = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
    const CROSSED: [[usize; 4]; 4] = [[0, 8, 4, 12], [2, 10, 6, 14], [1, 9, 5, 13], [3, 11, 7, 15]];
    let [mut a, mut b, mut c, mut d] = *state;
    for order in ROWS {
        step::<3>(&mut a, [&b, &c, &d], &words[order[0]], 0, choose);
        step::<7>(&mut d, [&a, &b, &c], &words[order[1]], 0, choose);
        step::<11>(&mut c, [&d, &a, &b], &words[order[2]], 0, choose);
        step::<19>(&mut b, [&c, &d, &a], &words[order[3]], 0, choose);
    }
    for order in COLUMNS {
        step::<3>(
            &mut a,
            [&b, &c, &d],
            &words[order[0]],
            0x5a82_7999,
            majority,
        );
        step::<5>(
            &mut d,
            [&a, &b, &c],
            &words[order[1]],
            0x5a82_7999,
            majority,
        );
        step::<9>(
            &mut c,
            [&d, &a, &b],
            &words[order[2]],
            0x5a82_7999,
            majority,
        );
        step::<13>(
            &mut b,
            [&c, &d, &a],
            &words[order[3]],
            0x5a82_7999,
            majority,
        );
    }
    for order in CROSSED {
        step::<3>(&mut a, [&b, &c, &d], &words[order[0]], 0x6ed9_eba1, parity);
        step::<9>(&mut d, [&a, &b, &c], &words[order[1]], 0x6ed9_eba1, parity);
        step::<11>(&mut c, [&d, &a, &b], &words[order[2]], 0x6ed9_eba1, parity);
        step::<15>(&mut b, [&c, &d, &a], &words[order[3]], 0x6ed9_eba1, parity);
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d]) {
        for (lane, new) in word.iter_mut().zip(new) {
            *lane = lane.wrapping_add(new);
        }
    }
}

fn choose(x: u32, y: u32, z: u32) -> u32 {
    z ^ (x & (y ^ z))
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | (z & (x | y))
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

/// Changes one word of the state by the three others and a word of the input.
#[inline]
fn step<const SHIFT: u32>(
    word: &mut Words,
    others: [&Words; 3],
    input: &Words,
    add: u32,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    for lane in 0..LANES {
        let [x, y, z] = others.map(|other| other[lane]);
        word[lane] = word[lane]
            .wrapping_add(mix(x, y, z))
            .wrapping_add(input[lane])
            .wrapping_add(add)
            .rotate_left(SHIFT);
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, strong, strong_lanes};

    #[test]
    fn parallel_sums_equal_single_sums() {
        for size in [64, 128, 2 << 10, 4 << 10, 64 << 10] {
            let bytes: Vec<u8> = (0..size * LANES)
                .map(|at| u8::try_from((at * at / 13 + at) & 0xff).expect("a byte"))
                .collect();
            let each: Vec<_> = bytes.chunks_exact(size).map(strong).collect();
            assert_eq!(strong_lanes(&bytes).to_vec(), each, "{size}");
        }
    }
}
