//! A site: a mirror, the state of its builds, and the options that every operation goes by.

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

/// The time to wait for a lock before the user is told. Making the pages of most mirrors takes less.
const SILENCE: Duration = Duration::from_secs(3);

/// Something that an adoption tells while it runs.
#[derive(Debug, Clone, Copy)]
pub enum AdoptEvent<'a> {
    /// So many bytes of so many builds are to be read.
    Begun {
        /// The bytes.
        bytes: u64,
        /// The builds.
        builds: u64,
    },
    /// So many more bytes are dealt with.
    Bytes(u64),
    /// A build is done.
    Adopted {
        /// The build.
        build: &'a BuildId,
        /// How many are done by now.
        done: u64,
        /// How many there are.
        of: u64,
    },
}

/// Takes what an operation tells while it runs. Every method does nothing unless it is implemented.
pub trait Progress: Send + Sync {
    /// A note or a warning, for the user.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// A line of the service's log.
    fn log(&self, text: &str) {
        let _ = text;
    }

    /// A detail, for those who want to know more.
    fn detail(&self, text: &str) {
        let _ = text;
    }

    /// A download went on.
    fn fetching(&self, event: FetchEvent<'_>) {
        let _ = event;
    }

    /// A copy went on.
    fn copying(&self, event: CopyEvent<'_>) {
        let _ = event;
    }

    /// An adoption went on.
    fn adopting(&self, event: AdoptEvent<'_>) {
        let _ = event;
    }

    /// So many builds of so many are verified; `build` is next.
    fn verifying(&self, done: u64, of: u64, build: &BuildId) {
        let _ = (done, of, build);
    }

    /// The download, copy, adoption or verification that was told of is over.
    fn finished(&self) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Where an operation works, and how.
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
    /// The time that decisions go by.
    pub now: DateTime<Utc>,
    /// The time that builds go by instead of the clock's, if it was fixed.
    pub fixed: Option<DateTime<Utc>>,
    progress: Arc<dyn Progress>,
    /// The bucket that was opened last: an operation that follows another one finds its connections open.
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
    /// The site of the options, as of now. Nothing is looked at yet.
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

    /// The same site whose operations tell what they do.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The same site with other options, as of now.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self {
            fixed: self.fixed,
            progress: Arc::clone(&self.progress),
            ..Self::open(options)
        }
    }

    /// Who is told what operations do.
    pub fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    /// The mirror's root: a directory or a URL.
    pub fn root(&self) -> Result<Utf8PathBuf, Error> {
        self.options.mirror()
    }

    /// Tells the user a note or a warning.
    pub(crate) fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// Waits for the lock of `what`; one that hangs elsewhere is not waited for without a word.
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

/// The clock: read once for the decisions of an operation, and for what happens over time, such as phases and leases.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub(crate) fn clock() -> DateTime<Utc> {
    Utc::now()
}
