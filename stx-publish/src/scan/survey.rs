//! The walk through a tree, and through what its symlinks lead to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::BuildPath;
use walkdir::WalkDir;

use super::{Survey, examine, real};
use crate::incoming::{Entry, Incoming, LinkEnd, Problem, ProblemKind};

/// What was seen so far.
#[derive(Default)]
pub(super) struct Surveyor {
    incoming: Incoming,
    problems: Vec<Problem>,
    /// Where each symlink lies.
    links: BTreeMap<BuildPath, Utf8PathBuf>,
    /// What is refused, so that a symlink to it is not called dangling.
    refused: Vec<BuildPath>,
    seen: bool,
}

impl Surveyor {
    pub(super) fn is_empty(&self) -> bool {
        !self.seen
    }

    /// Takes all that lies at `from`, and calls it `at`.
    pub(super) fn walk(&mut self, from: &Utf8Path, at: &str) {
        for entry in WalkDir::new(from).follow_root_links(false) {
            self.seen = true;
            match entry {
                Ok(entry) => self.look(&entry, from, at),
                Err(error) => {
                    let path = error.path().unwrap_or(from.as_std_path());
                    let reason = error
                        .io_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    self.problems.push(Problem {
                        path: shown(from, at, path),
                        kind: ProblemKind::Unreadable { reason },
                    });
                }
            }
        }
    }

    fn look(&mut self, entry: &walkdir::DirEntry, from: &Utf8Path, at: &str) {
        let shown = shown(from, at, entry.path());
        let named = match Utf8Path::from_path(entry.path()) {
            None => Err("not UTF-8".to_owned()),
            Some(source) => match below(from, at, source).parse::<BuildPath>() {
                Ok(path) => Ok((source, path)),
                Err(error) => Err(error.to_string()),
            },
        };
        // The name of a directory is refused with it, not once more with each file in it.
        let of_parent = entry.path().parent() != Some(from.as_std_path())
            && entry.depth() > 0
            && entry.path().parent().is_some_and(|parent| {
                Utf8Path::from_path(parent)
                    .is_none_or(|parent| below(from, at, parent).parse::<BuildPath>().is_err())
            });
        let (source, path) = match named {
            Ok(named) => named,
            Err(_) if of_parent => return,
            Err(reason) => {
                self.problems.push(Problem {
                    path: shown,
                    kind: ProblemKind::Name { reason },
                });
                return;
            }
        };
        if entry.file_type().is_dir() {
            return;
        }
        self.take(source, path, shown);
    }

    fn take(&mut self, source: &Utf8Path, path: BuildPath, shown: String) {
        match examine(source) {
            Ok(entry) => {
                if matches!(entry, Entry::Symlink { .. }) {
                    self.links.insert(path.clone(), source.to_owned());
                }
                self.incoming.entries.insert(path, entry);
            }
            Err(kind) => {
                self.refused.push(path);
                self.problems.push(Problem { path: shown, kind });
            }
        }
    }

    /// Replaces each symlink that leads out of the tree and below one of `roots` by what is there.
    pub(super) fn follow(&mut self, roots: &[Utf8PathBuf]) {
        loop {
            let ends = self.incoming.links();
            let leaves = |path: &BuildPath, source: &Utf8PathBuf| match ends.get(path)? {
                LinkEnd::File(_) | LinkEnd::Directory => None,
                LinkEnd::Wrong(_) => {
                    real(source).filter(|end| roots.iter().any(|root| end.starts_with(root)))
                }
            };
            let out: Vec<_> = self
                .links
                .iter()
                .filter_map(|(path, source)| Some((path.clone(), leaves(path, source)?)))
                .collect();
            if out.is_empty() {
                return;
            }
            for (path, end) in out {
                self.incoming.entries.remove(&path);
                let source = self.links.remove(&path);
                let dir = source.as_deref().and_then(Utf8Path::parent).and_then(real);
                if dir.is_some_and(|dir| dir.starts_with(&end)) {
                    self.problems.push(Problem {
                        path: path.to_string(),
                        kind: ProblemKind::LinkLoop {
                            target: end.into_string(),
                        },
                    });
                    self.refused.push(path);
                } else {
                    self.walk(&end, path.as_str());
                }
            }
        }
    }

    pub(super) fn end(mut self) -> Survey {
        // A symlink to something that is refused is not dangling, and need not be mended.
        let mut all = self.incoming.clone();
        let refused = self.refused.into_iter();
        all.entries
            .extend(refused.map(|path| (path, Entry::Generated(Bytes::new()))));
        self.problems.extend(all.problems());
        self.problems.sort_by(|a, b| a.path.cmp(&b.path));
        self.problems.dedup();
        Survey {
            incoming: self.incoming,
            problems: self.problems,
        }
    }
}

/// What the grammar is asked about a path.
fn below(from: &Utf8Path, at: &str, path: &Utf8Path) -> String {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_str().is_empty() => at.to_owned(),
        Ok(rest) => format!("{at}/{rest}"),
        Err(_) => path.to_string(),
    }
}

/// A path for people, on one line whatever is in it.
fn shown(from: &Utf8Path, at: &str, path: &Path) -> String {
    let rest = path.strip_prefix(from).unwrap_or(path);
    let mut shown = at.to_owned();
    for chunk in rest.as_os_str().as_bytes().utf8_chunks() {
        if shown.len() == at.len() {
            shown.push('/');
        }
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}
