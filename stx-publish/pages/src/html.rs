//! The HTML pages and the feed. The templates are checked when this crate is compiled, and escape all values.

use std::borrow::Cow;
use std::fmt::Display;

use askama::Template;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use stx_layout::index::{
    BuildIndex, ChannelIndex, ChannelSummary, Media, PackageChanges, PageId, PageName, RootIndex,
};
use stx_layout::{
    AliasName, BuildDate, BuildOutcome, Channel, Origin, PhaseRecord, PhaseStatus, Sha256,
    VerdictEntry, counted, encode_path, printable_json, printable_lines, size,
};
use stx_publish::incoming::digest_of;

use crate::IndexSeal;
use crate::site::{Made, Site};
use crate::sources;
use crate::summary::summary;
use trend::Trend;

pub(super) mod build;
mod dashboard;
mod files;
mod layers;
mod listing;
mod root;
mod trend;

pub use dashboard::{
    Dashboard, ShownAlarm, ShownBuild, ShownChannel, ShownPhase, ShownRequest, ShownResult,
    dashboard,
};
pub use listing::{Listed, listing};
pub(super) use root::root_pages;

/// The default heading of a mirror.
const TITLE: &str = "StarlingX builds";

/// The pages of the root.
pub(super) const PAGES_OF_ROOT: [PageName; 1] = [PageName::IndexHtml];

/// The pages of a channel besides its index.
pub(super) const PAGES_OF_CHANNEL: [PageName; 2] = [PageName::IndexHtml, PageName::Feed];

/// The text on a page before the digest of the index from which the page was made.
pub(super) const MADE_OF: &str = "data-index=\"";

/// The digest of a channel's index, as embedded in a page made from it. The dates of a signed index are left out: they change even
/// if nothing on the page does.
pub(super) fn digest_of_channel(index: &ChannelIndex) -> Sha256 {
    let index = ChannelIndex {
        serial: None,
        expires: None,
        ..index.clone()
    };
    digest_of(index.to_json().as_bytes())
}

/// Like [`digest_of_channel`], for the root's index.
pub(super) fn digest_of_root(index: &RootIndex) -> Sha256 {
    let channels = index.channels.iter().cloned();
    let index = RootIndex {
        serial: None,
        expires: None,
        channels: channels
            .map(|channel| ChannelSummary {
                serial: None,
                ..channel
            })
            .collect(),
        aliases: index.aliases.clone(),
        ..*index
    };
    digest_of(index.to_json().as_bytes())
}

/// The version of the pages of channels; increase it when the code here renders something else. Changes to the templates are
/// detected automatically.
const FORM: u32 = 1;

/// The digest of everything on pages that comes neither from the mirror nor from `site.stays`: the program, and its configured
/// texts and keys. Pages that were made with a different one are out of date.
pub fn look_of_all(site: &Site, seal: Option<&IndexSeal>) -> Sha256 {
    let keys = seal.map(|seal| seal.keys.as_str());
    let texts = [
        &format!("{FORM} {} {:?}", build::look(site, keys), site.about),
        &format!("{:?}", seal.map(|seal| seal.lasts)),
        include_str!("../templates/channel.html"),
        include_str!("../templates/feed.xml"),
        include_str!("../templates/filter.js"),
    ];
    digest_of(texts.join("\u{ff}").as_bytes())
}

/// The pages of a channel.
pub(super) fn channel_pages(site: &Site, index: &ChannelIndex, keys: Option<&str>) -> Vec<Made> {
    let rows: Vec<_> = index.builds.iter().map(Row::new).collect();
    let latest = latest(index);
    let made_of = digest_of_channel(index);
    let files = sources::of_channel(site, index, keys);
    let has = |which| {
        files
            .iter()
            .any(|(name, text)| *name == which && text.is_some())
    };
    let html = ChannelPage {
        title: title(site),
        made_of,
        url: site.url.as_deref(),
        channel: &index.channel,
        root: way_up(&index.channel),
        green: green(index),
        held: index.held.contains(&AliasName::latest_build()),
        has_apt: has(PageName::AptSources),
        has_dnf: has(PageName::DnfRepo),
        trend: Trend::new(&rows),
        lists: lists(&rows),
        count: rows.len(),
        latest: latest.and_then(|date| rows.iter().find(|row| row.build.date == date)),
    };
    let feed = Feed {
        title: title(site),
        made_of,
        channel: &index.channel,
        url: site
            .url
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('/'),
        updated: rows.iter().map(Row::updated).max().unwrap_or_else(epoch),
        rows: rows.iter().take(FEED_LENGTH).collect(),
    };
    let channel = Some(&index.channel);
    let files = files.into_iter();
    let files = files.filter_map(|(name, text)| Some(made(channel, name, Ok(text?))));
    let mut pages = vec![
        made(channel, PageName::IndexHtml, html.render()),
        made(channel, PageName::Feed, feed.render()),
        made(channel, PageName::IndexJson, Ok(index.to_json())),
    ];
    pages.extend(files);
    pages
}

/// The number of builds in a feed.
const FEED_LENGTH: usize = 30;

fn made(channel: Option<&Channel>, name: PageName, text: askama::Result<String>) -> Made {
    let text = match name {
        // The values of an index are not changed.
        PageName::IndexJson => printable_json(&text.expect("it is rendered")).into_owned(),
        PageName::IndexHtml
        | PageName::Feed
        | PageName::IndexSignature
        | PageName::Keys
        | PageName::AptSources
        | PageName::DnfRepo
        | PageName::AptSourcesOf(_)
        | PageName::DnfRepoOf(_)
        | PageName::HtmlOf(_) => printed(text),
    };
    let page = PageId {
        channel: channel.cloned(),
        name,
    };
    (page, Bytes::from(text))
}

/// The text of a page. Control characters are not allowed in HTML or XML, and a terminal that shows the page would obey them.
fn printed(rendered: askama::Result<String>) -> String {
    let text = rendered.expect("templates fail only where a value's `Display` does");
    printable_lines(&text).into_owned()
}

/// The relative path from the pages of a channel to the root.
fn way_up(channel: &Channel) -> String {
    "../".repeat(channel.to_string().split('/').count())
}

fn title(site: &Site) -> &str {
    if site.title.is_empty() {
        TITLE
    } else {
        &site.title
    }
}

/// The build that `latest_build` points at.
fn latest(index: &ChannelIndex) -> Option<BuildDate> {
    summary(index).latest_build
}

/// The build that `latest_green_build` points at.
fn green(index: &ChannelIndex) -> Option<BuildDate> {
    summary(index).latest_green_build
}

#[derive(Template)]
#[template(path = "channel.html")]
struct ChannelPage<'a> {
    title: &'a str,
    made_of: Sha256,
    url: Option<&'a str>,
    channel: &'a Channel,
    /// The relative path to the root.
    root: String,
    latest: Option<&'a Row<'a>>,
    /// The build that `latest_green_build` points at.
    green: Option<BuildDate>,
    /// True if `latest_build` was deliberately moved back.
    held: bool,
    has_apt: bool,
    has_dnf: bool,
    trend: Option<Trend>,
    /// The builds of the last days, and the older ones.
    lists: [&'a [Row<'a>]; 2],
    count: usize,
}

/// The days whose builds are shown without a click, counted back from the newest build.
const DAYS: i64 = 14;

/// Divides the builds, newest first, into those of the last days and the older ones.
fn lists<'a>(rows: &'a [Row<'a>]) -> [&'a [Row<'a>]; 2] {
    let newest = rows.first().map_or_else(epoch, |row| row.build.date.time());
    let from = newest - TimeDelta::days(DAYS);
    let recent = rows.partition_point(|row| row.build.date.time() >= from);
    let (recent, older) = rows.split_at(recent);
    [recent, older]
}

#[derive(Template)]
#[template(path = "feed.xml")]
struct Feed<'a> {
    title: &'a str,
    made_of: Sha256,
    channel: &'a Channel,
    /// Without a trailing slash; empty if it is unknown, and then links are relative.
    url: &'a str,
    updated: DateTime<Utc>,
    rows: Vec<&'a Row<'a>>,
}

/// A build in the form that the pages show.
struct Row<'a> {
    build: &'a BuildIndex,
    phases: Vec<Bar<'a>>,
}

/// The phase in which a build failed.
struct Failing<'a> {
    name: &'a str,
    /// The path of its log, if it has one.
    log: Option<String>,
    reason: Option<&'a str>,
}

/// One phase in the chart of a build.
struct Bar<'a> {
    phase: &'a PhaseRecord,
    /// Its duration.
    took: String,
    /// Its start and its length, in hundredths of the build.
    x: i64,
    width: i64,
}

impl<'a> Row<'a> {
    fn new(build: &'a BuildIndex) -> Self {
        let phases = build.record.as_ref().map(|record| bars(&record.phases));
        Self {
            build,
            phases: phases.unwrap_or_default(),
        }
    }

    fn outcome(&self) -> Option<BuildOutcome> {
        self.build.record.as_ref().map(|record| record.result)
    }

    fn result(&self) -> &'static str {
        outcome(self.outcome())
    }

    /// The name of its page, which is beside its directory.
    fn page(&self) -> Cow<'static, str> {
        PageName::HtmlOf(self.build.date).file_name()
    }

    /// The phase in which the build failed.
    fn failing(&self) -> Option<Failing<'a>> {
        let record = self.build.record.as_ref()?;
        let name = record.first_failing_phase.as_deref()?;
        let phase = record.phases.iter().find(|phase| phase.name == name);
        let ran = phase.is_some_and(|phase| phase.started.is_some());
        let log = ran.then(|| format!("{}/outputs/logs/{name}.log", self.build.date));
        let reason = phase.and_then(|phase| phase.reason.as_deref());
        Some(Failing { name, log, reason })
    }

    /// The verdict that counts.
    fn verdict(&self) -> Option<&'a VerdictEntry> {
        self.build.verdicts.last()
    }

    fn missing(&self) -> String {
        let record = self.build.record.as_ref();
        let missing = record.map(|record| record.missing_deliverables.join(", "));
        missing.unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.build.record.as_ref().map_or(0, |record| record.bytes)
    }

    fn size(&self) -> String {
        match &self.build.record {
            Some(record) => size(record.bytes),
            None => "unknown".to_owned(),
        }
    }

    /// The build that was promoted, and the promoter.
    fn origin(&self) -> Option<String> {
        match self.build.record.as_ref()?.origin.as_ref()? {
            Origin::Promoted { from, by, .. } => Some(format!("{from}, promoted by {by}")),
            _ => None,
        }
    }

    /// The time at which it was finished: the end of its last phase, else its date.
    fn finished(&self) -> DateTime<Utc> {
        let phases = self.build.record.iter().flat_map(|record| &record.phases);
        let last = phases.filter_map(|phase| phase.finished).max();
        last.unwrap_or_else(|| self.build.date.time())
    }

    /// The time of its newest change in the feed: the end of the build, or a verdict on it.
    fn updated(&self) -> DateTime<Utc> {
        let said = self.verdict().map(|verdict| verdict.at);
        said.map_or_else(|| self.finished(), |at| at.max(self.finished()))
    }

    /// The time from the start of the first phase to the end of the last.
    fn took(&self) -> Option<String> {
        let (start, end) = span(&self.build.record.as_ref()?.phases)?;
        Some(duration(end - start))
    }

    fn seconds(&self) -> i64 {
        let record = self.build.record.as_ref();
        let span = record.and_then(|record| span(&record.phases));
        span.map_or(0, |(start, end)| (end - start).num_seconds())
    }

    fn until(&self) -> String {
        match &self.build.stays {
            None => String::new(),
            Some(stay) => stay.until.map_or_else(
                || "no end".to_owned(),
                |until| until.format("%Y-%m-%d").to_string(),
            ),
        }
    }

    /// The key that sorts rows by the end of their stay; rows without an end come last.
    fn until_key(&self) -> String {
        let until = self.build.stays.as_ref().and_then(|stay| stay.until);
        until.map_or_else(|| "9".to_owned(), rfc3339)
    }

    fn changes(&self) -> Option<&PackageChanges> {
        self.build.changes.as_ref()
    }
}

impl Bar<'_> {
    fn class(&self) -> &'static str {
        match self.phase.status {
            PhaseStatus::Succeeded => "ok",
            PhaseStatus::Failed | PhaseStatus::TimedOut => "bad",
            PhaseStatus::Cancelled | PhaseStatus::Skipped => "off",
        }
    }
}

/// The phases that ran, each at its position in the time of the whole build.
fn bars(phases: &[PhaseRecord]) -> Vec<Bar<'_>> {
    let Some((start, end)) = span(phases) else {
        return Vec::new();
    };
    let whole = (end - start).num_milliseconds().max(1);
    let place = |time: DateTime<Utc>| (time - start).num_milliseconds() * 100 / whole;
    let ran = phases.iter().filter_map(|phase| {
        let (started, finished) = (phase.started?, phase.finished?);
        Some(Bar {
            phase,
            took: duration(finished - started),
            x: place(started),
            width: (place(finished) - place(started)).max(1),
        })
    });
    ran.collect()
}

/// The time from the first start to the last end.
fn span(phases: &[PhaseRecord]) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let start = phases.iter().filter_map(|phase| phase.started).min()?;
    let end = phases.iter().filter_map(|phase| phase.finished).max()?;
    Some((start, end))
}

/// A duration in readable form: `3 h 20 min`, `45 s`.
fn duration(time: TimeDelta) -> String {
    match (
        time.num_hours(),
        time.num_minutes() % 60,
        time.num_seconds() % 60,
    ) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A path or a part of one, escaped for a link.
fn in_url(path: impl Display) -> String {
    encode_path(&path.to_string())
}

/// A URL that can be a link.
fn is_web(url: &str) -> Option<&str> {
    let web = ["http://", "https://"].iter().any(|it| url.starts_with(it));
    web.then_some(url)
}

/// A text as HTML that may break after each `/`. The style sheet lets other long texts break anywhere.
fn breakable(text: impl Display) -> String {
    let mut shown = String::new();
    for letter in text.to_string().chars() {
        match letter {
            '&' => shown.push_str("&#38;"),
            '<' => shown.push_str("&#60;"),
            '>' => shown.push_str("&#62;"),
            '"' => shown.push_str("&#34;"),
            '\'' => shown.push_str("&#39;"),
            '/' => shown.push_str("/<wbr>"),
            letter => shown.push(letter),
        }
    }
    shown
}

/// A text quoted for a shell, for commands that are copied from a page.
fn in_shell(text: impl Display) -> String {
    shell_words::quote(&text.to_string()).into_owned()
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `2018-11-05 06:00 UTC`.
fn moment(date: &BuildDate) -> String {
    date.time().format("%Y-%m-%d %H:%M UTC").to_string()
}

fn epoch() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn file_name(media: &Media) -> &str {
    media.path.file_name()
}

fn outcome(result: Option<BuildOutcome>) -> &'static str {
    result.map_or("unknown", BuildOutcome::as_str)
}
