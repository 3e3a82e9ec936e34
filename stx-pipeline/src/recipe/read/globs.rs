//! Checks globs, and the targets of their files.

use globset::GlobBuilder;

use super::Reader;
use crate::recipe::{On, Publish};
use crate::scope::{Part, parts};

/// The characters that make a text a glob.
const WILDCARDS: [char; 5] = ['*', '?', '[', '{', '\\'];

/// A glob with a plain word in place of each variable.
fn plain(glob: &str) -> String {
    let parts = parts(glob).unwrap_or_default().into_iter();
    parts
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Variable(_) => "x",
        })
        .collect()
}

impl Reader {
    /// Checks that a glob is valid, and that some file can match it.
    pub(super) fn glob(&mut self, at: usize, glob: &str) {
        let plain = plain(glob);
        if let Err(error) = GlobBuilder::new(&plain).literal_separator(true).build() {
            self.fault(at, format!("bad glob: {error}"));
        }
        if plain.is_empty()
            || plain.starts_with('/')
            || plain.ends_with('/')
            || plain.split('/').any(|segment| segment == "..")
        {
            self.fault(
                at,
                format!("bad glob `{glob}`: it must be relative, without `..`, and name files"),
            );
        } else if plain
            .split('/')
            .any(|segment| segment.is_empty() || segment == ".")
        {
            self.fault(
                at,
                format!("glob `{glob}` matches nothing: no path has an empty segment or a `.`"),
            );
        }
    }

    /// Reports a rule whose exceptions exclude everything, and a rule that publishes the same files as another one.
    pub(super) fn output(&mut self, at: usize, phase: &str, rule: &Publish) {
        let from = plain(&rule.from);
        let literal = !from.contains(WILDCARDS);
        let name = from.rsplit('/').next().unwrap_or_default();
        for except in &rule.except {
            let all = matches!(except.as_str(), "*" | "**" | "**/*") || rule.from == *except;
            let this = literal
                && GlobBuilder::new(except)
                    .literal_separator(true)
                    .build()
                    .is_ok_and(|glob| glob.compile_matcher().is_match(name));
            if all || this || rule.from.rsplit('/').next() == Some(except) {
                self.fault(
                    at,
                    format!(
                        "glob `{}` matches nothing: `except` has `{except}`",
                        rule.from
                    ),
                );
                return;
            }
        }
        let output = if literal {
            let name = rule.from.rsplit('/').next().unwrap_or_default();
            format!("{}/{name}", rule.to)
        } else {
            format!("{} in {}", rule.from, rule.to)
        };
        // A phase either succeeds or fails, so rules for success and for failure never conflict.
        let output = match rule.on {
            On::Success => output,
            On::Failure => format!("{output} on failure"),
        };
        if let Some(other) = self.outputs.get(&output) {
            let message = format!("phase `{other}` publishes {output} already");
            self.fault(at, message);
        } else {
            self.outputs.insert(output, phase.to_owned());
        }
    }
}
