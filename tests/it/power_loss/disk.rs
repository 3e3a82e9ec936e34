//! A file system in memory that distinguishes its current state from the state after a power loss.
//!
//! A real disk is assumed to keep only the promises of `fsync(2)` and of journals:
//! - `fsync` of a file makes its bytes and mode durable, not its name; `fsync` of a directory makes its entries durable, not their
//!   inodes. `syncfs` makes everything durable. A sync covers the calls that had ended when it began.
//! - A rename is one change: after a power loss, either the old name or the new one exists, never both or neither. It is made durable
//!   by an `fsync` of the directory of the new name.
//! - Changes of the same directory entry keep their order. All other changes may reach the disk in any order, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::image::{Entry, Image, Inode, Node};
use super::trace::{Call, Event};

/// A change that may or may not have reached the disk.
#[derive(Debug, Clone)]
enum Change {
    Enter {
        at: Entry,
        inode: Inode,
    },
    Leave {
        at: Entry,
    },
    Move {
        from: Entry,
        to: Entry,
        inode: Inode,
    },
    Write {
        inode: Inode,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        inode: Inode,
        size: usize,
    },
    Mode {
        inode: Inode,
        mode: u32,
    },
}

impl Change {
    /// Applies the change to an image.
    fn apply(&self, image: &mut Image) {
        match self {
            Self::Enter { at, inode } => image.set(at, Some(*inode)),
            Self::Leave { at } => image.set(at, None),
            Self::Move { from, to, inode } => {
                image.set(from, None);
                image.set(to, Some(*inode));
            }
            Self::Write { inode, at, bytes } => {
                if let Node::File { bytes: old, .. } = image.node_mut(*inode) {
                    old.resize(old.len().max(at + bytes.len()), 0);
                    old[*at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
            Self::Cut { inode, size } => {
                if let Node::File { bytes, .. } = image.node_mut(*inode) {
                    bytes.resize(*size, 0);
                }
            }
            Self::Mode { inode, mode } => match image.node_mut(*inode) {
                Node::File { mode: old, .. } | Node::Dir { mode: old, .. } => *old = *mode,
                Node::Symlink { .. } => {}
            },
        }
    }

    /// True if an `fsync` of `synced` makes it durable.
    fn is_of(&self, synced: Inode) -> bool {
        match self {
            Self::Enter { at: (dir, _), .. }
            | Self::Leave { at: (dir, _) }
            | Self::Move { to: (dir, _), .. } => *dir == synced,
            Self::Write { inode, .. } | Self::Cut { inode, .. } | Self::Mode { inode, .. } => {
                *inode == synced
            }
        }
    }

    fn is_data(&self) -> bool {
        match self {
            Self::Write { .. } | Self::Cut { .. } => true,
            Self::Enter { .. } | Self::Leave { .. } | Self::Move { .. } | Self::Mode { .. } => {
                false
            }
        }
    }

    fn entries(&self) -> Vec<&Entry> {
        match self {
            Self::Enter { at, .. } | Self::Leave { at } => vec![at],
            Self::Move { from, to, .. } => vec![from, to],
            Self::Write { .. } | Self::Cut { .. } | Self::Mode { .. } => Vec::new(),
        }
    }
}

/// The content of the disk, and its durable part.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    now: Image,
    durable: Image,
    /// Each with the position of its call in the order of ends.
    pending: Vec<(usize, Change)>,
}

impl Disk {
    /// A disk on which all of `image` is durable.
    pub(super) fn new(image: Image) -> Self {
        Self {
            now: image.clone(),
            durable: image,
            pending: Vec::new(),
        }
    }

    /// The content while there is power.
    pub(super) fn now(&self) -> &Image {
        &self.now
    }

    /// Begins another program: all previous calls have ended.
    pub(super) fn begin_program(&mut self) {
        for (ended, _) in &mut self.pending {
            *ended = 0;
        }
    }

    /// Sorts the calls of a program into an order in which they may have taken effect. Of two parallel calls, the one that ended
    /// first may depend on the other.
    pub(super) fn in_order(mut self, mut events: Vec<Event>) -> Vec<Event> {
        let mut ordered = Vec::new();
        while let Some(first) = events.first() {
            let ended = first.ended;
            let side_by_side = |event: &Event| event.began < ended;
            let next = events
                .iter()
                .position(|event| side_by_side(event) && self.can(&event.call));
            let next = next.unwrap_or_else(|| panic!("how can this be: {first:?}"));
            let event = events.remove(next);
            self.call(&event);
            ordered.push(event);
        }
        ordered
    }

    /// True if the preconditions of a call are met.
    fn can(&self, call: &Call) -> bool {
        let is_there = |path: &str| self.now.find(path).is_some();
        let has_room = |path: &str| is_there(path.rsplit_once('/').map_or("", |(dir, _)| dir));
        match call {
            Call::Create { path, .. } => has_room(path),
            Call::MakeDir { path, .. } | Call::Symlink { path, .. } => {
                has_room(path) && !is_there(path)
            }
            Call::Link { from, to } | Call::Rename { from, to } => is_there(from) && has_room(to),
            Call::Remove { path }
            | Call::Write { path, .. }
            | Call::Cut { path, .. }
            | Call::Mode { path, .. }
            | Call::Sync { path } => is_there(path),
            Call::SyncAll | Call::Exit => true,
        }
    }

    /// Executes a call; true if it made new data durable.
    pub(super) fn call(&mut self, event: &Event) -> bool {
        let find = |path: &str| {
            let found = self.now.find(path);
            found.unwrap_or_else(|| panic!("{path}: not there in {event:?}"))
        };
        let entry = |path: &str| {
            let (dir, name) = self.now.parent(path);
            (dir, name.to_owned())
        };
        // The tests run with the umask of the shell, which is assumed to be 022 here.
        let masked = |mode: u32| mode & !0o022;
        let change = match &event.call {
            Call::Exit => return false,
            Call::Create { path, .. } if self.now.find(path).is_some() => return false,
            Call::Create { path, mode } => {
                let (bytes, mode, at) = (Vec::new(), masked(*mode), entry(path));
                let inode = self.born(Node::File { bytes, mode });
                Change::Enter { at, inode }
            }
            Call::MakeDir { path, mode } => {
                let (entries, mode, at) = (BTreeMap::new(), masked(*mode), entry(path));
                let inode = self.born(Node::Dir { entries, mode });
                Change::Enter { at, inode }
            }
            Call::Symlink { target, path } => {
                let (target, at) = (target.clone(), entry(path));
                let inode = self.born(Node::Symlink { target });
                Change::Enter { at, inode }
            }
            Call::Link { from, to } => Change::Enter {
                at: entry(to),
                inode: find(from),
            },
            Call::Rename { from, to } => Change::Move {
                from: entry(from),
                to: entry(to),
                inode: find(from),
            },
            Call::Remove { path } => Change::Leave { at: entry(path) },
            Call::Write { path, at, bytes } => Change::Write {
                inode: find(path),
                at: *at,
                bytes: bytes.clone(),
            },
            Call::Cut { path, size } => Change::Cut {
                inode: find(path),
                size: *size,
            },
            Call::Mode { path, mode } => Change::Mode {
                inode: find(path),
                mode: *mode,
            },
            Call::Sync { path } => {
                let inode = find(path);
                return self.sync(event.began, |change| change.is_of(inode));
            }
            Call::SyncAll => return self.sync(event.began, |_| true),
        };
        change.apply(&mut self.now);
        self.pending.push((event.ended, change));
        false
    }

    /// A new inode without a name.
    fn born(&mut self, node: Node) -> Inode {
        let node = Arc::new(node);
        self.now.add(Arc::clone(&node));
        self.durable.add(node)
    }

    fn sync(&mut self, began: usize, covers: impl Fn(&Change) -> bool) -> bool {
        let chosen = self.pending.iter();
        let chosen = chosen.map(|(ended, change)| *ended <= began && covers(change));
        let chosen = self.with_causes(chosen.collect());
        let pending = std::mem::take(&mut self.pending);
        for ((ended, change), is_durable) in pending.into_iter().zip(&chosen) {
            if *is_durable {
                change.apply(&mut self.durable);
            } else {
                self.pending.push((ended, change));
            }
        }
        chosen.contains(&true)
    }

    /// Adds the earlier changes of the same entries.
    fn with_causes(&self, mut chosen: Vec<bool>) -> Vec<bool> {
        let mut entries: BTreeSet<&Entry> = BTreeSet::new();
        for (index, (_, change)) in self.pending.iter().enumerate().rev() {
            let touched = change.entries();
            if touched.iter().any(|entry| entries.contains(entry)) {
                chosen[index] = true;
            }
            if chosen[index] {
                entries.extend(touched);
            }
        }
        chosen
    }

    /// The possible contents after a power loss now: none of the changes that are not durable; all of them; all but the bytes of
    /// files; each change alone; all but each; each beginning of the list, with and without bytes.
    pub(super) fn after_power_loss(&self) -> impl Iterator<Item = Image> {
        let count = self.pending.len();
        let names = move |index: usize| !self.pending[index].1.is_data();
        let pick = move |keep: &dyn Fn(usize) -> bool| (0..count).map(keep).collect::<Vec<_>>();
        let mut choices = BTreeSet::from([pick(&|_| false)]);
        for one in 0..count {
            choices.insert(pick(&|index| index == one));
            choices.insert(pick(&|index| index != one));
            choices.insert(pick(&|index| index <= one));
            choices.insert(pick(&|index| index <= one && names(index)));
        }
        choices.into_iter().map(|chosen| {
            let chosen = self.with_causes(chosen);
            let mut image = self.durable.clone();
            for ((_, change), _) in self.pending.iter().zip(chosen).filter(|(_, kept)| *kept) {
                change.apply(&mut image);
            }
            image
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power_loss::image::ROOT;

    /// The names in the root directory after a power loss, for each possible outcome.
    fn left(calls: &[(Call, usize)]) -> BTreeSet<Vec<String>> {
        let mut disk = Disk::new(Image::empty());
        for (index, (call, began)) in calls.iter().cloned().enumerate() {
            let ended = index + 1;
            disk.call(&Event { call, began, ended });
        }
        let names = |image: Image| image.entries(ROOT).map(|(name, _)| name.clone()).collect();
        disk.after_power_loss().map(names).collect()
    }

    fn made(path: &str) -> Call {
        let path = path.to_owned();
        Call::Create { path, mode: 0o666 }
    }

    fn synced(path: &str) -> Call {
        let path = path.to_owned();
        Call::Sync { path }
    }

    #[test]
    fn a_name_is_durable_only_after_a_sync_of_its_directory() {
        let ways = left(&[(made("a"), 0), (synced("a"), 1)]);
        assert!(ways.contains(&vec![]), "{ways:?}");
        let ways = left(&[(made("a"), 0), (synced(""), 1)]);
        assert_eq!(ways, [vec!["a".to_owned()]].into());
    }

    #[test]
    fn a_sync_covers_only_calls_that_ended_before_it_began() {
        let ways = left(&[(made("a"), 0), (synced(""), 0)]);
        assert!(ways.contains(&vec![]), "{ways:?}");
        let ways = left(&[(made("a"), 0), (Call::SyncAll, 0)]);
        assert!(ways.contains(&vec![]), "{ways:?}");
    }

    #[test]
    fn concurrent_calls_are_sorted_by_their_dependencies() {
        let event = |call, began, ended| Event { call, began, ended };
        let (path, mode) = ("a".to_owned(), 0o755);
        let dir = Call::MakeDir { path, mode };
        let events = vec![event(made("a/b"), 0, 1), event(dir.clone(), 0, 2)];
        let ordered = Disk::new(Image::empty()).in_order(events);
        let calls: Vec<_> = ordered.into_iter().map(|event| event.call).collect();
        assert_eq!(calls, [dir, made("a/b")]);
    }

    #[test]
    fn a_renamed_file_has_one_name() {
        let (from, to) = ("a".to_owned(), "b".to_owned());
        let renamed = Call::Rename { from, to };
        let ways = left(&[(made("a"), 0), (synced(""), 1), (renamed, 2)]);
        assert_eq!(ways, [vec!["a".to_owned()], vec!["b".to_owned()]].into());
    }

    #[test]
    fn only_changes_of_different_names_are_reordered() {
        let path = "a".to_owned();
        let removed = Call::Remove { path };
        let ways = left(&[(made("a"), 0), (removed, 1), (made("b"), 2)]);
        let alone = vec!["b".to_owned()];
        assert!(ways.contains(&alone) && ways.contains(&vec![]), "{ways:?}");
    }
}
