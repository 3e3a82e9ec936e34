//! The promises of a mirror to its readers at any time, checked on an image.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{Image, Inode, Node, ROOT};

/// A build: the node at each of its paths.
type Tree = BTreeMap<String, Node>;

/// The builds that a reader of the mirror can see, and those that `undelete` can restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The dated directories of channels.
    pub(super) builds: BTreeMap<String, Tree>,
    /// The retired builds, as `<channel>/<date>@<time>`.
    pub(super) retired: BTreeMap<String, Tree>,
    /// The target of each alias.
    pub(super) aliases: BTreeMap<String, String>,
    /// The targets of aliases that are held on purpose.
    pub(super) held: BTreeMap<String, String>,
    /// The files of pins, `<channel>/<date>.json`, each with its bytes.
    pub(super) pins: BTreeMap<String, Node>,
}

impl View {
    /// The view of an image in which the mirror is the directory `mirror`.
    pub(super) fn of(image: &Image) -> Self {
        let mut view = Self::default();
        if let Some(mirror) = image.find("mirror") {
            view.look(image, mirror, "");
        }
        if let Some(held) = image.find("mirror/.stx/held") {
            let notes = tree(image, held).into_iter();
            view.held = notes
                .filter_map(|(path, node)| match node {
                    Node::Symlink { target } => Some((path.strip_prefix('/')?.to_owned(), target)),
                    Node::Dir { .. } | Node::File { .. } => None,
                })
                .collect();
        }
        if let Some(pins) = image.find("mirror/.stx/pins") {
            let files = tree(image, pins).into_iter();
            view.pins = files
                .filter_map(|(path, node)| match node {
                    Node::File { .. } => Some((path.strip_prefix('/')?.to_owned(), node)),
                    Node::Dir { .. } | Node::Symlink { .. } => None,
                })
                .collect();
        }
        if let Some(trash) = image.find("mirror/.stx/trash") {
            view.look_into_trash(image, trash, "");
        }
        view
    }

    fn look(&mut self, image: &Image, dir: Inode, path: &str) {
        for (name, entry) in image.entries(dir) {
            let path = format!("{path}{name}");
            match image.node(*entry) {
                Node::Dir { .. } if is_date(name) => {
                    self.builds.insert(path, tree(image, *entry));
                }
                Node::Dir { .. } if name != ".stx" => {
                    self.look(image, *entry, &format!("{path}/"));
                }
                Node::Symlink { target } => drop(self.aliases.insert(path, target.clone())),
                Node::Dir { .. } | Node::File { .. } => {}
            }
        }
    }

    fn look_into_trash(&mut self, image: &Image, dir: Inode, path: &str) {
        for (name, entry) in image.entries(dir) {
            let path = format!("{path}{name}");
            match name.split_once('@') {
                Some((date, _)) if is_date(date) => {
                    drop(self.retired.insert(path, tree(image, *entry)));
                }
                _ => self.look_into_trash(image, *entry, &format!("{path}/")),
            }
        }
    }

    /// The builds that are visible or can be restored.
    fn kept(&self) -> BTreeSet<&str> {
        let retired = self.retired.keys().map(|name| without_time(name));
        retired
            .chain(self.builds.keys().map(String::as_str))
            .collect()
    }
}

fn without_time(retired: &str) -> &str {
    retired.split_once('@').map_or(retired, |(build, _)| build)
}

fn is_date(name: &str) -> bool {
    let shape = name
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c });
    shape.eq("00000000T000000Z".chars())
}

/// The files and symlinks below a directory, by path.
fn tree(image: &Image, dir: Inode) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![(String::new(), dir)];
    while let Some((path, inode)) = open.pop() {
        for (name, entry) in image.entries(inode) {
            open.push((format!("{path}/{name}"), *entry));
        }
        let node = match image.node(inode) {
            Node::Dir { mode, .. } => Node::Dir {
                entries: BTreeMap::new(),
                mode: *mode,
            },
            node @ (Node::File { .. } | Node::Symlink { .. }) => node.clone(),
        };
        tree.insert(path, node);
    }
    tree
}

/// The mirror before and after a program. Both are known to be correct: `sha256sum` and `verify` have checked them.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) before: View,
    pub(super) after: View,
}

impl Expected {
    /// The promises that the image breaks, in one line; `ended` is true if the program has reported success.
    pub(super) fn broken(&self, image: &Image, ended: bool) -> Option<String> {
        let view = View::of(image);
        let whole = |build: &str, tree: &Tree| {
            let shown = [&self.before, &self.after]
                .into_iter()
                .find_map(|known| known.builds.get(build));
            let retired = [&self.before, &self.after].into_iter().find_map(|known| {
                let mut retired = known.retired.iter();
                retired.find_map(|(name, tree)| (without_time(name) == build).then_some(tree))
            });
            shown.or(retired) == Some(tree)
        };
        for (build, tree) in &view.builds {
            if !whole(build, tree) {
                return Some(format!("{build} can be seen and is not whole"));
            }
        }
        for (build, tree) in &view.retired {
            let fits =
                self.after.retired.contains_key(build) || self.before.retired.contains_key(build);
            if !fits || !whole(without_time(build), tree) {
                return Some(format!("{build} can be brought back and is not whole"));
            }
        }
        for (alias, target) in &view.aliases {
            let (channel, _) = alias.rsplit_once('/').unwrap_or(("", alias));
            let build = view.builds.get(&format!("{channel}/{target}"));
            if !build.is_some_and(|tree| tree.contains_key("/outputs/success")) {
                return Some(format!("{alias} points at {target}, which is no success"));
            }
            let known = [&self.before, &self.after].map(|known| known.aliases.get(alias));
            if !known.contains(&Some(target)) {
                return Some(format!("{alias} points at {target}, as it never should"));
            }
        }
        for (alias, was) in &self.before.aliases {
            let back = view.aliases.get(alias).filter(|target| *target < was);
            if back.is_some() && view.held.get(alias) != back {
                return Some(format!("nobody can tell why {alias} went back"));
            }
        }
        for build in view.builds.keys() {
            let pin = format!("{build}.json");
            let is_back = !self.before.builds.contains_key(build);
            if is_back && view.pins.get(&pin) != self.after.pins.get(&pin) {
                return Some(format!("{build} is back, and the next prune may take it"));
            }
        }
        for (pin, node) in &view.pins {
            let known = [&self.before, &self.after].map(|known| known.pins.get(pin));
            if !known.contains(&Some(node)) {
                return Some(format!("{pin} is half a pin"));
            }
        }
        for alias in self.before.aliases.keys() {
            if !view.aliases.contains_key(alias) && self.after.aliases.contains_key(alias) {
                return Some(format!("{alias} is gone"));
            }
        }
        let (before, after, kept) = (self.before.kept(), self.after.kept(), view.kept());
        if let Some(build) = before
            .intersection(&after)
            .find(|build| !kept.contains(*build))
        {
            return Some(format!("{build} is lost"));
        }
        if ended && view != self.after {
            return Some("the program was done, and it is not all there".to_owned());
        }
        let private = image.find("mirror/.stx");
        let open = private.filter(|private| match image.node(*private) {
            Node::Dir { entries, mode } => !entries.is_empty() && *mode != 0o700,
            Node::File { .. } | Node::Symlink { .. } => true,
        });
        open.map(|_| "others can look into .stx".to_owned())
    }
}

/// A hash of an image's tree, which identifies it.
pub(super) fn fingerprint(image: &Image) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    tree(image, ROOT).hash(&mut hasher);
    hasher.finish()
}
