//! Writes files with holes in place of their zeros.
//!
//! A disk image is mostly zeros. Copied like any file, it would be stored with all of them; written by this module, it takes no
//! more space than the original image. A digest covers the zeros like any other bytes.

use std::io::{self, Seek, SeekFrom, Write};

/// The size of a file system's block, in bytes. A smaller hole would save nothing.
const BLOCK: usize = 4096;

/// Writes `bytes` at the offset `at`, which is the position of `to` and where nothing was written before. Blocks of zeros are
/// skipped. Returns true if the last block was skipped: then the file is too short, and its writer must set its length at the end.
pub(crate) fn write_sparse(
    to: &mut (impl Write + Seek),
    at: u64,
    bytes: &[u8],
) -> io::Result<bool> {
    let (mut data, mut end, mut skipped) = (0, 0, 0);
    while end < bytes.len() {
        // `BLOCK` is small: the rest of a block fits any integer.
        let into = usize::try_from((at + end as u64) % BLOCK as u64).unwrap_or_default();
        let piece = (BLOCK - into).min(bytes.len() - end);
        if is_zero(&bytes[end..end + piece]) {
            to.write_all(&bytes[data..end])?;
            skipped += piece;
            data = end + piece;
        } else if skipped > 0 {
            pass(to, skipped)?;
            skipped = 0;
        }
        end += piece;
    }
    to.write_all(&bytes[data..])?;
    pass(to, skipped)?;
    Ok(skipped > 0)
}

fn pass(to: &mut impl Seek, count: usize) -> io::Result<()> {
    match i64::try_from(count) {
        Ok(0) => Ok(()),
        Ok(count) => to.seek(SeekFrom::Current(count)).map(drop),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// True if all bytes of a piece of at most [`BLOCK`] bytes are zero; a single memory comparison.
fn is_zero(piece: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    ZEROS.get(..piece.len()) == Some(piece)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// Pieces of zeros and of other bytes, many of them about as long as a block.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![0..20_usize, BLOCK - 2..BLOCK + 3, 0..3 * BLOCK];
        let piece = (length, 0..3_u8).prop_map(|(length, byte)| vec![byte; length]);
        prop::collection::vec(piece, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a file is split, its bytes are the ones that were written, and a hole at its end is reported.
        #[test]
        fn holes_are_read_as_zeros(pieces in pieces()) {
            let whole = pieces.concat();
            let mut file = Cursor::new(Vec::new());
            let (mut at, mut ends_in_a_hole) = (0, false);
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                ends_in_a_hole = write_sparse(&mut file, at, piece).expect("written");
                at += piece.len() as u64;
                prop_assert_eq!(file.position(), at);
            }
            let mut written = file.into_inner();
            prop_assert!(ends_in_a_hole == (written.len() < whole.len()));
            written.resize(whole.len(), 0);
            prop_assert!(written == whole);
        }
    }

    #[test]
    fn aligned_blocks_of_zeros_are_not_written() {
        /// Counts the written bytes.
        struct Counting(Cursor<Vec<u8>>, usize);
        impl Write for Counting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += bytes.len();
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Counting {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let mut bytes = vec![0; 10 * BLOCK];
        bytes[BLOCK + 7] = 1;
        bytes[5 * BLOCK] = 1;
        let mut file = Counting(Cursor::new(Vec::new()), 0);
        assert!(write_sparse(&mut file, 0, &bytes).expect("written"));
        assert_eq!(file.1, 2 * BLOCK);
    }
}
