//! The promises to a reader of the mirror, checked without the project's own code.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::tree::{Node, Tree};
use crate::harness::{run, tool};

/// True if a name is that of a dated build.
fn is_date(name: &str) -> bool {
    name.len() == 16
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The builds of a tree: their paths.
pub(crate) fn builds(tree: &Tree) -> Vec<&str> {
    let dirs = tree.nodes.iter().filter(|(path, node)| {
        let name = path.rsplit('/').next().unwrap_or_default();
        matches!(node, Node::Dir(_)) && is_date(name) && !path.starts_with(".stx/")
    });
    dirs.map(|(path, _)| path.as_str()).collect()
}

/// The paths of the aliases of a tree, each with the path of its build.
pub(crate) fn aliases(tree: &Tree) -> BTreeMap<&str, String> {
    let builds = builds(tree);
    let mut aliases = BTreeMap::new();
    for (path, node) in &tree.nodes {
        let inside = builds
            .iter()
            .any(|build| path.starts_with(&format!("{build}/")));
        if let Node::Link(text) = node
            && !path.starts_with(".stx/")
            && !inside
        {
            let (channel, _) = path.rsplit_once('/').expect("an alias lies in a channel");
            aliases.insert(path.as_str(), format!("{channel}/{text}"));
        }
    }
    aliases
}

/// The faults that a reader sees in `mirror`; `known` are the trees from which its builds were made, or will be.
pub(crate) fn wrong(mirror: &Utf8Path, tree: &Tree, known: &[&Tree]) -> Vec<String> {
    let mut wrong = Vec::new();
    let builds = builds(tree);
    for build in &builds {
        let sums = run(tool(
            "sha256sum",
            ["--check", "--strict", "--quiet", "SHA256SUMS"],
        )
        .current_dir(mirror.join(build)));
        if sums.code != Some(0) {
            wrong.push(format!("{build}: {}{}", sums.stdout, sums.stderr));
        }
        let content = tree.below(build);
        if let Some(Node::File(_, sums)) = content.get("SHA256SUMS") {
            let sums = String::from_utf8_lossy(sums);
            let summed: Vec<_> = sums.lines().filter_map(|line| line.get(66..)).collect();
            for (path, node) in &content {
                if matches!(node, Node::File(..)) && *path != "SHA256SUMS" && !summed.contains(path)
                {
                    wrong.push(format!("{build}: {path} is in no sum"));
                }
            }
        }
        if !known.iter().any(|known| known.below(build) == content) {
            wrong.push(format!("{build}: not as it was published"));
        }
    }
    for (alias, target) in aliases(tree) {
        let success = format!("{target}/outputs/success");
        if !builds.contains(&target.as_str()) || !tree.nodes.contains_key(&success) {
            wrong.push(format!("{alias} -> {target}: no success"));
        }
    }
    for before in known {
        for alias in aliases(before).keys() {
            // An alias of the goal may not exist yet; one that every tree has must always exist.
            let everywhere = known.iter().all(|known| known.nodes.contains_key(*alias));
            if everywhere && !matches!(tree.nodes.get(*alias), Some(Node::Link(_))) {
                wrong.push(format!("{alias}: missing"));
            }
        }
    }
    for (path, node) in &tree.nodes {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_build = builds
            .iter()
            .any(|build| path == build || path.starts_with(&format!("{build}/")));
        let is_private = path == ".stx" || path.starts_with(".stx/");
        let fits = match node {
            Node::Dir(_) => known.iter().any(|known| known.nodes.contains_key(path)),
            Node::Link(_) => name.starts_with("latest_"),
            Node::File(..) => stx_layout::index::PageName::is(name),
        };
        if !is_build && !is_private && !fits {
            wrong.push(format!("{path}: neither a build nor an alias"));
        }
    }
    if !matches!(tree.nodes.get(".stx"), Some(Node::Dir(0o700))) {
        wrong.push(".stx: open to readers".to_owned());
    }
    wrong.sort_unstable();
    wrong.dedup();
    wrong
}
