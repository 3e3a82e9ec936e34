//! Test labs: commands that test published builds.
//!
//! ```text
//! a run publishes a success ─> a test waits (with the run's end, in one transaction) ─> the command runs ─> a verdict
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8Path;
use globset::{Glob, GlobBuilder};
use serde::Deserialize;
use stx_layout::config::{Faults, PositiveDuration, Spanned};
use stx_layout::{Channel, Verdict};

/// The exit code for a green verdict.
pub const GREEN: i32 = 0;
/// The exit code for a yellow verdict; every other code is red.
pub const YELLOW: i32 = 2;

/// A test lab: a command, and the channels whose builds it tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// Its name, the author of its verdicts.
    pub name: String,
    /// The channels.
    pub channel: Glob,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// Variables for its command.
    pub environment: BTreeMap<String, String>,
    /// The time limit of its command; a command that exceeds it gives a red verdict.
    pub timeout: Duration,
}

/// The table of a lab in a configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabTable {
    name: Option<Spanned<String>>,
    channel: Option<Spanned<String>>,
    command: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    timeout: Option<PositiveDuration>,
}

impl Lab {
    /// True if the lab tests the builds of a channel.
    pub fn tests(&self, channel: &Channel) -> bool {
        self.channel.compile_matcher().is_match(channel.to_string())
    }

    /// The verdict for an exit code of its command.
    pub fn verdict(code: i32) -> Verdict {
        match code {
            GREEN => Verdict::Green,
            YELLOW => Verdict::Yellow,
            _ => Verdict::Red,
        }
    }

    /// Makes a program that is relative to the directory of the configuration absolute.
    pub(crate) fn resolve(&mut self, dir: &Utf8Path) {
        // A program without a slash is found through `PATH`.
        if let Some(program) = self.command.first_mut().filter(|word| word.contains('/')) {
            *program = dir.join(&program).into_string();
        }
    }
}

/// True if a text can be the name of a lab, which is the author of verdicts and the name of a directory.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.bytes().all(fits)
}

/// Reads the labs of a configuration.
pub(crate) fn labs(tables: Vec<Spanned<LabTable>>, faults: &mut Faults) -> Vec<Lab> {
    let mut names = BTreeSet::new();
    let mut labs = Vec::new();
    for table in tables {
        let at = table.span().start;
        let lab = table.into_inner().lab(at, faults);
        let Some((name_at, lab)) = lab else {
            continue;
        };
        if !names.insert(lab.name.clone()) {
            faults.add(name_at, format!("there is another lab {}", lab.name));
        }
        labs.push(lab);
    }
    labs
}

impl LabTable {
    fn lab(self, at: usize, faults: &mut Faults) -> Option<(usize, Lab)> {
        for (key, is_there) in [
            ("name", self.name.is_some()),
            ("channel", self.channel.is_some()),
            ("command", self.command.is_some()),
        ] {
            if !is_there {
                faults.missing(at, key);
            }
        }
        let (name, channel, command) = (self.name?, self.channel?, self.command?);
        if !is_name(name.get_ref()) {
            let message =
                "a lab's name has letters, digits, `-`, `_` and `.`, and does not begin with `.`";
            faults.add(name.span().start, message);
        }
        if command.get_ref().first().is_none_or(String::is_empty) {
            faults.add(command.span().start, "`command` names no program");
        }
        let channel_at = channel.span().start;
        let glob = GlobBuilder::new(channel.get_ref())
            .literal_separator(true)
            .build()
            .map_err(|error| faults.add(channel_at, error))
            .ok()?;
        let lab = Lab {
            name: name.get_ref().clone(),
            channel: glob,
            command: command.into_inner(),
            environment: self.environment,
            timeout: self
                .timeout
                .map_or(Duration::from_hours(4), PositiveDuration::get),
        };
        Some((name.span().start, lab))
    }
}
