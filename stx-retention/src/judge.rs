//! The decisions of one channel.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState,
    Channel, ChannelEntry, UndatedEntry, Verdict, VerdictEntry,
};

use crate::bearing::introduction;
use crate::decision::End;
use crate::policy::replaces_keep;
use crate::{
    Bearing, Decision, ExpiryRule, Pin, PolicyInputs, Reason, Releases, Retention, Rules, Term,
};

/// Judges channels by the inputs that are the same for all of them.
pub(crate) struct Judge<'a> {
    pub(crate) facts: &'a PolicyInputs,
    pub(crate) pins: BTreeMap<&'a BuildId, Vec<&'a Pin>>,
    /// The newest verdict on each build, by channel.
    verdicts: HashMap<&'a Channel, BTreeMap<BuildDate, &'a VerdictEntry>>,
    /// For each build of a lower layer, a build of the catalog that was built upon it.
    upper: HashMap<BuildId, BuildId>,
    /// Aliases of all channels that cannot be parsed: they keep the builds that their texts name.
    pub(crate) unclear: Vec<(AliasName, String)>,
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
    /// The successes whose newest verdict is green.
    green: Vec<BuildDate>,
}

/// One build, judged.
pub(crate) struct JudgedBuild<'a> {
    pub(crate) date: BuildDate,
    pub(crate) decision: Decision,
    pub(crate) record: Option<&'a BuildRecord>,
    pub(crate) verdict: Option<&'a VerdictEntry>,
    /// True if its record can be read, and it is not dated in the future.
    pub(crate) known: bool,
}

impl<'a> Judge<'a> {
    /// The judge of channels, with the facts of all channels.
    pub(crate) fn new(
        bearings: &BTreeMap<Channel, Bearing>,
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
        let mut verdicts = HashMap::<&Channel, BTreeMap<_, _>>::new();
        for (build, entry) in &facts.verdicts {
            let of = verdicts.entry(&build.channel).or_default();
            of.insert(build.date, entry);
        }
        let mut upper = HashMap::new();
        for (channel, bearing) in bearings {
            for (lower, date) in &bearing.upon {
                let made = || BuildId::new(channel.clone(), *date);
                upper.entry(lower.clone()).or_insert_with(made);
            }
        }
        let unclear = bearings.values().flat_map(|bearing| &bearing.unclear);
        let unclear = unclear.map(|(alias, text)| (alias.clone(), text.clone()));
        Self {
            facts,
            pins,
            verdicts,
            upper,
            unclear: unclear.collect(),
            releases,
            now,
        }
    }
}

/// The sections of a build that can be read without a date through a link that names it, in any form.
fn undated(entry: &ChannelEntry, date: BuildDate) -> impl Iterator<Item = Reason> {
    let leads = move |to: &UndatedEntry| match to {
        UndatedEntry::Build(to) => *to == date,
        UndatedEntry::Other(text) => text.contains(&date.to_string()),
        // The alias keeps the build that it points at.
        UndatedEntry::Alias(_) => false,
    };
    let sections = entry.undated.iter().filter(move |(_, to)| leads(to));
    sections.map(|(section, _)| Reason::Undated { section: *section })
}

impl<'a> Judge<'a> {
    /// The decision of every build of a channel, oldest first.
    pub(crate) fn judge<'e>(
        &self,
        channel: &Channel,
        entry: &'e ChannelEntry,
        rules: &Rules,
    ) -> Vec<JudgedBuild<'e>>
    where
        'a: 'e,
    {
        let verdicts = self.verdicts.get(channel);
        let verdict = |date: BuildDate| verdicts.and_then(|verdicts| verdicts.get(&date)).copied();
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
                    if verdict(*date).is_some_and(|entry| entry.verdict == Verdict::Green) {
                        known.green.push(*date);
                    }
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
        // One value for all of them: most builds of a large mirror are looked up by their dates alone.
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
                let verdict = verdict(*date);
                let judged = (*date, build, verdict);
                let due = self.schedule(judged, standing, rules, &known, &mut reasons);
                // A build that no rule lets expire needs no further reason.
                if due.is_some() && self.releases.learned_of(&id) {
                    reasons.push(Reason::FirstOfRelease);
                }
                JudgedBuild {
                    date: *date,
                    record: build.record(),
                    verdict,
                    known: match standing {
                        Rank::Success(_) | Rank::Failure(_) => true,
                        Rank::Unknown | Rank::Future => false,
                    },
                    decision: self.decision(&id, reasons, due),
                }
            })
            .collect()
    }

    /// Adds the reasons that keep a build independently of its channel's rules.
    fn protections(&self, id: &BuildId, reasons: &mut Vec<Reason>) {
        if !self.unclear.is_empty() {
            let date = id.date.to_string();
            let naming = self.unclear.iter().filter(|(_, text)| text.contains(&date));
            reasons.extend(naming.map(|(alias, _)| Reason::Alias {
                alias: alias.clone(),
            }));
        }
        if let Some(why) = self.facts.unclear.get(id) {
            reasons.push(Reason::UnreadableVerdicts { why: why.clone() });
        }
        if let Some(by) = self.facts.in_use.get(id) {
            reasons.push(Reason::InUse { by: by.clone() });
        }
        // The upper build can be verified only as long as this one exists.
        if let Some(upper) = self.upper.get(id) {
            let by = format!("{upper}, which was built upon it");
            reasons.push(Reason::InUse { by });
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

    /// Adds the reasons of the rules; returns the rule and the time by which the build is eligible, if it ever is.
    fn schedule(
        &self,
        (date, build, verdict): (BuildDate, &BuildEntry, Option<&VerdictEntry>),
        standing: Rank,
        rules: &Rules,
        known: &KnownBuilds,
        reasons: &mut Vec<Reason>,
    ) -> Option<(ExpiryRule, DateTime<Utc>)> {
        let (superseded, verdict) = match standing {
            Rank::Unknown | Rank::Future => return None,
            Rank::Success(place) => {
                let by = among_newest(place, rules, known, reasons);
                (by.max(among_green(date, rules, known, reasons)), verdict)
            }
            Rank::Failure(place) => {
                if place == 0 {
                    reasons.push(Reason::NewestFailure);
                }
                // Failures are not tested.
                (place.checked_sub(1).map(|by| known.all[by]), None)
            }
        };
        let failure = matches!(standing, Rank::Failure(_));
        let given = verdict.and_then(|entry| Some((entry, rules.verdicts.of(entry.verdict)?)));
        let mut terms = Vec::with_capacity(2);
        if !given.is_some_and(|(entry, _)| replaces_keep(entry.verdict)) {
            let kept = if failure { rules.failed } else { rules.keep };
            let term = self.term(kept, date, build);
            if term.holds(self.now) {
                reasons.push(match term {
                    Term::Forever => Reason::Forever,
                    Term::Age { age, until } if failure => Reason::YoungFailure { age, until },
                    Term::Age { age, until } => Reason::Young { age, until },
                    Term::ReleasePeriod { period } => Reason::ReleasePeriod { period },
                });
            }
            let rule = match term {
                Term::Age { .. } if failure => ExpiryRule::FailedAge,
                Term::Forever | Term::Age { .. } => ExpiryRule::Age,
                Term::ReleasePeriod { .. } => ExpiryRule::ReleasePeriod,
            };
            terms.push((rule, term));
        }
        if let Some((entry, kept)) = given {
            let term = self.term(kept, date, build);
            if term.holds(self.now) {
                reasons.push(Reason::Verdict {
                    verdict: entry.verdict,
                    author: entry.author.clone(),
                    term,
                });
            }
            terms.push((ExpiryRule::Verdict, term));
        }
        // The build expires by the rule that ends last; if two end together, by the plain one.
        let mut last: Option<(ExpiryRule, DateTime<Utc>)> = None;
        for (rule, term) in terms {
            let end = term.end()?;
            if last.is_none_or(|(_, last)| last < end) {
                last = Some((rule, end));
            }
        }
        let (rule, end) = last?;
        let end = superseded.map_or(end, |by| end.max(by.time()));
        Some((rule, end))
    }

    /// The term for which a rule keeps a build.
    fn term(&self, kept: Retention, date: BuildDate, build: &BuildEntry) -> Term {
        match kept {
            Retention::Forever => Term::Forever,
            Retention::For(age) => Term::Age {
                age,
                until: age.after(date.time()),
            },
            Retention::ReleasePeriod => Term::ReleasePeriod {
                period: self.releases.period_past(introduction(date, build)),
            },
        }
    }

    /// The decision: kept if there is any reason; otherwise eligible since the last of them ended.
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

/// Adds the reasons to keep one of the newest successes. Returns the newer build that ended its place among them.
fn among_newest(
    place: usize,
    rules: &Rules,
    known: &KnownBuilds,
    reasons: &mut Vec<Reason>,
) -> Option<BuildDate> {
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
    let by = place.checked_sub(rules.floor())?;
    known.successes.get(by).copied()
}

/// Adds the reasons to keep one of the newest green builds. Returns the newer build that ended its place among them.
fn among_green(
    date: BuildDate,
    rules: &Rules,
    known: &KnownBuilds,
    reasons: &mut Vec<Reason>,
) -> Option<BuildDate> {
    // Green builds are sorted from the newest to the oldest.
    let place = known.green.binary_search_by(|green| date.cmp(green)).ok()?;
    if place == 0 {
        reasons.push(Reason::NewestGreen);
    }
    let of = rules.verdicts.newest_green.unwrap_or_default();
    if u32::try_from(place).is_ok_and(|place| place < of) {
        reasons.push(Reason::Green {
            rank: place + 1,
            of,
        });
    }
    let by = place.checked_sub(rules.verdicts.floor())?;
    known.green.get(by).copied()
}
