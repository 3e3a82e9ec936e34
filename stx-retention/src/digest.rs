//! The digest of what a plan saw.

use sha2::{Digest as _, Sha256 as Hasher};
use stx_layout::{AliasEntry, BuildId, BuildOutcome, BuildState, Catalog, Sha256};

use crate::Facts;
use crate::identity::Fold;

/// Feeds values with their lengths, so that no two different sequences of values feed the same bytes.
struct Canonical {
    hasher: Hasher,
    /// What is to be hashed next: long pieces are hashed faster than many short ones.
    waiting: Vec<u8>,
}

impl Canonical {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.waiting.len() > 16_384 {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
        self.waiting.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn build(&mut self, build: &BuildId) {
        self.text(&build.channel.to_string());
        self.number(build.date.time().timestamp().cast_unsigned());
    }
}

/// The digest of everything in `catalog` and `facts` that a decision goes by.
///
/// Two that differ in a build, an outcome, a size, an alias, a `KEEP` file, a pin, a reader, a file or a dropped section
/// have different digests, but for chance (one in 2⁶⁴); the order in which pins and files are listed makes no difference, nor does the free space.
pub fn digest(catalog: &Catalog, facts: &Facts) -> Sha256 {
    let mut sum = Canonical {
        hasher: Hasher::new(),
        waiting: Vec::new(),
    };
    sum.number(catalog.channels.len() as u64);
    for (channel, entry) in &catalog.channels {
        sum.text(&channel.to_string());
        sum.number(entry.builds.len() as u64);
        for (date, build) in &entry.builds {
            // One word for most builds: there are many, and a cryptographic digest takes its time by the byte.
            let mut fold = Fold::default();
            fold.number(date.time().timestamp().cast_unsigned());
            fold.number(u64::from(build.keep_file));
            if let BuildState::Known(record) = &build.state {
                fold.number(match record.result {
                    BuildOutcome::Success => 1,
                    BuildOutcome::Fail => 2,
                });
                fold.number(record.bytes);
            }
            sum.number(fold.word());
            match &build.state {
                BuildState::Known(record) => {
                    if record.id.date != *date || record.id.channel != *channel {
                        sum.build(&record.id);
                    }
                }
                BuildState::Unreadable(why) => {
                    sum.text(why);
                }
            }
        }
        sum.number(entry.aliases.len() as u64);
        for (alias, target) in &entry.aliases {
            sum.text(alias.as_str());
            match target {
                AliasEntry::Build(date) => {
                    sum.number(1);
                    sum.number(date.time().timestamp().cast_unsigned());
                }
                AliasEntry::Other(text) => {
                    sum.number(2);
                    sum.text(text);
                }
            }
        }
    }
    let mut pins: Vec<_> = facts.pins.iter().collect();
    pins.sort();
    sum.number(pins.len() as u64);
    for pin in pins {
        sum.build(&pin.build);
        sum.text(&pin.reason);
        sum.text(&pin.author);
        sum.text(
            &pin.until
                .map(|until| until.to_rfc3339())
                .unwrap_or_default(),
        );
    }
    sum.number(facts.in_use.len() as u64);
    for (build, by) in &facts.in_use {
        sum.build(build);
        sum.text(by);
    }
    sum.number(facts.files.len() as u64);
    for (build, files) in &facts.files {
        sum.build(build);
        sum.number(files.len() as u64);
        let mut files: Vec<_> = files.iter().collect();
        files.sort();
        for file in files {
            sum.text(file.path.as_str());
            sum.bytes(&file.digest.0);
            sum.number(file.bytes);
        }
    }
    sum.number(facts.dropped.len() as u64);
    for (build, sections) in &facts.dropped {
        sum.build(build);
        sum.number(sections.len() as u64);
        for section in sections {
            sum.text(section.as_str());
        }
    }
    sum.hasher.update(&sum.waiting);
    Sha256(sum.hasher.finalize().into())
}
