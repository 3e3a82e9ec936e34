//! Reads the files of a workspace for a store: each is opened once, hashed while it is copied, and recognised the next time.
//!
//! | item | is |
//! |---|---|
//! | [`Source`] | a file that is open for reading: it can be [hashed](Source::hash), and checked to be [unchanged](Source::is_unchanged) |
//! | [`Stamp`] | the times and the inode of a file, which show a write |
//! | [`Hints`] | the digests of the files of the last publish, by stamp |
//! | [`blocking`] | runs input and output on a thread that may block |
//!
//! Nothing here depends on a particular store: the mirrors in directories and in buckets use it, and any other mirror may.

use std::io;

use crate::error::StoreError;

pub(crate) mod cache;
mod copy;
mod hints;

pub(crate) use copy::name_of;
pub use copy::{Source, Stamp, hash_file};
pub use hints::{Hints, now};

/// An input or output error of a store.
#[expect(
    clippy::needless_pass_by_value,
    reason = "calls read better without a borrow"
)]
pub(crate) fn io_error(
    op: &'static str,
    path: impl ToString,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_string();
    move |source| StoreError::Io { op, path, source }
}

/// Runs `work` on a thread that may block.
///
/// # Errors
/// Those of `work`; [`StoreError::Io`] if it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io_error("finish", "a task")(crate::task::unfinished(error))),
    }
}
