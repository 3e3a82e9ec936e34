//! The guard: nothing is published before it was searched for what tells of the build server.
//!
//! ```text
//! Incoming ──clear──> Cleared ──> PublishRequest
//! ```
//!
//! | item | is |
//! |---|---|
//! | [`Cleared`] | a tree that may be published; a request takes no other |
//! | `clear` | searches a tree: redacts its logs, reports what packages tell, refuses the rest; feature `local` |
//! | [`Copies`] | keeps the redacted copies as long as somebody may read them |
//!
//! [`privacy`](crate::privacy) decides what a text tells; this module reads the files.

#[cfg(feature = "local")]
mod clear;
mod cleared;
#[cfg(feature = "local")]
mod packages;

#[cfg(feature = "local")]
pub use clear::{ClearError, clear};
pub use cleared::{Cleared, Copies};
