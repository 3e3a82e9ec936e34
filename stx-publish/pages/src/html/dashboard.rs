//! The dashboard of a build service: a page for its operators, made from values of the caller.
//!
//! It is a file in the form of the other pages: without scripts and without resources from other places. It is not part of a
//! mirror.

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::counted;

use super::{breakable, duration, printed, rfc3339, size};

/// The values on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// The version of the program.
    pub version: String,
    /// The mirror.
    pub mirror: String,
    /// The time at which the service started.
    pub started: DateTime<Utc>,
    /// The time at which the page was written.
    pub written: DateTime<Utc>,
    /// The number of seconds after which a browser reloads it.
    pub refresh: u64,
    /// The active alarms.
    pub alarms: Vec<ShownAlarm>,
    /// The running builds.
    pub running: Vec<ShownBuild>,
    /// The waiting requests, oldest first.
    pub queue: Vec<ShownRequest>,
    /// The channels, with their last results.
    pub channels: Vec<ShownChannel>,
    /// The disks: a directory on each, its free bytes and its total bytes.
    pub disks: Vec<(String, u64, u64)>,
    /// The predicted use of the mirror in bytes, day by day, starting today.
    pub forecast: Vec<(DateTime<Utc>, u64)>,
    /// The time at which the disk will be full, if that is within the forecast.
    pub full: Option<DateTime<Utc>>,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownAlarm {
    /// Its kind.
    pub kind: String,
    /// The channel, directory or trigger that it is about.
    pub subject: String,
    /// The time at which it began.
    pub since: DateTime<Utc>,
    /// Its text.
    pub text: String,
    /// The next step.
    pub remedy: String,
}

/// A running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownBuild {
    /// The number of its request.
    pub request: u64,
    /// The build, or its channel while it has no date.
    pub name: String,
    /// The time at which it started.
    pub started: DateTime<Utc>,
    /// The usual duration of builds of its channel.
    pub past: Option<TimeDelta>,
    /// Its phases.
    pub phases: Vec<ShownPhase>,
}

/// A phase of a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownPhase {
    /// Its name.
    pub name: String,
    /// Its state in a word.
    pub state: String,
    /// True if it failed.
    pub failed: bool,
    /// True if it has ended.
    pub over: bool,
    /// Its duration so far.
    pub took: Option<TimeDelta>,
    /// Its usual duration.
    pub past: Option<TimeDelta>,
}

/// A waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRequest {
    /// Its number.
    pub request: u64,
    /// The channel and the branch.
    pub name: String,
    /// The time at which it began to wait.
    pub since: DateTime<Utc>,
    /// Its reasons.
    pub reasons: String,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownChannel {
    /// Its name.
    pub name: String,
    /// The time of its next scheduled build.
    pub next: Option<DateTime<Utc>>,
    /// Its last results, newest first.
    pub results: Vec<ShownResult>,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownResult {
    /// `ok`, `bad`, or `off` for neither.
    pub class: &'static str,
    /// The result in words, with its date.
    pub words: String,
    /// The last lines of the log of the phase that failed.
    pub log: Vec<String>,
}

/// The width and height of the chart of a channel's results, where each result is a bar.
const BAR: usize = 12;
/// Height of the chart of the forecast.
const HEIGHT: u64 = 80;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Page<'a> {
    of: &'a Dashboard,
    days: Vec<Day>,
    words: String,
}

/// A day in the chart of the forecast.
struct Day {
    x: usize,
    y: u64,
    height: u64,
    class: &'static str,
    title: String,
}

/// Makes the page.
pub fn dashboard(of: &Dashboard) -> String {
    let most = of.forecast.iter().map(|(_, bytes)| *bytes).max();
    let most = most.unwrap_or(0).max(1);
    let days = of.forecast.iter().enumerate().map(|(place, (at, bytes))| {
        let height = u128::from(*bytes) * u128::from(HEIGHT) / u128::from(most);
        let height = u64::try_from(height).unwrap_or(HEIGHT).max(1);
        Day {
            x: place * BAR,
            y: HEIGHT - height,
            height,
            class: if of.full.is_some_and(|full| full <= *at) {
                "bad"
            } else {
                "off"
            },
            title: format!("{}: {}", at.format("%Y-%m-%d"), size(*bytes)),
        }
    });
    let page = Page {
        days: days.collect(),
        words: words(of, most),
        of,
    };
    printed(page.render())
}

fn words(of: &Dashboard, most: u64) -> String {
    let (Some((_, now)), Some((last, then))) = (of.forecast.first(), of.forecast.last()) else {
        return String::new();
    };
    let full = match of.full {
        Some(full) => format!("the disk is full on {}", full.format("%Y-%m-%d")),
        None => "the disk does not fill in that time".to_owned(),
    };
    format!(
        "The mirror uses {} now and {} on {}, at most {}; {full}.",
        size(*now),
        size(*then),
        last.format("%Y-%m-%d"),
        size(most)
    )
}

impl Page<'_> {
    fn width(&self) -> usize {
        self.days.len() * BAR
    }
}

impl ShownBuild {
    fn took(&self, written: &DateTime<Utc>) -> String {
        let took = duration((*written - self.started).max(TimeDelta::zero()));
        match self.past {
            Some(past) => format!("{took} of about {}", duration(past)),
            None => took,
        }
    }
}

impl ShownPhase {
    fn class(&self) -> &'static str {
        match (self.failed, self.over) {
            (true, _) => "bad",
            (false, true) => "ok",
            (false, false) => "off",
        }
    }

    /// Its progress, in percent.
    fn percent(&self) -> i64 {
        let Some(took) = self.took else {
            return 0;
        };
        if self.over {
            return 100;
        }
        // A build that takes longer than usual is never shown as finished.
        let past = self.past.map_or(0, |past| past.num_seconds());
        match past {
            ..=0 => 5,
            past => (took.num_seconds() * 100 / past).clamp(2, 95),
        }
    }

    fn words(&self) -> String {
        let mut words = self.state.clone();
        if let Some(took) = self.took {
            words = format!("{words}, {}", duration(took));
        }
        if let Some(past) = self.past.filter(|_| !self.over) {
            words = format!("{words}, about {}", duration(past));
        }
        words
    }
}

impl ShownChannel {
    fn width(&self) -> usize {
        (self.results.len() * BAR).max(BAR)
    }

    /// The bars of the chart, the oldest result first: the position of each, and its class.
    fn bars(&self) -> Vec<(usize, &'static str)> {
        let oldest_first = self.results.iter().rev().enumerate();
        oldest_first
            .map(|(place, result)| (place * BAR, result.class))
            .collect()
    }
}

fn minute(time: &DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    fn full() -> Dashboard {
        let phase = |name: &str, over, minutes| ShownPhase {
            name: name.to_owned(),
            state: if over { "succeeded" } else { "running" }.to_owned(),
            failed: false,
            over,
            took: Some(TimeDelta::minutes(minutes)),
            past: Some(TimeDelta::minutes(60)),
        };
        Dashboard {
            version: "1.2.3".to_owned(),
            mirror: "/srv/<mirror>".to_owned(),
            started: at(0),
            written: at(2),
            refresh: 30,
            alarms: vec![ShownAlarm {
                kind: "stale".to_owned(),
                subject: "master/centos".to_owned(),
                since: at(1),
                text: "old".to_owned(),
                remedy: "Run `x`.".to_owned(),
            }],
            running: vec![ShownBuild {
                request: 3,
                name: "master/centos/19700101T010000Z".to_owned(),
                started: at(1),
                past: None,
                phases: vec![phase("sync", true, 1), phase("compile", false, 90)],
            }],
            queue: vec![ShownRequest {
                request: 4,
                name: "rc/3.0/centos".to_owned(),
                since: at(1),
                reasons: "manual: <b>\u{1b}".to_owned(),
            }],
            channels: vec![ShownChannel {
                name: "master/centos".to_owned(),
                next: Some(at(30)),
                results: vec![
                    ShownResult {
                        class: "bad",
                        words: "failed".to_owned(),
                        log: vec!["</pre><script>".to_owned()],
                    },
                    ShownResult {
                        class: "ok",
                        words: "good".to_owned(),
                        log: Vec::new(),
                    },
                ],
            }],
            disks: vec![("/srv".to_owned(), 1 << 30, 1 << 40)],
            forecast: vec![(at(0), 1 << 30), (at(24), 2 << 30)],
            full: Some(at(24)),
        }
    }

    #[test]
    fn everything_is_shown_and_escaped() {
        let text = dashboard(&full());
        for part in [
            "http-equiv=\"refresh\" content=\"30\"",
            "/<wbr>srv/<wbr>&#60;mirror&#62;",
            "Run `x`.",
            "width=\"100\"",
            // Longer than ever, and not finished.
            "width=\"95\"",
            "running, 1 h 30 min, about 1 h 0 min",
            "manual: &#60;b&#62;",
            "&#60;/pre&#62;&#60;script&#62;",
            "uses 1 GiB now and 2 GiB on 1970-01-02, at most 2 GiB; the disk is full on 1970-01-02.",
            "1 GiB of 1 TiB is free",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("<script") && !text.contains("<b>"));
        // The newest result is on the right.
        let (good, failed) = (text.find(">good<"), text.find(">failed<"));
        assert!(failed < good, "{text}");
        assert!(text.contains("x=\"12\""), "{text}");
    }

    #[test]
    fn an_idle_service_is_shown_too() {
        let idle = Dashboard {
            alarms: Vec::new(),
            running: Vec::new(),
            queue: Vec::new(),
            channels: Vec::new(),
            disks: Vec::new(),
            forecast: Vec::new(),
            full: None,
            ..full()
        };
        let text = dashboard(&idle);
        for part in ["No alarms.", "No build runs.", "No request waits."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("<svg"), "{text}");
    }
}
