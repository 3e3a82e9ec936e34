//! Directories whose path at a place differs from that on the build server.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::config::Spanned;
use stx_pipeline::{Env, Invocation};

use super::{ExecutorTable, Job};

/// The table `paths` of a place: directories of the build server, and their paths at the place.
///
/// A path outside these directories is the same at the place. `${NAME}` in an entry stands for a variable of the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathMap(Vec<(String, String)>);

/// The table as written in the configuration.
pub(crate) type PathTable = BTreeMap<Spanned<String>, Spanned<String>>;

impl PathMap {
    /// A map of these pairs: the path on the build server, and the path at the place.
    pub fn new<H: Into<String>, I: Into<String>>(pairs: impl IntoIterator<Item = (H, I)>) -> Self {
        let pairs = pairs.into_iter();
        let mut pairs: Vec<_> = pairs
            .map(|(here, there)| (here.into(), there.into()))
            .collect();
        // Of nested directories, the innermost applies.
        pairs.sort_by_key(|(here, _)| std::cmp::Reverse(here.len()));
        Self(pairs)
    }

    pub(crate) fn read(table: &mut ExecutorTable<'_>, paths: PathTable) -> Self {
        let mut pairs = Vec::new();
        for (here, there) in paths {
            for side in [&here, &there] {
                let text = side.get_ref();
                let plain = text.starts_with('/') || text.starts_with("${");
                if !plain || text.len() > 1 && text.ends_with('/') || text.contains("/../") {
                    let message =
                        format!("{text:?} is not an absolute path without `/` at its end");
                    table.fault(side.span().start, message);
                }
            }
            if here.get_ref() == "/" {
                table.fault(
                    here.span().start,
                    "`/` cannot be mapped; name the directories",
                );
            }
            pairs.push((here.into_inner(), there.into_inner()));
        }
        Self::new(pairs)
    }

    /// The map with `${NAME}` replaced by the variables of a build.
    #[must_use]
    pub fn of_build(&self, env: &Env) -> Self {
        let pairs = self.0.iter();
        Self::new(pairs.map(|(here, there)| (expanded(here, env), expanded(there, env))))
    }

    /// True if every path is the same at the place.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path at the place.
    pub fn path(&self, path: &Utf8Path) -> Utf8PathBuf {
        for (here, there) in &self.0 {
            if let Ok(below) = path.strip_prefix(here) {
                let there = Utf8Path::new(there);
                return match below.as_str() {
                    "" => there.to_owned(),
                    below => there.join(below),
                };
            }
        }
        path.to_owned()
    }

    /// Maps each path of the build server in a text. A path is a whole word, or follows `=`, `:`, a quotation mark, an option
    /// such as `-I`, or the `//` of a URL.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = 0;
        while let Some(next) = text[rest..].find('/') {
            let at = rest + next;
            out.push_str(&text[rest..at]);
            let found = self.0.iter().find(|(here, _)| {
                text[at..].starts_with(here.as_str())
                    && text[at + here.len()..]
                        .chars()
                        .next()
                        .is_none_or(|next| !in_name(next))
            });
            if let Some((here, there)) = found.filter(|_| begins(&text[..at])) {
                out.push_str(there);
                rest = at + here.len();
            } else {
                out.push('/');
                rest = at + 1;
            }
        }
        out.push_str(&text[rest..]);
        out
    }

    /// A phase with the paths of the place.
    pub fn invocation(&self, invocation: &Invocation) -> Invocation {
        let mut mapped = invocation.clone();
        if self.is_empty() {
            return mapped;
        }
        mapped.program = self.text(&mapped.program);
        mapped.dir = self.path(&mapped.dir);
        for arg in &mut mapped.args {
            *arg = self.text(arg);
        }
        for value in mapped.env.values_mut() {
            let text = self.text(value);
            if text != **value {
                *value = text.into();
            }
        }
        mapped
    }

    /// A job with the paths of the place.
    pub fn job(&self, job: &Job) -> Job {
        Job {
            dir: self.path(&job.dir),
            lock: self.path(&job.lock),
            shared: job.shared.iter().map(|dir| self.path(dir)).collect(),
            ..job.clone()
        }
    }

    /// The map in words, for the log of a phase; empty if the map is empty.
    pub fn note(&self) -> String {
        let pairs = self.0.iter();
        let pairs: Vec<_> = pairs
            .map(|(here, there)| format!("{here} is {there}"))
            .collect();
        pairs.join(", ")
    }
}

/// Replaces `${NAME}` with the value of the variable; a name without a value is unchanged.
pub(crate) fn expanded(text: &str, env: &Env) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let named = after.split_once('}');
        let value = named.and_then(|(name, behind)| Some((env.get(name)?, behind)));
        if let Some((value, behind)) = value {
            out.push_str(value);
            rest = behind;
        } else {
            out.push_str("${");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// True if a character can be part of a file name. Used to find the ends of a path within a text.
fn in_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '+' | '~' | '@' | '%')
}

/// True if an absolute path can begin after this text.
fn begins(before: &str) -> bool {
    let word = before.trim_end_matches(|character| in_name(character) || character == '/');
    match &before[word.len()..] {
        "" => true,
        "//" => word.ends_with(':'),
        run => run.starts_with('-') && !run.contains('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PathMap {
        PathMap::new([
            ("/srv/stx/localdisk", "/localdisk"),
            ("/srv/stx", "/build"),
            ("/srv/stx/mirrors", "/import/mirrors"),
        ])
    }

    #[test]
    fn the_longest_matching_directory_is_replaced() {
        for (here, there) in [
            ("/srv/stx/localdisk", "/localdisk"),
            ("/srv/stx/localdisk/a b", "/localdisk/a b"),
            ("/srv/stx/localdisks", "/build/localdisks"),
            ("/srv/stx-2/x", "/srv/stx-2/x"),
            ("/srv/stx/mirrors/x", "/import/mirrors/x"),
            ("/", "/"),
        ] {
            assert_eq!(map().path(Utf8Path::new(here)), there);
            assert_eq!(map().text(here), there);
        }
    }

    #[test]
    fn a_path_is_replaced_wherever_it_can_begin_in_a_text() {
        for (here, there) in [
            (
                "PATH=/srv/stx/bin:/bin:/srv/stx/localdisk",
                "PATH=/build/bin:/bin:/localdisk",
            ),
            ("-I/srv/stx/localdisk/include", "-I/localdisk/include"),
            (
                "--dir=/srv/stx/localdisk,/srv/stx",
                "--dir=/localdisk,/build",
            ),
            ("file:///srv/stx/localdisk/x", "file:///localdisk/x"),
            (
                "cd '/srv/stx/localdisk' && ls \"/srv/stx\"",
                "cd '/localdisk' && ls \"/build\"",
            ),
            ("/other/srv/stx/localdisk", "/other/srv/stx/localdisk"),
            ("https://host/srv/stx/x", "https://host/srv/stx/x"),
            ("a/srv/stx", "a/srv/stx"),
            ("é/srv/stx/é", "é/srv/stx/é"),
            ("=/srv/stx/é", "=/build/é"),
        ] {
            assert_eq!(map().text(here), there);
        }
    }

    #[test]
    fn a_map_never_applies_to_its_own_result() {
        let map = PathMap::new([("/a", "/b"), ("/b", "/a")]);
        assert_eq!(map.text("/a:/b:/a/b"), "/b:/a:/b/b");
    }

    #[test]
    fn variables_in_the_path_map_are_expanded() {
        let env = Env::from([("PROJECT".into(), "debian-master".into())]);
        let map = PathMap::new([("/srv/${PROJECT}/localdisk", "/localdisk")]).of_build(&env);
        assert_eq!(map.text("/srv/debian-master/localdisk/x"), "/localdisk/x");
        assert_eq!(
            expanded("${NONE} ${PROJECT} ${", &env),
            "${NONE} debian-master ${"
        );
    }
}
