//! Copies the names above the channels, and paths without a date.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::{AliasName, Channel, RootAlias, RootEntry, Section};

use super::{
    AliasVerdict, BuildStep, CopyAlias, CopyName, CopyPlan, CopyReport, CopyRequest, Side,
};
use crate::store::rules::{goes_back, is_offered};
use crate::store::{MirrorStore, StoreError};

impl CopyName {
    /// True if the name is created or moved.
    pub(super) fn points(&self) -> bool {
        matches!(self.verdict, AliasVerdict::Point { .. })
    }
}

/// Makes the decision about each name of the first mirror that leads to a copied channel.
pub(super) fn judge_names(
    from: &Side,
    to: &Side,
    request: &CopyRequest,
    builds: &[BuildStep],
) -> Vec<CopyName> {
    let channels: BTreeSet<&Channel> = builds
        .iter()
        .filter(|step| step.verdict.arrives())
        .map(|step| &step.build.channel)
        .collect();
    let names = from.names.iter().filter_map(|(alias, shown)| {
        let target = shown.target()?.clone();
        let is_wanted =
            request.channels.is_empty() || request.channels.iter().any(|it| target.holds(it));
        if !is_wanted {
            return None;
        }
        let shown = to.names.get(alias).cloned();
        let verdict = match &shown {
            _ if !channels.iter().any(|channel| target.holds(channel)) => AliasVerdict::NoBuild,
            Some(RootEntry::To(there)) if *there == target => AliasVerdict::Same,
            Some(_)
                if *alias == RootAlias::LatestRelease
                    && !request.delete
                    && goes_back(shown.as_ref(), &target) =>
            {
                AliasVerdict::Newer
            }
            Some(_) | None => AliasVerdict::Point { held: false },
        };
        Some(CopyName {
            alias: alias.clone(),
            shown,
            to: target,
            verdict,
        })
    });
    names.collect()
}

/// The channels whose paths without a date are made or updated, because `latest_build` is that of the first mirror.
pub(super) fn judge_undated(
    from: &Side,
    to: &Side,
    aliases: &[CopyAlias],
) -> BTreeMap<Channel, BTreeSet<Section>> {
    let latest = AliasName::latest_build();
    let leads = aliases.iter();
    let leads = leads.filter(|step| step.alias == latest && step.verdict.arrives());
    let undated = leads.filter_map(|step| {
        let sections: BTreeSet<_> = from
            .catalog
            .channels
            .get(&step.channel)?
            .undated
            .keys()
            .copied()
            .collect();
        let there = to.catalog.channels.get(&step.channel);
        let is_right = there.is_some_and(|there| is_offered(there, &sections, step.to));
        (!sections.is_empty() && !is_right).then(|| (step.channel.clone(), sections))
    });
    undated.collect()
}

/// Makes the names and paths on the second mirror; the first error is returned with the name that it concerns.
pub(super) async fn name(
    to: &dyn MirrorStore,
    plan: &CopyPlan,
    report: &mut CopyReport,
) -> Result<(), (String, StoreError)> {
    for (channel, sections) in &plan.undated {
        let failed = |source| (channel.to_string(), source);
        let writer = to.lock(channel).await.map_err(failed)?;
        writer.offer(sections).await.map_err(failed)?;
    }
    let there = plan.names.iter().filter(|step| step.verdict.arrives());
    let there: Vec<_> = there.collect();
    let Some(first) = there.first() else {
        return Ok(());
    };
    let writer = to.lock_aliases().await;
    let writer = writer.map_err(|source| (first.alias.to_string(), source))?;
    for step in there {
        // Also an unchanged one: the run that copied it may have died before it was durable, and on a bucket it shows the aliases of
        // its channels.
        let linked = writer.link(&step.alias, step.shown.as_ref(), Some(&step.to));
        let linked = linked.await;
        linked.map_err(|source| (step.alias.to_string(), source))?;
        if step.points() {
            report.moved.push(step.alias.to_string());
        }
    }
    Ok(())
}
