//! The program to measure.

use camino::Utf8PathBuf;

#[path = "../../it/cargo.rs"]
mod cargo;

/// The program that `STX_BENCH_PROGRAM` names, or else the release build of `stx-builds`, which is built if it is outdated.
pub(crate) fn release() -> Utf8PathBuf {
    std::env::var("STX_BENCH_PROGRAM").map_or_else(
        |_| cargo::built(&["--release", "-p", "stx-cli", "--features", "full"]),
        Utf8PathBuf::from,
    )
}
