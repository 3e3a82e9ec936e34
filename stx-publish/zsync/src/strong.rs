//! The strong sum of a block.

use md4::{Digest as _, Md4};

/// Bytes of it.
pub(crate) const STRONG: usize = 16;

/// The MD4 of a block.
pub(crate) fn strong(block: &[u8]) -> [u8; STRONG] {
    Md4::digest(block).into()
}
