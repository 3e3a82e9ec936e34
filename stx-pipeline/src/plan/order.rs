//! The order of a plan.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::PlanError;
use crate::recipe::{Phase, Recipe};

/// The phases: the source phase first, each after its needs, otherwise in the order of the recipe.
pub(super) fn ordered(recipe: &Recipe) -> Result<Vec<&Phase>, PlanError> {
    let mut phases: Vec<&Phase> = recipe.phases.iter().collect();
    phases.sort_by_key(|phase| phase.name != recipe.source_phase);
    let index: HashMap<&str, usize> = phases
        .iter()
        .enumerate()
        .map(|(at, phase)| (phase.name.as_str(), at))
        .collect();
    let mut open = vec![0_usize; phases.len()];
    let mut after = vec![Vec::new(); phases.len()];
    for (at, phase) in phases.iter().enumerate() {
        for need in &phase.needs {
            open[at] += 1;
            // An unknown need is never met, so its phase is reported as left over.
            if let Some(need) = index.get(need.as_str()) {
                after[*need].push(at);
            }
        }
    }
    let mut ready: BinaryHeap<_> = (0..phases.len())
        .filter(|at| open[*at] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(phases.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(phases[at]);
        for after in &after[at] {
            open[*after] -= 1;
            if open[*after] == 0 {
                ready.push(Reverse(*after));
            }
        }
    }
    if order.len() == phases.len() {
        return Ok(order);
    }
    let left = phases.iter().zip(&open).filter(|(_, open)| **open > 0);
    Err(PlanError::Order {
        phases: left.map(|(phase, _)| phase.name.clone()).collect(),
    })
}
