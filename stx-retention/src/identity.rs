//! Distinguishes the record that a plan saw from another one under the same id.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stx_layout::{BuildOutcome, BuildRecord, PhaseStatus};

/// A digest of a build's record as the plan saw it: 16 hexadecimal digits.
///
/// Records that differ in their contents, sources, way of building or times have different digests, except by chance (one in
/// 2⁶⁴). The digest does not protect against deliberate collisions; a mirror's own records are not made by attackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RecordDigest(u64);

impl RecordDigest {
    /// The digest of a record.
    pub fn of(record: &BuildRecord) -> Self {
        let mut fold = Fold::default();
        fold.number(match record.result {
            BuildOutcome::Success => 1,
            BuildOutcome::Fail => 2,
        });
        fold.number(record.files);
        fold.number(record.bytes);
        for text in [&record.trigger, &record.branch, &record.recipe] {
            fold.optional(text.as_deref());
        }
        fold.number(record.sources.len() as u64);
        for source in &record.sources {
            fold.text(&source.path);
            fold.optional(source.url.as_deref());
            fold.text(&source.commit);
        }
        fold.number(record.phases.len() as u64);
        for phase in &record.phases {
            fold.text(&phase.name);
            fold.number(match phase.status {
                PhaseStatus::Succeeded => 1,
                PhaseStatus::Failed => 2,
                PhaseStatus::TimedOut => 3,
                PhaseStatus::Cancelled => 4,
                PhaseStatus::Skipped => 5,
            });
            fold.number(u64::from(phase.attempts));
            fold.time(phase.started);
            fold.time(phase.finished);
        }
        fold.number(record.images.len() as u64);
        for image in &record.images {
            fold.text(&image.name);
            fold.bytes(&image.digest.0);
        }
        Self(fold.word())
    }
}

/// Folds words into one: each is mixed in by a multiplication with an odd constant, and the high bits of the product are shifted
/// down.
pub(crate) struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Self(0x5354_582d_4255_494c)
    }
}

impl Fold {
    /// The digest of everything folded in so far.
    pub(crate) fn word(&self) -> u64 {
        self.0
    }

    pub(crate) fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// The length comes first, so that no two sequences of texts fold the same words.
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn time(&mut self, time: Option<DateTime<Utc>>) {
        self.number(u64::from(time.is_some()));
        self.number(time.unwrap_or_default().timestamp_millis().cast_unsigned());
    }
}

impl fmt::Display for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RecordDigest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for RecordDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
