//! The guard: no tree is published before it was searched for data that identifies the build server.
//!
//! ```text
//! Incoming ──clear──> Cleared ──> PublishRequest
//! ```
//!
//! | item | is |
//! |---|---|
//! | [`Cleared`] | a tree that may be published; a request takes no other |
//! | `clear` | searches a tree: redacts its logs, reports findings in packages, refuses other findings; feature `local` |
//! | [`Copies`] | keeps the redacted copies as long as a reader may need them |
//!
//! [`privacy`](crate::privacy) finds private data in a text; this module reads the files.

#[cfg(feature = "local")]
mod clear;
mod cleared;
#[cfg(feature = "local")]
mod packages;

#[cfg(feature = "local")]
pub use clear::{ClearError, clear};
pub use cleared::{Cleared, Copies};
