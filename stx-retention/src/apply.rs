//! The catalog and the inputs after a plan was carried out, as values.

use stx_layout::Catalog;

use crate::{PolicyInputs, PrunePlan};

/// Takes from `catalog` and `facts` what a plan removes, as a complete run of it would.
///
/// Planning again at the same time then finds nothing to do: `plan(apply(plan))` is empty, unless the plan removes the last build
/// that was made upon a build of a lower layer. The next plan may remove that one.
///
/// A pin of a build that has gone stays, to be warned of.
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
