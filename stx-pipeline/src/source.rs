//! The repositories of a build: `CONTEXT`, `CHANGELOG`, and the changed repositories.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use stx_layout::{SourceRecord, printable};

/// A repository whose commit differs from that of the last build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceChange {
    /// The work tree below the source root.
    pub path: String,
    /// The commit of the last build; `None` for a new repository.
    pub from: Option<String>,
    /// The current commit; `None` for a removed repository.
    pub to: Option<String>,
}

/// One commit of a change log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The work tree below the source root.
    pub path: String,
    /// The commit.
    pub commit: String,
    /// Its committer date in UTC, ISO 8601.
    pub date: String,
    /// The committer's name.
    pub committer: String,
    /// The first line of its message.
    pub subject: String,
}

/// The text of `CONTEXT`: shell commands that check the same commits out again, one line per repository.
///
/// ```
/// # use stx_layout::SourceRecord;
/// let git = SourceRecord { path: "stx/config".into(), url: None, commit: "a".repeat(40) };
/// assert_eq!(
///     stx_pipeline::context(&[git]),
///     format!("(cd ./stx/config && git checkout -f {})\n", "a".repeat(40)),
/// );
/// ```
pub fn context(sources: &[SourceRecord]) -> String {
    let mut text = String::new();
    for source in sources {
        let path = format!("./{}", source.path);
        writeln!(
            text,
            "(cd {} && git checkout -f {})",
            shell_words::quote(&path),
            source.commit
        )
        .expect("a text takes every write");
    }
    text
}

/// The text of `LAST_COMMITS`: `<git> <sha>`, one line per repository.
///
/// The difference between two of these files is the change between two builds. The file of the last success decides whether a
/// build is needed. A failed build has this file too, but it decides nothing.
pub fn last_commits(sources: &[SourceRecord]) -> String {
    let mut text = String::new();
    for SourceRecord { path, commit, .. } in sources {
        writeln!(text, "{path} {commit}").expect("a text takes every write");
    }
    text
}

/// The repositories whose commits differ between `old` and `new`, by path.
pub fn changed(old: &[SourceRecord], new: &[SourceRecord]) -> Vec<SourceChange> {
    let mut gits: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for source in old {
        gits.entry(&source.path).or_default().0 = Some(&source.commit);
    }
    for source in new {
        gits.entry(&source.path).or_default().1 = Some(&source.commit);
    }
    gits.into_iter()
        .filter(|(_, (from, to))| from != to)
        .map(|(path, (from, to))| SourceChange {
            path: path.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        })
        .collect()
}

/// The text of `CHANGELOG`: `<git> <sha> <iso date> <committer> <subject>`, one line per commit.
///
/// Any contributor controls the committer and subject of a merged commit, and people read the file in terminals. So control
/// characters and invisible characters are escaped.
pub fn changelog(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change {
        path,
        commit,
        date,
        committer,
        subject,
    } in changes
    {
        writeln!(
            text,
            "{} {commit} {date} {} {}",
            printable(path),
            printable(committer),
            printable(subject)
        )
        .expect("a text takes every write");
    }
    text
}

/// The `--format` of `git log` that [`changes`] reads.
pub const LOG_FORMAT: &str = "%H%x09%ct%x09%cn%x09%s";

/// Seconds since 1970 as an ISO 8601 date in UTC. `git` could format it, but its output differs between versions.
fn utc(seconds: &str) -> Option<String> {
    let time = DateTime::from_timestamp(seconds.parse().ok()?, 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The commits of one repository, from the output of `git log` with [`LOG_FORMAT`]; other lines are ignored.
pub fn changes(path: &str, log: &str) -> Vec<Change> {
    log.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(4, '\t').map(str::to_owned);
            Some(Change {
                path: path.to_owned(),
                commit: fields.next()?,
                date: utc(&fields.next()?)?,
                committer: fields.next()?,
                subject: fields.next()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(path: &str, commit: &str) -> SourceRecord {
        SourceRecord {
            path: path.into(),
            url: None,
            commit: commit.into(),
        }
    }

    #[test]
    fn new_moved_and_removed_gits_are_changes() {
        let old = [git("gone", "1"), git("same", "2"), git("moved", "3")];
        let new = [git("moved", "4"), git("new", "5"), git("same", "2")];
        let paths: Vec<_> = changed(&old, &new)
            .into_iter()
            .map(|c| (c.path, c.from, c.to))
            .collect();
        insta::assert_debug_snapshot!(paths, @r#"
        [
            (
                "gone",
                Some(
                    "1",
                ),
                None,
            ),
            (
                "moved",
                Some(
                    "3",
                ),
                Some(
                    "4",
                ),
            ),
            (
                "new",
                None,
                Some(
                    "5",
                ),
            ),
        ]
        "#);
    }

    #[test]
    fn last_commits_have_one_line_per_git() {
        assert_eq!(
            last_commits(&[git("stx/config", "1"), git("stx/integ", "2")]),
            "stx/config 1\nstx/integ 2\n"
        );
    }

    #[test]
    fn a_change_log_contains_no_terminal_escapes() {
        let log =
            "abc\t1541397600\tEve\u{1b}]0;x\u{7}\tFix\r\u{1b}[2J\u{202e}\u{200b}\u{9b}31mit\n";
        assert_eq!(
            changelog(&changes("stx/config", log)),
            "stx/config abc 2018-11-05T06:00:00Z Eve\\u{1b}]0;x\\u{7} \
             Fix\\r\\u{1b}[2J\\u{202e}\\u{200b}\\u{9b}31mit\n"
        );
    }

    #[test]
    fn a_log_becomes_a_change_log() {
        let log = "abc\t1541397600\tA B\tFix\tit\nnoise\n";
        assert_eq!(
            changelog(&changes("stx/config", log)),
            "stx/config abc 2018-11-05T06:00:00Z A B Fix\\tit\n"
        );
    }
}
