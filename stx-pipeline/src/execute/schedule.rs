//! Chooses the next phase by counting down needs, in time proportional to phases and needs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::PhasePlan;

/// The phases of a plan that are not over yet, by their index in the plan.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The number of unfinished needs of each phase.
    open: Vec<usize>,
    /// The phases that need each phase.
    after: Vec<Vec<usize>>,
    /// A need of each phase that did not succeed, if any.
    broken: Vec<Option<usize>>,
    /// Phases without unfinished needs; the first of the plan is on top.
    ready: BinaryHeap<Reverse<usize>>,
}

impl Schedule {
    /// The schedule of the phases for which `wanted` is true; the others count as finished with success.
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

    /// Takes the next phase whose needs are all over; also returns one need that did not succeed, if any.
    pub(crate) fn next(&mut self) -> Option<(usize, Option<usize>)> {
        let Reverse(at) = self.ready.pop()?;
        Some((at, self.broken[at]))
    }

    /// Records that a phase is over.
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

    /// Records the failure of a phase that was over before, before any phase is taken.
    pub(crate) fn failed_before(&mut self, phases: &[PhasePlan], at: usize) {
        let name = &phases[at].name;
        for (after, phase) in phases.iter().enumerate() {
            if phase.needs.contains(name) && self.broken[after].is_none() {
                self.broken[after] = Some(at);
            }
        }
    }
}
