//! Additional work around the commit of a build.

use std::error::Error;

use async_trait::async_trait;

/// The reason why a hook failed.
pub type HookError = Box<dyn Error + Send + Sync>;

/// Additional work in a fixed order around the commit of a build, such as pushing the images that the build names.
///
/// A publish calls both hooks under the lock of the channel, or none. Either may be called again for a build that is already
/// published, when the publish is repeated after an error or a crash: a hook that has nothing left to do returns `Ok`.
#[async_trait]
pub trait CommitHooks: Sync {
    /// True if the hooks have nothing to do: then a publish that has nothing to do either takes no lock.
    fn is_noop(&self) -> bool;

    /// Runs before the build is visible and after its files are staged: makes the things that the build names. An error discards
    /// the staged files.
    async fn before_commit(&self) -> Result<(), HookError>;

    /// Runs when the build is visible, before an alias points at it: makes the things that name the build. After an error, no
    /// alias is moved.
    async fn after_commit(&self) -> Result<(), HookError>;
}

/// Hooks that do nothing.
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
