//! Globs that tell which changed files count as a change.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

/// A file that changed between two commits of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedFile {
    /// The path of the repository in the source tree, `cgcs-root/stx/config`; empty if unknown.
    pub git: String,
    /// The path of the file in the repository.
    pub file: String,
}

/// Globs in order. A glob with `!` excludes files, any other includes them; the last glob that matches a file decides.
///
/// A file that no glob matches counts if the first glob has a `!`, or if there are no globs. `*` matches within a directory,
/// `**` across directories. A glob is matched against the path of a file in its repository, and against its path in the source
/// tree.
///
/// ```
/// # use stx_pipeline::{ChangedFile, PathRules};
/// let rules = PathRules::new(&["!docs/**", "docs/ship.md", "!cgcs-root/stx/test/**"])?;
/// let any = |git: &str, file: &str| {
///     let file = ChangedFile { git: git.to_owned(), file: file.to_owned() };
///     rules.any(&[file].into())
/// };
/// assert!(any("", "src/main.c") && any("", "docs/ship.md") && !any("", "docs/a/b.md"));
/// assert!(!any("cgcs-root/stx/config", "docs/a.md") && !any("cgcs-root/stx/test", "src/main.c"));
/// # Ok::<(), stx_pipeline::PathRulesError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PathRules {
    rules: Vec<(bool, GlobMatcher)>,
    texts: Vec<String>,
}

impl Eq for PathRules {}

impl PartialEq for PathRules {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

/// Malformed globs, or globs that no path can ever match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathRulesError {
    /// A malformed glob.
    #[error("`{glob}` is not a glob: {reason}")]
    Malformed {
        /// The glob.
        glob: String,
        /// The error of the glob parser.
        reason: String,
    },
    /// The last glob excludes every path.
    #[error("`{glob}` excludes every path, so no commit is ever built")]
    Nothing {
        /// The glob.
        glob: String,
    },
}

impl PathRules {
    /// Reads globs.
    ///
    /// # Errors
    /// See [`PathRulesError`].
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Result<Self, PathRulesError> {
        let mut rules = Vec::new();
        let texts: Vec<_> = globs.iter().map(|glob| glob.as_ref().to_owned()).collect();
        for text in &texts {
            let (negative, glob) = match text.strip_prefix('!') {
                Some(glob) => (true, glob),
                None => (false, text.as_str()),
            };
            if negative && matches!(glob, "**" | "**/*") && Some(text) == texts.last() {
                return Err(PathRulesError::Nothing { glob: text.clone() });
            }
            let compiled = GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .map_err(|error| PathRulesError::Malformed {
                    glob: text.clone(),
                    reason: error.kind().to_string(),
                })?;
            rules.push((!negative, compiled.compile_matcher()));
        }
        Ok(Self { rules, texts })
    }

    /// True if there are no globs, so that the changed files need not be known.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The globs as given.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// True if any of the files counts.
    pub fn any(&self, files: &BTreeSet<ChangedFile>) -> bool {
        files.iter().any(|file| self.matches(file))
    }

    fn matches(&self, changed: &ChangedFile) -> bool {
        let ChangedFile { git, file } = changed;
        let in_tree = format!("{git}/{file}");
        let is_known = !git.is_empty() && git != ".";
        let otherwise = self.rules.first().is_none_or(|(positive, _)| !positive);
        self.rules
            .iter()
            .rev()
            .find(|(_, glob)| glob.is_match(file) || is_known && glob.is_match(&in_tree))
            .map_or(otherwise, |(positive, _)| *positive)
    }
}
