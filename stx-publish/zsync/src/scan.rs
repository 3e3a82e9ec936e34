//! The blocks of a control file by their sums, and the search for them in a seed.
//!
//! A window with the length of a block moves over the seed byte by byte, and its weak sum is updated. A bitmap rules out nearly
//! all positions at once; the few that are left are looked up, and the strong sum is calculated only if the weak sums match. If
//! the control file demands two consecutive blocks, two adjacent windows move.
//!
//! After a match the window moves on by a whole block, like that of `zsync`. Bytes of the seed that occur twice in the new file,
//! at different offsets within its blocks, are therefore found only once.

use std::collections::TryReserveError;
use std::io::{self, Read};

use crate::control::Control;
use crate::rsum::Rsum;
use crate::strong::{STRONG, strong};

/// The smallest number of bytes of a seed in memory.
const CHUNK: usize = 1 << 20;

/// The largest number of blocks with equal weak sums that are compared with a position. Only hostile control files have more; the
/// blocks that are left out are fetched.
const CANDIDATES: usize = 32;

/// The limit for strong sums that are calculated in vain, as a multiple of the seed's length. A control file whose weak sums
/// match everywhere ends the search instead of making it take unlimited time.
const IN_VAIN: u64 = 4;

/// No block.
const NONE: u32 = u32::MAX;

/// A position in a seed that contains a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The block, or the first one of several with equal sums.
    pub block: u32,
    /// The position of its first byte in the seed.
    pub at: u64,
}

/// The blocks of a control file by their sums.
#[derive(Debug)]
pub struct Index<'a> {
    pub(crate) control: &'a Control,
    /// True if two consecutive blocks must match.
    pub(crate) pair: bool,
    mask: u32,
    /// A bit for each hash that occurs.
    bitmap: Vec<u64>,
    bitmap_shift: u32,
    /// The first block of each hash.
    heads: Vec<u32>,
    heads_shift: u32,
    /// The next block with the same hash and other sums.
    next: Vec<u32>,
    /// The next block with the same sums.
    same: Vec<u32>,
}

fn hash(first: u32, second: u32) -> u64 {
    (u64::from(first) << 32 | u64::from(second)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn at(number: u64) -> usize {
    usize::try_from(number).expect("indexes fit in memory")
}

impl<'a> Index<'a> {
    /// Sorts the blocks by their sums.
    pub fn new(control: &'a Control) -> Self {
        let blocks = control.blocks();
        let pair = control.lengths().run == 2;
        // The last block does not begin a pair.
        let keys = if pair {
            blocks.saturating_sub(1)
        } else {
            blocks
        };
        let bits = |factor: u64| (u64::from(keys.max(64)) * factor).next_power_of_two();
        let (bitmap_size, heads_size) = (bits(32), bits(1));
        let mut index = Self {
            control,
            pair,
            mask: u32::MAX >> (32 - 8 * u32::from(control.lengths().weak)),
            bitmap: vec![0; at(bitmap_size / 64)],
            bitmap_shift: 64 - bitmap_size.trailing_zeros(),
            heads: vec![NONE; at(heads_size)],
            heads_shift: 64 - heads_size.trailing_zeros(),
            next: vec![NONE; keys as usize],
            same: vec![NONE; keys as usize],
        };
        // Backwards, so that the first of equal blocks becomes the head.
        for block in (0..keys).rev() {
            index.insert(block);
        }
        index
    }

    /// The weak sum of a block, cut to the length in the control file.
    fn weak(&self, block: u32) -> u32 {
        let from = block as usize * self.control.entry();
        let bytes = &self.control.sums()[from..from + usize::from(self.control.lengths().weak)];
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u32::from(byte))
    }

    fn strong(&self, block: u32) -> &[u8] {
        let from = block as usize * self.control.entry();
        let entry = &self.control.sums()[from..from + self.control.entry()];
        &entry[usize::from(self.control.lengths().weak)..]
    }

    /// All sums with which a position is compared.
    fn key(&self, block: u32) -> &[u8] {
        let entry = self.control.entry();
        let from = block as usize * entry;
        &self.control.sums()[from..from + if self.pair { 2 * entry } else { entry }]
    }

    fn weaks(&self, block: u32) -> (u32, u32) {
        let second = if self.pair { self.weak(block + 1) } else { 0 };
        (self.weak(block), second)
    }

    fn insert(&mut self, block: u32) {
        let weaks = self.weaks(block);
        let hash = hash(weaks.0, weaks.1);
        let bit = hash >> self.bitmap_shift;
        self.bitmap[at(bit / 64)] |= 1 << (bit % 64);
        let head = at(hash >> self.heads_shift);
        let (mut before, mut other) = (NONE, self.heads[head]);
        let mut seen = 0;
        while other != NONE {
            if self.key(other) == self.key(block) {
                // Replaces the later one.
                self.same[block as usize] = other;
                self.next[block as usize] = self.next[other as usize];
                match before {
                    NONE => self.heads[head] = block,
                    before => self.next[before as usize] = block,
                }
                return;
            }
            seen += 1;
            if seen == CANDIDATES {
                return;
            }
            (before, other) = (other, self.next[other as usize]);
        }
        self.next[block as usize] = self.heads[head];
        self.heads[head] = block;
    }

    /// The next block with the same sums.
    pub(crate) fn next_same(&self, block: u32) -> Option<u32> {
        let next = self.same.get(block as usize).copied();
        next.filter(|next| *next != NONE)
    }

    #[inline]
    fn may_be_there(&self, hash: u64) -> bool {
        let bit = hash >> self.bitmap_shift;
        self.bitmap[at(bit / 64)] >> (bit % 64) & 1 == 1
    }

    /// Finds blocks that begin in the bytes `from..until` of a seed; `input` reads the seed from `from` on. Each block is found
    /// once; parts of a seed can be searched in parallel.
    ///
    /// # Errors
    /// The errors of `input`, and [`io::ErrorKind::OutOfMemory`].
    pub fn scan(&self, input: &mut dyn Read, from: u64, until: u64) -> io::Result<Vec<Match>> {
        let scan = Scan::new(self, input, from, until)?;
        if self.pair {
            scan.run::<true>()
        } else {
            scan.run::<false>()
        }
    }
}

/// A search.
struct Scan<'a, 'b> {
    index: &'a Index<'a>,
    input: &'b mut dyn Read,
    /// Bytes of the seed, and zeros after its end.
    bytes: Vec<u8>,
    /// The position of the first of them in the seed.
    base: u64,
    /// The number of them that belong to the seed.
    real: usize,
    /// True if the seed ends with them.
    ended: bool,
    until: u64,
    /// A bit for each block that was found.
    seen: Vec<u64>,
    found: Vec<Match>,
    /// The number of bytes whose strong sum did not match.
    in_vain: u64,
}

impl<'a, 'b> Scan<'a, 'b> {
    fn new(
        index: &'a Index<'a>,
        input: &'b mut dyn Read,
        from: u64,
        until: u64,
    ) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let room = CHUNK + 3 * index.control.block_size() as usize;
        let reserved: Result<(), TryReserveError> = bytes.try_reserve_exact(room);
        reserved.map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
        Ok(Self {
            index,
            input,
            bytes,
            base: from,
            real: 0,
            ended: false,
            until,
            seen: vec![0; index.next.len().div_ceil(64)],
            found: Vec::new(),
            in_vain: 0,
        })
    }

    /// Drops the bytes before `position`, and reads until a whole chunk is present or the seed ends.
    fn fill(&mut self, position: usize) -> io::Result<()> {
        let size = self.index.control.block_size() as usize;
        self.bytes.drain(..position);
        self.base += position as u64;
        self.real -= position.min(self.real);
        while !self.ended && self.bytes.len() < CHUNK + 2 * size {
            let missing = (CHUNK + 2 * size - self.bytes.len()) as u64;
            let mut limited = (&mut *self.input).take(missing);
            let count = limited.read_to_end(&mut self.bytes)?;
            self.real += count;
            if (count as u64) < missing {
                self.ended = true;
                // The last block is padded with zeros, and may also be at the end of the seed.
                self.bytes.resize(self.real + 2 * size, 0);
            }
        }
        Ok(())
    }

    fn run<const PAIR: bool>(mut self) -> io::Result<Vec<Match>> {
        let size = self.index.control.block_size() as usize;
        let shift = self.index.control.block_size().trailing_zeros();
        let windows = if PAIR { 2 * size } else { size };
        let mask = self.index.mask;
        let most_in_vain = (self.until - self.base)
            .saturating_mul(IN_VAIN)
            .saturating_add(64 << 20);
        let mut position = 0;
        // The strong sum of the block at `position` if the previous pair needed it: the block is part of that pair.
        let mut known: Option<[u8; STRONG]> = None;
        loop {
            if self.bytes.len() < position + windows + 1 && !self.ended {
                self.fill(position)?;
                position = 0;
            }
            // Each window holds at least one byte of the seed.
            let real = if PAIR {
                self.real.saturating_sub(size)
            } else {
                self.real
            };
            let room = self.bytes.len().saturating_sub(windows - 1);
            let asked = usize::try_from(self.until.saturating_sub(self.base)).unwrap_or(usize::MAX);
            let end = real.min(room).min(asked);
            if position >= end {
                return Ok(self.found);
            }
            let mut first = Rsum::of(&self.bytes[position..position + size]);
            let mut second = Rsum::default();
            if PAIR {
                second = Rsum::of(&self.bytes[position + size..position + windows]);
            }
            loop {
                let weaks = (first.bits() & mask, second.bits() & mask);
                let hash = hash(weaks.0, weaks.1);
                if self.index.may_be_there(hash) {
                    let before = known.take();
                    let is_known = before.is_some();
                    match self.compare::<PAIR>(position, weaks, hash, before) {
                        Some(next) => {
                            known = PAIR.then_some(next);
                            position += size;
                            break;
                        }
                        None if is_known => {
                            position += size;
                            break;
                        }
                        None if self.in_vain > most_in_vain => return Ok(self.found),
                        None => {}
                    }
                } else if known.take().is_some() {
                    position += size;
                    break;
                }
                position += 1;
                if position >= end {
                    break;
                }
                let leaves = self.bytes[position - 1];
                let middle = self.bytes[position - 1 + size];
                first.roll(leaves, middle, shift);
                if PAIR {
                    second.roll(middle, self.bytes[position - 1 + windows], shift);
                }
            }
        }
    }

    /// Compares a position with the blocks of its weak sums. For a match, returns the strong sum of its last block.
    #[inline(never)]
    fn compare<const PAIR: bool>(
        &mut self,
        position: usize,
        weaks: (u32, u32),
        hash: u64,
        known: Option<[u8; STRONG]>,
    ) -> Option<[u8; STRONG]> {
        let index = self.index;
        let size = index.control.block_size() as usize;
        let (mut first, mut second) = (known, None);
        let mut block = index.heads[at(hash >> index.heads_shift)];
        while block != NONE {
            if index.weaks(block) == weaks {
                let sum = *first.get_or_insert_with(|| {
                    self.in_vain += size as u64;
                    strong(&self.bytes[position..position + size])
                });
                let (mut is_same, mut last) = (sum.starts_with(index.strong(block)), sum);
                if is_same && PAIR {
                    last = *second.get_or_insert_with(|| {
                        self.in_vain += size as u64;
                        strong(&self.bytes[position + size..position + 2 * size])
                    });
                    is_same = last.starts_with(index.strong(block + 1));
                }
                if is_same {
                    let calculated = [known.is_none(), PAIR];
                    let calculated = calculated.into_iter().filter(|it| *it).count();
                    self.in_vain -= (size * calculated) as u64;
                    self.found(block, position);
                    return Some(last);
                }
            }
            block = index.next[block as usize];
        }
        None
    }

    fn found(&mut self, block: u32, position: usize) {
        let (word, bit) = (block as usize / 64, block % 64);
        if self.seen[word] >> bit & 1 == 0 {
            self.seen[word] |= 1 << bit;
            let at = self.base + position as u64;
            self.found.push(Match { block, at });
        }
    }
}

#[cfg(test)]
mod tests;
