//! The walk through a tree and through the targets of its symlinks.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildPath, printable_bytes};
use walkdir::WalkDir;

use super::{Survey, examine, real};
use crate::incoming::{Entry, Incoming, LinkEnd, Problem, ProblemKind};

/// A symlink.
struct Link {
    /// Its path.
    source: Utf8PathBuf,
    /// The directory that contains it, if that is published at another place, where the symlink's text has another meaning.
    moved: Option<Utf8PathBuf>,
}

impl Link {
    /// The file or directory that is published in place of the symlink, or the problem with it. `None` if the symlink is kept.
    fn leads(
        &self,
        end: &LinkEnd,
        roots: &[Utf8PathBuf],
    ) -> Option<Result<Utf8PathBuf, ProblemKind>> {
        let led = real(&self.source);
        match (&self.moved, end) {
            (None, LinkEnd::File(_) | LinkEnd::Directory) => return None,
            (Some(dir), _) if led.as_ref().is_some_and(|led| led.starts_with(dir)) => return None,
            (_, _) => {}
        }
        let inside = led.filter(|led| roots.iter().any(|root| led.starts_with(root)));
        let Some(led) = inside else {
            // Problems of a symlink inside the tree are reported when the whole tree is known.
            self.moved.as_ref()?;
            let target = self.source.read_link_utf8().map(Utf8PathBuf::into_string);
            return Some(Err(ProblemKind::OutsideLink {
                target: target.unwrap_or_default(),
            }));
        };
        let dir = self.source.parent().and_then(real);
        Some(if dir.is_some_and(|dir| dir.starts_with(&led)) {
            // The target directory contains the symlink.
            Err(ProblemKind::LinkLoop {
                target: led.into_string(),
            })
        } else {
            Ok(led)
        })
    }
}

/// The entries and problems seen so far.
#[derive(Default)]
pub(super) struct Surveyor {
    incoming: Incoming,
    problems: Vec<Problem>,
    /// The symlinks.
    links: BTreeMap<BuildPath, Link>,
    /// The refused entries, so that a symlink to one of them is not called dangling.
    refused: Vec<BuildPath>,
    seen: bool,
}

impl Surveyor {
    pub(super) fn is_empty(&self) -> bool {
        !self.seen
    }

    /// Adds everything at `from`, under the path `at`.
    pub(super) fn walk(&mut self, from: &Utf8Path, at: &str) {
        for entry in WalkDir::new(from).follow_root_links(false) {
            self.seen = true;
            match entry {
                Ok(entry) => self.visit(&entry, from, at),
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

    fn visit(&mut self, entry: &walkdir::DirEntry, from: &Utf8Path, at: &str) {
        let shown = shown(from, at, entry.path());
        let named = match Utf8Path::from_path(entry.path()) {
            None => Err("not UTF-8".to_owned()),
            Some(source) => match below(from, at, source).parse::<BuildPath>() {
                Ok(path) => Ok((source, path)),
                // The problem already names the path.
                Err(error) => {
                    Err(error
                        .to_string()
                        .replacen(&format!("{:?}: ", error.input), "", 1))
                }
            },
        };
        // An invalid directory name is reported once, not again for each file in it.
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
        match examine(source) {
            Ok(entry) => {
                if matches!(entry, Entry::Symlink { .. }) {
                    let link = Link {
                        source: source.to_owned(),
                        moved: (!matches!(at, "inputs" | "outputs")).then(|| from.to_owned()),
                    };
                    self.links.insert(path.clone(), link);
                }
                self.incoming.entries.insert(path, entry);
            }
            Err(kind) => {
                self.refused.push(path);
                self.problems.push(Problem { path: shown, kind });
            }
        }
    }

    /// Replaces each symlink that leads out of the tree to a place below one of `roots` by its target.
    pub(super) fn follow(&mut self, roots: &[Utf8PathBuf]) {
        loop {
            let ends = self.incoming.links();
            let leads = |path: &BuildPath, link: &Link| link.leads(ends.get(path)?, roots);
            let out: Vec<_> = self
                .links
                .iter()
                .filter_map(|(path, link)| Some((path.clone(), leads(path, link)?)))
                .collect();
            if out.is_empty() {
                return;
            }
            for (path, end) in out {
                self.incoming.entries.remove(&path);
                self.links.remove(&path);
                match end {
                    Ok(end) => self.walk(&end, path.as_str()),
                    Err(kind) => {
                        self.problems.push(Problem {
                            path: path.to_string(),
                            kind,
                        });
                        self.refused.push(path);
                    }
                }
            }
        }
    }

    pub(super) fn end(mut self) -> Survey {
        // A symlink to a refused entry is not dangling, so it is not reported as well.
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

/// The text of a path in the build, which is then parsed: `at`, and the part of `path` below `from`.
fn below(from: &Utf8Path, at: &str, path: &Utf8Path) -> String {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_str().is_empty() => at.to_owned(),
        Ok(rest) => format!("{at}/{rest}"),
        Err(_) => path.to_string(),
    }
}

/// A path for people, on one line whatever it contains.
fn shown(from: &Utf8Path, at: &str, path: &Path) -> String {
    let rest = path.strip_prefix(from).unwrap_or(path);
    let mut shown = at.to_owned();
    let rest = rest.as_os_str().as_bytes();
    if !rest.is_empty() {
        shown.push('/');
        shown.push_str(&printable_bytes(rest));
    }
    shown
}
