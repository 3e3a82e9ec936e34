//! Turns releases without a build date, such as `release/8.0.0/debian/monolithic/outputs/…`, into dated builds.
//!
//! The parts of such a release are in the directory of its channel. Each part is moved into the directory of the build by an exchange
//! with a symlink that leads there, so that the old paths resolve before, during and after the move. A killed run has moved some of
//! the parts. The next run finds the symlinks, and moves the other parts to the same build.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, NaiveDateTime, Utc};
use fs_err as fs;
use serde::Serialize;
use stx_layout::{AliasName, BuildDate, BuildId, Channel, ChannelEntry};

use super::decide;
use super::look::{Looked, look_at_parts};

/// The largest number of path segments of a channel.
const DEEPEST: usize = 6;

/// The directories of a build.
const SECTIONS: [&str; 3] = ["inputs", "outputs", "logs"];

/// The texts that record when a build began.
pub(super) const INFOS: [&str; 3] = [
    "outputs/BUILD_INFO",
    "outputs/BUILD_INFO.txt",
    "outputs/ISO_BUILD_INFO.txt",
];

/// A release without a date, and the build that it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undated {
    /// The parts in the directory of the channel, which are moved; symlinks replace them.
    pub parts: Vec<String>,
    /// The evidence for the build date.
    pub dated_by: String,
}

/// An inspected release without a date.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) looked: Looked,
    pub(super) undated: Undated,
}

/// The directories that hold parts of an undated build.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The channels whose directories hold such parts, or whose parts an interrupted run has moved partly.
    pub(super) channels: BTreeSet<Channel>,
    /// Directories in channels, with their channels, whose names begin like a build date but are not one.
    pub(super) misnamed: Vec<(Channel, String)>,
}

/// Searches `root` for parts of undated builds.
pub(super) fn places(root: &Utf8Path) -> Places {
    let mut found = Places::default();
    descend(root, Utf8Path::new(""), 0, &mut found);
    found.misnamed.sort();
    found.misnamed.dedup();
    found
}

/// The channel of a directory whose name begins like a build date, but is neither a build date nor a segment of a channel.
fn misnamed(path: &Utf8Path) -> Option<(Channel, String)> {
    let channel = path.parent()?.as_str().parse().ok()?;
    let name = path.file_name()?;
    name.starts_with(|first: char| first.is_ascii_digit())
        .then(|| (channel, name.to_owned()))
}

fn descend(root: &Utf8Path, relative: &Utf8Path, depth: usize, found: &mut Places) {
    let Ok(entries) = fs::read_dir(root.join(relative)) else {
        return;
    };
    let channel = relative.as_str().parse::<Channel>().ok();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || name.starts_with('.') {
            continue;
        }
        if SECTIONS.contains(&name) {
            // A build in one of its directories belongs to a layer: deeper directories are not part of a release.
            match &channel {
                Some(channel) => drop(found.channels.insert(channel.clone())),
                None => found.misnamed.extend(misnamed(relative)),
            }
        } else if depth < DEEPEST && name.parse::<BuildDate>().is_err() {
            descend(root, &relative.join(name), depth + 1, found);
        }
    }
}

/// The date to which an interrupted run has moved parts of a channel.
fn begun(dir: &Utf8Path) -> Option<BuildDate> {
    SECTIONS.iter().find_map(|name| moved(dir, name))
}

/// The date of the build to which a part of a channel was moved.
pub(super) fn moved(dir: &Utf8Path, name: &str) -> Option<BuildDate> {
    let target = fs::read_link(dir.join(name)).ok()?;
    let (date, rest) = target.to_str()?.split_once('/')?;
    if rest == name {
        date.parse().ok()
    } else {
        None
    }
}

/// True if `outputs` of a channel is a symlink into a dated build at which no alias points.
pub(super) fn lacks_alias(dir: &Utf8Path, entry: &ChannelEntry) -> bool {
    let latest = AliasName::latest_build();
    !entry.aliases.contains_key(&latest) && moved(dir, "outputs").is_some()
}

/// Inspects the parts of a build in the directory of a channel; `None` if nothing can be dated.
pub(super) fn look(root: &Utf8Path, channel: &Channel, owner: u32) -> Option<Found> {
    let dir = root.join(channel.to_string());
    let begun = begun(&dir);
    let mut parts = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for entry in dir.read_dir_utf8().ok()?.flatten() {
        let name = entry.file_name();
        let is_part =
            SECTIONS.contains(&name) || name.parse().is_ok_and(|path| decide::is_mark(&path));
        if !is_part {
            continue;
        }
        let target = begun.filter(|date| moved(&dir, name) == Some(*date));
        let place = match target {
            Some(date) => dir.join(date.to_string()).join(name),
            None => dir.join(name),
        };
        if target.is_none() {
            names.push(name.to_owned());
        }
        parts.push((name.to_owned(), place));
    }
    if names.is_empty() {
        return None;
    }
    names.sort();
    parts.sort();
    // The build's identity is known only after its files are.
    let nowhere = BuildId::new(channel.clone(), BuildDate::at(DateTime::UNIX_EPOCH)?);
    let mut looked = look_at_parts(&nowhere, &dir, &parts, owner);
    let (date, dated_by) = match begun {
        Some(date) => (
            date,
            "an interrupted run has moved parts of it there".to_owned(),
        ),
        None => date_of(&looked)?,
    };
    looked.id = BuildId::new(channel.clone(), date);
    looked.dir = dir.join(date.to_string());
    looked.parts = parts;
    Some(Found {
        looked,
        undated: Undated {
            parts: names,
            dated_by,
        },
    })
}

/// The build date, with its evidence: the date that the build wrote down, else the time of the newest file.
fn date_of(looked: &Looked) -> Option<(BuildDate, String)> {
    for name in INFOS {
        let Some(text) = looked.seen.texts.get(name) else {
            continue;
        };
        for key in ["BUILD_ID", "BUILD_DATE"] {
            if let Some(date) = value(text, key).and_then(|value| date(&value)) {
                return Some((date, format!("{key} in {name}")));
            }
        }
    }
    let (path, at) = looked.newest_file()?;
    Some((BuildDate::at(at)?, format!("{path} is the newest file")))
}

/// The value of an assignment, without its quotes.
fn value(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', '\'']).to_owned())
    })
}

/// `20230203T010203Z`, or `2023-02-03 01:02:03 +0000`.
fn date(text: &str) -> Option<BuildDate> {
    if let Ok(date) = text.parse() {
        return Some(date);
    }
    let (time, zone) = text.rsplit_once(' ')?;
    let time: DateTime<Utc> = match zone {
        "+0000" | "UTC" => {
            let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?;
            time.and_utc()
        }
        _ => DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z")
            .ok()?
            .to_utc(),
    };
    BuildDate::at(time)
}

/// The paths of the parts of a build before they are moved, with their names.
pub(super) type Parts = Vec<(String, Utf8PathBuf)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_build_is_read_in_several_forms() {
        for (text, expected) in [
            ("20230203T010203Z", Some("20230203T010203Z")),
            ("2023-02-03 01:02:03 +0000", Some("20230203T010203Z")),
            ("2023-02-03 01:02:03 UTC", Some("20230203T010203Z")),
            ("2023-02-03 01:02:03 +0100", Some("20230203T000203Z")),
            ("r/stx.8.0", None),
            ("yesterday at ten", None),
        ] {
            let found = date(text).map(|date| date.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(
            value("JOB=\"x\"\nBUILD_ID='n/a'\n", "BUILD_ID").as_deref(),
            Some("n/a")
        );
        assert_eq!(value("XBUILD_ID=1\n", "BUILD_ID"), None);
    }
}
