//! Retention rules for a mirror: catalog + policy + now = a verdict with its reason for every build.

mod apply;
mod bytes;
mod calendar;
mod digest;
mod explain;
mod facts;
mod forecast;
mod judge;
mod parse;
mod plan;
mod policy;
mod recheck;
mod span;
mod text;
mod verdict;
mod warning;

pub use apply::apply;
pub use calendar::{Calendar, Period, Releases};
pub use digest::digest;
pub use explain::{describe, explain};
pub use facts::{Facts, FileFact, Pin};
pub use forecast::{Forecast, ForecastDay, HighWater, Rate, bytes_used, forecast, observe};
pub use parse::{Mistake, PolicyError, PolicyFile, PolicyLines, Position, channel_glob};
pub use plan::{ExpireEntry, KeepEntry, PrunePlan, SectionEntry, plan, plan_with};
pub use policy::{ChannelRules, Kinds, Limits, Overlay, Policy, Retention, Rules, Tier};
pub use recheck::{Change, Recheck, Rechecked, recheck};
pub use span::{Span, SpanError};
pub use verdict::{ExpiryRule, Reason, Verdict};
pub use warning::Warning;
