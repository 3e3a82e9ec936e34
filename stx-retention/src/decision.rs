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
    /// It stays.
    Keep {
        /// Every reason that holds, in the order of [`Reason`].
        reasons: Vec<Reason>,
        /// When it would go if nothing but the time changed; `None` where only an event ends a reason.
        until: Option<DateTime<Utc>>,
    },
    /// It may go.
    Expire {
        /// The rule.
        rule: ExpiryRule,
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// The rule by which a build goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiryRule {
    /// A success has reached its age, and enough newer ones are there.
    Age,
    /// A failure has reached its age, and is not the newest word of its channel.
    FailedAge,
    /// The release period past a build's introduction is over, and enough newer successes are there.
    ReleasePeriod,
    /// The time for a success with its newest verdict is over, and enough newer builds are there.
    Verdict,
}

/// A reason to keep a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// Its record cannot be read: what is not understood stays.
    Unreadable {
        /// The error of reading it.
        why: String,
    },
    /// It is dated after now.
    FutureDate,
    /// An alias points at it.
    Alias {
        /// The alias, or the text of one that is not understood and names this build.
        alias: AliasName,
    },
    /// A section of it can be read without a date, by a link to this very build.
    Undated {
        /// The section.
        section: Section,
    },
    /// Someone reads it just now.
    InUse {
        /// Who.
        by: String,
    },
    /// Pinned.
    Pinned {
        /// The reason, as a text for people.
        why: String,
        /// By whom.
        author: String,
        /// The end of the pin.
        until: Option<DateTime<Utc>>,
    },
    /// It holds a `KEEP` file.
    KeepFile,
    /// Its verdicts cannot be read; a build that is not understood is kept.
    UnreadableVerdicts {
        /// The error of reading them.
        why: String,
    },
    /// The newest success of its channel.
    NewestSuccess,
    /// The success before the newest: the one to go back to.
    SuccessBefore,
    /// One of as many newest successes as the policy asks for.
    Newest {
        /// Its rank, 1 for the newest.
        rank: usize,
        /// How many the policy asks for.
        of: u32,
    },
    /// The newest green build of its channel, with or without `latest_green_build`.
    NewestGreen,
    /// One of as many newest green builds as the policy asks for.
    Green {
        /// Its rank, 1 for the newest.
        rank: usize,
        /// How many the policy asks for.
        of: u32,
    },
    /// The first build of a release, from which the calendar learns the day of the release.
    FirstOfRelease,
    /// A failure, and nothing newer is known of its channel: people need its logs.
    NewestFailure,
    /// Kept for ever by the policy.
    Forever,
    /// A success that has not reached its age.
    Young {
        /// The age.
        age: Span,
        /// When it reaches it; `None` where the calendar ends before.
        until: Option<DateTime<Utc>>,
    },
    /// A failure that has not reached its age.
    YoungFailure {
        /// The age.
        age: Span,
        /// When it reaches it; `None` where the calendar ends before.
        until: Option<DateTime<Utc>>,
    },
    /// The release period past its introduction is not over, or not known.
    ReleasePeriod {
        /// The period.
        period: Period,
    },
    /// A success that is kept because of its newest verdict.
    Verdict {
        /// The verdict.
        verdict: Verdict,
        /// Who gave it.
        author: String,
        /// How long the policy keeps builds of this verdict.
        #[serde(flatten)]
        term: Term,
    },
    /// It is eligible, but too much of its channel is.
    RemovalLimit {
        /// The rule by which it would go.
        rule: ExpiryRule,
        /// Since when.
        since: DateTime<Utc>,
    },
    /// It is eligible, but the clock is doubted: nothing was built for too long.
    ClockDoubted {
        /// The rule by which it would go.
        rule: ExpiryRule,
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// When a reason ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At this instant.
    At(DateTime<Utc>),
    /// Only by an event: a new build, a moved alias, a changed policy.
    Event,
}

impl Reason {
    /// When it ends by itself.
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

    /// Since when the build is eligible, where only a limit of the run keeps it.
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

    /// Whether it keeps the build whole: no section of it goes before it.
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
                write!(f, "success {rank} of the {of} newest that always stay")
            }
            Self::NewestGreen => f.write_str("the newest green build of its channel"),
            Self::Green { rank, of } => {
                write!(f, "green build {rank} of the {of} newest that always stay")
            }
            Self::FirstOfRelease => f.write_str(
                "the first build of its release, from which the calendar learns the release day; name the release in the policy's calendar to let the build expire",
            ),
            Self::NewestFailure => {
                f.write_str("the newest failure, and no success has come after it")
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
                "eligible since {} by rule `{rule}`, but more of its channel is than one run removes",
                Moment(*since)
            ),
            Self::ClockDoubted { rule, since } => write!(
                f,
                "eligible since {} by rule `{rule}`, but the clock is doubted",
                Moment(*since)
            ),
        }
    }
}
