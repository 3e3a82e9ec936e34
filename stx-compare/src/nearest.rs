//! Finds the build nearest to a work tree, and the commits between two builds.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use stx_layout::{BuildId, SourceRecord};

/// The history of a commit: the commit and all its ancestors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ancestry {
    parents: HashMap<String, Vec<String>>,
}

impl Ancestry {
    /// Reads the output of `git rev-list --parents HEAD`: a commit and its parents per line.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace().map(ToOwned::to_owned);
            Some((words.next()?, words.collect()))
        });
        Self {
            parents: lines.collect(),
        }
    }

    /// The number of commits of the history that are not ancestors of `commit`; `None` if `commit` is not in the history.
    pub fn distance(&self, commit: &str) -> Option<usize> {
        let mut known = HashSet::new();
        let mut next: Vec<&str> = vec![self.parents.get_key_value(commit)?.0];
        while let Some(commit) = next.pop() {
            if let Some((commit, parents)) = self.parents.get_key_value(commit)
                && known.insert(commit)
            {
                next.extend(parents.iter().map(String::as_str));
            }
        }
        Some(self.parents.len() - known.len())
    }
}

/// The build that is nearest to a work tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The build.
    pub build: BuildId,
    /// The path of the work tree's repository in the build.
    pub path: String,
    /// Its commit in the build.
    pub commit: String,
    /// The number of commits in the work tree that the build lacks.
    pub ahead: usize,
}

/// Of the builds that the work tree descends from, the one with the fewest commits up to the work tree; of several, the newest.
pub fn nearest<'a>(
    builds: impl IntoIterator<Item = (&'a BuildId, &'a [SourceRecord])>,
    ancestry: &Ancestry,
) -> Option<Nearest> {
    let mut distances = HashMap::<&str, Option<usize>>::new();
    let mut best: Option<Nearest> = None;
    for (build, sources) in builds {
        for source in sources {
            let commit = source.commit.as_str();
            let distance = distances
                .entry(commit)
                .or_insert_with(|| ancestry.distance(commit));
            let Some(ahead) = *distance else { continue };
            let better = best.as_ref().is_none_or(|best| {
                (ahead, std::cmp::Reverse(build)) < (best.ahead, std::cmp::Reverse(&best.build))
            });
            if better {
                best = Some(Nearest {
                    build: build.clone(),
                    path: source.path.clone(),
                    commit: source.commit.clone(),
                    ahead,
                });
            }
        }
    }
    best
}

/// The repositories in the text of a build's `CONTEXT`: `(cd PATH && git checkout -f COMMIT)` per line; other lines are
/// ignored.
pub fn context_sources(text: &str) -> Vec<SourceRecord> {
    let sources = text.lines().filter_map(|line| {
        let (path, rest) = line
            .trim()
            .strip_prefix("(cd ")?
            .split_once(" && git checkout ")?;
        let commit = rest.trim_end_matches(')').rsplit(' ').next()?;
        let digits = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        (commit.len() >= 40 && digits).then(|| SourceRecord {
            path: path.trim_start_matches("./").to_owned(),
            url: None,
            commit: commit.to_owned(),
        })
    });
    sources.collect()
}

/// The commits of one repository between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitRange {
    /// The work tree below the source root.
    pub path: String,
    /// The URL that it was fetched from.
    pub url: Option<String>,
    /// The commit of the earlier build; absent for a new repository.
    pub from: Option<String>,
    /// The commit of the later build; absent for a removed repository.
    pub to: Option<String>,
}

/// The repositories whose commits differ between two builds, by path.
pub fn commit_ranges(from: &[SourceRecord], to: &[SourceRecord]) -> Vec<CommitRange> {
    let mut gits = BTreeMap::<&str, (Option<&SourceRecord>, Option<&SourceRecord>)>::new();
    for source in from {
        gits.entry(&source.path).or_default().0 = Some(source);
    }
    for source in to {
        gits.entry(&source.path).or_default().1 = Some(source);
    }
    let commit = |source: &SourceRecord| source.commit.clone();
    let ranges = gits.into_iter().map(|(path, (from, to))| CommitRange {
        path: path.to_owned(),
        url: to.or(from).and_then(|source| source.url.clone()),
        from: from.map(commit),
        to: to.map(commit),
    });
    ranges.filter(|range| range.from != range.to).collect()
}

#[cfg(test)]
mod tests {
    use stx_layout::{BuildId, SourceRecord};

    use super::{Ancestry, commit_ranges, context_sources, nearest};

    fn source(path: &str, commit: &str) -> SourceRecord {
        SourceRecord {
            path: path.to_owned(),
            url: Some(format!("https://example.org/{path}")),
            commit: commit.to_owned(),
        }
    }

    fn id(day: u32) -> BuildId {
        format!("master/centos/202001{day:02}T000000Z")
            .parse()
            .expect("a build")
    }

    /// `e` merges `d` and `c`, whose parent is `b`, whose parent is `a`.
    const HISTORY: &str = "e d c\nd b\nc b\nb a\na\n";

    #[test]
    fn the_distance_counts_the_unknown_commits() {
        let ancestry = Ancestry::parse(HISTORY);
        for (commit, distance) in [("e", 0), ("d", 2), ("c", 2), ("b", 3), ("a", 4)] {
            assert_eq!(ancestry.distance(commit), Some(distance), "{commit}");
        }
        assert_eq!(ancestry.distance("f"), None);
    }

    #[test]
    fn the_nearest_build_is_an_ancestor_and_the_newest_of_equals() {
        let ancestry = Ancestry::parse(HISTORY);
        let builds = [
            (id(1), vec![source("other", "x"), source("config", "b")]),
            (id(2), vec![source("other", "x"), source("config", "d")]),
            (id(3), vec![source("other", "y"), source("config", "d")]),
            (id(4), vec![source("other", "y"), source("config", "f")]),
        ];
        let nearest = |builds: &[(BuildId, Vec<SourceRecord>)]| {
            nearest(
                builds.iter().map(|(id, sources)| (id, &sources[..])),
                &ancestry,
            )
        };
        let found = nearest(&builds).expect("one");
        assert_eq!((found.build, found.ahead), (id(3), 2));
        assert_eq!(
            (found.path.as_str(), found.commit.as_str()),
            ("config", "d")
        );
        assert_eq!(nearest(&builds[3..]), None);
    }

    #[test]
    fn a_context_names_gits() {
        let commit = "0123456789012345678901234567890123456789";
        let text = format!(
            "# made by hand\n(cd ./cgcs-root/stx/config && git checkout -f {commit})\n\
             (cd x && git checkout -f short)\n(cd y && git checkout -f {commit}) # z\n"
        );
        let sources = context_sources(&text);
        let shown: Vec<_> = sources
            .iter()
            .map(|source| (source.path.as_str(), source.commit.as_str()))
            .collect();
        assert_eq!(shown, [("cgcs-root/stx/config", commit)]);
    }

    #[test]
    fn moved_new_and_removed_gits_are_ranges() {
        let from = [source("a", "1"), source("b", "1"), source("c", "1")];
        let to = [source("a", "1"), source("b", "2"), source("d", "1")];
        let ranges = commit_ranges(&from, &to);
        let shown: Vec<_> = ranges
            .iter()
            .map(|range| {
                (
                    range.path.as_str(),
                    range.from.as_deref(),
                    range.to.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("b", Some("1"), Some("2")),
            ("c", Some("1"), None),
            ("d", None, Some("1")),
        ];
        assert_eq!(shown, expected);
    }
}
