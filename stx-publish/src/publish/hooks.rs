//! Work around the commit of a build.

use std::error::Error;

use async_trait::async_trait;

/// Why a hook failed.
pub type HookError = Box<dyn Error + Send + Sync>;

/// Work around the commit of a build, in one order with it, such as pushing the images that the build names.
///
/// A publish calls both hooks under the lock of the channel, or none. Either may be called again for a build that is
/// published already, when the publish is run again after an error or a crash: a hook that has nothing left to do returns
/// `Ok`.
#[async_trait]
pub trait CommitHooks: Sync {
    /// Whether there is nothing to do: a publish that has nothing to do either takes no lock then.
    fn is_noop(&self) -> bool;

    /// Runs before the build is visible, after its files are staged: makes what the build names. An error discards the
    /// staged files.
    async fn before_commit(&self) -> Result<(), HookError>;

    /// Runs when the build is visible, before an alias points at it: makes what names the build. After an error no alias
    /// is moved.
    async fn after_commit(&self) -> Result<(), HookError>;
}

/// Nothing to do around the commit.
pub(super) struct NoHooks;

#[async_trait]
impl CommitHooks for NoHooks {
    fn is_noop(&self) -> bool {
        true
    }

    async fn before_commit(&self) -> Result<(), HookError> {
        Ok(())
    }

    async fn after_commit(&self) -> Result<(), HookError> {
        Ok(())
    }
}
