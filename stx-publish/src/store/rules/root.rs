//! The rules of the names above the channels: `r2018.10`, `release/latest_release`.

use std::collections::BTreeSet;

use stx_layout::{
    AliasEntry, AliasName, BuildId, Catalog, Channel, ReleaseId, ReleaseOrder, RootAlias,
    RootEntry, RootTarget,
};

use super::StoreError;

/// Refuses an alias whose current target is not the expected one.
pub fn check_root_alias(
    alias: &RootAlias,
    expected: Option<&RootEntry>,
    found: Option<&RootEntry>,
) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: alias.to_string(),
        expected: show_root(expected),
        found: show_root(found),
    })
}

/// The target of an alias, as text for people.
pub(crate) fn show_root(shown: Option<&RootEntry>) -> String {
    match shown {
        None => "nothing".to_owned(),
        Some(RootEntry::To(target)) => target.to_string(),
        Some(RootEntry::Other(text)) => format!("{text:?}"),
    }
}

/// Refuses to point an alias at a target that it does not fit, or that does not exist.
pub fn check_root_target(
    alias: &RootAlias,
    target: &RootTarget,
    is_there: bool,
) -> Result<(), StoreError> {
    if !alias.fits(target) {
        return Err(StoreError::Refused {
            what: alias.to_string(),
            reason: format!("it cannot point at {target}"),
        });
    }
    if is_there {
        return Ok(());
    }
    Err(StoreError::NotFound {
        what: target.to_string(),
    })
}

/// The refusal to replace something that is not an alias.
pub fn taken(alias: &RootAlias) -> StoreError {
    StoreError::Refused {
        what: alias.to_string(),
        reason: "something other than an alias has this name".to_owned(),
    }
}

/// The releases and channels of a mirror that an alias may point at: those with a build.
pub fn root_targets(catalog: &Catalog) -> BTreeSet<RootTarget> {
    let channels = catalog.channels.iter();
    let channels = channels.filter(|(_, entry)| !entry.builds.is_empty());
    channels
        .flat_map(|(channel, _)| {
            [
                RootTarget::Release(channel.release.clone()),
                RootTarget::Channel(channel.clone()),
            ]
        })
        .collect()
}

/// True if readers find a build in a channel: its `latest_build` points at an existing success.
fn shows_success(catalog: &Catalog, channel: &Channel) -> bool {
    let Some(entry) = catalog.channels.get(channel) else {
        return false;
    };
    match entry.aliases.get(&AliasName::latest_build()) {
        Some(AliasEntry::Build(date)) => {
            let id = BuildId::new(channel.clone(), *date);
            catalog
                .build(&id)
                .is_some_and(stx_layout::BuildEntry::is_success)
        }
        Some(AliasEntry::Other(_)) | None => false,
    }
}

/// The newest finished release in which readers find a build, by [`ReleaseOrder`]; candidates and milestones do not count.
pub fn newest_release(catalog: &Catalog) -> Option<ReleaseId> {
    let channels = catalog.channels.keys();
    let shown = channels.filter(|channel| shows_success(catalog, channel));
    let placed = shown.filter_map(|channel| {
        let place = ReleaseOrder::of(&channel.release)?;
        Some((place, channel.release.clone()))
    });
    placed
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, release)| release)
}

/// The new target of `release/latest_release`, if it has to be moved: the newest release, and never an older one than the current
/// target unless that is `forced`. An alias whose target has no place in the order is moved.
pub fn next_release(
    catalog: &Catalog,
    shown: Option<&RootEntry>,
    forced: bool,
) -> Option<ReleaseId> {
    let newest = newest_release(catalog)?;
    let to = RootTarget::Release(newest.clone());
    let is_there = shown.and_then(RootEntry::target) == Some(&to);
    (!is_there && (forced || !goes_back(shown, &to))).then_some(newest)
}

/// True if an alias that points to a release would move to an older one.
pub fn goes_back(shown: Option<&RootEntry>, to: &RootTarget) -> bool {
    match (shown.and_then(RootEntry::target), to) {
        (Some(RootTarget::Release(shown)), RootTarget::Release(to)) => {
            ReleaseOrder::of(shown) > ReleaseOrder::of(to)
        }
        (Some(_) | None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stx_layout::{BuildEntry, BuildOutcome, BuildRecord, BuildState};

    /// A mirror with these channels, each with one success that `latest_build` points to.
    fn with(channels: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for channel in channels {
            let channel: Channel = channel.parse().expect(channel);
            let date = "20181105T060000Z".parse().expect("a date");
            let id = BuildId::new(channel.clone(), date);
            let record = BuildRecord::new(id, BuildOutcome::Success);
            let build = BuildEntry {
                state: BuildState::Known(Box::new(record)),
                keep_file: false,
            };
            let entry = catalog.channels.entry(channel).or_default();
            entry.builds.insert(date, build);
            entry
                .aliases
                .insert(AliasName::latest_build(), AliasEntry::Build(date));
        }
        catalog
    }

    fn shown(text: &str) -> Option<RootEntry> {
        (!text.is_empty()).then(|| RootEntry::from(text.to_owned()))
    }

    #[test]
    fn the_newest_release_is_never_a_candidate() {
        let all = [
            "master/centos",
            "release/2018.10/centos",
            "release/9.0.1/debian/monolithic",
            "release/10.0.0/debian/monolithic",
            "release/11.0.0-rc1/debian/monolithic",
            "rc/12.0/debian/monolithic",
            "milestone/2099.12/centos",
        ];
        for (count, newest) in [
            (1, None),
            (2, Some("release/2018.10")),
            (3, Some("release/9.0.1")),
            (4, Some("release/10.0.0")),
            (7, Some("release/10.0.0")),
        ] {
            let found = newest_release(&with(&all[..count]));
            assert_eq!(found.map(|id| id.to_string()).as_deref(), newest, "{count}");
        }
    }

    #[test]
    fn a_release_without_a_latest_build_is_not_a_candidate() {
        let mut catalog = with(&["release/9.0.0/centos", "release/10.0.0/centos"]);
        let channel = "release/10.0.0/centos".parse().expect("a channel");
        let latest = AliasName::latest_build();
        let date = "20190101T000000Z".parse().expect("a date");
        let dangling = AliasEntry::Build(date);
        for shown in [
            Some(dangling),
            Some(AliasEntry::Other("x".to_owned())),
            None,
        ] {
            let entry = catalog.channels.get_mut(&channel).expect("it is there");
            entry.aliases.clear();
            entry
                .aliases
                .extend(shown.map(|shown| (latest.clone(), shown)));
            let newest = newest_release(&catalog).expect("the one before");
            assert_eq!(newest.to_string(), "release/9.0.0");
        }
    }

    #[test]
    fn the_newest_release_is_never_moved_back_unless_forced() {
        let catalog = with(&["release/9.0.1/centos", "release/10.0.0/centos"]);
        for (now, forced, to) in [
            ("", false, Some("release/10.0.0")),
            ("release/9.0.1", false, Some("release/10.0.0")),
            ("release/10.0.0", false, None),
            ("release/10.0.0", true, None),
            ("release/11.0.0", false, None),
            ("release/11.0.0", true, Some("release/10.0.0")),
            ("release/antelope", false, Some("release/10.0.0")),
            ("../elsewhere", false, Some("release/10.0.0")),
        ] {
            let next = next_release(&catalog, shown(now).as_ref(), forced);
            assert_eq!(
                next.map(|id| id.to_string()).as_deref(),
                to,
                "{now} {forced}"
            );
        }
        assert_eq!(next_release(&Catalog::default(), None, true), None);
    }
}
