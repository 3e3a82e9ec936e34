//! zsync control files, and what of a file an older one holds already.
//!
//! A control file describes a file by a weak and a strong sum of each of its blocks. Who has an older file, the seed, finds
//! in it the blocks that did not change, wherever they moved to, and fetches the others by ranges from any web server. The
//! format is that of [zsync](http://zsync.moria.org.uk/) 0.6.2, whose client reads files that are made here, and the other
//! way round.
//!
//! | module | has |
//! |---|---|
//! | [`control`] | [`Control`]: a control file as a value, parsed and written |
//! | [`make`] | [`Maker`]: the control file of bytes that pass by |
//! | [`scan`] | [`Index`]: the blocks by their sums, and the search for them in a seed |
//! | [`mod@plan`] | [`plan()`]: which bytes come from a seed, and which have to be fetched |
//! | `rsum` | the weak sum |
//! | `strong` | the strong sum: MD4 |
//!
//! A control file may be written by anybody: no size that it states is believed before its bytes are there, memory follows
//! the length of the control file, and the work of a search follows the length of the seed. Its sums are too short to vouch
//! for anything: whoever puts a file together by a plan compares the digest of the whole.

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
