//! A switch that ends a build early.

use tokio::sync::watch;

/// A switch that ends a build; clones share it, and it is never switched back.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Sender<bool>);

impl Default for Cancel {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the build.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// True if the build must end.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the build must end.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so the channel cannot close.
        drop(receiver.wait_for(|cancelled| *cancelled).await);
    }
}
