//! The directories in which a glob can match a file.

use globset::{GlobBuilder, GlobMatcher};

/// The directories that a glob can match files below. Other directories need not be read, and may be unreadable.
#[derive(Debug)]
pub(super) struct Descent {
    /// A glob for the directories of each depth, from 1.
    levels: Vec<GlobMatcher>,
    /// Segments of the glob without wildcards, by their depth.
    literal: Vec<Option<String>>,
    /// True if everything below the last level may match: a `**` follows, or alternatives with a `/`.
    deep: bool,
}

impl Descent {
    /// The directories of a glob whose `*` does not cross `/`.
    pub(super) fn new(glob: &str) -> Result<Self, globset::Error> {
        let segments: Vec<&str> = glob.split('/').collect();
        // Alternatives may contain a `/`: a part with an unbalanced bracket is not a whole segment.
        let open = |segment: &&str| {
            segment.contains("**")
                || segment.matches(['{', '[']).count() != segment.matches(['}', ']']).count()
        };
        let plain = segments.iter().position(open);
        let deep = plain.is_some();
        let depth = plain.unwrap_or(segments.len().saturating_sub(1));
        let mut levels = Vec::new();
        for end in 1..=depth {
            let prefix = segments[..end].join("/");
            let glob = GlobBuilder::new(&prefix).literal_separator(true).build()?;
            levels.push(glob.compile_matcher());
        }
        let wild = |segment: &&str| segment.contains(['*', '?', '[', '{', '\\']);
        let literal = segments.iter();
        let literal = literal.map(|segment| (!wild(segment)).then(|| (*segment).to_owned()));
        Ok(Self {
            levels,
            literal: literal.collect(),
            deep,
        })
    }

    /// True if a directory can hold a match; `dir` is its path below the start of the glob.
    pub(super) fn enters(&self, dir: &str) -> bool {
        let depth = dir.split('/').count();
        match self.levels.get(depth - 1) {
            Some(level) => level.is_match(dir),
            None if !self.deep => false,
            None => self.levels.last().is_none_or(|level| {
                let above: Vec<_> = dir.split('/').take(self.levels.len()).collect();
                level.is_match(above.join("/"))
            }),
        }
    }

    /// True if the glob has this exact name at the depth of the path.
    pub(super) fn names(&self, dir: &str) -> bool {
        let depth = dir.split('/').count();
        let name = dir.rsplit('/').next().unwrap_or_default();
        self.literal.get(depth - 1).and_then(Option::as_deref) == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_can_hold_a_match_are_entered() {
        for (glob, entered, left) in [
            ("*/*.deb", &["a", ".a"][..], &["a/b"][..]),
            ("*.deb", &[], &["a"]),
            (
                "std-*/x/*.deb",
                &["std-a", "std-a/x"],
                &["rt", "std-a/y", "std-a/x/z"],
            ),
            ("a/**/*.tgz", &["a", "a/b", "a/b/c"], &["b", "b/a"]),
            ("**/*.tgz", &["a", "a/b/c"], &[]),
            ("{a,b/c}/x", &["a", "b", "b/c", "z"], &[]),
            ("{a,b}/c/x", &["a", "b", "a/c"], &["c", "a/d", "a/c/e"]),
        ] {
            let descent = Descent::new(glob).unwrap();
            for dir in entered {
                assert!(descent.enters(dir), "{glob} {dir}");
            }
            for dir in left {
                assert!(!descent.enters(dir), "{glob} {dir}");
            }
        }
    }

    #[test]
    fn a_literal_name_of_a_glob_is_recognised() {
        let descent = Descent::new(".repo/*/x").unwrap();
        assert!(descent.names(".repo") && descent.names("a/b/x"));
        assert!(!descent.names("x") && !descent.names("a/.repo"));
    }
}
