//! Real processes, git work trees and files of this machine.

mod collect;
mod git;
mod group;
mod orphan;
mod place;
mod runner;
mod tools;

pub use collect::{CollectError, collect};
pub use git::{SourceError, Sources, read_changes, read_sources};
pub use orphan::{Orphan, OrphanKind, end_orphans};
pub use place::{PlaceError, PlacedRunner};
pub use runner::ProcessRunner;
pub use tools::{MissingTool, missing_tools};
