//! Which changed files make a build.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

/// Globs in order, `!` before those that take out again; the last one that matches a path decides.
///
/// Without any positive glob before it, a `!` glob takes out of everything; no globs at all match every path. `*` stays
/// within a directory, `**` does not.
///
/// ```
/// # use stx_service::trigger::PathRules;
/// let rules = PathRules::new(&["!docs/**", "docs/ship.md"])?;
/// let any = |path: &str| rules.any(&[path.to_owned()].into());
/// assert!(any("src/main.c") && any("docs/ship.md") && !any("docs/a/b.md"));
/// # Ok::<(), stx_service::trigger::PathRulesError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PathRules {
    rules: Vec<(bool, GlobMatcher)>,
    texts: Vec<String>,
}

impl PartialEq for PathRules {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

/// Globs that are none, or that no path can ever match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathRulesError {
    /// Not a glob.
    #[error("`{glob}` is not a glob: {reason}")]
    Malformed {
        /// The glob.
        glob: String,
        /// The error of the glob parser.
        reason: String,
    },
    /// The last glob takes everything out.
    #[error("`{glob}` takes every path out, so no commit is ever built")]
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

    /// Whether there are none, so that nobody needs to know which files changed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any of the paths matters.
    pub fn any(&self, paths: &BTreeSet<String>) -> bool {
        paths.iter().any(|path| self.matches(path))
    }

    fn matches(&self, path: &str) -> bool {
        let otherwise = self.rules.first().is_none_or(|(positive, _)| !positive);
        self.rules
            .iter()
            .rev()
            .find(|(_, glob)| glob.is_match(path))
            .map_or(otherwise, |(positive, _)| *positive)
    }
}
