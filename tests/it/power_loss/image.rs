//! The contents of a file system at one moment, inode by inode.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

pub(super) type Inode = usize;

/// A name in a directory.
pub(super) type Entry = (Inode, String);

/// The watched directory.
pub(super) const ROOT: Inode = 0;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    Dir {
        entries: BTreeMap<String, Inode>,
        mode: u32,
    },
    Symlink {
        target: String,
    },
}

/// All inodes, including those without a name.
#[derive(Debug, Clone)]
pub(super) struct Image(Vec<Arc<Node>>);

impl Image {
    /// An empty directory.
    pub(super) fn empty() -> Self {
        let (entries, mode) = (BTreeMap::new(), 0o755);
        Self(vec![Arc::new(Node::Dir { entries, mode })])
    }

    /// The image of a real directory.
    pub(super) fn read(dir: &Utf8Path) -> Self {
        let mut image = Self(Vec::new());
        image.read_node(dir, &mut HashMap::new());
        image
    }

    fn read_node(&mut self, path: &Utf8Path, known: &mut HashMap<u64, Inode>) -> Inode {
        let metadata = fs_err::symlink_metadata(path).expect("it is there");
        let mode = metadata.permissions().mode() & 0o7777;
        if let Some(inode) = known.get(&metadata.ino()) {
            return *inode;
        }
        let inode = self.0.len();
        known.insert(metadata.ino(), inode);
        let dir = Node::Dir {
            entries: BTreeMap::new(),
            mode,
        };
        self.0.push(Arc::new(dir));
        let node = if metadata.is_dir() {
            let names = crate::harness::names(path);
            let entries = names.into_iter().map(|name| {
                let entry = self.read_node(&path.join(&name), known);
                (name, entry)
            });
            let entries = entries.collect();
            Node::Dir { entries, mode }
        } else if metadata.is_symlink() {
            let target = path.read_link_utf8().expect("a symlink").into_string();
            Node::Symlink { target }
        } else {
            let bytes = fs_err::read(path).expect("a file");
            Node::File { bytes, mode }
        };
        self.0[inode] = Arc::new(node);
        inode
    }

    /// Writes it to a real disk, into an existing empty directory.
    pub(super) fn write(&self, dir: &Utf8Path) {
        self.write_entries(ROOT, dir, &mut HashMap::new());
    }

    fn write_entries(&self, inode: Inode, dir: &Utf8Path, made: &mut HashMap<Inode, Utf8PathBuf>) {
        let set = |path: &Utf8Path, mode| {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        for (name, entry) in self.entries(inode) {
            let path = dir.join(name);
            match self.node(*entry) {
                Node::Dir { mode, .. } => {
                    fs_err::create_dir(&path).expect("made");
                    self.write_entries(*entry, &path, made);
                    set(&path, *mode);
                }
                Node::Symlink { target } => {
                    fs_err::os::unix::fs::symlink(target, &path).expect("made");
                }
                Node::File { bytes, mode } => {
                    if let Some(first) = made.get(entry) {
                        fs_err::hard_link(first, &path).expect("made");
                    } else {
                        fs_err::write(&path, bytes).expect("written");
                        set(&path, *mode);
                        made.insert(*entry, path);
                    }
                }
            }
        }
    }

    pub(super) fn node(&self, inode: Inode) -> &Node {
        &self.0[inode]
    }

    /// The entries of a directory; none for other inodes.
    pub(super) fn entries(&self, inode: Inode) -> impl Iterator<Item = (&String, &Inode)> {
        let entries = match self.node(inode) {
            Node::Dir { entries, .. } => Some(entries),
            Node::File { .. } | Node::Symlink { .. } => None,
        };
        entries.into_iter().flatten()
    }

    /// The inode of a path, without following symlinks.
    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        let mut inode = ROOT;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let Node::Dir { entries, .. } = self.node(inode) else {
                return None;
            };
            inode = *entries.get(segment)?;
        }
        Some(inode)
    }

    /// The directory of a path, and the last name.
    pub(super) fn parent<'a>(&self, path: &'a str) -> (Inode, &'a str) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.find(dir);
        (
            dir.unwrap_or_else(|| panic!("{path}: in no directory")),
            name,
        )
    }

    /// Adds a new inode without a name.
    pub(super) fn add(&mut self, node: Arc<Node>) -> Inode {
        self.0.push(node);
        self.0.len() - 1
    }

    /// An inode, to be changed.
    pub(super) fn node_mut(&mut self, inode: Inode) -> &mut Node {
        Arc::make_mut(&mut self.0[inode])
    }

    /// Gives a directory entry another inode, or removes it.
    pub(super) fn set(&mut self, (dir, name): &Entry, inode: Option<Inode>) {
        if let Node::Dir { entries, .. } = self.node_mut(*dir) {
            match inode {
                Some(inode) => drop(entries.insert(name.clone(), inode)),
                None => drop(entries.remove(name)),
            }
        }
    }
}
