//! Makes the control file of a stream of bytes, in one pass and with memory for the sums only.

use sha1::{Digest as _, Sha1};

use crate::control::{Control, HashLengths};
use crate::rsum::Rsum;
use crate::strong::{LANES, STRONG, strong, strong_lanes};

/// The largest number of blocks of a control file made here: their sums take 12 MiB.
const BLOCKS: u64 = 1 << 20;

/// Shorter files use the smaller blocks.
const SMALL: u64 = 100_000_000;

/// The block size for a file of `length` bytes: 2 KiB below 100 MB, like `zsyncmake`, else 4 KiB, and more above 4 GiB.
pub fn block_size(length: u64) -> u32 {
    let mut size = if length < SMALL { 2 << 10 } else { 4 << 10 };
    while length.div_ceil(u64::from(size)) > BLOCKS && size < 16 << 20 {
        size *= 2;
    }
    size
}

/// The lengths of the sums that make a false match unlikely, computed like `zsyncmake` does.
fn hash_lengths(length: u64, block_size: u32) -> HashLengths {
    let log = |number: u64| number.max(1).next_power_of_two().trailing_zeros();
    let (length_log, block_log) = (log(length), log(u64::from(block_size)));
    let count_log = log(1 + length / u64::from(block_size));
    let run = if length > u64::from(block_size) { 2 } else { 1 };
    let weak = (length_log + block_log).saturating_sub(8).div_ceil(run * 8);
    let strong = (20 + length_log + count_log).div_ceil(run * 8);
    let strong = strong.max((20 + count_log).div_ceil(8));
    let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    HashLengths {
        run: byte(run),
        weak: byte(weak.clamp(2, 4)),
        strong: byte(strong.clamp(3, 16)),
    }
}

/// The number of bytes differs from the announced one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes arrived, and {expected} were expected")]
pub struct LengthError {
    /// The announced number of bytes.
    pub expected: u64,
    /// The number of bytes that arrived.
    pub found: u64,
}

/// Makes a control file. Equal bytes and names give equal control files.
#[derive(Debug)]
pub struct Maker {
    names: (String, String),
    length: u64,
    block_size: usize,
    lengths: HashLengths,
    sha1: Sha1,
    found: u64,
    /// The beginning of an incomplete block.
    rest: Vec<u8>,
    sums: Vec<u8>,
}

impl Maker {
    /// Begins the control file of a file of `length` bytes at `url`, which is relative to the control file.
    pub fn new(file_name: &str, url: &str, length: u64) -> Self {
        let block_size = block_size(length);
        Self {
            names: (file_name.to_owned(), url.to_owned()),
            length,
            block_size: usize::try_from(block_size).expect("at most 16 MiB"),
            lengths: hash_lengths(length, block_size),
            sha1: Sha1::new(),
            found: 0,
            rest: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// True if `control` has the form that this one will have: sums of the same blocks, with the same lengths.
    pub fn fits(&self, control: &Control) -> bool {
        control.length() == self.length
            && control.block_size() as usize == self.block_size
            && control.lengths() == self.lengths
            && control.sha1.is_some()
    }

    /// The same control file under the names of this one.
    ///
    /// # Errors
    /// `control`, if it does not [fit](Self::fits).
    pub fn renamed(self, mut control: Control) -> Result<Vec<u8>, Control> {
        if !self.fits(&control) {
            return Err(control);
        }
        (control.file_name, control.url) = self.names;
        Ok(control.to_bytes())
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.sha1.update(bytes);
        self.found += bytes.len() as u64;
        if self.found > self.length {
            // `finish` reports the error; no memory is allocated for more sums.
            return;
        }
        if !self.rest.is_empty() {
            let missing = self.block_size - self.rest.len();
            let (head, tail) = bytes.split_at(missing.min(bytes.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            if self.rest.len() < self.block_size {
                return;
            }
            let block = std::mem::take(&mut self.rest);
            self.sum(&block);
            self.rest = block;
            self.rest.clear();
        }
        let mut groups = bytes.chunks_exact(self.block_size * LANES);
        for group in &mut groups {
            let blocks = group.chunks_exact(self.block_size);
            for (block, strong) in blocks.zip(strong_lanes(group)) {
                self.push(block, strong);
            }
        }
        let mut blocks = groups.remainder().chunks_exact(self.block_size);
        for block in &mut blocks {
            self.sum(block);
        }
        self.rest.extend_from_slice(blocks.remainder());
    }

    fn sum(&mut self, block: &[u8]) {
        self.push(block, strong(block));
    }

    fn push(&mut self, block: &[u8], strong: [u8; STRONG]) {
        let weak = Rsum::of(block).bits().to_be_bytes();
        self.sums
            .extend_from_slice(&weak[weak.len() - usize::from(self.lengths.weak)..]);
        self.sums
            .extend_from_slice(&strong[..usize::from(self.lengths.strong)]);
    }

    /// The control file.
    ///
    /// # Errors
    /// [`LengthError`] if not all bytes arrived, or more.
    pub fn finish(mut self) -> Result<Vec<u8>, LengthError> {
        if self.found != self.length {
            return Err(LengthError {
                expected: self.length,
                found: self.found,
            });
        }
        if !self.rest.is_empty() {
            let mut block = std::mem::take(&mut self.rest);
            block.resize(self.block_size, 0);
            self.sum(&block);
        }
        let sizes = (
            self.length,
            u32::try_from(self.block_size).expect("at most 16 MiB"),
        );
        let sha1 = self.sha1.finalize().into();
        let control = Control::made(self.names, sha1, sizes, self.lengths, self.sums);
        Ok(control.to_bytes())
    }
}
