//! Real processes, git work trees and files of this machine.

mod build;
mod collect;
mod descent;
mod git;
mod journal;
mod locks;
mod log;
mod orphan;
mod proc;
mod runner;
mod tools;
mod tree;

pub use build::{Build, BuildError, BuildResult, Built, finish};
pub use collect::{CollectError, collect, collect_preview};
pub use git::{SourceError, changed_files, git_reason};
pub(crate) use git::{read_changes, read_sources};
pub use journal::{JournalError, JournalWriter, read_journal, remove_journal, this_boot};
pub use locks::{SourceRunner, remove_locks_in};
pub use log::{DEFAULT_LOG_LIMIT, settle_log};
pub use orphan::{Orphan, OrphanKind, end_orphans};
pub use proc::started;
pub use runner::{Lines, ProcessRunner, add_end};
pub use tools::{MissingTool, command, missing_tools};

/// The commits of a build.
pub use crate::journal::SourcesRead as Sources;
