//! A channel as a map, and the effect of each step on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use proptest::prelude::*;
use stx_layout::BuildOutcome;

use crate::verify::FindingKind;

/// Builds are published for the days from 1 to this one.
pub(super) const DAYS: u32 = 5;

/// The properties in which builds differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Build {
    pub(super) result: BuildOutcome,
    text: char,
}

impl Build {
    pub(super) fn of(result: BuildOutcome, content: &Bytes) -> Self {
        let text = content.first().copied().map_or('?', char::from);
        Self { result, text }
    }

    /// The text of its file `CONTEXT`.
    pub(super) fn content(self) -> String {
        self.text.to_string()
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.result, self.text)
    }
}

/// One operation on the mirror.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Publish { day: u32, build: Build, force: bool },
    Retire { day: u32 },
    Restore { day: u32, hour: u32 },
    Purge { day: u32, hour: u32 },
    Repair,
    Sweep,
}

impl Step {
    /// True if the step removes leftovers.
    pub(super) fn sweeps(&self) -> bool {
        match self {
            Self::Repair | Self::Sweep => true,
            Self::Publish { .. }
            | Self::Retire { .. }
            | Self::Restore { .. }
            | Self::Purge { .. } => false,
        }
    }
}

/// The model of a channel. Days represent builds.
#[derive(Debug, Clone)]
pub(super) struct Mirror {
    pub(super) builds: BTreeMap<u32, Build>,
    /// Builds that can be restored, by day and by the hour of their retirement.
    retired: BTreeMap<(u32, u32), Build>,
    pub(super) latest: Option<u32>,
    /// The possible days at which the alias is held; 0 for none. Several, because a note without an effect is not visible.
    notes: BTreeSet<u32>,
    /// The current hour; each step takes one hour.
    pub(super) hour: u32,
}

/// The part of the model that is visible from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) builds: BTreeMap<u32, Build>,
    pub(super) retired: BTreeSet<(u32, u32)>,
    pub(super) latest: Option<u32>,
    /// True if the alias is held at its build.
    pub(super) held: bool,
}

impl Mirror {
    /// An empty mirror.
    pub(super) fn empty() -> Self {
        Self {
            builds: BTreeMap::new(),
            retired: BTreeMap::new(),
            latest: None,
            notes: [0].into(),
            hour: 0,
        }
    }

    /// True if this state can look like `shown`.
    pub(super) fn fits(&self, shown: &Shown) -> bool {
        let retired: BTreeSet<_> = self.retired.keys().copied().collect();
        let mut notes = self.notes.iter();
        self.builds == shown.builds
            && retired == shown.retired
            && self.latest == shown.latest
            && notes.any(|note| (Some(*note) == self.latest) == shown.held)
    }

    /// The last of several states that fit `shown`, with every note that one of them may have; `None` if none fits.
    pub(super) fn reached(states: &[Self], shown: &Shown) -> Option<Self> {
        let fitting = states.iter().filter(|state| state.fits(shown));
        let mut reached = fitting.clone().next_back()?.clone();
        reached.notes = fitting
            .flat_map(|state| &state.notes)
            .copied()
            .filter(|note| (Some(*note) == reached.latest) == shown.held)
            .collect();
        Some(reached)
    }

    fn is_held(&self) -> bool {
        self.latest
            .is_some_and(|latest| self.notes.contains(&latest))
    }

    /// The steps that make sense in this state, and a few that do not.
    pub(super) fn steps(&self) -> BoxedStrategy<Step> {
        let build = (prop::bool::weighted(0.75), prop::char::range('a', 'b')).prop_map(
            |(success, text)| {
                let result = if success {
                    BuildOutcome::Success
                } else {
                    BuildOutcome::Fail
                };
                Build { result, text }
            },
        );
        let publish = (1..=DAYS, build, prop::bool::weighted(0.2));
        let again: Vec<_> = self
            .builds
            .iter()
            .map(|(day, build)| (*day, *build))
            .collect();
        let mut retired: Vec<_> = self.retired.keys().copied().collect();
        retired.push((1, 0));
        let retired = prop::sample::select(retired);
        let mut steps = vec![
            (
                6,
                publish
                    .prop_map(|(day, build, force)| Step::Publish { day, build, force })
                    .boxed(),
            ),
            (3, (1..=DAYS).prop_map(|day| Step::Retire { day }).boxed()),
            (
                2,
                retired
                    .clone()
                    .prop_map(|(day, hour)| Step::Restore { day, hour })
                    .boxed(),
            ),
            (
                2,
                retired
                    .prop_map(|(day, hour)| Step::Purge { day, hour })
                    .boxed(),
            ),
            (2, Just(Step::Repair).boxed()),
            (1, Just(Step::Sweep).boxed()),
        ];
        if !again.is_empty() {
            let again = (prop::sample::select(again), any::<bool>());
            let again = again.prop_map(|((day, build), force)| Step::Publish { day, build, force });
            steps.push((3, again.boxed()));
        }
        prop::strategy::Union::new_weighted(steps).boxed()
    }

    /// The states that a step passes through, starting with the current one, and true if the step is allowed.
    pub(super) fn run(&self, step: &Step) -> (Vec<Self>, bool) {
        let before = Self {
            hour: self.hour + 1,
            ..self.clone()
        };
        let mut after = before.clone();
        let mut states = vec![before];
        if !self.is_right(step) {
            return (states, false);
        }
        match *step {
            Step::Publish { day, build, force } => {
                after.builds.insert(day, build);
                states.push(after.clone());
                let is_newest = after.newest() == Some(day);
                if build.result == BuildOutcome::Success && (is_newest || force) {
                    if !is_newest && after.latest != Some(day) {
                        after.notes = [day].into();
                        states.push(after.clone());
                    }
                    after.latest = Some(day);
                }
            }
            Step::Retire { day } => {
                let build = after.builds.remove(&day).expect("it is there");
                after.retired.insert((day, self.hour), build);
            }
            Step::Restore { day, hour } => {
                let build = after.retired.remove(&(day, hour)).expect("it is there");
                after.builds.insert(day, build);
            }
            Step::Purge { day, hour } => {
                after.retired.remove(&(day, hour));
            }
            Step::Repair if after.is_held() => {}
            Step::Repair => after.latest = after.newest(),
            Step::Sweep => {}
        }
        states.push(after);
        (states, true)
    }

    fn is_right(&self, step: &Step) -> bool {
        match step {
            Step::Publish { day, build, .. } => {
                self.builds.get(day).is_none_or(|known| known == build)
            }
            Step::Retire { day } => self.builds.contains_key(day) && self.latest != Some(*day),
            Step::Restore { day, hour } => {
                self.retired.contains_key(&(*day, *hour)) && !self.builds.contains_key(day)
            }
            Step::Purge { day, hour } => self.retired.contains_key(&(*day, *hour)),
            Step::Repair | Step::Sweep => true,
        }
    }

    /// The newest successful build.
    fn newest(&self) -> Option<u32> {
        let mut newest = self.builds.iter().rev();
        let newest = newest.find(|(_, build)| build.result == BuildOutcome::Success);
        newest.map(|(day, _)| *day)
    }

    /// The finding that `verify` must report.
    pub(super) fn finding(&self) -> Option<FindingKind> {
        match (self.newest(), self.latest) {
            _ if self.is_held() => None,
            (newest, latest) if newest == latest => None,
            (_, None) => Some(FindingKind::AliasMissing),
            (_, Some(_)) => Some(FindingKind::AliasNotNewest),
        }
    }
}
