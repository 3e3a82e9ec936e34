//! Problems that prevent the publication of a file.

use std::fmt;

use crate::privacy::{Occurrences, Private};

/// Something that must not be published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The path in the build, or on this machine if it is not in the build.
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

/// The lines of a finding, and the number of further ones.
fn occurrences(seen: &Occurrences) -> String {
    let lines: Vec<_> = seen.lines.iter().map(ToString::to_string).collect();
    let word = if lines.len() == 1 { "line" } else { "lines" };
    let times = match seen.count {
        1 => String::new(),
        count => format!(", {count} times"),
    };
    format!(" in {word} {}{times}", lines.join(", "))
}

/// The kind of a problem with a file to publish.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// A symlink that leads out of the tree.
    #[error("symlink to {target:?}, outside of the tree")]
    OutsideLink {
        /// The target of the symlink, as written.
        target: String,
    },
    /// A symlink with an absolute path.
    #[error("symlink to the absolute path {target:?}")]
    AbsoluteLink {
        /// The target of the symlink, as written.
        target: String,
    },
    /// A symlink whose target does not exist.
    #[error("symlink to {target:?}, which does not exist")]
    DanglingLink {
        /// The target of the symlink, as written.
        target: String,
    },
    /// A symlink that leads back to itself.
    #[error("symlink to {target:?}, which leads back to itself")]
    LinkLoop {
        /// The target of the symlink, as written.
        target: String,
    },
    /// Not a file, a directory or a symlink.
    #[error("a {what}, not a file")]
    NotAFile {
        /// `block device`, `character device`, `FIFO`, `socket`.
        what: String,
    },
    /// A file that runs as another user or group (set-id).
    #[error("set-user-id or set-group-id (mode {mode:04o})")]
    SetId {
        /// Its mode bits.
        mode: u32,
    },
    /// A file that cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The reason, as a text for people.
        reason: String,
    },
    /// A name that breaks the rules of paths in a build.
    #[error("a name that no mirror accepts: {reason}")]
    Name {
        /// The reason, as a text for people.
        reason: String,
    },
    /// A file that was written to while it was read.
    #[error("changed while it was read")]
    Changed,
    /// A path that is not below `inputs/` or `outputs/`.
    #[error("is neither in inputs/ nor in outputs/")]
    OutOfPlace,
    /// One path for both a file and a directory.
    #[error("is both a file and a directory")]
    FileAndDirectory,
    /// A file of the tree that describes other files, and does not match them.
    #[error("does not match the files to publish: {reason}")]
    Mismatched {
        /// The first difference, as a text for people.
        reason: String,
    },
    /// A text that contains private data of the build server.
    #[error("reveals the build server: {what}{}", occurrences(seen))]
    Private {
        /// The kind of private data that was found: host, address, account or secret.
        what: Private,
        /// The number of findings, and their lines.
        #[serde(flatten)]
        seen: Occurrences,
    },
    /// A name or a symlink target that contains private data of the build server.
    #[error("its name or target reveals the build server: {what}")]
    PrivateName {
        /// The kind of private data that was found: host, address, account or secret.
        what: Private,
    },
    /// The header of a package names the build server.
    #[error(
        "built with the build server's name in the header; build it with `--define '_buildhost NAME'`"
    )]
    PackageHost,
    /// A file in a package contains private data of the build server.
    #[error(
        "{} in it reveals the build server: {what}{}",
        stx_layout::printable(file),
        occurrences(seen)
    )]
    PrivateInPackage {
        /// The path of the file in the package, or `(header)`.
        file: String,
        /// The kind of private data.
        what: Private,
        /// The number of findings, and their lines.
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
    #[error("contradicts the result {result} of the build")]
    Marker {
        /// The outcome of the record.
        result: String,
    },
}
