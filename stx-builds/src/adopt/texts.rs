//! The small texts in which an older publisher described its builds.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_compare::nearest::context_sources;
use stx_layout::{BuildPath, Channel, Sha256, SourceRecord};

/// The maximal size of such a text in bytes; a longer file is ignored.
pub(super) const LONGEST: u64 = 4 << 20;

/// The name of the file with the digests of a directory, as Debian builds have it.
pub(super) const CHECKSUMS: &str = "StxChecksums";

/// The commits of the git repositories that a text names, sorted by path; empty if the text has another form.
///
/// `CONTEXT` and `CONTEXT.sh` hold one command per repository, `LAST_COMMITS` one line per repository with its commit.
pub(super) fn sources(name: &str, text: &str) -> Vec<SourceRecord> {
    let mut sources = if name.ends_with("LAST_COMMITS") {
        last_commits(text)
    } else {
        context_sources(text)
    };
    for source in &mut sources {
        source.commit.make_ascii_lowercase();
    }
    sources.sort();
    sources.dedup_by(|later, earlier| later.path == earlier.path);
    sources
}

/// One line per repository: `<git> <sha>`.
fn last_commits(text: &str) -> Vec<SourceRecord> {
    let sources = text.lines().filter_map(|line| {
        let (path, commit) = line.trim().rsplit_once(char::is_whitespace)?;
        let is_commit =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = path.trim().trim_start_matches("./");
        (is_commit && !path.is_empty()).then(|| SourceRecord {
            path: path.to_owned(),
            url: None,
            commit: commit.to_owned(),
        })
    });
    sources.collect()
}

/// True if a file is a list of images: `images-centos-stable-versioned.lst`.
pub(super) fn is_image_list(path: &BuildPath) -> bool {
    let name = path.file_name();
    name.starts_with("images-")
        && name
            .rsplit_once('.')
            .is_some_and(|(_, extension)| extension == "lst")
}

/// The images that a list names, one per line.
pub(super) fn images(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The digests that an `StxChecksums` gives for the files beside it, one per line: `<sha256> <name> <size> <mtime> <device> <inode>
/// <path>`. The fields after the name describe the build server and are ignored.
pub(super) fn checksums(text: &str) -> BTreeMap<&str, Sha256> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let digest = words.next()?.parse().ok()?;
        Some((words.next()?, digest))
    });
    lines.collect()
}

/// The days for which an older cleanup kept the builds of a channel, from its file `SAVE_DATA` of shell assignments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SaveData {
    /// The channel whose directory contains the file.
    pub channel: Channel,
    /// The days for which it kept a build with `GREEN`.
    pub green: u32,
    /// The days for which it kept a build with `YELLOW`.
    pub yellow: u32,
    /// The days for which it kept a build with `RED`.
    pub red: u32,
    /// The days for which it kept any other build.
    pub unknown: u32,
    /// The number of newest builds that it kept regardless of their age.
    pub newest: u32,
    /// The lines of a retention policy that keep the builds for the same time.
    pub policy: String,
}

impl SaveData {
    /// Reads the file; a missing value is the default of the older cleanup.
    pub(super) fn read(channel: &Channel, text: &str) -> Self {
        let value = |name: &str, default: u32| {
            let mut lines = text.lines().rev().map(str::trim);
            let value = lines.find_map(|line| {
                let line = line.strip_prefix("export ").unwrap_or(line);
                let value = line.strip_prefix(name)?.strip_prefix('=')?;
                let value = value.split([' ', '#', ';']).next()?;
                value.trim_matches(['"', '\'']).parse().ok()
            });
            value.unwrap_or(default)
        };
        let mut data = Self {
            channel: channel.clone(),
            green: value("SAVE_DAYS_GREEN", 28),
            yellow: value("SAVE_DAYS_YELLOW", 10),
            red: value("SAVE_DAYS_RED", 7),
            unknown: value("SAVE_DAYS_UNKNOWN", 7),
            newest: value("SAVE_MIN_KEEP", 2),
            policy: String::new(),
        };
        data.policy = data.lines();
        data
    }

    /// The policy that keeps every success as long as the best of them. It may keep a build without a verdict longer than the cleanup
    /// did, never shorter.
    fn lines(&self) -> String {
        let longest = [self.green, self.yellow, self.red, self.unknown];
        let keep = longest.into_iter().max().unwrap_or(self.green);
        format!(
            "[[channel]]\nmatch = \"{}\"\nkeep = \"{keep} days\"\nnewest = {}\nfailed = \"{} days\"\n",
            self.channel,
            self.newest.max(2),
            self.unknown.min(keep)
        )
    }
}
