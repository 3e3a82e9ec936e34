//! Guards of builds that are being read.

use std::any::Any;
use std::fmt;

/// Keeps a build from being retired as long as it lives; made by [`MirrorRead::hold`](super::MirrorRead::hold).
#[must_use]
pub struct Hold {
    /// Ends the hold when it is dropped.
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Hold {
    /// A hold without an effect, for mirrors that cannot hold.
    pub fn nothing() -> Self {
        Self { guard: None }
    }

    /// A hold that lasts as long as `guard`.
    pub fn until_dropped(guard: impl Any + Send + Sync) -> Self {
        Self {
            guard: Some(Box::new(guard)),
        }
    }

    /// True if the mirror keeps the build because of it.
    pub fn is_effective(&self) -> bool {
        self.guard.is_some()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effective = self.is_effective();
        f.debug_struct("Hold")
            .field("effective", &effective)
            .finish_non_exhaustive()
    }
}
