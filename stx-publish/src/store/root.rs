//! The names above the channels: their lock, and the way to change them.

use std::fmt;

use async_trait::async_trait;
use stx_layout::{RootAlias, RootEntry, RootTarget};

use super::StoreError;

/// The lock of the aliases that point to releases and channels, and with it the right to change them. Channels and pages have their
/// own locks.
///
/// # Contract
/// - **Atomicity.** A reader sees either the old alias or the new one, even after a crash; a moved alias is never missing, not
///   even for an instant.
/// - **Durability.** An alias that was linked is on stable storage when the call returns.
/// - **Idempotence.** Linking an alias to its current target succeeds, and completes a link that a crash left incomplete.
#[async_trait]
pub trait RootWriter: fmt::Debug + Send + Sync {
    /// Points `alias` at `to`, or removes it, if its current target is `expected` (`None`: it does not exist); otherwise returns
    /// [`StoreError::Conflict`]. [`StoreError::Refused`] for a target that the alias does not [fit](RootAlias::fits), and if
    /// something other than an alias has its name; [`StoreError::NotFound`] for a target that does not exist.
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError>;
}
