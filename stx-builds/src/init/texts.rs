//! The texts of a first configuration.

use std::fmt::Write as _;

use super::{Answers, POLICY, VARIABLES};

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The answer to a question, quoted.
fn answer(answers: &Answers, key: &str) -> String {
    quoted(answers.get(key).map_or("", String::as_str))
}

/// The answer, unless it is `none`.
fn given<'a>(answers: &'a Answers, key: &str) -> Option<&'a str> {
    let answer = answers.get(key).map(String::as_str);
    answer.filter(|answer| *answer != "none")
}

/// `stx-builds.toml`.
pub(super) fn configuration(answers: &Answers) -> String {
    let of = |key| answer(answers, key);
    let mut text = format!(
        "# The configuration of stx-builds, written by `stx-builds init`. Relative paths are relative to this file.\n\
         # `stx-builds doctor` finds every mistake; `man stx-builds.toml` describes each key.\n\n\
         # The mirror, which the web server serves. Commands that publish create it.\n\
         mirror = {}\n\n\
         # The state directory: sources, workspaces, logs. It must be outside of the mirror.\n\
         state = {}\n\n\
         # The recipe of the distribution (docs/recipe.md).\n\
         recipe = {}\n\n\
         # The retention policy (docs/retention.md).\n\
         policy = {}\n",
        of("mirror"),
        of("state"),
        of("recipe"),
        quoted(POLICY)
    );
    let variables = answers.iter();
    let variables =
        variables.filter_map(|(key, value)| Some((key.strip_prefix(VARIABLES)?, value)));
    let variables: Vec<_> = variables.collect();
    if !variables.is_empty() {
        text.push_str("\n# Values of the recipe's variables.\n[variables]\n");
        for (name, value) in variables {
            let _ = writeln!(text, "{} = {}", quoted(name), quoted(value));
        }
    }
    text.push_str(
        "\n# `stx-builds daemon` builds by the clock, on commits and on demand (docs/operations.md).\n\
         [service]\n\
         # The schedule of retention: cron, UTC.\n\
         prune = \"30 3 * * *\"\n\
         # A command that receives failures and alarms, each as a JSON object on its standard input.\n\
         #hook = [\"/etc/stx-builds/notify\"]\n",
    );
    let _ = write!(
        text,
        "\n# One such table for each branch.\n[[branch]]\nname = {}\n",
        of("branch")
    );
    match given(answers, "schedule") {
        Some(schedule) => {
            let _ = writeln!(text, "# Its schedule: cron, UTC.\nschedule = {}", quoted(schedule));
        }
        None => text.push_str("# On demand: `stx-builds trigger`. By the clock (cron, UTC):\n#schedule = \"0 6 * * *\"\n"),
    }
    text.push_str(
        "# The repositories whose new commits also start builds, and the interval between searches.\n\
         #manifest = \"https://opendev.org/starlingx/manifest.git\"\n#poll = \"2m\"\n",
    );
    text.push_str("\n# The signer of published builds (docs/signing.md).\n");
    match given(answers, "signing") {
        None => text.push_str("#[signing]\n#gpg = \"builds@example.org\"\n"),
        Some(how) => {
            let key = if how == "gpg" { "gpg" } else { "key_file" };
            let _ = writeln!(text, "[signing]\n{key} = {}", of("key"));
        }
    }
    text.push_str("\n# The builder that the provenance names (docs/provenance.md).\n");
    match given(answers, "builder") {
        None => text.push_str("#[provenance]\n#builder = \"https://builds.example.org/stx/v1\"\n"),
        Some(builder) => {
            let _ = writeln!(text, "[provenance]\nbuilder = {}", quoted(builder));
        }
    }
    text
}

/// `retention.toml`.
pub(super) fn policy(answers: &Answers) -> String {
    let (keep, newest) = (
        answer(answers, "keep"),
        answers.get("newest").map_or("2", String::as_str),
    );
    format!(
        "# The retention policy, written by `stx-builds init`; docs/retention.md describes the form. Kinds that are not named\n\
         # here have the rules of the specification: releases are kept for ever.\n\
         # `stx-builds prune --dry-run` shows what would be retired now, `stx-builds forecast` what will be retired later.\n\n\
         [kind.master]\n\
         keep = {keep}\n\
         # The number of successes that are kept at any age.\n\
         newest = {newest}\n\n\
         [kind.feature]\n\
         keep = {keep}\n\
         newest = {newest}\n\n\
         # An exception for some channels; a later one wins.\n\
         #[[channel]]\n\
         #match = \"feature/centos76/*\"\n\
         #keep = \"30 days\"\n"
    )
}
