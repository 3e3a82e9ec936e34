//! Debian's changelogs, as deb-changelog(5) describes them.

use chrono::DateTime;

use crate::package::ChangelogEntry;

/// The entries of a changelog, newest first; none if the text is not in this form, such as a changelog of upstream authors.
///
/// ```text
/// hello (1.0-1) unstable; urgency=medium
///
///   * First release.
///
///  -- Jane Doe <jane@example.org>  Wed, 01 Jan 2020 00:00:00 +0000
/// ```
pub(super) fn entries(text: &str) -> Vec<ChangelogEntry> {
    let mut entries = Vec::new();
    let mut current: Option<(&str, Vec<&str>)> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(version) = heading(line) {
            current = Some((version, Vec::new()));
        } else if let Some((author, date)) = trailer(line) {
            let Some((version, lines)) = current.take() else {
                continue;
            };
            entries.push(ChangelogEntry {
                time: time(date),
                author: format!("{author} - {version}"),
                text: lines.join("\n").trim_matches('\n').to_owned(),
            });
        } else if let Some((_, lines)) = &mut current {
            lines.push(line);
        }
    }
    entries
}

/// The version of `NAME (VERSION) DISTRIBUTIONS; KEYS`.
fn heading(line: &str) -> Option<&str> {
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let (_, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    rest.contains(';').then_some(version)
}

/// The author and the date of ` -- AUTHOR  DATE`.
fn trailer(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix(" -- ")?;
    let at = rest.rfind("  ")?;
    Some((rest[..at].trim_end(), rest[at..].trim()))
}

/// Seconds since 1970; 0 for an invalid date.
fn time(date: &str) -> u64 {
    let time = DateTime::parse_from_rfc2822(date).ok();
    let seconds = time.and_then(|time| u64::try_from(time.timestamp()).ok());
    seconds.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn changelog_entries_are_read_and_other_texts_are_not() {
        let text = "hello (1:1.0-2) unstable; urgency=medium\n\n  * Two.\n    More.\n\n \
                    -- Jane <jane@example.org>  Thu, 02 Jan 2020 01:00:00 +0100\n\n\
                    hello (1:1.0-1) unstable; urgency=low\n\n  * One.\n\n \
                    -- Joe <joe@example.org>  no date\n";
        let found = entries(text);
        let shown: Vec<_> = found
            .iter()
            .map(|entry| (entry.time, entry.author.as_str(), entry.text.as_str()))
            .collect();
        let expected = [
            (
                1_577_923_200,
                "Jane <jane@example.org> - 1:1.0-2",
                "  * Two.\n    More.",
            ),
            (0, "Joe <joe@example.org> - 1:1.0-1", "  * One."),
        ];
        assert_eq!(shown, expected);
        assert!(entries("2020-01-01  Jane\n\n\t* a.c: changed.\n").is_empty());
    }
}
