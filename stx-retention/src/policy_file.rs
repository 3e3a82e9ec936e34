//! Policies in TOML: the value, and its mistakes.

use std::collections::BTreeMap;

use stx_layout::ReleaseKind;
use stx_layout::config::Position;

use crate::Policy;

/// A policy with the positions of its rules in its file.
///
/// Everything is optional; the default is the specification's rule. Unknown keys are refused. Every mistake is reported, with its
/// line and column.
///
/// ```
/// # use stx_retention::{PolicyFile, Retention, Span};
/// let file = PolicyFile::from_toml(r#"
/// free-space = 200_000_000_000          # bytes; only orders what is eligible, and warns
///
/// [limits]
/// percent = 50                          # of a channel, in one run
/// silence = "365 days"                  # no build for so long: the clock may be wrong
///
/// [kind.master]                         # master, feature, release, milestone, rc
/// keep = "14 days"                      # or "forever", or "release-period"
/// newest = 2                            # successes that stay whatever their age
/// failed = "7 days"                     # not longer than `keep`
/// tiers = [{ section = "outputs/logs", after = "10 days" }]
/// green = "28 days"                     # a green build, at least; `yellow` likewise; or "forever"
/// red = "3 days"                        # a red build, in place of `keep`
/// newest-green = 1                      # green builds that stay whatever their age
///
/// [[channel]]                           # exceptions, in order; a later one wins
/// match = "feature/centos76/*"
/// keep = "30 days"
///
/// [calendar]
/// learn = true                          # releases not named here, from the mirror's release/ channels
///
/// [calendar.releases]
/// "2018.10" = 2018-10-30
/// "2019.09" = 2019-09-30
/// "#)?;
/// assert_eq!(file.policy.kinds.master.keep, Retention::For(Span::days(14)));
/// assert_eq!(file.lines.channels[0].line, 17);
/// # Ok::<(), stx_layout::config::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyFile {
    /// The policy.
    pub policy: Policy,
    /// The positions of its rules.
    pub lines: PolicyLines,
}

/// The positions of a policy's rules in its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyLines {
    /// The table of each kind that has one.
    pub kinds: BTreeMap<ReleaseKind, Position>,
    /// The table of each exception, in the order of [`Policy::channels`].
    pub channels: Vec<Position>,
}
