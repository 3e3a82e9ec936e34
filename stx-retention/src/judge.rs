//! The decisions of one channel.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState,
    Catalog, Channel, ChannelEntry, UndatedEntry,
};

use crate::calendar::introduction;
use crate::decision::End;
use crate::{Decision, ExpiryRule, Pin, PolicyInputs, Reason, Releases, Retention, Rules};

/// Judges channels by what is the same for all of them.
pub(crate) struct Judge<'a> {
    pub(crate) facts: &'a PolicyInputs,
    pub(crate) pins: BTreeMap<&'a BuildId, Vec<&'a Pin>>,
    /// Aliases that are not understood, of all channels: they keep what their text names.
    pub(crate) unclear: Vec<(&'a AliasName, &'a str)>,
    pub(crate) releases: Releases,
    pub(crate) now: DateTime<Utc>,
}

/// The outcome of one build and its place among the others, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Unknown,
    Future,
    /// The place among the known successes, 0 for the newest.
    Success(usize),
    /// The place among all known builds, 0 for the newest.
    Failure(usize),
}

/// The known builds of a channel, newest first.
#[derive(Default)]
struct KnownBuilds {
    all: Vec<BuildDate>,
    successes: Vec<BuildDate>,
}

/// One build, judged.
pub(crate) struct JudgedBuild<'a> {
    pub(crate) date: BuildDate,
    pub(crate) decision: Decision,
    pub(crate) record: Option<&'a BuildRecord>,
    /// Whether its record is understood, and it is not dated in the future.
    pub(crate) known: bool,
}

impl<'a> Judge<'a> {
    /// The judge of a catalog's channels.
    pub(crate) fn new(
        catalog: &'a Catalog,
        facts: &'a PolicyInputs,
        releases: Releases,
        now: DateTime<Utc>,
    ) -> Self {
        let mut pins = BTreeMap::<&BuildId, Vec<&Pin>>::new();
        let mut sorted: Vec<_> = facts.pins.iter().collect();
        sorted.sort();
        for pin in sorted {
            pins.entry(&pin.build).or_default().push(pin);
        }
        let aliases = catalog.channels.values().flat_map(|entry| &entry.aliases);
        let unclear = aliases.filter_map(|(alias, target)| match target {
            AliasEntry::Other(text) => Some((alias, text.as_str())),
            AliasEntry::Build(_) => None,
        });
        Self {
            facts,
            pins,
            unclear: unclear.collect(),
            releases,
            now,
        }
    }
}

/// The sections of a build that can be read without a date by a link that names it, in whatever form.
fn undated(entry: &ChannelEntry, date: BuildDate) -> impl Iterator<Item = Reason> {
    let leads = move |to: &UndatedEntry| match to {
        UndatedEntry::Build(to) => *to == date,
        UndatedEntry::Other(text) => text.contains(&date.to_string()),
        // The alias keeps what it points at.
        UndatedEntry::Alias(_) => false,
    };
    let sections = entry.undated.iter().filter(move |(_, to)| leads(to));
    sections.map(|(section, _)| Reason::Undated { section: *section })
}

impl Judge<'_> {
    /// The decision of every build of a channel, oldest first.
    pub(crate) fn judge<'e>(
        &self,
        channel: &Channel,
        entry: &'e ChannelEntry,
        rules: &Rules,
    ) -> Vec<JudgedBuild<'e>> {
        let mut known = KnownBuilds::default();
        let mut standings = Vec::with_capacity(entry.builds.len());
        for (date, build) in entry.builds.iter().rev() {
            let outcome = build
                .record()
                .filter(|record| record.id.date == *date && record.id.channel == *channel)
                .map(|record| record.result);
            let standing = match outcome {
                None => Rank::Unknown,
                Some(_) if date.time() > self.now => Rank::Future,
                Some(BuildOutcome::Success) => {
                    known.successes.push(*date);
                    known.all.push(*date);
                    Rank::Success(known.successes.len() - 1)
                }
                Some(BuildOutcome::Fail) => {
                    known.all.push(*date);
                    Rank::Failure(known.all.len() - 1)
                }
            };
            standings.push(standing);
        }
        let mut aliases = BTreeMap::<BuildDate, Vec<&AliasName>>::new();
        for (alias, target) in &entry.aliases {
            match target {
                AliasEntry::Build(date) => aliases.entry(*date).or_default().push(alias),
                AliasEntry::Other(_) => {}
            }
        }
        let Some(oldest) = entry.builds.keys().next() else {
            return Vec::new();
        };
        // One for all of them: most builds of a large mirror go by their dates alone.
        let mut id = BuildId::new(channel.clone(), *oldest);
        entry
            .builds
            .iter()
            .zip(standings.into_iter().rev())
            .map(|((date, build), standing)| {
                id.date = *date;
                let mut reasons = Vec::new();
                if standing == Rank::Unknown {
                    reasons.push(Reason::Unreadable {
                        why: match &build.state {
                            BuildState::Unreadable(why) => why.clone(),
                            BuildState::Known(record) => {
                                format!("it is the record of {}", record.id)
                            }
                        },
                    });
                }
                if date.time() > self.now {
                    reasons.push(Reason::FutureDate);
                }
                let named = aliases.get(date).into_iter().flatten().copied();
                reasons.extend(named.map(|alias| Reason::Alias {
                    alias: alias.clone(),
                }));
                reasons.extend(undated(entry, *date));
                self.protections(&id, &mut reasons);
                if build.keep_file {
                    reasons.push(Reason::KeepFile);
                }
                let due = self.schedule((*date, build), standing, rules, &known, &mut reasons);
                JudgedBuild {
                    date: *date,
                    record: build.record(),
                    known: match standing {
                        Rank::Success(_) | Rank::Failure(_) => true,
                        Rank::Unknown | Rank::Future => false,
                    },
                    decision: self.decision(&id, reasons, due),
                }
            })
            .collect()
    }

    /// Adds what keeps a build whatever its channel's rules.
    fn protections(&self, id: &BuildId, reasons: &mut Vec<Reason>) {
        if !self.unclear.is_empty() {
            let date = id.date.to_string();
            let naming = self.unclear.iter().filter(|(_, text)| text.contains(&date));
            reasons.extend(naming.map(|(alias, _)| Reason::Alias {
                alias: (*alias).clone(),
            }));
        }
        if let Some(by) = self.facts.in_use.get(id) {
            reasons.push(Reason::InUse { by: by.clone() });
        }
        let pins = self.pins.get(id).into_iter().flatten();
        reasons.extend(
            pins.filter(|pin| pin.holds(self.now))
                .map(|pin| Reason::Pinned {
                    why: pin.reason.clone(),
                    author: pin.author.clone(),
                    until: pin.until,
                }),
        );
    }

    /// Adds what the rules say; the rule and the instant by which the build is eligible, where they make it so.
    fn schedule(
        &self,
        (date, build): (BuildDate, &BuildEntry),
        standing: Rank,
        rules: &Rules,
        known: &KnownBuilds,
        reasons: &mut Vec<Reason>,
    ) -> Option<(ExpiryRule, DateTime<Utc>)> {
        let (retention, superseded) = match standing {
            Rank::Unknown | Rank::Future => return None,
            Rank::Success(place) => {
                match place {
                    0 => reasons.push(Reason::NewestSuccess),
                    1 => reasons.push(Reason::SuccessBefore),
                    2.. => {}
                }
                if u32::try_from(place).is_ok_and(|place| place < rules.newest) {
                    reasons.push(Reason::Newest {
                        rank: place + 1,
                        of: rules.newest,
                    });
                }
                let superseded = place
                    .checked_sub(rules.floor())
                    .map(|by| known.successes[by]);
                (rules.keep, superseded)
            }
            Rank::Failure(place) => {
                if place == 0 {
                    reasons.push(Reason::NewestFailure);
                }
                (rules.failed, place.checked_sub(1).map(|by| known.all[by]))
            }
        };
        let failure = matches!(standing, Rank::Failure(_));
        let (rule, end) = match retention {
            Retention::Forever => {
                reasons.push(Reason::Forever);
                return None;
            }
            Retention::For(age) => {
                let until = age.after(date.time());
                if until.is_none_or(|until| self.now < until) {
                    reasons.push(if failure {
                        Reason::YoungFailure { age, until }
                    } else {
                        Reason::Young { age, until }
                    });
                }
                let rule = if failure {
                    ExpiryRule::FailedAge
                } else {
                    ExpiryRule::Age
                };
                (rule, until)
            }
            Retention::ReleasePeriod => {
                let period = self.releases.period_past(introduction(date, build));
                if period.end().is_none_or(|end| self.now < end) {
                    reasons.push(Reason::ReleasePeriod { period });
                }
                (ExpiryRule::ReleasePeriod, period.end())
            }
        };
        Some((rule, end?.max(superseded?.time())))
    }

    /// The decision: kept by any reason; else eligible since the last of them ended.
    fn decision(
        &self,
        id: &BuildId,
        reasons: Vec<Reason>,
        due: Option<(ExpiryRule, DateTime<Utc>)>,
    ) -> Decision {
        match due {
            Some((rule, since)) if reasons.is_empty() => {
                let pins = self.pins.get(id).into_iter().flatten();
                let since = pins.filter_map(|pin| pin.until).fold(since, DateTime::max);
                Decision::Expire { rule, since }
            }
            Some(_) | None => {
                let until = reasons
                    .iter()
                    .map(|reason| match reason.end() {
                        End::At(end) => Some(end),
                        End::Event => None,
                    })
                    .reduce(|a, b| Some(a?.max(b?)))
                    .flatten();
                Decision::Keep { reasons, until }
            }
        }
    }
}
