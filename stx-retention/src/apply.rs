//! The catalog and the inputs after a plan was executed, as values.

use stx_layout::Catalog;

use crate::{PolicyInputs, PrunePlan};

/// Removes from `catalog` and `facts` everything that a plan removes, like a complete run of it.
///
/// A new plan for the same time is then empty: `plan(apply(plan))` finds nothing to do, unless the plan removes the last build
/// that was built upon a build of a lower layer. The next plan may remove that one.
///
/// A pin of a removed build is kept, so that it causes a warning.
pub fn apply(plan: &PrunePlan, catalog: &mut Catalog, facts: &mut PolicyInputs) {
    for entry in &plan.expire {
        if let Some(channel) = catalog.channels.get_mut(&entry.build.channel) {
            channel.builds.remove(&entry.build.date);
        }
        facts.files.remove(&entry.build);
        facts.dropped.remove(&entry.build);
        facts.verdicts.remove(&entry.build);
        facts.free = facts
            .free
            .map(|free| free.saturating_add(entry.bytes_freed));
    }
    for entry in &plan.sections {
        let dropped = facts.dropped.entry(entry.build.clone()).or_default();
        dropped.insert(entry.section.clone());
        if let Some(files) = facts.files.get_mut(&entry.build) {
            files.retain(|file| !file.lies_in(&entry.section));
        }
        facts.free = facts
            .free
            .map(|free| free.saturating_add(entry.bytes_freed));
    }
}
