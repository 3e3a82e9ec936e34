//! Reads policies, and collects their mistakes.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use globset::{Glob, GlobBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use stx_layout::config::{ConfigErrors, Faults, Position, PositiveDuration, Within, from_toml};
use stx_layout::{BuildOutcome, BuildPath, Name, ReleaseKind, Verdict};
use toml::Spanned;
use toml::value::Datetime;

use crate::{
    Calendar, ChannelRules, Limits, Overlay, PolicyFile, Retention, Span, Tier, VerdictRules,
};

/// The form of a policy file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct PolicyTable {
    free_space: Option<u64>,
    limits: LimitsTable,
    kind: BTreeMap<Spanned<ReleaseKind>, RulesTable>,
    channel: Vec<Spanned<ChannelTable>>,
    calendar: CalendarTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    percent: Option<Within<u32, 0, 100>>,
    silence: Option<Silence>,
}

#[derive(Debug)]
struct Silence(Option<Span>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct RulesTable {
    keep: Option<Retention>,
    newest: Option<u32>,
    failed: Option<Retention>,
    tiers: Option<Vec<TierTable>>,
    green: Option<Retention>,
    yellow: Option<Retention>,
    red: Option<Retention>,
    newest_green: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ChannelTable {
    r#match: ChannelGlob,
    keep: Option<Retention>,
    newest: Option<u32>,
    failed: Option<Retention>,
    tiers: Option<Vec<TierTable>>,
    green: Option<Retention>,
    yellow: Option<Retention>,
    red: Option<Retention>,
    newest_green: Option<u32>,
}

#[derive(Debug)]
struct ChannelGlob(Glob);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierTable {
    section: Section,
    after: PositiveDuration,
}

/// A section that may be removed while its build remains known: a path in `inputs` or `outputs`, except the marker file.
#[derive(Debug, Deserialize)]
#[serde(try_from = "BuildPath")]
struct Section(BuildPath);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CalendarTable {
    learn: bool,
    releases: BTreeMap<Name, Day>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "Datetime")]
struct Day(NaiveDate);

impl PolicyFile {
    /// Reads a policy.
    ///
    /// # Errors
    /// All mistakes of the text.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::default();
        let table = from_toml::<PolicyTable>(text, &mut faults);
        let file = table.map(|table| table.policy(text, &mut faults));
        faults.locate(text).or(file)
    }
}

impl PolicyTable {
    fn policy(self, text: &str, faults: &mut Faults) -> PolicyFile {
        let mut file = PolicyFile::default();
        let policy = &mut file.policy;
        policy.free_space = self.free_space;
        let Limits {
            percent, silence, ..
        } = &mut policy.limits;
        *percent = self.limits.percent.map_or(*percent, Within::get);
        *silence = self.limits.silence.map_or(*silence, |Silence(span)| span);
        for (kind, table) in self.kind {
            let (at, kind) = (kind.span().start, kind.into_inner());
            let overlay = table.overlay();
            let rules = policy.kinds.get_mut(kind);
            *rules = rules.clone().with(&overlay);
            file.lines.kinds.insert(kind, Position::of(text, at));
            compare(faults, at, rules.keep, rules.failed, &overlay);
        }
        for table in self.channel {
            let at = table.span().start;
            let ChannelTable {
                r#match: ChannelGlob(channels),
                keep,
                newest,
                failed,
                tiers,
                green,
                yellow,
                red,
                newest_green,
            } = table.into_inner();
            let table = RulesTable {
                keep,
                newest,
                failed,
                tiers,
                green,
                yellow,
                red,
                newest_green,
            };
            let rules = table.overlay();
            let keep = rules.keep.unwrap_or(Retention::Forever);
            compare(faults, at, keep, rules.failed.unwrap_or(keep), &rules);
            file.lines.channels.push(Position::of(text, at));
            policy.channels.push(ChannelRules { channels, rules });
        }
        policy.calendar.learn = self.calendar.learn;
        let releases = self.calendar.releases.into_iter();
        policy.calendar.releases = releases.map(|(name, Day(day))| (name, day)).collect();
        file
    }
}

impl RulesTable {
    fn overlay(self) -> Overlay {
        let tier = |tier: TierTable| Tier {
            section: tier.section.0,
            after: tier.after.into(),
        };
        Overlay {
            keep: self.keep,
            newest: self.newest,
            failed: self.failed,
            tiers: self
                .tiers
                .map(|tiers| tiers.into_iter().map(tier).collect()),
            verdicts: VerdictRules {
                green: self.green,
                yellow: self.yellow,
                red: self.red,
                newest_green: self.newest_green,
            },
        }
    }
}

/// Refuses rules that cannot be intended: failures that outlive successes, green or yellow builds that do not outlive untested
/// ones, sections that outlive their build.
fn compare(faults: &mut Faults, at: usize, keep: Retention, failed: Retention, rules: &Overlay) {
    let Retention::For(keep) = keep else {
        return;
    };
    let longer = match failed {
        Retention::For(failed) => failed > keep,
        Retention::Forever | Retention::ReleasePeriod => true,
    };
    if longer {
        let message = format!("failures are kept longer than the {keep} of successes");
        faults.add(at, message);
    }
    for verdict in [Verdict::Green, Verdict::Yellow] {
        if let Some(Retention::For(kept)) = rules.verdicts.of(verdict)
            && kept < keep
        {
            let message = format!(
                "`{verdict}` keeps builds for {kept}, which is shorter than the {keep} of all successes; only `red` shortens"
            );
            faults.add(at, message);
        }
    }
    // A section may be removed later if a verdict keeps its build longer.
    let mut longest = keep;
    for kept in Verdict::ALL.map(|verdict| rules.verdicts.of(verdict)) {
        match kept {
            None => {}
            Some(Retention::For(kept)) => longest = longest.max(kept),
            Some(Retention::Forever | Retention::ReleasePeriod) => return,
        }
    }
    let tiers = rules.tiers.iter().flatten();
    for tier in tiers.filter(|tier| tier.after >= longest) {
        let message = format!(
            "`{}` is removed after {}, which is not before its build, {longest}",
            tier.section, tier.after
        );
        faults.add(at, message);
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "forever" => Ok(Self::Forever),
            "release-period" => Ok(Self::ReleasePeriod),
            _ => positive(&text).map(Self::For),
        }
    }
}

impl<'de> Deserialize<'de> for Silence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "never" => Ok(Self(None)),
            text => positive(text).map(|span| Self(Some(span))),
        }
    }
}

fn positive<E: serde::de::Error>(text: &str) -> Result<Span, E> {
    let text = serde::de::value::StrDeserializer::new(text);
    PositiveDuration::deserialize(text).map(Span::from)
}

impl<'de> Deserialize<'de> for ChannelGlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let glob = channel_glob(&String::deserialize(deserializer)?);
        glob.map(Self).map_err(D::Error::custom)
    }
}

impl TryFrom<BuildPath> for Section {
    type Error = String;

    fn try_from(section: BuildPath) -> Result<Self, String> {
        let outcomes = [BuildOutcome::Success, BuildOutcome::Fail].map(BuildOutcome::as_str);
        let bulky = match section.as_str().split_once('/') {
            Some(("inputs", _)) => true,
            Some(("outputs", below)) => !outcomes.contains(&below),
            Some(_) => false,
            None => section.as_str() == "inputs",
        };
        if bulky {
            return Ok(Self(section));
        }
        Err(format!(
            "`{section}` cannot be removed before its build: a section is in `inputs` or `outputs` and is not the marker"
        ))
    }
}

impl Default for CalendarTable {
    fn default() -> Self {
        Self {
            learn: Calendar::default().learn,
            releases: BTreeMap::new(),
        }
    }
}

impl TryFrom<Datetime> for Day {
    type Error = &'static str;

    fn try_from(datetime: Datetime) -> Result<Self, Self::Error> {
        let whole_day = datetime.time.is_none() && datetime.offset.is_none();
        let date = datetime.date.filter(|_| whole_day);
        date.and_then(|date| {
            let (month, day) = (u32::from(date.month), u32::from(date.day));
            NaiveDate::from_ymd_opt(i32::from(date.year), month, day)
        })
        .map(Self)
        .ok_or("expected a date, such as 2018-10-30")
    }
}

/// The form of globs in policies: `*` and `?` do not cross a `/`, `**` does.
pub fn channel_glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build()
}
