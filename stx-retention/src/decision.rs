//! Decisions, and their reasons.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{AliasName, Section, Verdict};

use crate::text::Moment;
use crate::{Period, Span, Term};

/// The decision about one build, and its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// The build is kept.
    Keep {
        /// Every reason that applies, in the order of [`Reason`].
        reasons: Vec<Reason>,
        /// The time at which it expires if nothing but the time changes; `None` if only an event can end a reason.
        until: Option<DateTime<Utc>>,
    },
    /// The build may be removed.
    Expire {
        /// The rule.
        rule: ExpiryRule,
        /// The time at which it became eligible.
        since: DateTime<Utc>,
    },
}

/// The rule by which a build expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiryRule {
    /// A success has reached its age, and enough newer ones exist.
    Age,
    /// A failure has reached its age, and is not the newest known build of its channel.
    FailedAge,
    /// The release period past a build's introduction has ended, and enough newer successes exist.
    ReleasePeriod,
    /// The time for a success with its newest verdict has ended, and enough newer builds exist.
    Verdict,
}

/// A reason to keep a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// Its record cannot be read: an unknown build is kept.
    Unreadable {
        /// The error of reading it.
        why: String,
    },
    /// It is dated after now.
    FutureDate,
    /// An alias points at it.
    Alias {
        /// The alias, or the text of one that cannot be parsed but names this build.
        alias: AliasName,
    },
    /// A section of it can be read without a date, by a link to this very build.
    Undated {
        /// The section.
        section: Section,
    },
    /// A reader is using it now.
    InUse {
        /// The reader.
        by: String,
    },
    /// It is pinned.
    Pinned {
        /// The reason in words.
        why: String,
        /// The author of the pin.
        author: String,
        /// The end of the pin.
        until: Option<DateTime<Utc>>,
    },
    /// It contains a `KEEP` file.
    KeepFile,
    /// Its verdicts cannot be read: a build with unknown verdicts is kept.
    UnreadableVerdicts {
        /// The error of reading them.
        why: String,
    },
    /// The newest success of its channel.
    NewestSuccess,
    /// The success before the newest: the one to fall back to.
    SuccessBefore,
    /// One of the newest successes that the policy keeps.
    Newest {
        /// Its rank, 1 for the newest.
        rank: usize,
        /// The number that the policy keeps.
        of: u32,
    },
    /// The newest green build of its channel, with or without `latest_green_build`.
    NewestGreen,
    /// One of the newest green builds that the policy keeps.
    Green {
        /// Its rank, 1 for the newest.
        rank: usize,
        /// The number that the policy keeps.
        of: u32,
    },
    /// The first build of a release, from which the calendar learns the day of the release.
    FirstOfRelease,
    /// A failure, and the newest known build of its channel: its logs are needed.
    NewestFailure,
    /// Kept for ever by the policy.
    Forever,
    /// A success that has not reached its age.
    Young {
        /// The age.
        age: Span,
        /// The time at which it reaches the age; `None` if no date can express it.
        until: Option<DateTime<Utc>>,
    },
    /// A failure that has not reached its age.
    YoungFailure {
        /// The age.
        age: Span,
        /// The time at which it reaches the age; `None` if no date can express it.
        until: Option<DateTime<Utc>>,
    },
    /// The release period past its introduction has not ended, or is unknown.
    ReleasePeriod {
        /// The period.
        period: Period,
    },
    /// A success that is kept because of its newest verdict.
    Verdict {
        /// The verdict.
        verdict: Verdict,
        /// The author of the verdict.
        author: String,
        /// The time that the policy keeps builds with this verdict.
        #[serde(flatten)]
        term: Term,
    },
    /// It is eligible, but too many builds of its channel are.
    RemovalLimit {
        /// The rule by which it would expire.
        rule: ExpiryRule,
        /// The time at which it became eligible.
        since: DateTime<Utc>,
    },
    /// It is eligible, but the clock may be wrong: nothing was built for too long.
    ClockDoubted {
        /// The rule by which it would expire.
        rule: ExpiryRule,
        /// The time at which it became eligible.
        since: DateTime<Utc>,
    },
}

/// The way in which a reason ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At this time.
    At(DateTime<Utc>),
    /// Only by an event: a new build, a moved alias, a changed policy.
    Event,
}

impl Reason {
    /// The time at which it ends by itself, if any.
    pub(crate) fn end(&self) -> End {
        let at = |until: Option<DateTime<Utc>>| until.map_or(End::Event, End::At);
        match self {
            Self::Pinned { until, .. }
            | Self::Young { until, .. }
            | Self::YoungFailure { until, .. } => at(*until),
            Self::ReleasePeriod { period } => at(period.end()),
            Self::Verdict { term, .. } => at(term.end()),
            Self::Unreadable { .. }
            | Self::FutureDate
            | Self::Alias { .. }
            | Self::Undated { .. }
            | Self::InUse { .. }
            | Self::KeepFile
            | Self::UnreadableVerdicts { .. }
            | Self::NewestSuccess
            | Self::SuccessBefore
            | Self::Newest { .. }
            | Self::NewestGreen
            | Self::Green { .. }
            | Self::FirstOfRelease
            | Self::NewestFailure
            | Self::Forever
            | Self::RemovalLimit { .. }
            | Self::ClockDoubted { .. } => End::Event,
        }
    }

    /// The time at which the build became eligible, if only a limit of the run keeps it.
    pub fn held_back(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::RemovalLimit { since, .. } | Self::ClockDoubted { since, .. } => Some(*since),
            Self::Unreadable { .. }
            | Self::FutureDate
            | Self::Alias { .. }
            | Self::Undated { .. }
            | Self::InUse { .. }
            | Self::Pinned { .. }
            | Self::KeepFile
            | Self::UnreadableVerdicts { .. }
            | Self::NewestSuccess
            | Self::SuccessBefore
            | Self::Newest { .. }
            | Self::NewestGreen
            | Self::Green { .. }
            | Self::FirstOfRelease
            | Self::NewestFailure
            | Self::Forever
            | Self::Young { .. }
            | Self::YoungFailure { .. }
            | Self::ReleasePeriod { .. }
            | Self::Verdict { .. } => None,
        }
    }

    /// True if it keeps the whole build: no section is removed before the build.
    pub fn keeps_whole(&self) -> bool {
        match self {
            Self::Unreadable { .. }
            | Self::FutureDate
            | Self::Alias { .. }
            | Self::Undated { .. }
            | Self::InUse { .. }
            | Self::Pinned { .. }
            | Self::KeepFile
            | Self::UnreadableVerdicts { .. }
            | Self::NewestSuccess
            | Self::SuccessBefore
            | Self::NewestGreen
            | Self::NewestFailure
            | Self::RemovalLimit { .. }
            | Self::ClockDoubted { .. } => true,
            Self::Newest { .. }
            | Self::Green { .. }
            | Self::FirstOfRelease
            | Self::Forever
            | Self::Young { .. }
            | Self::YoungFailure { .. }
            | Self::ReleasePeriod { .. }
            | Self::Verdict { .. } => false,
        }
    }
}

impl fmt::Display for ExpiryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "age",
            Self::FailedAge => "failed-age",
            Self::ReleasePeriod => "release-period",
            Self::Verdict => "verdict",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(f, "its record cannot be read: {why}"),
            Self::FutureDate => f.write_str("it is dated in the future"),
            Self::Alias { alias } => write!(f, "`{alias}` points at it"),
            Self::Undated { section } => {
                write!(f, "`{}` of its channel leads to it", section.as_str())
            }
            Self::InUse { by } => write!(f, "in use by {by}"),
            Self::Pinned { why, author, until } => {
                write!(f, "pinned by {author}: {why}")?;
                until.map_or(Ok(()), |until| write!(f, " (until {})", Moment(until)))
            }
            Self::KeepFile => f.write_str("it holds a KEEP file"),
            Self::UnreadableVerdicts { why } => {
                write!(f, "its verdicts cannot be read: {why}")
            }
            Self::NewestSuccess => f.write_str("the newest success of its channel"),
            Self::SuccessBefore => f.write_str("the success before the newest"),
            Self::Newest { rank, of } => {
                write!(f, "success {rank} of the {of} newest that are always kept")
            }
            Self::NewestGreen => f.write_str("the newest green build of its channel"),
            Self::Green { rank, of } => {
                write!(f, "green build {rank} of the {of} newest that are always kept")
            }
            Self::FirstOfRelease => f.write_str(
                "the first build of its release, from which the calendar learns the release day; name the release in the policy's calendar to let the build expire",
            ),
            Self::NewestFailure => {
                f.write_str("the newest failure, not followed by a success")
            }
            Self::Forever => f.write_str("kept for ever by the policy"),
            Self::Young { age, until } => {
                write!(f, "not yet {age} old")?;
                until.map_or(Ok(()), |until| write!(f, " (until {})", Moment(until)))
            }
            Self::Verdict {
                verdict,
                author,
                term,
            } => {
                let verdict = format!("because of verdict {verdict} by {author}");
                match term {
                    Term::Forever => write!(f, "kept for ever {verdict}"),
                    Term::Age { age, until } => {
                        write!(f, "kept {age} {verdict}")?;
                        until.map_or(Ok(()), |until| write!(f, " (until {})", Moment(until)))
                    }
                    Term::ReleasePeriod { period } => {
                        let period = Self::ReleasePeriod { period: *period };
                        write!(f, "kept one release period {verdict}: {period}")
                    }
                }
            }
            Self::YoungFailure { age, until } => {
                write!(f, "a failure not yet {age} old")?;
                until.map_or(Ok(()), |until| write!(f, " (until {})", Moment(until)))
            }
            Self::ReleasePeriod { period } => match period {
                Period::Whole { begins, ends } => write!(
                    f,
                    "the release period past its introduction lasts from {begins} to {ends}"
                ),
                Period::Unended { begins } => write!(
                    f,
                    "the release period past its introduction began on {begins}, and no later release is known"
                ),
                Period::Unbegun => f.write_str("no release since its introduction is known"),
                Period::NoCalendar => f.write_str("no release is known at all"),
            },
            Self::RemovalLimit { rule, since } => write!(
                f,
                "eligible since {} by rule `{rule}`, but more builds of its channel are eligible than one run removes",
                Moment(*since)
            ),
            Self::ClockDoubted { rule, since } => write!(
                f,
                "eligible since {} by rule `{rule}`, but the clock may be wrong",
                Moment(*since)
            ),
        }
    }
}
