//! The verdict of `debdiff` and `diff` on two packages, and that of this crate, in the same form.

use std::collections::BTreeSet;
use std::process::Command;

use camino::Utf8Path;
use camino_tempfile::tempdir;
use stx_compare::Differences;
use stx_compare::change::{Change, Noise};

use crate::made::say;

/// The verdict on two packages: the paths, fields and control files that differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) paths: BTreeSet<String>,
    pub(crate) fields: BTreeSet<String>,
    pub(crate) control: BTreeSet<String>,
}

/// The verdict of `debdiff` on names, modes, owners, targets and control files, and that of `diff` on the files' bytes.
pub(crate) fn judged(from: &Utf8Path, to: &Utf8Path) -> Judged {
    let mut judged = Judged::default();
    let mut command = Command::new("debdiff");
    command.args(["--noconf", "--dirs", "--controlfiles", "ALL"]);
    let text = say(command.args([from, to]), &[0, 1]);
    let mut section = "";
    for line in text.lines() {
        if let Some((name, _)) = line.split_once(" files: lines which differ") {
            section = name;
            if section != "Control" {
                judged.control.insert(section.to_lowercase());
            }
        } else if line.starts_with("Files in ") {
            section = line;
        } else if section.starts_with("Files in ") && line.contains('/') {
            let path = line.split_ascii_whitespace().nth(2).expect("a path");
            judged.paths.insert(path.trim_end_matches('/').to_owned());
        } else if section == "Control" && !line.starts_with([' ', '-']) {
            let line = line.trim_start_matches(['{', '[', '+', '-']);
            let field = line.split_once(':').map(|(field, _)| field.to_owned());
            judged.fields.extend(field);
        } else if section == "Control" && line.starts_with(' ') {
            judged.fields.insert("Description".to_owned());
        }
    }
    let dir = tempdir().expect("a directory");
    for (package, name) in [(from, "from"), (to, "to")] {
        let to = dir.path().join(name);
        say(
            Command::new("dpkg-deb").args(["-x", package.as_str(), to.as_str()]),
            &[0],
        );
    }
    let mut command = Command::new("diff");
    command.args(["-rq", "--no-dereference", "from", "to"]);
    for line in say(command.current_dir(dir.path()), &[0, 1]).lines() {
        if let Some(rest) = line.strip_prefix("Files from") {
            let (path, _) = rest.split_once(" and ").expect("two files");
            judged.paths.insert(path.to_owned());
        }
    }
    judged
}

/// The verdict of this crate, in the same form.
pub(crate) fn named(differences: &Differences) -> Judged {
    let mut named = Judged::default();
    for change in &differences.changes {
        match change {
            Change::Version { .. } => {
                named.fields.insert("Version".to_owned());
            }
            Change::Attribute { name, .. } => {
                named.fields.insert(match name.as_str() {
                    "name" => "Package".to_owned(),
                    "architecture" => "Architecture".to_owned(),
                    name => name.to_owned(),
                });
            }
            Change::FileAdded { path, .. }
            | Change::FileRemoved { path, .. }
            | Change::FileChanged { path, .. } => {
                named.paths.insert(path.clone());
            }
            Change::Dependency { relation, name, .. } | Change::Soname { relation, name, .. } => {
                if name.contains('(') || name.contains(".so.") {
                    let file = if name.contains('(') {
                        "symbols"
                    } else {
                        "shlibs"
                    };
                    named.control.insert(file.to_owned());
                } else {
                    let words = relation.as_str().split('-').map(|word| {
                        let (first, rest) = word.split_at(1);
                        first.to_uppercase() + rest
                    });
                    named.fields.insert(words.collect::<Vec<_>>().join("-"));
                }
            }
            Change::Scriptlet { name, .. } | Change::ControlFile { name, .. } => {
                named.control.insert(name.clone());
            }
            // debdiff does not read entries of changelogs, and does not compare compression.
            Change::Changelog { .. } | Change::Payload { .. } => {}
            Change::Unread => panic!("the payload was read"),
        }
    }
    for noise in &differences.noise {
        if let Noise::Derived { name, .. } = noise {
            named.fields.insert(name.clone());
        }
    }
    named
}
