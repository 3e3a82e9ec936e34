//! The program that is measured.

use camino::Utf8PathBuf;

#[path = "../../it/cargo.rs"]
mod cargo;

/// The release build of `stx-builds`, made if it is not up to date.
pub(crate) fn release() -> Utf8PathBuf {
    cargo::built(&["--release", "-p", "stx-cli", "--features", "full"])
}
