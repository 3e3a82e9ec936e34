//! Differences as text for people.
//!
//! Texts of packages are shown in [printable] form, so that none of them can control a terminal.

use std::fmt::{self, Write as _};

use chrono::DateTime;
use similar::TextDiff;
use stx_layout::{printable, size};

use crate::change::{Aspect, Change, FileSummary, Noise};
use crate::package::Scriptlet;
use crate::report::{Comparison, Counts, Outcome, Report, Reports};

/// The most paths that are named before the rest is only counted.
const MOST_PATHS: usize = 3;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for package in &self.packages {
            package.fmt(f)?;
        }
        self.counts().fmt(f)
    }
}

impl fmt::Display for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = self.single() {
            return report.fmt(f);
        }
        for report in &self.reports {
            if let (Some(from), Some(to)) = (&report.from, &report.to) {
                writeln!(f, "{from} -> {to}")?;
            }
            writeln!(f, "{report}")?;
        }
        for (sign, channels) in [('-', &self.only_from), ('+', &self.only_to)] {
            for channel in channels {
                writeln!(f, "{sign} {channel}: the other release has no such channel")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            same,
            different,
            added,
            removed,
            failed,
        } = self;
        write!(
            f,
            "{different} different, {added} added, {removed} removed, {same} the same"
        )?;
        if *failed > 0 {
            write!(f, ", {failed} not compared")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.key.arch.as_str() {
            "" => self.key.name.clone(),
            arch => format!("{}.{arch}", self.key.name),
        };
        let name = printable(&name);
        let place = match printable(&self.key.place) {
            place if place.is_empty() => String::new(),
            place => format!(" ({place})"),
        };
        match &self.outcome {
            Outcome::Same { noise } if noise.is_empty() => writeln!(f, "{name}{place}: the same"),
            Outcome::Same { noise } => {
                writeln!(f, "{name}{place}: the same but for noise")?;
                list_noise(f, noise)
            }
            Outcome::Different {
                changes,
                noise,
                too_large,
            } => {
                writeln!(f, "{name}{place}: different")?;
                for change in changes {
                    for line in change.to_string().lines() {
                        writeln!(f, "  {line}")?;
                    }
                }
                for path in too_large {
                    writeln!(f, "  {}: too large to be compared", printable(path))?;
                }
                list_noise(f, noise)
            }
            Outcome::Added => writeln!(f, "{name}{place}: added"),
            Outcome::Removed => writeln!(f, "{name}{place}: removed"),
            Outcome::Failed { reason, .. } => {
                writeln!(f, "{name}{place}: not compared: {}", printable(reason))
            }
        }
    }
}

fn list_noise(f: &mut fmt::Formatter<'_>, noise: &[Noise]) -> fmt::Result {
    noise
        .iter()
        .try_for_each(|noise| writeln!(f, "  noise: {noise}"))
}

/// `FROM -> TO`, with a dash for an absent value.
fn moved<T: fmt::Display>(from: Option<T>, to: Option<T>) -> String {
    let shown = |value: Option<T>| {
        value.map_or_else(
            || "-".to_owned(),
            |value| printable(&value.to_string()).into_owned(),
        )
    };
    format!("{} -> {}", shown(from), shown(to))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { from, to } => write!(f, "version {}", moved(Some(from), Some(to))),
            Self::Attribute { name, from, to } => {
                write!(
                    f,
                    "{} {}",
                    printable(name),
                    moved(from.as_ref(), to.as_ref())
                )
            }
            Self::FileAdded { path, file } => write!(f, "+ {} {file}", printable(path)),
            Self::FileRemoved { path, file } => write!(f, "- {} {file}", printable(path)),
            Self::FileChanged { path, aspects } => {
                let aspects: Vec<_> = aspects.iter().map(ToString::to_string).collect();
                write!(f, "~ {}: {}", printable(path), aspects.join(", "))
            }
            Self::Dependency {
                relation,
                name,
                from,
                to,
            } => {
                let name = printable(name);
                let list = |conditions: &[String]| printable(&conditions.join(", ")).into_owned();
                match (from.is_empty(), to.is_empty()) {
                    (true, _) => write!(
                        f,
                        "{}",
                        format!("+ {relation} {name} {}", list(to)).trim_end()
                    ),
                    (_, true) => write!(
                        f,
                        "{}",
                        format!("- {relation} {name} {}", list(from)).trim_end()
                    ),
                    (false, false) => {
                        let shown = |side: &[String]| match list(side) {
                            text if text.is_empty() => "any".to_owned(),
                            text => text,
                        };
                        write!(f, "~ {relation} {name}: {} -> {}", shown(from), shown(to))
                    }
                }
            }
            Self::Soname {
                relation,
                name,
                added,
            } => {
                let sign = if *added { '+' } else { '-' };
                write!(f, "{sign} {relation} library {}", printable(name))
            }
            Self::Scriptlet { name, from, to } => scriptlet(f, name, from.as_ref(), to.as_ref()),
            Self::Changelog { added, removed } => {
                let entries = added.iter().map(|entry| ('+', entry));
                let entries = entries.chain(removed.iter().map(|entry| ('-', entry)));
                let mut text = String::new();
                for (sign, entry) in entries {
                    let first = entry.text.lines().next().unwrap_or_default();
                    let author = printable(&entry.author);
                    writeln!(
                        text,
                        "{sign} changelog {} {author}: {}",
                        day(entry.time),
                        printable(first)
                    )?;
                }
                f.write_str(text.trim_end())
            }
            Self::Payload { aspect, from, to } => {
                write!(
                    f,
                    "payload {} {}",
                    printable(aspect),
                    moved(Some(from), Some(to))
                )
            }
            Self::ControlFile { name, from, to } => {
                let sign = sign(from.as_ref(), to.as_ref());
                write!(f, "{sign} control file {}", printable(name))?;
                let text = |side: &Option<String>| side.clone().unwrap_or_default();
                lines(f, &text(from), &text(to))
            }
            Self::Unread => {
                f.write_str("the payloads differ and were not read: compare with --contents")
            }
        }
    }
}

fn scriptlet(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    from: Option<&Scriptlet>,
    to: Option<&Scriptlet>,
) -> fmt::Result {
    write!(f, "{} scriptlet {}", sign(from, to), printable(name))?;
    let program = |side: Option<&Scriptlet>| side.map(|side| side.program.join(" "));
    match (program(from), program(to)) {
        (from, to) if from == to => {}
        (Some(from), Some(to)) => write!(f, " by {}", moved(Some(from), Some(to)))?,
        (from, to) => write!(f, " by {}", printable(&from.or(to).unwrap_or_default()))?,
    }
    let flags = |side: Option<&Scriptlet>| side.and_then(|side| side.flags);
    if flags(from) != flags(to) {
        write!(f, ", flags {}", moved(flags(from), flags(to)))?;
    }
    let script = |side: Option<&Scriptlet>| side.map_or(String::new(), |side| side.script.clone());
    lines(f, &script(from), &script(to))
}

/// `+` for new, `-` for gone, `~` for different.
fn sign<T>(from: Option<T>, to: Option<T>) -> char {
    match (from, to) {
        (None, _) => '+',
        (_, None) => '-',
        (Some(_), Some(_)) => '~',
    }
}

/// The removed and the added lines, each on a line of its own.
fn lines(f: &mut fmt::Formatter<'_>, from: &str, to: &str) -> fmt::Result {
    for change in TextDiff::from_lines(from, to).iter_all_changes() {
        let sign = match change.tag() {
            similar::ChangeTag::Equal => continue,
            similar::ChangeTag::Delete => '-',
            similar::ChangeTag::Insert => '+',
        };
        write!(f, "\n  {sign} {}", printable(change.value().trim_end()))?;
    }
    Ok(())
}

impl fmt::Display for FileSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the control member was read, which lacks these fields.
        if self.mode == 0 && self.size == 0 && self.owner.is_empty() {
            return f.write_str("(payload not read)");
        }
        // The files of a source package in its `.dsc` have neither mode nor owner.
        if self.mode == 0 && self.owner.is_empty() {
            return write!(f, "({})", size(self.size));
        }
        write!(f, "({:o}, {}", self.mode, printable(&self.owner))?;
        match &self.target {
            Some(target) => write!(f, ", to {})", printable(target)),
            None => write!(f, ", {})", size(self.size)),
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octal = |mode: &u16| Some(format!("{mode:o}"));
        match self {
            Self::Content { .. } => f.write_str("content"),
            Self::Size { from, to } => write!(f, "size {}", moved(Some(from), Some(to))),
            Self::Mode { from, to } => write!(f, "mode {}", moved(octal(from), octal(to))),
            Self::Owner { from, to } => write!(f, "owner {}", moved(Some(from), Some(to))),
            Self::Target { from, to } => write!(f, "target {}", moved(from.as_ref(), to.as_ref())),
            Self::Flags { from, to } => {
                let some = |text: &'_ String| Some(text.clone()).filter(|text| !text.is_empty());
                write!(f, "flags {}", moved(some(from), some(to)))
            }
            Self::Capabilities { from, to } => {
                write!(f, "capabilities {}", moved(from.as_ref(), to.as_ref()))
            }
            Self::Language { from, to } => {
                write!(f, "language {}", moved(from.as_ref(), to.as_ref()))
            }
            Self::Device { from, to } => write!(f, "device {}", moved(*from, *to)),
            Self::Verify { from, to } => write!(f, "verify flags {}", moved(*from, *to)),
        }
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuildTime { from, to } => {
                write!(f, "build time {}", moved(from.map(time), to.map(time)))
            }
            Self::BuildHost { from, to } => {
                write!(f, "build host {}", moved(from.as_ref(), to.as_ref()))
            }
            Self::BuildTool { from, to } => {
                write!(f, "built by rpm {}", moved(from.as_ref(), to.as_ref()))
            }
            Self::Signature { from, to } => match (from.len(), to.len()) {
                (0, _) => f.write_str("signed"),
                (_, 0) => f.write_str("not signed any more"),
                _ => f.write_str("another signature"),
            },
            Self::FileTimes { paths } => {
                let named: Vec<_> = paths
                    .iter()
                    .take(MOST_PATHS)
                    .map(|path| printable(path))
                    .collect();
                write!(f, "times of {}", named.join(", "))?;
                match paths.len().saturating_sub(MOST_PATHS) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::EmbeddedTimes { path, format } => {
                write!(f, "times within {} ({format})", printable(path))
            }
            Self::PayloadBytes { .. } => f.write_str("packed bytes"),
            Self::Derived { name, from, to } => {
                write!(
                    f,
                    "{} {}",
                    printable(name),
                    moved(from.as_ref(), to.as_ref())
                )
            }
        }
    }
}

/// A time in seconds since 1970, in the form of RFC 3339.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || format!("@{seconds}"),
        |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// The day of a time.
fn day(seconds: u64) -> String {
    time(seconds)
        .split('T')
        .next()
        .unwrap_or_default()
        .to_owned()
}
