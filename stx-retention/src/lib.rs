//! Retention rules for a mirror: catalog + policy + now = a verdict with its reason for every build.

mod bytes;
mod calendar;
mod digest;
mod facts;
mod judge;
mod plan;
mod policy;
mod span;
mod text;
mod verdict;
mod warning;

pub use calendar::{Calendar, Period, Releases};
pub use digest::digest;
pub use facts::{Facts, FileFact, Pin};
pub use plan::{ExpireEntry, KeepEntry, PrunePlan, SectionEntry, plan, plan_with};
pub use policy::{ChannelRules, Kinds, Limits, Overlay, Policy, Retention, Rules, Tier};
pub use span::{Span, SpanError};
pub use verdict::{ExpiryRule, Reason, Verdict};
pub use warning::Warning;
