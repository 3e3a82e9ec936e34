//! Names above the channels: `r2018.10`, `release/latest_release`; list, set, unset, follow.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_layout::{
    AliasEntry, BuildOutcome, Channel, RootAlias, RootEntry, RootTarget, Section, UndatedEntry,
};
use stx_publish::aliases::{AliasPolicy, RootStep, catalog_after, plan_root, settle_root};
use stx_publish::store::{offer_latest, rules};
use stx_publish::verify::check_root_aliases;
use stx_publish::{FindingKind, MirrorRead, MirrorStore, PublishPlan, Scope, StoreError};

use crate::error::{Error, ErrorKind};
use crate::{Reader, Site, refused};

/// The maximal number of aliases to follow in one path: an alias of a release may contain the alias of a channel.
const DEEPEST: usize = 4;

/// An alias as `alias list` shows it.
#[derive(Debug, Serialize)]
pub struct ListedAlias {
    /// Its path on the mirror.
    pub alias: String,
    /// Its target, as a path of the mirror; absent if a configured alias does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// True if the configuration or this program determines its target.
    pub managed: bool,
    /// Its fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<FindingKind>,
}

/// An alias that was set or removed, or would be by a dry run.
#[derive(Debug, Serialize)]
pub struct ChangedAlias {
    /// The alias.
    pub alias: RootAlias,
    /// Its target before.
    pub before: Option<RootEntry>,
    /// Its target now; absent if it was removed.
    pub target: Option<RootTarget>,
    /// True if it was changed; false if it already had this target.
    pub changed: bool,
    /// True if the configuration or this program determines its target.
    pub managed: bool,
}

/// Creates and moves the aliases of releases after a publication to `channel`, as configured: `release/latest_release`, and those
/// that lead to the channel. Returns those that moved. Does nothing for a channel that no alias concerns. Every operation that
/// publishes to a channel calls this after it has moved `latest_build`.
///
/// # Errors
/// Those of the mirror; the same call resumes.
pub async fn settle_root_aliases(
    site: &Site,
    store: &dyn MirrorStore,
    channel: &Channel,
) -> Result<Vec<RootStep>, Error> {
    let policy = site.options.aliases.policy();
    if !policy.concerns(channel) {
        let aliases = store.root_aliases().await.map_err(refused)?;
        if !lead_to(&aliases, channel) {
            return Ok(Vec::new());
        }
    }
    let settled = settle_root(store, policy, false).await.map_err(refused)?;
    Ok(moves(settled))
}

/// The aliases of releases that [`settle_root_aliases`] would move after `plan` is executed.
///
/// # Errors
/// Those of the mirror.
pub(crate) async fn planned_root_aliases(
    site: &Site,
    store: &dyn MirrorRead,
    plan: &PublishPlan,
) -> Result<Vec<RootStep>, Error> {
    match plan.result {
        BuildOutcome::Fail => return Ok(Vec::new()),
        BuildOutcome::Success => {}
    }
    let policy = site.options.aliases.policy();
    let aliases = store.root_aliases().await.map_err(refused)?;
    if !policy.concerns(&plan.id.channel) && !lead_to(&aliases, &plan.id.channel) {
        return Ok(Vec::new());
    }
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let steps = plan_root(&catalog_after(catalog, plan), &aliases, policy, false);
    Ok(moves(steps))
}

fn moves(steps: Vec<RootStep>) -> Vec<RootStep> {
    let moves = steps.into_iter().filter(|step| step.verdict.moves());
    moves.collect()
}

/// True if an alias leads to `channel`. An alias that a user sets by hand may do so regardless of the policy.
fn lead_to(aliases: &BTreeMap<RootAlias, RootEntry>, channel: &Channel) -> bool {
    let mut targets = aliases.values().filter_map(RootEntry::target);
    targets.any(|target| target.holds(channel))
}

/// Makes the `latest_build` of a channel available under paths without a date, if the configuration requests it for such channels.
/// The channel must not be locked.
///
/// # Errors
/// [`ErrorKind::Busy`] if another publisher is at work; those of the mirror. The same call resumes.
pub async fn offer_undated(
    site: &Site,
    store: &dyn MirrorStore,
    channel: &Channel,
) -> Result<(), Error> {
    if !site.options.aliases.is_undated(channel) {
        return Ok(());
    }
    let writer = store.lock(channel).await.map_err(refused)?;
    offer_latest(store, &*writer).await.map_err(refused)
}

/// The path that results if an alias of a release or a channel at the beginning of `text` is followed.
///
/// # Errors
/// [`ErrorKind::NotFound`] for `release/latest_release` if it does not exist.
pub async fn follow(store: &dyn MirrorRead, text: &str) -> Result<String, Error> {
    let aliases = store.root_aliases().await.map_err(refused)?;
    let mut path = text.to_owned();
    for _ in 0..DEEPEST {
        match followed(&aliases, &path)? {
            Some(next) => path = next,
            None => break,
        }
    }
    Ok(path)
}

/// Follows one alias; `None` if the path does not begin with one.
fn followed(aliases: &BTreeMap<RootAlias, RootEntry>, path: &str) -> Result<Option<String>, Error> {
    let rest_of = |alias: &RootAlias| {
        let rest = path.strip_prefix(&alias.to_string())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
    };
    // The longest name first, unlike a file system: the name of a channel may begin with that of a release.
    let mut found: Vec<_> = aliases
        .iter()
        .filter_map(|(alias, to)| Some((rest_of(alias)?, alias, to)))
        .collect();
    found.sort_by_key(|(rest, ..)| rest.len());
    match found.into_iter().next() {
        Some((rest, _, RootEntry::To(to))) => return Ok(Some(format!("{to}{rest}"))),
        Some((_, alias, RootEntry::Other(text))) => {
            let error =
                format!("{alias} points at {text:?}, which is not a release of this mirror");
            return Err(Error::new(ErrorKind::Mirror, error).hint(format!(
                "run `stx-builds alias set {alias} TARGET` to correct it"
            )));
        }
        None => {}
    }
    match RootAlias::split(path) {
        // Its name determines its target, whether or not this mirror has it.
        Some((RootAlias::Legacy(legacy), rest)) => Ok(Some(format!("{}{rest}", legacy.target()))),
        Some((RootAlias::LatestRelease, _)) => Err(Error::new(
            ErrorKind::NotFound,
            format!("{}: there is no such alias", RootAlias::LatestRelease),
        )
        .hint(
            "the next publish to a release creates it; run `stx-builds list` to list the releases",
        )),
        Some((RootAlias::Release(_) | RootAlias::Channel(_), _)) | None => Ok(None),
    }
}

impl Site {
    /// The aliases of the mirror: those of releases and channels, those of builds, and paths without a date.
    pub async fn aliases(&self) -> Result<Vec<ListedAlias>, Error> {
        let reader = self.reader()?;
        let store = reader.store();
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let aliases = store.root_aliases().await.map_err(refused)?;
        let policy = self.policy_of(&reader);
        let findings = check_root_aliases(&catalog, &aliases, policy);
        let finding = |alias: &str| {
            let mut findings = findings.iter();
            let found = findings.find(|finding| finding.path.as_deref() == Some(alias));
            found.map(|finding| finding.kind)
        };
        let managed = |alias: &RootAlias| policy.is_some_and(|policy| policy.names(alias));
        let mut listed = Vec::new();
        for (alias, to) in &aliases {
            let name = alias.to_string();
            listed.push(ListedAlias {
                target: Some(to.to_string()),
                managed: managed(alias),
                finding: finding(&name),
                alias: name,
            });
        }
        let configured = policy.into_iter().flat_map(|policy| policy.links.keys());
        for alias in configured.filter(|alias| !aliases.contains_key(alias)) {
            let name = alias.to_string();
            listed.push(ListedAlias {
                target: None,
                managed: true,
                finding: finding(&name),
                alias: name,
            });
        }
        for (channel, entry) in &catalog.channels {
            let shown = |name: &str, target: String, finding| ListedAlias {
                alias: format!("{channel}/{name}"),
                target: Some(format!("{channel}/{target}")),
                managed: true,
                finding,
            };
            for (alias, to) in &entry.aliases {
                let (target, finding) = match to {
                    AliasEntry::Build(date) if entry.builds.contains_key(date) => {
                        (date.to_string(), None)
                    }
                    AliasEntry::Build(date) => (date.to_string(), Some(FindingKind::AliasDangling)),
                    AliasEntry::Other(text) => (text.clone(), Some(FindingKind::AliasMalformed)),
                };
                listed.push(shown(alias.as_str(), target, finding));
            }
            for (section, to) in &entry.undated {
                listed.push(shown(section.as_str(), undated_target(*section, to), None));
            }
        }
        Ok(listed)
    }

    /// The policy of a mirror that this site may write; the policy of any other mirror is unknown.
    pub(crate) fn policy_of(&self, reader: &Reader) -> Option<&AliasPolicy> {
        match reader {
            Reader::Own(_) => Some(self.options.aliases.policy()),
            Reader::Http(_) | Reader::Trusted(..) => None,
        }
    }

    /// Points an alias at a release or a channel; `force` lets `release/latest_release` move back. With `dry_run`, only reports the
    /// change.
    pub async fn set_alias(
        &self,
        alias: &RootAlias,
        to: &RootTarget,
        force: bool,
        dry_run: bool,
    ) -> Result<ChangedAlias, Error> {
        let store = self.mirror()?;
        let policy = self.options.aliases.policy();
        if let Some(configured) = policy.links.get(alias)
            && configured != to
        {
            let error = format!("{alias}: the configuration says {configured}");
            return Err(Error::usage(error).hint("change it in [aliases] of stx-builds.toml"));
        }
        // Other publishers wait for the lock, so that this decision still holds when it is carried out.
        let writer = if dry_run {
            None
        } else {
            Some(self.locked("the aliases", store.lock_aliases()).await?)
        };
        let before = store.root_aliases().await.map_err(refused)?.remove(alias);
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let is_there = rules::root_targets(&catalog).contains(to);
        rules::check_root_target(alias, to, is_there).map_err(|error| {
            let missing = matches!(error, StoreError::NotFound { .. });
            let failure = refused(error);
            if missing {
                failure.hint("`stx-builds list` names the channels that have builds")
            } else {
                failure.hint("an alias of a release points at a release, one of a channel at another channel")
            }
        })?;
        if *alias == RootAlias::LatestRelease && !force && rules::goes_back(before.as_ref(), to) {
            let shown = before.map(|shown| shown.to_string()).unwrap_or_default();
            let error = format!("{alias}: {to} is older than {shown}, which it points at");
            return Err(Error::new(ErrorKind::Mirror, error).hint(
                "`--force` moves it back; the next publish to a release moves it to the newest one, unless [aliases] fixes it",
            ));
        }
        let after = RootEntry::To(to.clone());
        let changed = before.as_ref() != Some(&after);
        if let Some(writer) = writer {
            writer
                .link(alias, before.as_ref(), Some(to))
                .await
                .map_err(refused)?;
        }
        Ok(ChangedAlias {
            managed: policy.names(alias),
            alias: alias.clone(),
            before,
            target: Some(to.clone()),
            changed,
        })
    }

    /// Removes an alias of a release or a channel. With `dry_run`, only reports the change.
    pub async fn unset_alias(
        &self,
        alias: &RootAlias,
        dry_run: bool,
    ) -> Result<ChangedAlias, Error> {
        let store = self.mirror()?;
        let policy = self.options.aliases.policy();
        let writer = if dry_run {
            None
        } else {
            Some(self.locked("the aliases", store.lock_aliases()).await?)
        };
        let before = store.root_aliases().await.map_err(refused)?.remove(alias);
        if let Some(writer) = writer {
            // Even if the alias is gone: this also removes what a crash left of it.
            let unlinked = writer.link(alias, before.as_ref(), None).await;
            unlinked.map_err(refused)?;
        }
        if before.is_none() {
            let error = format!("{alias}: there is no such alias");
            return Err(Error::new(ErrorKind::NotFound, error)
                .hint("run `stx-builds alias list` to list the existing aliases"));
        }
        Ok(ChangedAlias {
            managed: policy.names(alias),
            alias: alias.clone(),
            changed: before.is_some(),
            before,
            target: None,
        })
    }

    /// The aliases of releases that the configuration requests, and the change that each needs; changes nothing.
    pub async fn plan_aliases(&self) -> Result<Vec<RootStep>, Error> {
        let store = self.mirror()?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let aliases = store.root_aliases().await.map_err(refused)?;
        let policy = self.options.aliases.policy();
        Ok(plan_root(&catalog, &aliases, policy, false))
    }
}

/// The target of a path without a date, below its channel.
fn undated_target(section: Section, to: &UndatedEntry) -> String {
    let section = section.as_str();
    match to {
        UndatedEntry::Alias(alias) => format!("{alias}/{section}"),
        UndatedEntry::Build(date) => format!("{date}/{section}"),
        UndatedEntry::Other(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_followed_one_by_one() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<RootAlias, RootEntry> {
            let pairs = pairs.iter();
            pairs
                .map(|(alias, to)| {
                    (
                        alias.parse().expect(alias),
                        RootEntry::from((*to).to_owned()),
                    )
                })
                .collect()
        };
        let aliases = of(&[
            ("release/latest_release", "release/11.0.0"),
            (
                "release/11.0.0/debian/flock",
                "release/11.0.0/debian/trixie/amd64/flock",
            ),
            ("r2018.10", "release/2018.10.1"),
            ("release/broken", "../elsewhere"),
        ]);
        for (path, next) in [
            (
                "release/latest_release/debian/flock",
                Some("release/11.0.0/debian/flock"),
            ),
            (
                "release/11.0.0/debian/flock/latest_build",
                Some("release/11.0.0/debian/trixie/amd64/flock/latest_build"),
            ),
            ("release/11.0.0/debian/flock2", None),
            ("r2018.10/centos", Some("release/2018.10.1/centos")),
            ("r2019.05/centos", Some("release/2019.05/centos")),
            ("master/centos", None),
        ] {
            let found = followed(&aliases, path).expect(path);
            assert_eq!(found.as_deref(), next, "{path}");
        }
        let broken = followed(&aliases, "release/broken/centos").expect_err("broken");
        assert_eq!(broken.kind, ErrorKind::Mirror);
        let missing = followed(&of(&[]), "release/latest_release/centos").expect_err("none");
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
