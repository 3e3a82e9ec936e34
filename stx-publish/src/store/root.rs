//! The names above the channels: their lock, and how they are set right.

use std::fmt;

use async_trait::async_trait;
use stx_layout::{RootAlias, RootEntry, RootTarget};

use super::StoreError;

/// The lock of the aliases that point at releases and channels, and with it the right to change them. Channels and pages are
/// locked apart.
///
/// # Contract
/// - **Atomicity.** A reader sees an alias as it was or as it is, also after a crash; there is no instant at which a moved one
///   is missing.
/// - **Durability.** An alias that was linked is on stable storage when the call returns.
/// - **Idempotence.** Linking to the target that an alias has already succeeds, and completes what a crash left of it.
#[async_trait]
pub trait RootWriter: fmt::Debug + Send + Sync {
    /// Points `alias` at `to`, or removes it, if it is now what `expected` says (`None`: not there); otherwise
    /// [`StoreError::Conflict`]. [`StoreError::Refused`] for a target that the alias does not
    /// [fit](RootAlias::fits), and where something else than an alias has its name; [`StoreError::NotFound`] for a target
    /// that is not there.
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError>;
}
