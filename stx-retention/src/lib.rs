//! Retention rules for a mirror: catalog + policy + now = a decision with its reason for every build.
//!
//! The crate decides, and nothing else: it does no I/O, reads no clock and keeps no state. What the mirror holds comes as a
//! [`Catalog`](stx_layout::Catalog), what else has to be known as [`PolicyInputs`], the rules as a [`Policy`], the time as an
//! argument. The answer is a [`PrunePlan`]: a value that is printed by a dry run, stored, [rechecked](recheck_step) and then
//! applied as it is, by someone else.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use stx_layout::{BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState, Catalog};
//! use stx_retention::{ExpiryRule, Policy, Reason, Decision, plan};
//!
//! let mut catalog = Catalog::default();
//! for date in ["20181105T060000Z", "20181118T060000Z", "20181119T060000Z"] {
//!     let id: BuildId = format!("master/centos/{date}").parse()?;
//!     let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
//!     let state = BuildState::Known(Box::new(record));
//!     let channel = catalog.channels.entry(id.channel).or_default();
//!     channel.builds.insert(id.date, BuildEntry { state, keep_file: false });
//! }
//! let now: DateTime<Utc> = "2018-11-19T06:00:00Z".parse()?;
//!
//! let plan = plan(&catalog, &Policy::default(), now);
//! // Fourteen days old to the second, and two newer successes are there: it goes.
//! assert_eq!(plan.expire[0].build.to_string(), "master/centos/20181105T060000Z");
//! assert_eq!((plan.expire[0].rule, plan.expire[0].since), (ExpiryRule::Age, now));
//! // The newest stays for three reasons at once, two of which only a newer build can end.
//! let newest = "master/centos/20181119T060000Z".parse()?;
//! let Some(Decision::Keep { reasons, until: None }) = plan.decision(&newest) else { panic!() };
//! assert!(reasons.contains(&Reason::NewestSuccess));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rules
//!
//! Without a policy file they are the specification's, and where that is silent, the cautious reading of it:
//!
//! | kind | a success is kept | newest successes kept whatever their age | a failure is kept |
//! |---|---|---|---|
//! | `master` | 14 days | 2 | 7 days |
//! | `feature` | like `master` | 2 | 7 days |
//! | `release` | for ever | all | 7 days |
//! | `milestone` | one release period past its introduction, see [`Period`] | 2 | 7 days |
//! | `rc` | for ever: the specification does not know it, and what is not understood stays | all | 7 days |
//!
//! - A success goes once it has reached its age *and* enough newer successes are there: the policy's number, and never fewer
//!   than two, the newest and the one to go back to. So a builder that has stopped empties nothing. It also means that a
//!   channel of a milestone that never got a third success stays as it is.
//! - A failure goes once it has reached its age, but not while it is its channel's newest word: people need its logs.
//! - [`VerdictRules`] say how long a success stays because of its newest verdict. `green` and `yellow` only lengthen, `red` takes
//!   the place of the plain rule and may shorten it. The newest green build stays, with or without such rules.
//! - A build reaches an age of 14 days exactly 14 times 24 hours after its date.
//! - [`Tier`]s take a section of a build before the build, unless something keeps it whole
//!   ([`Reason::keeps_whole`]). What has gone is recorded in [`PolicyInputs::dropped`], so that it is seen to be intended.
//!
//! Whatever the rules say, these stay: what an alias points at, or names in a form that is not understood; what is in use,
//! pinned or holds a `KEEP` file; what another build was made upon; what is dated in the future, which neither counts as a
//! newer build; what has no readable record, or another build's; what has verdicts that cannot be read; the build from which
//! the calendar learns the day of a release. Entries that are no build at all are never part of a plan, only of its warnings.
//!
//! # What one run may do
//!
//! [`Limits`] stand between a wrong clock or a wrong policy and the mirror. Where more than half of a channel's builds are
//! eligible, and neither an ordinary day nor a pause explains it, none of the channel is removed. Two kinds of eligible builds
//! do not count:
//!
//! - those that became eligible in the last two days, which is what a daily run finds, also after one that was missed;
//! - those that became eligible during one pause, which is the time between two neighbouring builds of the channel, once
//!   builds that lie at least twelve hours apart have been made after it. Of several pauses the one that explains most is taken.
//!
//! Where the newest build of the whole mirror is older than a year, nothing goes at all; [`clock_doubt`] tells whoever
//! deletes what was retired before. Both are said in
//! [`PrunePlan::warnings`] and are reasons of each build that stays by them; [`Limits::allow`] is a person's word that it is
//! right. A clock that went backwards needs no limit: it makes fewer builds eligible, and dates in the future are warned of.
//!
//! # Properties
//!
//! Each is a test of that name. Those marked * speak of the rules, without [`Limits`]: a limit goes by how many others go.
//!
//! - *monotone in time* *: what may go may go later too, as long as nothing is built or pinned.
//! - *aliases hold*: what an alias points at stays.
//! - *pins hold* *: what is pinned stays, and nothing else goes or stays because of it.
//! - *never empty*: a channel keeps at least one build, and its newest success.
//! - *newcomers spare milestones and releases* *: a build of another channel or a pin lets no build of those go. The one
//!   exception is what a release period is made of: the first build of a release that the calendar did not know and
//!   learns. A calendar written in the policy has no exception.
//! - *longer ages keep more* *: of two policies the one with the longer ages keeps all that the other keeps.
//! - *green and yellow only lengthen* *: neither a rule for these verdicts nor such a verdict makes a build expire that would
//!   be kept without it.
//! - *verdicts concern their builds* *: the rule of a verdict changes no decision on a build that has not this verdict.
//! - *the newest green build stays*: under any rules, whether or not an alias points at it.
//! - *order makes no difference*: of builds as they are found, of pins and files as they are listed.
//! - *pauses pass*: a builder that rests for less than a year blocks nothing for longer than to its second build after the pause,
//!   whether or not the policy was applied meanwhile; and a policy that is applied each day is never held back.
//! - *jumped clocks are held back*: with a clock that jumped ahead, also if one build has its wrong date, no more than half of a
//!   channel is removed, and what became eligible in the last two days.
//! - *changed policies are held back*: the same, where a policy was applied each day and another one with a shorter age comes.
//! - *done is done*: `plan(apply(plan))` at the same time is empty, and the bytes freed are those now used less. The exception
//!   is a build of a lower layer: it may go after the last build that was made upon it.
//! - *an unchanged mirror passes*: a recheck takes every step of a plan of the mirror as it was.
//! - *what passes would go anyway* *: whatever changed, a build that passes the recheck also goes in a new plan of then,
//!   as long as the policy and the release days are the same.
//! - *a forecast begins with the plan*: `forecast(…, 0, …)` has one day, the plan of now.
//! - *as the specification says*: in every world of up to five builds, whatever their outcomes, on six days, asked at three
//!   times under nine policies, and with each of its builds pinned, exactly those builds go that a second, plain
//!   statement of the rules lets go; the same with every verdict in worlds of up to four builds; a second
//!   before [`ExpireEntry::since`] they would not have gone, and at [`KeepEntry::until`], not before, the others will.
//!
//! # The map
//!
//! [`plan_with`] decides, [`recheck_step`] asks again before each deed, [`apply()`] says what is left after it, [`forecast()`] plays
//! the policy forward, [`explain()`] puts one decision into a paragraph, [`PolicyFile`] reads a policy with the line and column
//! of every mistake.

mod apply;
mod bearing;
mod bytes;
mod calendar;
mod decision;
mod explain;
mod forecast;
mod identity;
mod inputs;
mod judge;
mod lasting;
mod limit;
mod parse;
mod plan;
mod planner;
mod policy;
mod policy_file;
mod recheck;
mod span;
mod term;
mod text;
mod warning;

pub use apply::apply;
pub use bearing::Bearing;
pub use calendar::{Calendar, Period, Releases};
pub use decision::{Decision, ExpiryRule, Reason};
pub use explain::{describe, explain};
pub use forecast::{Forecast, ForecastDay, HighWater, Rate, bytes_used, forecast, observe};
pub use identity::RecordDigest;
pub use inputs::{FileFact, PolicyInputs};
pub use lasting::lasting;
pub use parse::channel_glob;
pub use plan::{ExpireEntry, KeepEntry, PrunePlan, SectionEntry};
pub use planner::{clock_doubt, doubt, plan, plan_with};
pub use policy::{
    ChannelRules, Kinds, Limits, Overlay, Policy, Retention, Rules, Tier, VerdictRules,
};
pub use policy_file::{PolicyFile, PolicyLines};
pub use recheck::{Conflict, Step, recheck_step};
pub use span::Span;
pub use stx_layout::Pin;
pub use term::Term;
pub use warning::Warning;

#[cfg(test)]
mod tests;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
