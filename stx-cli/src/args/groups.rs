//! The commands by task, as the top-level help and the manual list them.

use std::fmt::Write as _;

use clap::Subcommand as _;
use clap::builder::Styles;

use super::Command;

/// The tasks with their commands, in the order in which a new user needs them. A test compares them with the commands.
pub(crate) const GROUPS: [(&str, &[&str]); 6] = [
    ("Begin", &["init", "doctor", "demo"]),
    ("Build", &["build", "resume", "cancel", "log", "recipe"]),
    (
        "Publish and keep",
        &[
            "publish", "promote", "adopt", "mark", "alias", "verify", "pages", "prune", "explain",
            "forecast", "pin", "unpin", "pins", "trash", "undelete",
        ],
    ),
    (
        "Get and compare",
        &[
            "list", "show", "fetch", "copy", "compare", "diff", "since", "serve", "parse", "image",
        ],
    ),
    (
        "Operate",
        &["daemon", "trigger", "status", "history", "stats"],
    ),
    ("Shell and manual", &["completions", "manual", "help"]),
];

/// The columns of the list.
const WIDTH: usize = 80;

/// The template of the top-level help: the commands stand in groups, everything else is as in other programs.
pub(crate) fn template() -> String {
    format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\n{}\n{{options}}{{after-help}}",
        list(),
        heading("Options")
    )
}

/// A heading, as clap prints its own.
fn heading(text: &str) -> String {
    let style = *Styles::styled().get_header();
    format!("{style}{text}:{style:#}")
}

/// The groups with their commands.
fn list() -> String {
    let all = Command::augment_subcommands(clap::Command::new("stx-builds"));
    let literal = *Styles::styled().get_literal();
    let names = all
        .get_subcommands()
        .map(|command| command.get_name().len());
    let indent = names.max().unwrap_or_default() + 4;
    let mut text = String::new();
    for (title, commands) in GROUPS {
        let _ = writeln!(text, "{}", heading(title));
        for &name in commands {
            let about = all.find_subcommand(name).map_or_else(
                // The parser adds `help` later.
                || Some("Print this message or the help of the given subcommand(s)".into()),
                |command| command.get_about().cloned(),
            );
            let about = about.map(|about| about.to_string()).unwrap_or_default();
            let _ = write!(text, "  {literal}{name}{literal:#}");
            let mut column = 2 + name.len();
            let mut begins = true;
            for word in about.split_whitespace() {
                if begins || column + 1 + word.chars().count() > WIDTH {
                    if !begins {
                        text.push('\n');
                        column = 0;
                    }
                    text.push_str(&" ".repeat(indent - column));
                    column = indent;
                } else {
                    text.push(' ');
                    column += 1;
                }
                begins = false;
                text.push_str(word);
                column += word.chars().count();
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let all = Command::augment_subcommands(clap::Command::new("stx-builds"));
        let shown = all
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        let shown = shown.map(clap::Command::get_name).chain(["help"]);
        let shown: BTreeSet<_> = shown.collect();
        let listed: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, commands)| *commands)
            .copied()
            .collect();
        let once: BTreeSet<_> = listed.iter().copied().collect();
        assert_eq!(
            once.len(),
            listed.len(),
            "a command is in two groups: {listed:?}"
        );
        assert_eq!(once, shown, "GROUPS of args/groups.rs, and the commands");
    }

    #[test]
    fn lines_fit_a_terminal() {
        let text = anstream::adapter::strip_str(&list()).to_string();
        assert!(text.lines().count() > GROUPS.len() * 3, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
