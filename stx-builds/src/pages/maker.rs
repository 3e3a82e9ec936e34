//! Makes the pages: all of them, or those of the channels that changed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;
use stx_layout::{BuildDate, BuildId, Catalog, Channel, Pin, Sha256};
use stx_pages::{
    IndexSeal, Kept, MadePart, MirrorContents, Refreshed, Site as PageSite, look_of_all,
    refresh_part,
};
use stx_publish::incoming::digest_of;
use stx_publish::index::Stay;
use stx_publish::{MirrorStore, PageWriter, Scope};
use stx_retention::{
    Bearing, Decision, Policy, PolicyInputs, PrunePlan, Releases, doubt, lasting, plan_with,
};

use super::note::{Note, Noted, Seen, TRUSTED};
use crate::decisions::{policy, protected, tell_verdicts};
use crate::error::Error;
use crate::{Site, refused, signing};

/// Makes the pages of a mirror while their lock is held.
pub(super) struct Maker<'a> {
    site: &'a Site,
    store: &'a dyn MirrorStore,
    pages: &'a dyn PageWriter,
    policy: Policy,
    seal: Option<IndexSeal>,
    shown: PageSite,
    /// The digest of the configuration, the policy, the key and the program.
    key: Sha256,
}

/// The inputs of the pages of some channels.
struct Inputs {
    contents: MirrorContents,
    facts: PolicyInputs,
    /// The facts of all channels, including those whose pages stay.
    bearings: BTreeMap<Channel, Bearing>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(
        site: &'a Site,
        store: &'a dyn MirrorStore,
        pages: &'a dyn PageWriter,
    ) -> Result<Self, Error> {
        let (policy, seal) = (policy(site)?.policy, signing::index_seal(site, site.now)?);
        let shown = site.options.site();
        let look = look_of_all(&shown, seal.as_ref());
        let key = digest_of(format!("{look} {policy:?}").as_bytes());
        Ok(Self {
            site,
            store,
            pages,
            policy,
            seal,
            shown,
            key,
        })
    }

    /// Makes the pages that may be out of date; all of them if `thorough` is set.
    pub(super) async fn renew(mut self, thorough: bool) -> Result<Refreshed, Error> {
        // Outlines are read before the catalog: a change in between then appears as a different outline next time.
        let seen = Seen::look(self.store).await?;
        let note = match &seen {
            Some(_) => Note::read(self.store).await?,
            None => None,
        };
        // A process that was killed while it made pages leaves no note. Pages of builds may then differ from their index.
        self.shown.thorough = thorough || (seen.is_some() && note.is_none());
        if !self.shown.thorough
            && let (Some(seen), Some(note)) = (&seen, note)
            && note.is_of(self.key, self.site.now)
            && let Some(done) = self.some(seen, note).await?
        {
            return Ok(done);
        }
        let read = try_join(
            MirrorContents::read(self.store),
            self.store.pins(&Scope::All),
        );
        let (contents, pins) = read.await.map_err(refused)?;
        let inputs = Inputs {
            bearings: self.bearings(&contents.catalog),
            facts: self.facts(&contents, pins).await?,
            contents,
        };
        self.make(inputs, BTreeMap::new(), seen.as_ref()).await
    }

    /// Makes the pages of the channels whose inputs changed, and those of the root; `None` if the change concerns all channels.
    async fn some(&self, seen: &Seen, note: Note) -> Result<Option<Refreshed>, Error> {
        let there = seen.outlines.keys();
        let stale = there.filter(|channel| !note.vouches_for(channel, seen, self.site.now));
        let stale: BTreeSet<_> = stale.cloned().collect();
        let mut catalog = self.catalog(&stale, seen).await?;
        let mut bearings: BTreeMap<_, _> = note.bearings();
        bearings
            .retain(|channel, _| seen.outlines.contains_key(channel) && !stale.contains(channel));
        bearings.extend(self.bearings(&catalog));
        if self.concerns_all(&note.bearings(), &bearings) {
            return Ok(None);
        }
        // The builds that are based on builds of these channels have changed, which changes the reasons that keep the latter.
        let below = below(&note.bearings(), &bearings).into_iter();
        let more = below.filter(|it| seen.outlines.contains_key(it) && !stale.contains(it));
        let more: BTreeSet<_> = more.collect();
        let others = self.catalog(&more, seen).await?;
        for (channel, bearing) in self.bearings(&others) {
            // Another publisher has added to it since the outlines were read.
            if bearings.get(&channel) != Some(&bearing) {
                return Ok(None);
            }
        }
        catalog.channels.extend(others.channels);
        let is_made = |channel: &Channel| stale.contains(channel) || more.contains(channel);
        let contents = MirrorContents::read_part(self.store, catalog).await;
        let contents = contents.map_err(refused)?;
        let mut pins = Vec::new();
        for channel in contents.catalog.channels.keys() {
            let scope = Scope::Channel(channel.clone());
            pins.extend(self.store.pins(&scope).await.map_err(refused)?);
        }
        let mut facts = self.facts(&contents, pins).await?;
        let elsewhere = bearings.iter().filter(|(channel, _)| !is_made(channel));
        let elsewhere = elsewhere.map(|(channel, bearing)| (channel.clone(), bearing.clone()));
        facts.elsewhere = elsewhere.collect();
        let kept = note.channels.into_iter();
        let kept = kept.filter(|(it, _)| seen.outlines.contains_key(it) && !is_made(it));
        let kept = kept.collect();
        let inputs = Inputs {
            contents,
            facts,
            bearings,
        };
        self.make(inputs, kept, Some(seen)).await.map(Some)
    }

    /// Reads these channels, with the entries that they have in the whole catalog.
    async fn catalog(&self, channels: &BTreeSet<Channel>, seen: &Seen) -> Result<Catalog, Error> {
        let mut found = Catalog::default();
        for channel in channels {
            let scope = Scope::Channel(channel.clone());
            let catalog = self.store.catalog(&scope).await.map_err(refused)?;
            for (channel, mut entry) in catalog.channels {
                if entry.builds.is_empty() && entry.aliases.is_empty() {
                    continue;
                }
                // The names that are not builds are known only from the whole mirror: some of them are other channels.
                if let Some(outline) = seen.outlines.get(&channel) {
                    entry.strays.clone_from(&outline.strays);
                }
                found.channels.insert(channel, entry);
            }
        }
        Ok(found)
    }

    /// The inputs of retention decisions.
    async fn facts(
        &self,
        contents: &MirrorContents,
        pins: Vec<Pin>,
    ) -> Result<PolicyInputs, Error> {
        let catalog = &contents.catalog;
        let mut facts = protected(self.store, pins, catalog).await?;
        tell_verdicts(catalog, &contents.verdicts, &mut facts);
        facts.unclear.clone_from(&contents.unclear);
        Ok(facts)
    }

    fn bearings(&self, catalog: &Catalog) -> BTreeMap<Channel, Bearing> {
        let of = |channel: &Channel, entry| Bearing::of(channel, entry, self.site.now);
        let channels = catalog.channels.iter();
        channels
            .map(|(channel, entry)| (channel.clone(), of(channel, entry)))
            .collect()
    }

    /// True if a change concerns the pages of all channels.
    fn concerns_all(
        &self,
        before: &BTreeMap<Channel, Bearing>,
        after: &BTreeMap<Channel, Bearing>,
    ) -> bool {
        let releases = |of| Releases::of(of, &self.policy.calendar);
        let unclear = |of: &BTreeMap<Channel, Bearing>| -> Vec<_> {
            of.values()
                .flat_map(|bearing| bearing.unclear.clone())
                .collect()
        };
        releases(before) != releases(after)
            || unclear(before) != unclear(after)
            || doubt(after, &self.policy, self.site.now).is_some()
    }

    /// Makes the pages of these channels and notes their inputs. The pages of the channels in `kept` stay.
    async fn make(
        &self,
        inputs: Inputs,
        kept: BTreeMap<Channel, Noted>,
        seen: Option<&Seen>,
    ) -> Result<Refreshed, Error> {
        let now = self.site.now;
        let Inputs {
            contents,
            facts,
            bearings,
        } = inputs;
        let catalog = &contents.catalog;
        let plan = plan_with(catalog, &facts, &self.policy, now);
        let until = lasting(&plan, catalog);
        let shown = PageSite {
            stays: stays(&plan),
            ..self.shown.clone()
        };
        let successes: BTreeMap<_, _> = newest(catalog);
        let unsure = unsure(catalog, &facts);
        let outlines = seen.map(|seen| &seen.outlines);
        let others = kept.iter().map(|(channel, noted)| {
            let outline = outlines.and_then(|outlines| outlines.get(channel));
            let kept = Kept {
                summary: noted.summary.clone(),
                newest_success: noted.newest_success,
                builds: outline
                    .map(|outline| outline.builds.clone())
                    .unwrap_or_default(),
            };
            (channel.clone(), kept)
        });
        let others = others.collect();
        // Until the new note exists, pages may be old or new: after a crash, all of them are made.
        self.pages.note(None).await.map_err(refused)?;
        let (store, pages, seal) = (self.store, self.pages, self.seal.as_ref());
        let made = refresh_part(store, pages, contents, others, &shown, seal).await;
        let MadePart {
            refreshed,
            channels,
        } = made.map_err(refused)?;
        let doubted = doubt(&bearings, &self.policy, now).is_some();
        if let Some(seen) = seen {
            let made = channels.into_iter().map(|made| {
                let channel = made.summary.channel.clone();
                let is_sure = made.is_whole && !unsure.contains(&channel);
                let noted = Noted {
                    of: seen.of(&channel, &made.pages).filter(|_| is_sure),
                    until: [
                        until.get(&channel).copied(),
                        made.signed_until,
                        now.checked_add_signed(TRUSTED),
                    ]
                    .into_iter()
                    .flatten()
                    .min(),
                    summary: made.summary,
                    newest_success: successes.get(&channel).copied().flatten(),
                    bearing: bearings.get(&channel).cloned().unwrap_or_default(),
                };
                (channel, noted)
            });
            let note = Note {
                key: self.key,
                now,
                doubted,
                channels: kept.into_iter().chain(made).collect(),
            };
            note.keep(self.pages).await?;
        }
        Ok(refreshed)
    }
}

impl Note {
    fn bearings(&self) -> BTreeMap<Channel, Bearing> {
        let channels = self.channels.iter();
        channels
            .map(|(channel, noted)| (channel.clone(), noted.bearing.clone()))
            .collect()
    }
}

/// The channels of builds on which different builds are based before and after a change.
fn below(
    before: &BTreeMap<Channel, Bearing>,
    after: &BTreeMap<Channel, Bearing>,
) -> BTreeSet<Channel> {
    let mut found = BTreeSet::new();
    let nothing = Bearing::default();
    for channel in before.keys().chain(after.keys()) {
        let upon =
            |of: &'_ BTreeMap<Channel, Bearing>| of.get(channel).unwrap_or(&nothing).upon.clone();
        let (old, new) = (upon(before), upon(after));
        let differs = |build: &&BuildId| old.get(*build) != new.get(*build);
        let builds = old.keys().chain(new.keys()).filter(differs);
        found.extend(builds.map(|build| build.channel.clone()));
    }
    found
}

/// The newest success of each channel.
fn newest(catalog: &Catalog) -> BTreeMap<Channel, Option<BuildDate>> {
    let channels = catalog.channels.iter();
    channels
        .map(|(channel, entry)| (channel.clone(), entry.newest_success()))
        .collect()
}

/// The channels that can change without a different outline: a reader holds a build, or a file could not be read, as the record of a
/// build that is still to be adopted.
fn unsure(catalog: &Catalog, facts: &PolicyInputs) -> BTreeSet<Channel> {
    let builds = catalog.builds();
    let unreadable = builds.filter(|(_, build)| build.record().is_none());
    let unreadable = unreadable.map(|(id, _)| id.channel);
    let read = facts.in_use.keys().chain(facts.unclear.keys());
    unreadable
        .chain(read.map(|id| id.channel.clone()))
        .collect()
}

/// The time that each build stays, with the reasons in words.
fn stays(plan: &PrunePlan) -> BTreeMap<BuildId, Stay> {
    let builds = plan.decisions().into_iter();
    let stays = builds.map(|(id, decision)| {
        let stay = match decision {
            Decision::Keep { reasons, until } => Stay {
                until,
                reasons: reasons.iter().map(ToString::to_string).collect(),
            },
            Decision::Expire { rule, since } => Stay {
                until: Some(since),
                reasons: vec![rule.to_string()],
            },
        };
        (id.clone(), stay)
    });
    stays.collect()
}
