//! A plan for people.

use std::fmt;

use stx_layout::AliasEntry;

use crate::incoming::Entry;

use super::{AliasStep, AliasVerdict, PublishAction, PublishPlan};

impl fmt::Display for PublishPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            PublishAction::New => writeln!(
                f,
                "publish {} ({}): {} files, {} bytes",
                self.id, self.result, self.files, self.bytes
            )
            .and_then(|()| {
                let mut entries = self.incoming.entries.iter();
                entries.try_for_each(|(path, entry)| match entry {
                    Entry::File { size, .. } => writeln!(f, "  {path}, {size} bytes"),
                    Entry::Symlink { target } => writeln!(f, "  {path} -> {target}"),
                    Entry::Generated(_) => writeln!(f, "  {path}, made by the publisher"),
                })
            })?,
            PublishAction::Same => {
                writeln!(f, "{} ({}) is published already", self.id, self.result)?;
            }
        }
        for dir in &self.repositories {
            writeln!(f, "  repository metadata in {dir}")?;
        }
        for path in &self.left_out {
            writeln!(f, "  left out, made anew: {path}")?;
        }
        self.aliases
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl fmt::Display for AliasStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alias = &self.alias;
        let shown = show_alias(self.shown.as_ref());
        match &self.verdict {
            AliasVerdict::Create => write!(f, "{alias}: made"),
            AliasVerdict::Move => write!(f, "{alias}: moved from {shown}"),
            AliasVerdict::Force { newer } => write!(
                f,
                "{alias}: moved back from {shown}, although {newer} is newer"
            ),
            AliasVerdict::Stays => write!(f, "{alias}: points here already"),
            AliasVerdict::Failed => write!(f, "{alias}: stays at {shown}, this build is a failure"),
            AliasVerdict::Older { newer } => {
                write!(f, "{alias}: stays at {shown}, {newer} is newer")
            }
        }
    }
}

/// What an alias points at, for people.
pub(crate) fn show_alias(shown: Option<&AliasEntry>) -> String {
    match shown {
        None => "nothing".to_owned(),
        Some(AliasEntry::Build(date)) => date.to_string(),
        Some(AliasEntry::Other(text)) => format!("{text:?}"),
    }
}
