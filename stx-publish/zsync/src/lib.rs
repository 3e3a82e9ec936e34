//! zsync control files, and the parts of a file that an older file already contains.
//!
//! A control file describes a file by a weak and a strong sum of each of its blocks. A client that has an older file, the seed,
//! finds in it the unchanged blocks, even if they moved, and fetches the others by range requests from any web server. The format
//! is that of [zsync](http://zsync.moria.org.uk/) 0.6.2, whose client reads files made here; this crate reads files made by
//! `zsyncmake`.
//!
//! | module | has |
//! |---|---|
//! | [`control`] | [`Control`]: a control file as a value, parsed and written |
//! | [`make`] | [`Maker`]: makes the control file of a stream of bytes |
//! | [`scan`] | [`Index`]: the blocks by their sums, and the search for them in a seed |
//! | [`mod@plan`] | [`plan()`]: the bytes to take from a seed, and the bytes to fetch |
//! | `rsum` | the weak sum |
//! | `strong` | the strong sum: MD4 |
//!
//! Anybody may have written a control file. No size that it states is trusted before its bytes are present. Memory is
//! proportional to the length of the control file, and the work of a search to the length of the seed. The sums are too short to
//! vouch for the contents: a program that assembles a file by a plan must compare the digest of the whole.

pub mod control;
pub mod make;
pub mod plan;
mod rsum;
pub mod scan;
mod strong;

pub use control::{Control, ControlError, HashLengths, LONGEST, SUFFIX};
pub use make::{LengthError, Maker, block_size};
pub use plan::{Piece, plan};
pub use scan::{Index, Match};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
