//! The description of a directory tree: paths, kinds, modes, bytes, and hard links.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory with its permission bits.
    Dir(u32),
    /// A symlink with its text.
    Link(String),
    /// A file with its permission bits and its bytes.
    File(u32, Vec<u8>),
}

/// A directory tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    /// By path below the root.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// The first name of each file that has more than one in the tree, by its other names.
    pub(crate) same: BTreeMap<String, String>,
}

impl Tree {
    /// Reads a tree.
    pub(crate) fn read(root: &Utf8Path) -> Self {
        let mut tree = Self::default();
        let mut inodes = HashMap::new();
        for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
            let entry = entry.expect("a readable tree");
            let path = Utf8Path::from_path(entry.path()).expect("UTF-8");
            let name = path.strip_prefix(root).expect("below").to_string();
            // Caches may be lost, and contain times.
            if name == ".stx/cache" || name.starts_with(".stx/cache/") {
                continue;
            }
            let metadata = entry.metadata().expect("metadata");
            let mode = metadata.mode() & 0o7777;
            let node = if metadata.is_dir() {
                Node::Dir(mode)
            } else if metadata.is_symlink() {
                Node::Link(path.read_link_utf8().expect("a link").into_string())
            } else {
                match inodes.entry(metadata.ino()) {
                    std::collections::hash_map::Entry::Vacant(first) => {
                        first.insert(name.clone());
                    }
                    std::collections::hash_map::Entry::Occupied(first) => {
                        tree.same.insert(name.clone(), first.get().clone());
                    }
                }
                Node::File(mode, fs_err::read(path).expect("a readable file"))
            };
            tree.nodes.insert(name, node);
        }
        tree
    }

    /// The entries below a directory of the tree.
    pub(crate) fn below(&self, dir: &str) -> BTreeMap<&str, &Node> {
        let below = self.nodes.iter().filter_map(|(path, node)| {
            let rest = path.strip_prefix(dir)?.strip_prefix('/')?;
            Some((rest, node))
        });
        below.collect()
    }

    /// The paths at which two trees differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let paths = self.nodes.keys().chain(other.nodes.keys());
        let differ = paths.filter(|path| {
            self.nodes.get(*path) != other.nodes.get(*path)
                || self.same.get(*path) != other.same.get(*path)
        });
        let mut differ: Vec<_> = differ.cloned().collect();
        differ.sort_unstable();
        differ.dedup();
        differ
    }
}
