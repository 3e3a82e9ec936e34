//! Git work trees.

use std::collections::BTreeSet;
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use globset::{GlobBuilder, GlobMatcher};
use stx_layout::{SourceRecord, public_url, redact_urls};
use walkdir::WalkDir;

use super::descent::Descent;
use super::{Sources, tools};
use crate::source::{self, Change, LOG_FORMAT};
use crate::{BuildPlan, ChangedFile, changed};

/// The sources of a build cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No work tree matches the globs of the recipe.
    #[error("no git work tree below {root} matches {}", globs.join(" "))]
    None {
        /// The source root.
        root: Utf8PathBuf,
        /// The recipe's globs.
        globs: Vec<String>,
    },
    /// A glob of `repositories` is malformed.
    #[error("`repositories`: {glob} is not a glob")]
    Glob {
        /// The glob.
        glob: String,
        /// The error of the glob parser.
        source: globset::Error,
    },
    /// The directories cannot be read.
    #[error("cannot read the source root {root}")]
    Walk {
        /// The source root.
        root: Utf8PathBuf,
        /// The error that caused it.
        source: walkdir::Error,
    },
    /// A git command failed.
    #[error("{dir}: git {}: {reason}", args.join(" "))]
    Git {
        /// The work tree.
        dir: Utf8PathBuf,
        /// The arguments of `git`.
        args: Vec<String>,
        /// The error text of git, or the reason that it could not be started.
        reason: String,
    },
}

/// Reads the current commits of the work trees of a plan.
///
/// # Errors
/// See [`SourceError`]; it is also an error if the globs match no work tree at all.
pub(crate) fn read_sources(plan: &BuildPlan) -> Result<Sources, SourceError> {
    let mut sources = Sources::default();
    for path in work_trees(plan)? {
        let dir = plan.source_root.join(&path);
        let head = git(plan, &dir, &["log", "-1", "--format=%H %ct"])?;
        let (commit, time) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
        sources.newest = sources.newest.max(time.parse().ok());
        let remotes = git(plan, &dir, &["remote"])?;
        let url = match remote(&remotes) {
            None => None,
            // A mirror must not publish credentials of a repository.
            Some(remote) => Some(public_url(
                git(plan, &dir, &["remote", "get-url", remote])?.trim(),
            )),
        };
        sources.records.push(SourceRecord {
            path,
            url,
            commit: commit.to_owned(),
        });
    }
    Ok(sources)
}

/// Reads the commits between two builds. For a repository that is new, or whose old commit is gone, only the newest commit is
/// read.
///
/// # Errors
/// See [`SourceError`].
pub(crate) fn read_changes(
    plan: &BuildPlan,
    old: &[SourceRecord],
    new: &[SourceRecord],
) -> Result<Vec<Change>, SourceError> {
    let format = format!("--format={LOG_FORMAT}");
    let mut changes = Vec::new();
    for change in changed(old, new) {
        let Some(to) = &change.to else { continue };
        let dir = plan.source_root.join(&change.path);
        let between = change.from.and_then(|from| {
            log(
                plan,
                &dir,
                &["log", &format, &format!("{from}..{to}"), "--"],
            )
            .ok()
        });
        let log = match between {
            Some(log) => log,
            None => log(plan, &dir, &["log", "-1", &format, to, "--"])?,
        };
        changes.extend(source::changes(&change.path, &log));
    }
    Ok(changes)
}

/// The files that differ between the commits of two builds. `None` if they cannot be determined: a repository is new or gone,
/// or its old commit is not in the work tree.
pub fn changed_files(
    plan: &BuildPlan,
    old: &[SourceRecord],
    new: &[SourceRecord],
) -> Option<BTreeSet<ChangedFile>> {
    let mut files = BTreeSet::new();
    for change in changed(old, new) {
        let (from, to) = (change.from?, change.to?);
        let dir = plan.source_root.join(&change.path);
        let diff = [
            "diff",
            "--name-only",
            "--no-renames",
            "-z",
            &from,
            &to,
            "--",
        ];
        let names = log(plan, &dir, &diff).ok()?;
        files.extend(names.split_terminator('\0').map(|file| ChangedFile {
            git: change.path.clone(),
            file: file.to_owned(),
        }));
    }
    Some(files)
}

/// The remote of a work tree: `origin`, or the only one, as in work trees of `repo`. `None` if there are several others: the
/// record could name a repository that does not have the commit.
fn remote(remotes: &str) -> Option<&str> {
    let mut names = remotes.lines();
    match (names.clone().find(|name| *name == "origin"), names.next()) {
        (Some(origin), _) => Some(origin),
        (None, only) => only.filter(|_| names.next().is_none()),
    }
}

/// The work trees below the source root that match, sorted.
pub(super) fn work_trees(plan: &BuildPlan) -> Result<Vec<String>, SourceError> {
    let root = &plan.source_root;
    let mut globs = Vec::new();
    let mut descents = Vec::new();
    for glob in &plan.repositories {
        let bad = |source| SourceError::Glob {
            glob: glob.clone(),
            source,
        };
        descents.push(Descent::new(glob).map_err(bad)?);
        let compiled = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|source| SourceError::Glob {
                glob: glob.clone(),
                source,
            })?;
        globs.push(compiled.compile_matcher());
    }
    if globs.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut walk = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| {
            let below = entry.path().strip_prefix(root).ok();
            let Some(below) = below.and_then(|below| below.to_str()) else {
                return false;
            };
            // Directories of git and `repo` are searched only if a glob names them.
            let hidden = matches!(entry.file_name().to_str(), Some(".git" | ".repo"));
            let leads = |(glob, descent): (&GlobMatcher, &Descent)| {
                (glob.is_match(below) || descent.enters(below))
                    && (!hidden || descent.names(below))
                    && (!below.starts_with(".repo/") || descent.names(".repo"))
            };
            entry.file_type().is_dir()
                && (below.is_empty() || globs.iter().zip(&descents).any(leads))
        });
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|source| SourceError::Walk {
            root: root.clone(),
            source,
        })?;
        let Some(path) = Utf8Path::from_path(entry.path()) else {
            continue;
        };
        let below = path.strip_prefix(root).unwrap_or(path);
        let below = if below.as_str().is_empty() {
            "."
        } else {
            below.as_str()
        };
        if below != "." && !descents.iter().any(|descent| descent.enters(below)) {
            walk.skip_current_dir();
        }
        if globs.iter().any(|glob| glob.is_match(below)) && path.join(".git").exists() {
            found.push(below.to_owned());
        }
    }
    if found.is_empty() {
        return Err(SourceError::None {
            root: root.clone(),
            globs: plan.repositories.clone(),
        });
    }
    found.sort();
    Ok(found)
}

/// Runs git for names, URLs and commits, which must be exact.
pub(super) fn git(plan: &BuildPlan, dir: &Utf8Path, args: &[&str]) -> Result<String, SourceError> {
    let said = run(plan, dir, args)?;
    String::from_utf8(said).map_err(|_| failed(dir, args, "its answer is not UTF-8".to_owned()))
}

/// Runs git for text that is only displayed. A commit message may have any encoding.
fn log(plan: &BuildPlan, dir: &Utf8Path, args: &[&str]) -> Result<String, SourceError> {
    let said = run(plan, dir, args)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn failed(dir: &Utf8Path, args: &[&str], reason: String) -> SourceError {
    SourceError::Git {
        dir: dir.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        reason,
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a backend")]
fn run(plan: &BuildPlan, dir: &Utf8Path, args: &[&str]) -> Result<Vec<u8>, SourceError> {
    let failed = |reason| failed(dir, args, reason);
    let env = ["PATH", "HOME", "LANG", "TZ"]
        .into_iter()
        .filter_map(|name| Some((name, &**plan.env.get(name)?)));
    let program = tools::find("git", plan.env.get("PATH").map_or("", |path| path))
        .ok_or_else(|| failed("git is not in PATH".to_owned()))?;
    let output = std::process::Command::new(program)
        // Explicit: from a broken work tree, git would otherwise use the repository that contains it.
        .arg("--git-dir=.git")
        .args(["-c", "safe.directory=*", "-c", "log.showSignature=false"])
        .args(args)
        .env_clear()
        .envs(env)
        // `git_reason` searches the output for `fatal:`.
        .env("LC_MESSAGES", "C")
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(git_reason(&output.stderr)))
    }
}

/// The reason for a failure of git, as one line: its `fatal:` line, with the line before it, which is often the cause. The
/// lines after it are advice.
///
/// ```
/// # use stx_pipeline::process::git_reason;
/// let said = b"git@example.org: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\n\
///     Please make sure you have the correct access rights\nand the repository exists.\n";
/// assert_eq!(
///     git_reason(said),
///     "fatal: Could not read from remote repository. (git@example.org: Permission denied (publickey).)",
/// );
/// ```
pub fn git_reason(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = said
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let starts = |word: &str| lines.iter().position(|line| line.starts_with(word));
    let reason = match (starts("fatal: "), starts("error: ")) {
        (Some(at), _) if at > 0 => format!("{} ({})", lines[at], lines[at - 1]),
        (Some(at), _) | (None, Some(at)) => lines[at].to_owned(),
        (None, None) => lines
            .last()
            .copied()
            .unwrap_or("it printed nothing")
            .to_owned(),
    };
    redact_urls(&reason).into_owned()
}

#[cfg(test)]
mod tests {
    use super::remote;

    #[test]
    fn of_several_remotes_only_origin_is_used() {
        assert_eq!(remote(""), None);
        assert_eq!(remote("starlingx\n"), Some("starlingx"));
        assert_eq!(remote("a\norigin\nz\n"), Some("origin"));
        assert_eq!(remote("a\nb\n"), None);
    }
}
