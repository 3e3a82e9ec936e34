//! The text of a plan for people.

use std::fmt;

use stx_layout::{AliasEntry, BuildDate, BuildPath, counted, size as size_of};

use crate::incoming::Entry;
use crate::store::rules::show_alias;

use super::{AliasStep, AliasVerdict, PublishAction, PublishPlan};

impl fmt::Display for PublishPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            PublishAction::New => {
                let Self {
                    id,
                    result,
                    files,
                    bytes,
                    ..
                } = self;
                let (files, bytes) = (counted(*files, "file"), size_of(*bytes));
                write!(f, "publish {id} ({result}): {files}, {bytes}")?;
                match &self.linked {
                    Some(linked) => {
                        writeln!(f, ", of which {} are on the mirror", size_of(linked.bytes))?;
                    }
                    None => writeln!(f)?,
                }
                for (path, entry) in &self.incoming.entries {
                    self.entry(f, path, entry)?;
                }
            }
            PublishAction::Same => {
                writeln!(f, "{} ({}) is published already", self.id, self.result)?;
            }
        }
        if let Some(promotion) = &self.promotion {
            writeln!(f, "  {promotion}")?;
        }
        for dir in self.repositories.iter().chain(&self.apt_repositories) {
            writeln!(f, "  repository metadata in {dir}")?;
        }
        for path in &self.left_out {
            writeln!(f, "  left out and regenerated: {path}")?;
        }
        for (dir, carried) in &self.carried {
            for record in &carried.records {
                writeln!(f, "  `{}` is kept in the metadata of {dir}", record.kind)?;
            }
            for (what, reason) in &carried.left_out {
                writeln!(
                    f,
                    "  `{what}` is left out of the metadata of {dir}: {reason}"
                )?;
            }
        }
        for line in self.privacy.to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        self.aliases
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))?;
        let mut sections = self.undated.iter().flatten();
        sections.try_for_each(|section| {
            let (channel, section) = (&self.id.channel, section.as_str());
            writeln!(f, "  {channel}/{section} leads to that of latest_build")
        })
    }
}

impl PublishPlan {
    /// Writes the line of one file: its path, its size, and the file that it shares its bytes with.
    fn entry(&self, f: &mut fmt::Formatter<'_>, path: &BuildPath, entry: &Entry) -> fmt::Result {
        let twin = self
            .linked
            .as_ref()
            .and_then(|linked| linked.files.get(path));
        match (entry, twin) {
            (Entry::File { size, .. }, None) => {
                writeln!(f, "  {path}, {}", size_of(*size))
            }
            (Entry::File { size, .. }, Some(twin)) if twin.path == *path => {
                let size = size_of(*size);
                writeln!(f, "  {path}, {size}, linked from {}", twin.build)
            }
            (Entry::File { size, .. }, Some(twin)) => writeln!(
                f,
                "  {path}, {}, linked from {}/{}",
                size_of(*size),
                twin.build,
                twin.path
            ),
            (Entry::Symlink { target }, _) => writeln!(f, "  {path} -> {target}"),
            (Entry::Generated(_), _) => writeln!(f, "  {path}, made by the publisher"),
        }
    }
}

impl fmt::Display for AliasStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alias = &self.alias;
        let shown = show_alias(self.shown.as_ref());
        let is_newer = |newer: &BuildDate| {
            if self.shown == Some(AliasEntry::Build(*newer)) {
                "which is newer".to_owned()
            } else {
                format!("and {newer} is newer")
            }
        };
        match &self.verdict {
            AliasVerdict::Create => write!(f, "{alias}: made"),
            AliasVerdict::Move => write!(f, "{alias}: moved from {shown}"),
            AliasVerdict::Force { newer } => {
                write!(f, "{alias}: moved back from {shown}, {}", is_newer(newer))
            }
            AliasVerdict::Stays => write!(f, "{alias}: points here already"),
            AliasVerdict::Failed => write!(f, "{alias}: stays at {shown}, this build is a failure"),
            AliasVerdict::Older { newer } => write!(
                f,
                "{alias}: stays at {shown}, {}; --force-alias moves it here",
                is_newer(newer)
            ),
        }
    }
}
