//! A site: a mirror, the state of its builds, and the options of every operation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_layout::BuildId;
use stx_publish::StoreError;
use stx_publish::fetch::FetchEvent;
use stx_publish::replicate::CopyEvent;

use crate::error::Error;
use crate::opened::OpenedBucket;
use crate::options::Options;
use crate::refused;

/// The time to wait for a lock before the user is notified. Making the pages of most mirrors takes less.
const SILENCE: Duration = Duration::from_secs(3);

/// An event in the course of an adoption.
#[derive(Debug, Clone, Copy)]
pub enum AdoptEvent<'a> {
    /// The adoption begins, and will read so many bytes of so many builds.
    Begun {
        /// The bytes.
        bytes: u64,
        /// The builds.
        builds: u64,
    },
    /// So many more bytes are processed.
    Bytes(u64),
    /// A build is adopted.
    Adopted {
        /// The build.
        build: &'a BuildId,
        /// The number of builds done so far.
        done: u64,
        /// The total number of builds.
        of: u64,
    },
}

/// Receives the events of a running operation. The default methods do nothing.
pub trait Progress: Send + Sync {
    /// A note or a warning, for the user.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// A line for the service's log.
    fn log(&self, text: &str) {
        let _ = text;
    }

    /// A detail, for verbose output.
    fn detail(&self, text: &str) {
        let _ = text;
    }

    /// Progress of a download.
    fn fetching(&self, event: FetchEvent<'_>) {
        let _ = event;
    }

    /// Progress of a copy.
    fn copying(&self, event: CopyEvent<'_>) {
        let _ = event;
    }

    /// Progress of an adoption.
    fn adopting(&self, event: AdoptEvent<'_>) {
        let _ = event;
    }

    /// `done` of `of` builds are verified; `build` is next.
    fn verifying(&self, done: u64, of: u64, build: &BuildId) {
        let _ = (done, of, build);
    }

    /// The download, copy, adoption or verification has ended.
    fn finished(&self) {}
}

/// Discards all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// The mirror and the state on which operations work, and their options.
///
/// ```no_run
/// # fn main() -> Result<(), stx_builds::Error> {
/// let mut options = stx_builds::Options::default();
/// options.mirror = Some("/srv/mirror".into());
/// let site = stx_builds::Site::open(options);
/// let mirror = site.mirror()?;
/// # drop(mirror);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Site {
    /// The options of the site, which every operation uses.
    pub options: Options,
    /// The time of decisions.
    pub now: DateTime<Utc>,
    /// The fixed time for builds, instead of the clock's.
    pub fixed: Option<DateTime<Utc>>,
    progress: Arc<dyn Progress>,
    /// The most recently opened bucket: a subsequent operation reuses its connections.
    pub(crate) opened: Arc<OpenedBucket>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("options", &self.options)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// The site of the options, at the current time. Nothing is accessed yet.
    #[must_use]
    pub fn open(options: Options) -> Self {
        Self {
            options,
            now: clock(),
            fixed: None,
            progress: Arc::new(Silent),
            opened: Arc::default(),
        }
    }

    /// The same site at a fixed time.
    #[must_use]
    pub fn at(mut self, now: DateTime<Utc>) -> Self {
        self.now = now;
        self.fixed = Some(now);
        self
    }

    /// The same site with a receiver for progress.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The same site with other options, at the current time.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self {
            fixed: self.fixed,
            progress: Arc::clone(&self.progress),
            ..Self::open(options)
        }
    }

    /// The receiver of progress.
    pub fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    /// The mirror's root: a directory or a URL.
    pub fn root(&self) -> Result<Utf8PathBuf, Error> {
        self.options.mirror()
    }

    /// Passes a note or a warning to the user.
    pub(crate) fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// Waits for the lock of `what`; notifies the user if this takes long.
    pub(crate) async fn locked<T>(
        &self,
        what: &str,
        mut lock: impl Future<Output = Result<T, StoreError>> + Unpin,
    ) -> Result<T, Error> {
        let locked = if let Ok(locked) = tokio::time::timeout(SILENCE, &mut lock).await {
            locked
        } else {
            self.note(&format!(
                "waiting for the lock of {what}: another command holds it"
            ));
            lock.await
        };
        locked.map_err(refused)
    }

    /// Writes a line to the service's log.
    pub(crate) fn log(&self, text: &str) {
        self.progress.log(text);
    }
}

/// The clock: read once for the decisions of an operation, and for durations, such as those of phases and leases.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub(crate) fn clock() -> DateTime<Utc> {
    Utc::now()
}
