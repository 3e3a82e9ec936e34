//! The logs of phases: of running, unpublished and published builds.
//!
//! ```text
//! LogWanted ──place::find──> Place ──┬─> the state directory: a running or interrupted build
//!                                    ├─> `unpublished/DATE` in it: a build without a commit
//!                                    └─> the mirror: a published build, also behind a web server
//! Place ──phases──> PhaseLog ──text::print──> LogPart ──follow──> BuildEnd
//! ```
//!
//! | module | holds |
//! |---|---|
//! | this one | [`Site::phase_log`], with its options and results |
//! | `place` | the location of the logs of a build |
//! | `text` | parts of a log: its last lines, from the end |
//! | `growing` | a log that is still being written |
//! | `follow` | follows a running build to its end |
//! | `spool` | the same by the status document of the service, for users who cannot read the state directory |
//! | `request` | the logs of a request whose builds were not published |
//!
//! Only pieces of at most [`PIECE`] bytes are read into memory, except by [`Site::request_logs`].

mod follow;
mod growing;
mod place;
mod request;
mod spool;
mod text;

use std::ops::ControlFlow;

use serde::Serialize;
use stx_layout::{BuildId, BuildOutcome, PhaseStatus, nearest};

use self::place::{Place, Shown};
pub use self::request::UnpublishedLog;
use self::text::{last_lines, print};
use crate::Site;
use crate::error::{Error, ErrorKind};

/// The largest piece of a log that is in memory.
pub const PIECE: usize = 64 * 1024;

/// The lines shown first if no number is given, as `tail` does.
const FIRST: u64 = 10;

/// The last lines of a failed phase that are shown, and their largest size in bytes.
const LAST_LINES: u64 = 20;
const LAST_BYTES: u64 = 16 * 1024;

/// The log that a user wants to see.
#[derive(Debug, Clone, Default)]
pub struct LogWanted {
    /// A build or a channel, as every command takes it; the only build that runs if absent.
    ///
    /// A channel alone means the build that runs in it, else its newest build, whatever its result.
    pub build: Option<String>,
    /// The phase; the one that runs or failed if absent.
    pub phase: Option<String>,
    /// The number of lines from the end; all if absent.
    pub lines: Option<u64>,
    /// True to follow a running build to its end.
    pub follow: bool,
}

/// A part of a log.
#[derive(Debug, Clone, Copy)]
pub struct LogPart<'a> {
    /// The phase.
    pub phase: &'a str,
    /// Whole lines, unless a line is longer than [`PIECE`] or is not finished yet.
    pub bytes: &'a [u8],
}

/// Receives the parts of a log; breaks if no more is needed.
pub type Sink<'a> = dyn FnMut(LogPart<'_>) -> ControlFlow<()> + Send + 'a;

/// The state of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseStage {
    /// It has not started.
    Waiting,
    /// It runs.
    Running,
    /// It was running when its build was interrupted.
    Interrupted,
    /// It ended with this status.
    #[serde(untagged)]
    Over(PhaseStatus),
}

/// The log of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseLog {
    /// The phase.
    pub phase: String,
    /// Its state.
    pub state: PhaseStage,
    /// The size of its log; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The file or URL of its log; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The end of a build that was followed, or that had ended before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum BuildEnd {
    /// It was published.
    Published {
        /// Its result.
        result: BuildOutcome,
        /// The reason why it failed, as [`BuildRecord::failure`](stx_layout::BuildRecord::failure) gives it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The first required phase that failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_failing_phase: Option<String>,
    },
    /// It ended after its source phase: its commits were built before.
    Unchanged,
    /// Nothing was published.
    Refused {
        /// The reason, in a line.
        reason: String,
    },
    /// Only one phase was followed, and ended.
    Phase {
        /// The phase.
        phase: String,
        /// Its end.
        status: PhaseStatus,
    },
}

/// The result of [`Site::phase_log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// The log was passed on, or the requested part of it.
    Shown,
    /// No phase was named, and none runs or failed: these are the logs.
    Phases {
        /// The build.
        build: BuildId,
        /// Its phases, in the order of the recipe.
        phases: Vec<PhaseLog>,
    },
    /// The log was passed on to the end of the build.
    Ended {
        /// The build.
        build: BuildId,
        /// Its end.
        end: BuildEnd,
    },
}

/// The last lines of the log of a phase that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEnd {
    /// The phase.
    pub phase: String,
    /// The file or URL of the whole log.
    pub log: String,
    /// Its last lines.
    pub lines: Vec<String>,
}

impl Site {
    /// Passes the log of a phase to `sink`, or lists the phases of a build.
    pub async fn phase_log(
        &self,
        wanted: &LogWanted,
        sink: &mut Sink<'_>,
    ) -> Result<Logged, Error> {
        let shown = place::find(self, wanted.build.as_deref()).await?;
        self.log_of(shown, wanted, sink).await
    }

    /// Passes on the log of a given build.
    async fn log_of(
        &self,
        shown: Shown,
        wanted: &LogWanted,
        sink: &mut Sink<'_>,
    ) -> Result<Logged, Error> {
        let phases = shown.phases().await?;
        // Even if the build no longer runs: it may have ended after it was found.
        if wanted.follow && matches!(shown.place, Place::State { .. }) {
            return follow::follow(shown, phases, wanted, sink).await;
        }
        let lines = wanted.lines.or(wanted.follow.then_some(FIRST));
        let chosen: Vec<_> = match &wanted.phase {
            Some(name) => vec![one(&shown, &phases, name)?],
            None => chosen(&shown, &phases),
        };
        for phase in &chosen {
            let log = shown.open(&phase.phase).await?;
            let from = log.start(lines).await?;
            if print(&*log, &phase.phase, from, sink).await?.is_break() {
                return Ok(Logged::Shown);
            }
        }
        let build = shown.build.clone();
        let is_shown = !chosen.is_empty();
        match shown.end() {
            Some(end) if wanted.follow => Ok(Logged::Ended { build, end }),
            _ if is_shown => Ok(Logged::Shown),
            _ => Ok(Logged::Phases { build, phases }),
        }
    }

    /// The last lines of the log of the first failed phase of an ended build; `None` if none failed, or if the log does not exist.
    pub async fn failing_log(&self, build: &BuildId) -> Result<Option<LogEnd>, Error> {
        let shown = place::find(self, Some(&build.to_string())).await?;
        let phases = match &shown.place {
            // Only one log is read; the sizes of the others are not needed.
            Place::Published { .. } => Vec::new(),
            Place::State { .. } | Place::Unpublished { .. } => shown.phases().await?,
        };
        let phase = match &shown.place {
            Place::Published { record, .. } => record.first_failing_phase.clone(),
            Place::State { .. } | Place::Unpublished { .. } => {
                shown.failing(&phases).map(|phase| phase.phase.clone())
            }
        };
        let Some(phase) = phase else {
            return Ok(None);
        };
        match shown.open(&phase).await {
            Ok(log) => Ok(Some(LogEnd {
                lines: last_lines(&*log, LAST_LINES, LAST_BYTES).await?,
                log: log.place(),
                phase,
            })),
            // A skipped phase has no log, and retention may have removed the log.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The phases to show if none is named: the running ones, else the failed one.
fn chosen<'a>(shown: &Shown, phases: &'a [PhaseLog]) -> Vec<&'a PhaseLog> {
    let running: Vec<_> = phases
        .iter()
        .filter(|phase| phase.log.is_some())
        .filter(|phase| matches!(phase.state, PhaseStage::Running | PhaseStage::Interrupted))
        .collect();
    if !running.is_empty() {
        return running;
    }
    let failing = shown.failing(phases);
    failing.into_iter().filter(|it| it.log.is_some()).collect()
}

/// The phase with this name, which must have a log.
fn one<'a>(shown: &Shown, phases: &'a [PhaseLog], name: &str) -> Result<&'a PhaseLog, Error> {
    let build = &shown.build;
    let names: Vec<_> = phases.iter().map(|phase| phase.phase.as_str()).collect();
    let Some(phase) = phases.iter().find(|phase| phase.phase == name) else {
        let error = Error::new(ErrorKind::NotFound, format!("{build}: no phase {name:?}"));
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint(format!("its phases are {}", names.join(", "))),
        });
    };
    if phase.log.is_some() {
        return Ok(phase);
    }
    if let Some(rule) = shown.thinned(name) {
        let error = format!("{build}: retention removed the log of phase {name}: {rule}");
        return Err(Error::new(ErrorKind::NotFound, error));
    }
    let why = match phase.state {
        PhaseStage::Waiting => "it has not started",
        PhaseStage::Over(PhaseStatus::Skipped) => "it was skipped",
        PhaseStage::Running | PhaseStage::Interrupted | PhaseStage::Over(_) => "its log is missing",
    };
    let error = format!("{build}: phase {name} has no log: {why}");
    Err(Error::new(ErrorKind::NotFound, error).hint(format!("`stx-builds show {build}` shows it")))
}
