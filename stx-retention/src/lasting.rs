//! The time for which decisions remain the same if nothing else changes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::{Catalog, Channel};

use crate::bearing::introductions;
use crate::decision::End;
use crate::limit::DAILY;
use crate::{Decision, PrunePlan, Reason};

/// For each channel of the catalog for which a plan was made, the next time at which the passage of time alone may change the
/// decision on one of its builds, its reasons, or its [`Bearing`](crate::Bearing); channels that time does not change are absent.
///
/// Until then, the decisions are those of the plan, as long as the catalog, the inputs and the policy are the same and the clock
/// is [not doubted](crate::clock_doubt).
pub fn lasting(plan: &PrunePlan, catalog: &Catalog) -> BTreeMap<Channel, DateTime<Utc>> {
    let mut next = BTreeMap::<Channel, DateTime<Utc>>::new();
    let mut at = |channel: &Channel, instant: DateTime<Utc>| {
        if instant <= plan.now {
            return;
        }
        match next.get_mut(channel) {
            Some(known) => *known = instant.min(*known),
            None => drop(next.insert(channel.clone(), instant)),
        }
    };
    for (channel, entry) in &catalog.channels {
        for date in entry.builds.keys() {
            // From then on, the build is not in the future.
            at(channel, date.time());
        }
        for (introduced, _) in introductions(channel, entry) {
            at(channel, introduced);
        }
    }
    for (build, decision) in plan.decisions() {
        let channel = &build.channel;
        let since = match &decision {
            Decision::Expire { since, .. } => Some(*since),
            Decision::Keep { reasons, .. } => {
                for reason in reasons {
                    if let End::At(end) = reason.end() {
                        at(channel, end);
                    }
                }
                reasons.iter().find_map(Reason::held_back)
            }
        };
        // From then on, the build counts against the limit of its channel.
        if let Some(counts) = since.and_then(|since| since.checked_add_signed(DAILY)) {
            at(channel, counts);
        }
    }
    next
}
