//! Makes a plan from the decisions of all channels.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::{AliasEntry, BuildId, Catalog, Channel, ChannelEntry, VerdictEntry};

use crate::bearing::bearings;
use crate::bytes::{Step, freed};
use crate::judge::{Judge, JudgedBuild};
use crate::limit::unexplained;
use crate::text::Moment;
use crate::{
    Bearing, Decision, ExpireEntry, ExpiryRule, FileFact, KeepEntry, Period, Policy, PolicyInputs,
    PrunePlan, Reason, RecordDigest, Releases, Retention, Rules, SectionEntry, Term, Warning,
};

/// Decides on every build of a catalog, without other inputs.
pub fn plan(catalog: &Catalog, policy: &Policy, now: DateTime<Utc>) -> PrunePlan {
    plan_with(catalog, &PolicyInputs::default(), policy, now)
}

/// Decides on every build of a catalog.
pub fn plan_with(
    catalog: &Catalog,
    facts: &PolicyInputs,
    policy: &Policy,
    now: DateTime<Utc>,
) -> PrunePlan {
    Planner::new(catalog, facts, policy, now).plan()
}

/// The date of the newest build, if nothing was built for so long before `now` that the clock may be wrong; then nothing is
/// removed, neither builds nor the contents of the trash. `None` if the policy disables this check, or lifts its limits.
pub fn clock_doubt(
    catalog: &Catalog,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    doubt(&bearings(catalog, &BTreeMap::new(), now), policy, now)
}

/// Like [`clock_doubt`], from the facts of all channels.
pub fn doubt(
    bearings: &BTreeMap<Channel, Bearing>,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let limits = &policy.limits;
    let (None, Some(silence)) = (limits.allow, limits.silence) else {
        return None;
    };
    let newest = bearings
        .values()
        .filter_map(|bearing| bearing.newest)
        .max()?
        .time();
    silence
        .after(newest)
        .is_some_and(|end| end < now)
        .then_some(newest)
}

/// A plan that is being made.
pub(crate) struct Planner<'a> {
    catalog: &'a Catalog,
    policy: &'a Policy,
    bench: Judge<'a>,
    /// Set if the clock may be wrong: the date of the newest build.
    doubt: Option<DateTime<Utc>>,
    expire: Vec<ExpireEntry>,
    sections: Vec<SectionEntry>,
    keep: Vec<KeepEntry>,
    warnings: Vec<Warning>,
    doubted: u64,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        catalog: &'a Catalog,
        facts: &'a PolicyInputs,
        policy: &'a Policy,
        now: DateTime<Utc>,
    ) -> Self {
        let channels = catalog.channels.values();
        let builds = channels.map(|entry| entry.builds.len()).sum();
        let bearings = bearings(catalog, &facts.elsewhere, now);
        let releases = Releases::of(&bearings, &policy.calendar);
        Self {
            catalog,
            policy,
            bench: Judge::new(&bearings, facts, releases, now),
            doubt: doubt(&bearings, policy, now),
            expire: Vec::with_capacity(builds),
            sections: Vec::new(),
            keep: Vec::with_capacity(builds),
            warnings: Vec::new(),
            doubted: 0,
        }
    }

    /// Judges every channel and closes the plan.
    pub(crate) fn plan(mut self) -> PrunePlan {
        self.judge();
        self.finish()
    }
}

impl Planner<'_> {
    fn judge(&mut self) {
        let rules = self.policy.compiled();
        let doubted = self.doubt.is_some();
        for (channel, entry) in &self.catalog.channels {
            let rules = rules.of(channel);
            let judged = self.bench.judge(channel, entry, &rules);
            let builds = judged.len() as u64;
            let since = judged.iter().filter_map(|judged| match judged.decision {
                Decision::Expire { since, .. } => Some(since),
                Decision::Keep { .. } => None,
            });
            let eligible = since.clone().count() as u64;
            let known = judged.iter().filter(|judged| judged.known);
            let dates: Vec<_> = known.map(|judged| judged.date.time()).collect();
            let unexplained = unexplained(&dates, since, self.bench.now);
            let limits = &self.policy.limits;
            let limited = !doubted && limits.forbid(builds, eligible, unexplained);
            if doubted {
                self.doubted += eligible;
            }
            if limited {
                self.warnings.push(Warning::RemovalLimit {
                    channel: channel.clone(),
                    eligible,
                    builds,
                    allowed: limits.of(builds),
                    unexplained,
                });
            }
            self.warn(channel, entry, &judged);
            for judged in judged {
                let seen = || judged.record.map(RecordDigest::of).unwrap_or_default();
                let build = BuildId::new(channel.clone(), judged.date);
                let (reasons, until) = match judged.decision {
                    Decision::Keep { reasons, until } => (reasons, until),
                    Decision::Expire { rule, since } if doubted => {
                        (vec![Reason::ClockDoubted { rule, since }], None)
                    }
                    Decision::Expire { rule, since } if limited => {
                        (vec![Reason::RemovalLimit { rule, since }], None)
                    }
                    Decision::Expire { rule, since } => {
                        self.expire.push(ExpireEntry {
                            build,
                            rule,
                            since,
                            // The bytes in the record, until the plan is finished.
                            bytes_freed: judged.record.map_or(0, |record| record.bytes),
                            message: message(&rules, rule, since, judged.verdict),
                            seen: seen(),
                            verdict: judged.verdict.map(|entry| entry.verdict),
                        });
                        continue;
                    }
                };
                if !rules.tiers.is_empty() && !reasons.iter().any(Reason::keeps_whole) {
                    self.thin(&build, seen(), &rules);
                }
                self.keep.push(KeepEntry {
                    build,
                    reasons,
                    until,
                });
            }
        }
    }

    /// Adds the sections of a kept build that are removed before it.
    fn thin(&mut self, build: &BuildId, seen: RecordDigest, rules: &Rules) {
        let facts = self.bench.facts;
        let (dropped, files) = (facts.dropped.get(build), facts.files.get(build));
        for tier in &rules.tiers {
            let due = tier.after.after(build.date.time());
            let Some(since) = due.filter(|due| *due <= self.bench.now) else {
                continue;
            };
            let has_gone = dropped.is_some_and(|dropped| dropped.contains(&tier.section));
            let holds =
                |files: &Vec<FileFact>| files.iter().any(|file| file.lies_in(&tier.section));
            if has_gone || !files.is_none_or(holds) {
                continue;
            }
            self.sections.push(SectionEntry {
                build: build.clone(),
                section: tier.section.clone(),
                since,
                bytes_freed: 0,
                message: format!(
                    "`{}` is removed when its build is {} old, which it was on {}",
                    tier.section,
                    tier.after,
                    Moment(since)
                ),
                seen,
            });
        }
    }

    fn warn(&mut self, channel: &Channel, entry: &ChannelEntry, judged: &[JudgedBuild<'_>]) {
        let count = |wanted: fn(&Reason) -> bool| {
            let with = judged.iter().filter(|judged| match &judged.decision {
                Decision::Keep { reasons, .. } => reasons.iter().any(wanted),
                Decision::Expire { .. } => false,
            });
            with.count() as u64
        };
        let future = count(|reason| matches!(reason, Reason::FutureDate));
        let unreadable = count(|reason| matches!(reason, Reason::Unreadable { .. }));
        let endless = count(|reason| match reason {
            Reason::ReleasePeriod { period }
            | Reason::Verdict {
                term: Term::ReleasePeriod { period },
                ..
            } => match period {
                Period::NoCalendar | Period::Unbegun | Period::Unended { .. } => true,
                Period::Whole { .. } => false,
            },
            Reason::Unreadable { .. }
            | Reason::FutureDate
            | Reason::Alias { .. }
            | Reason::Undated { .. }
            | Reason::InUse { .. }
            | Reason::Pinned { .. }
            | Reason::KeepFile
            | Reason::UnreadableVerdicts { .. }
            | Reason::NewestSuccess
            | Reason::SuccessBefore
            | Reason::Newest { .. }
            | Reason::NewestGreen
            | Reason::FirstOfRelease
            | Reason::Green { .. }
            | Reason::Verdict {
                term: Term::Forever | Term::Age { .. },
                ..
            }
            | Reason::NewestFailure
            | Reason::Forever
            | Reason::Young { .. }
            | Reason::YoungFailure { .. }
            | Reason::RemovalLimit { .. }
            | Reason::ClockDoubted { .. } => false,
        });
        let of = |builds: u64| (builds > 0).then(|| (channel.clone(), builds));
        let counted = [
            of(future).map(|(channel, builds)| Warning::FutureBuilds { channel, builds }),
            of(unreadable).map(|(channel, builds)| Warning::UnreadableRecords { channel, builds }),
            of(endless).map(|(channel, builds)| Warning::NoRelease { channel, builds }),
        ];
        self.warnings.extend(counted.into_iter().flatten());
        if !entry.strays.is_empty() {
            self.warnings.push(Warning::Strays {
                channel: channel.clone(),
                names: entry.strays.clone(),
            });
        }
        for (alias, target) in &entry.aliases {
            let target = match target {
                AliasEntry::Build(date) if entry.builds.contains_key(date) => continue,
                AliasEntry::Build(date) => date.to_string(),
                AliasEntry::Other(text) => text.clone(),
            };
            self.warnings.push(Warning::DanglingAlias {
                channel: channel.clone(),
                alias: alias.clone(),
                target,
            });
        }
    }

    /// Counts the bytes that each step frees after the previous ones.
    fn count_bytes(&mut self, facts: &PolicyInputs) {
        let builds = self
            .expire
            .iter()
            .map(|entry| Step::Build(&entry.build, entry.bytes_freed));
        let sections = self
            .sections
            .iter()
            .map(|entry| Step::Section(&entry.build, &entry.section));
        let steps: Vec<_> = builds.chain(sections).collect();
        let bytes = freed(facts, &steps);
        drop(steps);
        let targets = self.expire.iter_mut().map(|entry| &mut entry.bytes_freed);
        let targets = targets.chain(self.sections.iter_mut().map(|entry| &mut entry.bytes_freed));
        for (target, bytes) in targets.zip(bytes) {
            *target = bytes;
        }
    }

    /// Orders the removals, counts their bytes and finishes the plan.
    fn finish(mut self) -> PrunePlan {
        let facts = self.bench.facts;
        let pressed = match (self.policy.free_space, facts.free) {
            (Some(wanted), Some(free)) if free < wanted => Some((wanted, free)),
            (Some(_) | None, Some(_) | None) => None,
        };
        if pressed.is_some() {
            self.expire.sort_by_key(|entry| Reverse(entry.bytes_freed));
        }
        // If no files are known, nothing is shared, and the entries already contain the bytes in the records.
        if !facts.files.is_empty() {
            self.count_bytes(facts);
        }
        if let Some((wanted, free)) = pressed {
            let builds = self.expire.iter().map(|entry| entry.bytes_freed);
            let sections = self.sections.iter().map(|entry| entry.bytes_freed);
            let reached = builds.chain(sections).fold(free, u64::saturating_add);
            if reached < wanted {
                self.warnings.push(Warning::SpaceShort { wanted, reached });
            }
        }
        for (build, pins) in &self.bench.pins {
            let holds = pins.iter().any(|pin| pin.holds(self.bench.now));
            if holds && self.catalog.build(build).is_none() {
                self.warnings.push(Warning::PinOfNothing {
                    build: (*build).clone(),
                });
            }
        }
        if let (1.., Some(newest)) = (self.doubted, self.doubt) {
            self.warnings.insert(
                0,
                Warning::ClockDoubted {
                    newest,
                    now: self.bench.now,
                    eligible: self.doubted,
                },
            );
        }
        PrunePlan {
            now: self.bench.now,
            expire: self.expire,
            sections: self.sections,
            keep: self.keep,
            warnings: self.warnings,
        }
    }
}

/// The reason for a removal, in a sentence.
fn message(
    rules: &Rules,
    rule: ExpiryRule,
    since: DateTime<Utc>,
    verdict: Option<&VerdictEntry>,
) -> String {
    let age = |retention: Retention| match retention {
        Retention::For(age) => age.to_string(),
        Retention::Forever | Retention::ReleasePeriod => "its time".to_owned(),
    };
    let (floor, since) = (rules.floor(), Moment(since));
    match rule {
        ExpiryRule::Age => format!(
            "older than {} and not among the {floor} newest successes, since {since}",
            age(rules.keep)
        ),
        ExpiryRule::FailedAge => format!(
            "failed, older than {} and not the channel's newest build, since {since}",
            age(rules.failed)
        ),
        ExpiryRule::ReleasePeriod => format!(
            "past the release period after its introduction and not among the {floor} newest successes, since {since}"
        ),
        ExpiryRule::Verdict => {
            let kept = verdict.and_then(|entry| rules.verdicts.of(entry.verdict));
            let over = match kept {
                Some(Retention::ReleasePeriod) => {
                    "past the release period after its introduction".to_owned()
                }
                kept => format!("older than {}", kept.map_or_else(String::new, age)),
            };
            let given = verdict.map(|entry| format!("{} by {}", entry.verdict, entry.author));
            format!(
                "verdict {}, {over} and not among the {floor} newest successes, since {since}",
                given.unwrap_or_default()
            )
        }
    }
}
