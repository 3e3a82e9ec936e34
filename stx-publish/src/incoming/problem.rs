//! Problems for which a file is not published.

use std::fmt;

use crate::privacy::{Occurrences, Private};

/// Something that must not leave the build server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where: a path in the build, or on this machine where it has none.
    pub path: String,
    /// The kind of the problem, with its details.
    #[serde(flatten)]
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}

/// The lines of a finding, and how many more there are.
fn where_seen(seen: &Occurrences) -> String {
    let lines: Vec<_> = seen.lines.iter().map(ToString::to_string).collect();
    let word = if lines.len() == 1 { "line" } else { "lines" };
    let times = match seen.count {
        1 => String::new(),
        count => format!(", {count} times"),
    };
    format!(" in {word} {}{times}", lines.join(", "))
}

/// The kind of a problem with a file that is to be published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// A symlink that leads out of the tree.
    #[error("symlink to {target:?}, outside of the tree")]
    OutsideLink {
        /// The target of the symlink, as it is written.
        target: String,
    },
    /// A symlink with an absolute path.
    #[error("symlink to the absolute path {target:?}")]
    AbsoluteLink {
        /// The target of the symlink, as it is written.
        target: String,
    },
    /// A symlink to nothing.
    #[error("symlink to {target:?}, which is not there")]
    DanglingLink {
        /// The target of the symlink, as it is written.
        target: String,
    },
    /// A symlink that leads back to itself.
    #[error("symlink to {target:?}, which leads back to itself")]
    LinkLoop {
        /// The target of the symlink, as it is written.
        target: String,
    },
    /// Neither file, directory nor symlink.
    #[error("a {what}, not a file")]
    NotAFile {
        /// `block device`, `character device`, `FIFO`, `socket`.
        what: String,
    },
    /// Runs as another user or group.
    #[error("set-user-id or set-group-id (mode {mode:04o})")]
    SetId {
        /// Its mode bits.
        mode: u32,
    },
    /// Cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The reason, as a text for people.
        reason: String,
    },
    /// A name that the grammar refuses.
    #[error("a name that no mirror takes: {reason}")]
    Name {
        /// The reason, as a text for people.
        reason: String,
    },
    /// Written to while it was read.
    #[error("changed while it was read")]
    Changed,
    /// Not below `inputs/` or `outputs/`.
    #[error("lies neither in inputs/ nor in outputs/")]
    OutOfPlace,
    /// One path for a file and for a directory.
    #[error("is both a file and a directory")]
    FileAndDirectory,
    /// Tells of the build server.
    #[error("tells of the build server: {what}{}", where_seen(seen))]
    Private {
        /// The kind of private data that was found: host, address, account or secret.
        what: Private,
        /// How often, and where.
        #[serde(flatten)]
        seen: Occurrences,
    },
    /// Its name, or the text of a symlink, tells of the build server.
    #[error("its name or target tells of the build server: {what}")]
    PrivateName {
        /// The kind of private data that was found: host, address, account or secret.
        what: Private,
    },
    /// The header of a package tells of the build server.
    #[error(
        "built with the build server's name in the header; build it with `--define '_buildhost NAME'`"
    )]
    PackageHost,
    /// A file in a package tells of the build server.
    #[error(
        "{} in it tells of the build server: {what}{}",
        stx_layout::printable(file),
        where_seen(seen)
    )]
    PrivateInPackage {
        /// The path of the file in the package, or `(header)`.
        file: String,
        /// The kind of private data.
        what: Private,
        /// How often, and in which lines.
        #[serde(flatten)]
        seen: Occurrences,
    },
    /// A log that cannot be searched.
    #[error("a log that cannot be searched: {reason}")]
    Unsearchable {
        /// The reason, as a text for people.
        reason: String,
    },
    /// The marker of the other outcome.
    #[error("says that the build ended otherwise than as {result}")]
    Marker {
        /// The outcome of the record.
        result: String,
    },
}
