//! Decides if a directory is a mirror, and otherwise looks for mirrors nearby.
//!
//! A directory that was given by mistake must not pass for a mirror without builds: `list` would report an empty mirror, and
//! `pages` would write into the directory.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{AliasName, BuildDate, Channel, ReleaseKind};
use walkdir::WalkDir;

use super::list::DEEPEST;

/// The private area, which a mirror has since its first publish.
const PRIVATE: &str = ".stx";

/// The number of levels above and below that are searched.
const HIGHEST: usize = 8;
const LOWEST: usize = 2;

/// The number of entries below that are examined, so that a wrong directory does not cause a scan of a whole disk.
const MOST: usize = 2000;

/// The most mirrors that an error names.
const NAMED: usize = 3;

/// The relation of a directory to mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It is a mirror: it has the private area, or a channel.
    Mirror,
    /// It is empty, so it can become a mirror.
    Empty,
    /// It is inside this mirror.
    Within(Utf8PathBuf),
    /// It is not a mirror, but contains these.
    Above(Vec<Utf8PathBuf>),
    /// It contains something else.
    Other,
}

/// The relation of the directory `root` to mirrors. Entries that cannot be read count as missing; a mirror that is found nearby is
/// checked again when it is opened.
///
/// # Errors
/// If `root` itself cannot be read.
pub(super) fn likeness(root: &Utf8Path) -> io::Result<Likeness> {
    let names = names(root)?;
    if is_mirror(root) {
        return Ok(Likeness::Mirror);
    }
    // With `..` or symlinks, the text of the path alone would give a wrong parent.
    let real = root.canonicalize_utf8()?;
    if let Some(above) = real
        .ancestors()
        .skip(1)
        .take(HIGHEST)
        .find(|dir| is_mirror(dir))
    {
        return Ok(Likeness::Within(above.to_owned()));
    }
    // A new file system contains `lost+found`.
    let is_empty = names
        .iter()
        .all(|name| name.starts_with('.') || name == "lost+found");
    if is_empty {
        return Ok(Likeness::Empty);
    }
    let below = below(root);
    Ok(if below.is_empty() {
        Likeness::Other
    } else {
        Likeness::Above(below)
    })
}

/// The mirrors among the directories below.
fn below(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut seen = 0;
    while let Some((dir, depth)) = queue.pop_front() {
        let mut names = names(&dir).unwrap_or_default();
        names.sort();
        for name in names {
            seen += 1;
            if seen > MOST || found.len() == NAMED {
                return found;
            }
            let path = dir.join(name);
            if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                continue;
            }
            if is_mirror(&path) {
                found.push(path);
            } else if depth + 1 < LOWEST {
                queue.push_back((path, depth + 1));
            }
        }
    }
    found
}

/// True if a directory contains any file. Hidden names at its top and `lost+found` do not count.
///
/// A power loss during the first publish may leave the directories of a channel without `.stx`. Publishing there loses nothing.
pub(super) fn holds_files(root: &Utf8Path) -> bool {
    let is_aside = |name: &OsStr| name.as_encoded_bytes().starts_with(b".") || name == "lost+found";
    let entries = WalkDir::new(root).min_depth(1).into_iter();
    let mut entries = entries.filter_entry(|it| it.depth() > 1 || !is_aside(it.file_name()));
    let mut first = entries.by_ref().take(MOST);
    // An entry that cannot be examined counts as a file of another user.
    first.any(|entry| !entry.is_ok_and(|entry| entry.file_type().is_dir()))
        || entries.next().is_some()
}

fn is_mirror(dir: &Utf8Path) -> bool {
    fs::symlink_metadata(dir.join(PRIVATE)).is_ok_and(|found| found.is_dir())
        || ReleaseKind::ALL.into_iter().any(|kind| {
            let relative = Utf8Path::new(kind.as_str());
            fs::symlink_metadata(dir.join(relative)).is_ok_and(|found| found.is_dir())
                && has_channel(dir, relative, 1)
        })
}

/// True if a directory below the root is a channel with a build or an alias, or contains one.
fn has_channel(root: &Utf8Path, relative: &Utf8Path, depth: usize) -> bool {
    let Ok(names) = names(&root.join(relative)) else {
        return false;
    };
    if relative.as_str().parse::<Channel>().is_ok()
        && names.iter().any(|name| {
            // A release without a build date, which an older publisher left, consists of `outputs` alone.
            let is_undated = name == "outputs";
            is_undated || name.parse::<BuildDate>().is_ok() || name.parse::<AliasName>().is_ok()
        })
    {
        return true;
    }
    depth < DEEPEST
        && names.iter().any(|name| {
            let relative = relative.join(name);
            name.parse::<BuildDate>().is_err()
                && fs::symlink_metadata(root.join(&relative)).is_ok_and(|found| found.is_dir())
                && has_channel(root, &relative, depth + 1)
        })
}

/// The names in a directory that are UTF-8; other names are not part of a mirror.
fn names(dir: &Utf8Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(dir)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.take(MOST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "master/centos/20181105T060000Z";

    /// A directory with these directories in it.
    fn with(dirs: &[&str]) -> camino_tempfile::Utf8TempDir {
        let dir = camino_tempfile::Utf8TempDir::new().unwrap();
        for name in dirs {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        dir
    }

    #[test]
    fn a_mirror_has_the_private_area_or_a_channel() {
        let long = "feature/x/debian/bullseye/amd64/flock/20181105T060000Z";
        for dirs in [
            &[".stx"][..],
            &[BUILD],
            &["rc/2.0/centos/20181105T060000Z"],
            &["release/2.0.0/centos/outputs/iso"],
            &[long],
        ] {
            let dir = with(dirs);
            assert_eq!(likeness(dir.path()).unwrap(), Likeness::Mirror, "{dirs:?}");
        }
    }

    #[test]
    fn a_wrong_directory_names_the_mirror_above_or_within_it() {
        let dir = with(&["a/mirror/.stx", "a/state", "b", "c/lost+found", "d/etc/x"]);
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/mirror").join(BUILD)).unwrap();
        let mirror = at("a/mirror");
        for (path, expected) in [
            ("", Likeness::Above(vec![mirror.clone()])),
            ("a", Likeness::Above(vec![mirror.clone()])),
            ("a/mirror", Likeness::Mirror),
            ("a/mirror/master", Likeness::Within(mirror.clone())),
            ("a/mirror/master/centos", Likeness::Within(mirror.clone())),
            ("b", Likeness::Empty),
            ("c", Likeness::Empty),
            ("d", Likeness::Other),
        ] {
            assert_eq!(likeness(&at(path)).unwrap(), expected, "{path}");
        }
        assert!(likeness(&at("nosuch")).is_err());
    }

    #[test]
    fn channel_names_without_a_build_are_not_a_mirror() {
        let dir = with(&["master/centos/src", "release/notes"]);
        assert_eq!(likeness(dir.path()).unwrap(), Likeness::Other);
    }

    #[test]
    fn directories_without_files_count_as_empty() {
        let dir = with(&["master/centos", ".cache", "lost+found"]);
        fs::write(dir.path().join(".cache/a"), "").unwrap();
        assert!(!holds_files(dir.path()));
        fs::write(dir.path().join("master/centos/.a"), "").unwrap();
        assert!(holds_files(dir.path()));
    }
}
