//! The retention policy, as a value.

use globset::{Glob, GlobMatcher};
use stx_layout::{BuildPath, Channel, ReleaseKind, Verdict};

use crate::{Calendar, Span};

/// A retention policy: rules per kind of release, exceptions per channel, the release calendar and the limits of a run.
///
/// A plain value: made by code, or read from TOML with [`PolicyFile::from_toml`](crate::PolicyFile::from_toml).
/// `Policy::default()` contains the specification's rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The rules of each kind of release.
    pub kinds: Kinds,
    /// Exceptions, applied in order to every channel that they match; a later one wins.
    pub channels: Vec<ChannelRules>,
    /// The past and planned days of releases.
    pub calendar: Calendar,
    /// The limits of one run.
    pub limits: Limits,
    /// The free space to reach, in bytes. It only changes the order of eligible builds, and causes a warning if they are not
    /// enough.
    pub free_space: Option<u64>,
}

/// The rules of each kind of release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds {
    /// `master`.
    pub master: Rules,
    /// `feature/…`.
    pub feature: Rules,
    /// `release/…`.
    pub release: Rules,
    /// `milestone/…`.
    pub milestone: Rules,
    /// `rc/…`.
    pub rc: Rules,
}

/// The rules of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The time for which a success is kept.
    pub keep: Retention,
    /// The number of newest successes that are kept at any age; at least two.
    pub newest: u32,
    /// The time for which a failure is kept.
    pub failed: Retention,
    /// Bulky parts of a build that are removed before it.
    pub tiers: Vec<Tier>,
    /// The times for which successes are kept because of the result of their tests.
    pub verdicts: VerdictRules,
}

/// The times for which builds are kept because of their newest verdict. `None` means that there is no rule; in an [`Overlay`], it
/// leaves the rule unchanged.
///
/// `green` and `yellow` only lengthen the life of a build: it is kept for their time or for that of [`Rules::keep`], whichever is
/// longer. `red` replaces [`Rules::keep`], and may be shorter. The rules do not concern builds without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictRules {
    /// The minimum time for which a green build is kept.
    pub green: Option<Retention>,
    /// The minimum time for which a yellow build is kept.
    pub yellow: Option<Retention>,
    /// The time for which a red build is kept.
    pub red: Option<Retention>,
    /// The number of newest green builds that are kept at any age; at least one.
    pub newest_green: Option<u32>,
}

/// The time for which a build is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Forever,
    /// Until it reaches this age.
    For(Span),
    /// One release period past its introduction; see [`Period`](crate::Period).
    ReleasePeriod,
}

/// A part of a build that is removed before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The directory or file in the build: `outputs/logs`.
    pub section: BuildPath,
    /// The age of the build at which it is removed.
    pub after: Span,
}

/// An exception for the channels that a glob matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRules {
    /// Matches the text of a channel: `feature/*/centos`. Made by [`channel_glob`](crate::channel_glob), so `*` does not cross a
    /// `/`.
    pub channels: Glob,
    /// The rules that it replaces.
    pub rules: Overlay,
}

/// The rules that an exception replaces; `None` leaves a rule unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlay {
    /// Replaces [`Rules::keep`].
    pub keep: Option<Retention>,
    /// Replaces [`Rules::newest`].
    pub newest: Option<u32>,
    /// Replaces [`Rules::failed`].
    pub failed: Option<Retention>,
    /// Replaces [`Rules::tiers`].
    pub tiers: Option<Vec<Tier>>,
    /// Replaces the rules of [`Rules::verdicts`] that it names.
    pub verdicts: VerdictRules,
}

/// The limits of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest percentage of a channel's builds that one run removes; builds that an ordinary day or a pause explains do not
    /// count. If more are eligible, none of the channel is removed. With 0, only [allowed](Self::allow) builds are removed.
    pub percent: u32,
    /// The number of builds that one run may remove from a channel even if they are more than [`percent`](Self::percent); if set,
    /// it also lifts [`silence`](Self::silence).
    pub allow: Option<u64>,
    /// If the newest build of the whole mirror is older than this, the clock may be wrong and nothing is removed.
    pub silence: Option<Span>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            percent: 50,
            allow: None,
            silence: Some(Span::days(365)),
        }
    }
}

impl Limits {
    /// No limits: everything eligible is removed.
    pub const NONE: Self = Self {
        percent: 100,
        allow: None,
        silence: None,
    };

    /// The number of builds, out of `builds` in a channel, that one run may remove beyond those that an ordinary day or a pause
    /// explains.
    pub fn of(&self, builds: u64) -> u64 {
        self.share(builds).max(self.allow.unwrap_or(0))
    }

    fn share(&self, builds: u64) -> u64 {
        builds.saturating_mul(u64::from(self.percent)) / 100
    }

    /// True if a run may not remove the `eligible` builds out of `builds` in a channel; `unexplained` of them count against the
    /// limit.
    pub(crate) fn forbid(&self, builds: u64, eligible: u64, unexplained: u64) -> bool {
        let counted = if self.percent == 0 {
            eligible
        } else {
            unexplained
        };
        counted > self.share(builds) && self.allow.is_none_or(|allow| allow < eligible)
    }
}

impl Retention {
    /// This one, or the other one if both are ages and it is shorter.
    fn at_most(self, other: Self) -> Self {
        match self {
            Self::For(age) => match other {
                Self::For(most) => Self::For(age.min(most)),
                Self::Forever | Self::ReleasePeriod => self,
            },
            Self::Forever | Self::ReleasePeriod => self,
        }
    }
}

impl VerdictRules {
    /// The rule for a verdict.
    pub fn of(&self, verdict: Verdict) -> Option<Retention> {
        match verdict {
            Verdict::Green => self.green,
            Verdict::Yellow => self.yellow,
            Verdict::Red => self.red,
        }
    }

    /// The number of newest green builds that are kept at any age, at least 1.
    pub fn floor(&self) -> usize {
        let newest = self.newest_green.unwrap_or(1);
        usize::try_from(newest).unwrap_or(usize::MAX).max(1)
    }

    /// These rules, overridden by those that `over` sets.
    #[must_use]
    pub(crate) fn with(self, over: Self) -> Self {
        Self {
            green: over.green.or(self.green),
            yellow: over.yellow.or(self.yellow),
            red: over.red.or(self.red),
            newest_green: over.newest_green.or(self.newest_green),
        }
    }
}

/// True if the rule for a verdict replaces [`Rules::keep`], and so may shorten it. Only a build that failed its tests may expire
/// earlier than an untested build.
pub(crate) fn replaces_keep(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Red => true,
        Verdict::Yellow | Verdict::Green => false,
    }
}

impl Rules {
    /// Rules with this `keep`, two newest successes, and seven days for failures.
    pub fn keep(keep: Retention) -> Self {
        Self {
            keep,
            newest: 2,
            failed: Retention::For(Span::days(7)),
            tiers: Vec::new(),
            verdicts: VerdictRules::default(),
        }
    }

    /// These rules with an exception applied. Without a rule of its own, a failure is not kept longer than a success.
    #[must_use]
    pub fn with(mut self, overlay: &Overlay) -> Self {
        let Overlay {
            keep,
            newest,
            failed,
            tiers,
            verdicts,
        } = overlay;
        self.keep = keep.unwrap_or(self.keep);
        self.newest = newest.unwrap_or(self.newest);
        self.failed = failed.unwrap_or(self.failed.at_most(self.keep));
        if let Some(tiers) = tiers {
            self.tiers.clone_from(tiers);
        }
        self.verdicts = self.verdicts.with(*verdicts);
        self
    }

    /// The number of newest successes that are kept at any age: at least the newest and the one before it.
    pub fn floor(&self) -> usize {
        usize::try_from(self.newest).unwrap_or(usize::MAX).max(2)
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            master: Rules::keep(Retention::For(Span::days(14))),
            feature: Rules::keep(Retention::For(Span::days(14))),
            release: Rules::keep(Retention::Forever),
            milestone: Rules::keep(Retention::ReleasePeriod),
            rc: Rules::keep(Retention::Forever),
        }
    }
}

impl Kinds {
    /// The rules of a kind.
    pub fn get(&self, kind: ReleaseKind) -> &Rules {
        match kind {
            ReleaseKind::Master => &self.master,
            ReleaseKind::Feature => &self.feature,
            ReleaseKind::Release => &self.release,
            ReleaseKind::Milestone => &self.milestone,
            ReleaseKind::Rc => &self.rc,
        }
    }

    /// The rules of a kind, for changes.
    pub fn get_mut(&mut self, kind: ReleaseKind) -> &mut Rules {
        match kind {
            ReleaseKind::Master => &mut self.master,
            ReleaseKind::Feature => &mut self.feature,
            ReleaseKind::Release => &mut self.release,
            ReleaseKind::Milestone => &mut self.milestone,
            ReleaseKind::Rc => &mut self.rc,
        }
    }
}

impl Policy {
    /// The rules of a channel: those of its kind, with every matching exception applied in order.
    pub fn rules(&self, channel: &Channel) -> Rules {
        self.compiled().of(channel)
    }

    /// The policy with compiled globs, for queries about many channels.
    pub(crate) fn compiled(&self) -> Compiled<'_> {
        let exceptions = self.channels.iter();
        Compiled {
            kinds: &self.kinds,
            exceptions: exceptions
                .map(|exception| (exception.channels.compile_matcher(), &exception.rules))
                .collect(),
        }
    }
}

/// A policy with compiled globs.
pub(crate) struct Compiled<'a> {
    kinds: &'a Kinds,
    exceptions: Vec<(GlobMatcher, &'a Overlay)>,
}

impl Compiled<'_> {
    /// The rules of a channel.
    pub(crate) fn of(&self, channel: &Channel) -> Rules {
        let text = channel.to_string();
        let matching = self
            .exceptions
            .iter()
            .filter(|(glob, _)| glob.is_match(&text));
        matching.fold(
            self.kinds.get(channel.release.kind()).clone(),
            |rules, (_, overlay)| rules.with(overlay),
        )
    }
}
