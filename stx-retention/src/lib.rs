//! Retention rules for a mirror: catalog + policy + now = a decision with its reason for every build.
//!
//! The crate only decides: it does no I/O, reads no clock and keeps no state. Its inputs are the contents of the mirror as a
//! [`Catalog`](stx_layout::Catalog), other facts as [`PolicyInputs`], the rules as a [`Policy`], and the time. The result is a
//! [`PrunePlan`]: a value that a dry run prints, and that its executor stores, [rechecks](recheck_step) and then applies
//! unchanged.
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
//! Without a policy file, the rules are the specification's; where it says nothing, they keep rather than remove:
//!
//! | kind | a success is kept | newest successes kept whatever their age | a failure is kept |
//! |---|---|---|---|
//! | `master` | 14 days | 2 | 7 days |
//! | `feature` | like `master` | 2 | 7 days |
//! | `release` | for ever | all | 7 days |
//! | `milestone` | one release period past its introduction, see [`Period`] | 2 | 7 days |
//! | `rc` | for ever: the specification does not know it, and unknown builds are kept | all | 7 days |
//!
//! - A success expires once it has reached its age *and* enough newer successes exist: the policy's number, and never fewer than
//!   two, the newest and the one to fall back to. A builder that has stopped therefore empties nothing. It also means that a
//!   channel of a milestone that never got a third success does not change.
//! - A failure expires once it has reached its age, but not while it is the newest known build of its channel: its logs are
//!   needed.
//! - [`VerdictRules`] are the times for which a success is kept because of its newest verdict. `green` and `yellow` only
//!   lengthen; `red` replaces the plain rule and may shorten it. The newest green build is kept, with or without such rules.
//! - A build reaches an age of 14 days exactly 14 times 24 hours after its date.
//! - [`Tier`]s remove a section of a build before the build, unless a reason keeps it whole ([`Reason::keeps_whole`]). Removed
//!   sections are recorded in [`PolicyInputs::dropped`], so that they do not count as lost.
//!
//! Independently of the rules, these builds are kept: the target of an alias, also of one that cannot be parsed but names a
//! build; builds that are in use, pinned or contain a `KEEP` file; builds upon which another was made; builds that are dated in
//! the future, which also do not count as newer builds; builds with no readable record, or with another build's; builds whose
//! verdicts cannot be read; the build from which the calendar learns the day of a release. Entries that are not builds are never
//! part of a plan, only of its warnings.
//!
//! # The limits of one run
//!
//! [`Limits`] protect the mirror against a wrong clock or a wrong policy. If more than half of a channel's builds are eligible,
//! and neither an ordinary day nor a pause explains it, none of the channel is removed. Two kinds of eligible builds do not
//! count:
//!
//! - those that became eligible in the last two days, which are those that a daily run finds, even after one that was missed;
//! - those that became eligible during one pause, which is the time between two neighbouring builds of the channel, once builds
//!   at least twelve hours apart have been made after it. Of several pauses, the one that explains most counts.
//!
//! If the newest build of the whole mirror is older than a year, nothing is removed at all; [`clock_doubt`] is the same check for
//! the purge of retired builds. Both limits are reported in [`PrunePlan::warnings`], and are reasons of each build that they
//! keep; [`Limits::allow`] is the confirmation of a person. A clock that was set back needs no limit: it makes fewer builds
//! eligible, and dates in the future cause warnings.
//!
//! # Properties
//!
//! Each is a test of that name. Those marked * hold for the rules without [`Limits`]: a limit depends on the number of other
//! builds that expire.
//!
//! - *monotone in time* *: a build that may expire may also expire later, as long as nothing is built or pinned.
//! - *aliases hold*: the target of an alias is kept.
//! - *pins hold* *: a pinned build is kept, and the decision on no other build changes because of it.
//! - *never empty*: a channel keeps at least one build, and its newest success.
//! - *newcomers spare milestones and releases* *: a build of another channel or a pin makes no build of these expire. The one
//!   exception concerns the basis of a release period: the first build of a release that the calendar did not know and learns. A
//!   calendar written in the policy has no exception.
//! - *longer ages keep more* *: of two policies, the one with the longer ages keeps everything that the other keeps.
//! - *green and yellow only lengthen* *: neither a rule for these verdicts nor such a verdict makes a build expire that would be
//!   kept without it.
//! - *verdicts concern their builds* *: the rule for a verdict changes no decision on a build without this verdict.
//! - *the newest green build stays*: under any rules, even if no alias points at it.
//! - *order makes no difference*: neither the order of builds, nor that of pins and files.
//! - *pauses pass*: after a pause of less than a year, a builder blocks nothing for longer than until its second build after the
//!   pause, even if the policy was not applied meanwhile; and a policy that is applied each day is never held back.
//! - *jumped clocks are held back*: if the clock jumped ahead, even if one build has its wrong date, at most half of a channel is
//!   removed, and the builds that became eligible in the last two days.
//! - *changed policies are held back*: the same, if a policy was applied each day and another one with a shorter age follows.
//! - *done is done*: `plan(apply(plan))` at the same time is empty, and the use of space has decreased by the freed bytes. The
//!   exception is a build of a lower layer: it may expire after the last build that was built upon it.
//! - *an unchanged mirror passes*: a recheck on an unchanged mirror passes every step of a plan.
//! - *passed builds expire again* *: after any changes, a build that passes the recheck also expires in a new plan, as long as
//!   the policy and the release days are the same.
//! - *a forecast begins with the plan*: `forecast(…, 0, …)` has one day, today's plan.
//! - *as the specification says*: an independent, plain statement of the rules decides the same. It is compared in every world of
//!   up to five builds, with all outcomes, on six days, at three times, under nine policies, and with each of the builds pinned;
//!   and with every verdict in worlds of up to four builds. A second before [`ExpireEntry::since`], the builds would not have
//!   expired, and at [`KeepEntry::until`], not before, the others will.
//!
//! # The map
//!
//! [`plan_with`] decides, [`recheck_step`] checks each step again before it is taken, [`apply()`] returns the state after it,
//! [`forecast()`] predicts future plans, [`explain()`] describes one decision in a paragraph, [`PolicyFile`] reads a policy with
//! the line and column of every mistake.

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
