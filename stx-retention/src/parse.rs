//! Reads policies, and collects what is wrong with them.

use std::fmt;

use chrono::NaiveDate;
use globset::{Glob, GlobBuilder};
use stx_layout::{BuildOutcome, BuildPath, ReleaseKind, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{
    ChannelRules, Mistake, Overlay, PolicyError, PolicyFile, Position, Retention, Span, Tier,
};

/// Reads the parts of a policy and collects what is wrong with them.
pub(crate) struct Reader<'a> {
    text: &'a str,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) file: PolicyFile,
}

type Value<'a> = Spanned<DeValue<'a>>;

/// The entries of a table, keys as text with their offset.
fn entries<'t>(
    table: &'t DeTable<'_>,
) -> impl Iterator<Item = (&'t str, usize, &'t Value<'t>)> + 't {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
}

impl PolicyFile {
    /// Reads a policy.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(text);
        for error in errors {
            let start = error.span().map_or(0, |span| span.start);
            reader.mistake(start, error.message());
        }
        // A table read from broken text lacks what could not be read: its own mistakes would follow from that.
        if reader.mistakes.is_empty() {
            reader.root(table.get_ref());
        }
        let mut mistakes = reader.mistakes;
        if mistakes.is_empty() {
            return Ok(reader.file);
        }
        mistakes.sort();
        Err(PolicyError { mistakes })
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            mistakes: Vec::new(),
            file: PolicyFile::default(),
        }
    }
}

impl Reader<'_> {
    fn position(&self, offset: usize) -> Position {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(crate) fn mistake(&mut self, offset: usize, message: impl Into<String>) {
        let at = self.position(offset);
        self.mistakes.push(Mistake {
            at,
            message: message.into(),
        });
    }

    fn unknown(&mut self, offset: usize, key: &str, known: &str) {
        let words = known.split('`').skip(1).step_by(2);
        let message = match nearest(key, words) {
            Some(near) => format!("`{key}` is not known here; did you mean `{near}`?"),
            None => format!("`{key}` is not known here; there are {known}"),
        };
        self.mistake(offset, message);
    }

    fn wrong(&mut self, value: &Value<'_>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.mistake(
            value.span().start,
            format!("expected {wanted}, found {found}"),
        );
    }

    fn table<'t>(&mut self, value: &'t Value<'_>) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value, "a table");
        }
        table
    }

    fn string<'t>(&mut self, value: &'t Value<'_>, wanted: &str) -> Option<&'t str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.wrong(value, wanted);
        }
        string
    }

    fn integer<T: std::str::FromStr>(&mut self, value: &Value<'_>, wanted: &str) -> Option<T> {
        let integer = value.get_ref().as_integer();
        let number = integer.filter(|integer| integer.radix() == 10);
        let number = number.and_then(|number| number.as_str().parse().ok());
        if number.is_none() {
            self.wrong(value, wanted);
        }
        number
    }

    /// Parses a text, with the parser's own words for what is wrong.
    fn parsed<T>(&mut self, value: &Value<'_>, wanted: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let text = self.string(value, wanted)?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.mistake(value.span().start, error.to_string());
                None
            }
        }
    }

    pub(crate) fn root(&mut self, table: &DeTable<'_>) {
        for (key, at, value) in entries(table) {
            match key {
                "free-space" => {
                    self.file.policy.free_space =
                        self.integer(value, "a whole number of bytes, 0 or more");
                }
                "limits" => self.limits(value),
                "kind" => self.kinds(value),
                "channel" => self.channels(value),
                "calendar" => self.calendar(value),
                unknown => self.unknown(
                    at,
                    unknown,
                    "`free-space`, `limits`, `kind`, `channel` and `calendar`",
                ),
            }
        }
    }

    fn limits(&mut self, value: &Value<'_>) {
        for (key, at, value) in self.table(value).into_iter().flat_map(entries) {
            match key {
                "percent" => match self.integer(value, "a number from 0 to 100") {
                    Some(percent @ 0..=100) => self.file.policy.limits.percent = percent,
                    Some(_) => self.mistake(value.span().start, "more than 100 percent"),
                    None => {}
                },
                "silence" => {
                    if value.get_ref().as_str() == Some("never") {
                        self.file.policy.limits.silence = None;
                    } else if let Some(silence) = self.span(value) {
                        self.file.policy.limits.silence = Some(silence);
                    }
                }
                unknown => self.unknown(at, unknown, "`percent` and `silence`"),
            }
        }
    }

    fn kinds(&mut self, value: &Value<'_>) {
        for (key, at, value) in self.table(value).into_iter().flat_map(entries) {
            let Some(kind) = ReleaseKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == key)
            else {
                self.unknown(
                    at,
                    key,
                    "`master`, `feature`, `release`, `milestone` and `rc`",
                );
                continue;
            };
            if let Some(table) = self.table(value) {
                let overlay = self.overlay(table, false);
                let position = self.position(at);
                self.file.lines.kinds.insert(kind, position);
                let rules = self.file.policy.kinds.get_mut(kind);
                *rules = rules.clone().with(&overlay);
                let (keep, failed) = (rules.keep, rules.failed);
                self.compare(at, keep, failed, overlay.tiers.as_deref().unwrap_or(&[]));
            }
        }
    }

    fn channels(&mut self, value: &Value<'_>) {
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong(value, "`[[channel]]` tables");
        };
        for value in array {
            let Some(table) = self.table(value) else {
                continue;
            };
            let start = value.span().start;
            let rules = self.overlay(table, true);
            let matching = entries(table).find(|(key, ..)| *key == "match");
            let glob = match matching {
                None => {
                    self.mistake(start, "an exception needs `match`, a glob of channels");
                    None
                }
                Some((_, _, value)) => self.glob(value),
            };
            let keep = rules.keep.unwrap_or(Retention::Forever);
            let tiers = rules.tiers.as_deref().unwrap_or(&[]);
            self.compare(start, keep, rules.failed.unwrap_or(keep), tiers);
            if let Some(channels) = glob {
                let position = self.position(start);
                self.file.lines.channels.push(position);
                let exception = ChannelRules { channels, rules };
                self.file.policy.channels.push(exception);
            }
        }
    }

    fn glob(&mut self, value: &Value<'_>) -> Option<Glob> {
        let text = self.string(value, "a glob of channels")?;
        match channel_glob(text) {
            Ok(glob) => Some(glob),
            Err(error) => {
                self.mistake(value.span().start, error.to_string());
                None
            }
        }
    }

    fn overlay(&mut self, table: &DeTable<'_>, exception: bool) -> Overlay {
        let mut overlay = Overlay::default();
        for (key, at, value) in entries(table) {
            match key {
                "keep" => overlay.keep = self.retention(value),
                "newest" => {
                    overlay.newest = self.integer(value, "a whole number of builds, 0 or more");
                }
                "failed" => overlay.failed = self.retention(value),
                "tiers" => overlay.tiers = Some(self.tiers(value)),
                "match" if exception => {}
                unknown => self.unknown(at, unknown, "`keep`, `newest`, `failed` and `tiers`"),
            }
        }
        overlay
    }

    /// Refuses what is not meant: failures that outlive successes, sections that outlive their build.
    fn compare(&mut self, at: usize, keep: Retention, failed: Retention, tiers: &[Tier]) {
        let Retention::For(keep) = keep else {
            return;
        };
        let longer = match failed {
            Retention::For(failed) => failed > keep,
            Retention::Forever | Retention::ReleasePeriod => true,
        };
        if longer {
            self.mistake(
                at,
                format!("failures are kept longer than the {keep} of successes"),
            );
        }
        for tier in tiers.iter().filter(|tier| tier.after >= keep) {
            let message = format!(
                "`{}` goes after {}, which is not before its build, {keep}",
                tier.section, tier.after
            );
            self.mistake(at, message);
        }
    }

    fn tiers(&mut self, value: &Value<'_>) -> Vec<Tier> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(
                value,
                "an array of `{ section = \"outputs/logs\", after = \"7 days\" }`",
            );
            return Vec::new();
        };
        let mut tiers = Vec::new();
        for value in array {
            let (mut section, mut after) = (None, None);
            let Some(table) = self.table(value) else {
                continue;
            };
            for (key, at, value) in entries(table) {
                match key {
                    "section" => section = self.section(value),
                    "after" => after = self.span(value),
                    unknown => self.unknown(at, unknown, "`section` and `after`"),
                }
            }
            for wanted in ["section", "after"] {
                if !entries(table).any(|(key, ..)| key == wanted) {
                    self.mistake(value.span().start, format!("a tier needs `{wanted}`"));
                }
            }
            if let (Some(section), Some(after)) = (section, after) {
                tiers.push(Tier { section, after });
            }
        }
        tiers
    }

    /// A section without which a build is still known: something in `inputs` or `outputs`, and not the marker.
    fn section(&mut self, value: &Value<'_>) -> Option<BuildPath> {
        let section: BuildPath = self.parsed(value, "a path in a build")?;
        let outcomes = [BuildOutcome::Success, BuildOutcome::Fail].map(BuildOutcome::as_str);
        let bulky = match section.as_str().split_once('/') {
            Some(("inputs", _)) => true,
            Some(("outputs", below)) => !outcomes.contains(&below),
            Some(_) => false,
            None => section.as_str() == "inputs",
        };
        if !bulky {
            let message = format!(
                "`{section}` stays as long as its build: a section lies in `inputs` or `outputs` and is not the marker"
            );
            self.mistake(value.span().start, message);
        }
        bulky.then_some(section)
    }

    fn retention(&mut self, value: &Value<'_>) -> Option<Retention> {
        match value.get_ref().as_str() {
            Some("forever") => Some(Retention::Forever),
            Some("release-period") => Some(Retention::ReleasePeriod),
            Some(_) | None => self.span(value).map(Retention::For),
        }
    }

    /// A length of time that is more than nothing.
    fn span(&mut self, value: &Value<'_>) -> Option<Span> {
        let span: Span = self.parsed(value, "a length of time, such as \"14 days\"")?;
        if span.as_seconds() == 0 {
            self.mistake(value.span().start, "the duration must be greater than zero");
            return None;
        }
        Some(span)
    }

    fn calendar(&mut self, value: &Value<'_>) {
        for (key, at, value) in self.table(value).into_iter().flat_map(entries) {
            match key {
                "learn" => match value.get_ref().as_bool() {
                    Some(learn) => self.file.policy.calendar.learn = learn,
                    None => self.wrong(value, "`true` or `false`"),
                },
                "releases" => {
                    for (name, at, value) in self.table(value).into_iter().flat_map(entries) {
                        let day = self.day(value);
                        match name.parse() {
                            Ok(name) => {
                                let releases = &mut self.file.policy.calendar.releases;
                                releases.extend(day.map(|day| (name, day)));
                            }
                            Err(error) => self.mistake(at, error.to_string()),
                        }
                    }
                }
                unknown => self.unknown(at, unknown, "`learn` and `releases`"),
            }
        }
    }

    fn day(&mut self, value: &Value<'_>) -> Option<NaiveDate> {
        let date = value.get_ref().as_datetime().and_then(|datetime| {
            let whole_day = datetime.time.is_none() && datetime.offset.is_none();
            datetime.date.filter(|_| whole_day)
        });
        let day = date.and_then(|date| {
            let (month, day) = (u32::from(date.month), u32::from(date.day));
            NaiveDate::from_ymd_opt(i32::from(date.year), month, day)
        });
        if day.is_none() {
            self.wrong(value, "a date, such as 2018-10-30");
        }
        day
    }
}

/// A glob of channels as policies mean it: `*` and `?` do not cross a `/`, `**` does.
pub fn channel_glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build()
}
