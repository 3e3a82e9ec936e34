//! Which phase is next: needs counted down, in time proportional to phases and needs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::PhasePlan;

/// The phases of a plan that are not over yet. Phases are known by their index in the plan.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Needs that are not over, by phase.
    open: Vec<usize>,
    /// The phases that need a phase.
    after: Vec<Vec<usize>>,
    /// A need of each phase that did not succeed.
    broken: Vec<Option<usize>>,
    /// Phases with no open need, the first of the plan on top.
    ready: BinaryHeap<Reverse<usize>>,
}

impl Schedule {
    /// The schedule of the phases that `wanted` names; the others are as if they were over and had succeeded.
    pub(crate) fn new(phases: &[PhasePlan], wanted: impl Fn(usize) -> bool) -> Self {
        let index: HashMap<&str, usize> = phases
            .iter()
            .enumerate()
            .map(|(index, phase)| (phase.name.as_str(), index))
            .collect();
        let mut schedule = Self {
            open: vec![0; phases.len()],
            after: vec![Vec::new(); phases.len()],
            broken: vec![None; phases.len()],
            ready: BinaryHeap::new(),
        };
        for (at, phase) in phases.iter().enumerate().filter(|(at, _)| wanted(*at)) {
            for need in &phase.needs {
                if let Some(need) = index.get(need.as_str()).filter(|need| wanted(**need)) {
                    schedule.open[at] += 1;
                    schedule.after[*need].push(at);
                }
            }
            if schedule.open[at] == 0 {
                schedule.ready.push(Reverse(at));
            }
        }
        schedule
    }

    /// Takes the next phase whose needs are all over, with one of them that did not succeed.
    pub(crate) fn next(&mut self) -> Option<(usize, Option<usize>)> {
        let Reverse(at) = self.ready.pop()?;
        Some((at, self.broken[at]))
    }

    /// A phase is over.
    pub(crate) fn over(&mut self, at: usize, succeeded: bool) {
        for after in std::mem::take(&mut self.after[at]) {
            self.open[after] -= 1;
            if !succeeded && self.broken[after].is_none() {
                self.broken[after] = Some(at);
            }
            if self.open[after] == 0 {
                self.ready.push(Reverse(after));
            }
        }
    }

    /// Says of a phase that is over already how it ended, before anything is taken.
    pub(crate) fn failed_before(&mut self, phases: &[PhasePlan], at: usize) {
        let name = &phases[at].name;
        for (after, phase) in phases.iter().enumerate() {
            if phase.needs.contains(name) && self.broken[after].is_none() {
                self.broken[after] = Some(at);
            }
        }
    }
}
