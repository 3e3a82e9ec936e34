//! Builds of two releases that belong together.

use std::collections::BTreeSet;

use stx_layout::{BuildId, Channel, Distro, Layer};
use stx_publish::{MirrorRead, Scope};

use super::{BuildRef, channels, latest, listed, named, newest, otherwise, resolve_plain};
use crate::error::{Error, ErrorKind};
use crate::refused;

/// The pairs of builds that two names refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    /// Pairs of a build of the first name and a build of the second, by channel.
    pub pairs: Vec<(BuildId, BuildId)>,
    /// Channels of the first name without a counterpart.
    pub only_from: Vec<Channel>,
    /// Channels of the second name without a counterpart.
    pub only_to: Vec<Channel>,
}

/// The builds that one name refers to: a build, or the channels that begin with the name.
enum Side {
    Build(BuildId),
    Channels(Vec<Channel>),
}

/// Pairs the builds that two names refer to. A name may refer to one build. If it refers to several channels, each channel is paired
/// with the channel of the other name that has the same distro, platform and layer, or else the same distro and layer; if each name
/// refers to one channel, the two are a pair. The newest good builds of a pair of channels are taken, and passed to `note`.
///
/// # Errors
/// [`ErrorKind::NotFound`] if no pair exists; [`ErrorKind::Usage`], with the candidates, if the pairs are ambiguous.
pub async fn pairs(
    store: &dyn MirrorRead,
    from: &str,
    to: &str,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Pairs, Error> {
    let one = |from: BuildId, to: BuildId| Pairs {
        pairs: vec![(from, to)],
        ..Pairs::default()
    };
    let matched = match (side(store, from, note).await?, side(store, to, note).await?) {
        (Side::Build(from), Side::Build(to)) => return Ok(one(from, to)),
        (Side::Build(build), Side::Channels(others)) => {
            let other = counterpart(&build.channel, &others, to)?;
            let other = newest(store, other).await?;
            note(&format!("{to} is {other}"));
            return Ok(one(build, other));
        }
        (Side::Channels(others), Side::Build(build)) => {
            let other = counterpart(&build.channel, &others, from)?;
            let other = newest(store, other).await?;
            note(&format!("{from} is {other}"));
            return Ok(one(other, build));
        }
        (Side::Channels(before), Side::Channels(after)) => Matched::of(&before, &after)?,
    };
    if matched.pairs.is_empty() {
        return Err(unpaired(from, &matched.only_from, to, &matched.only_to));
    }
    let mut found = Pairs {
        only_from: matched.only_from,
        only_to: matched.only_to,
        ..Pairs::default()
    };
    for (before, after) in matched.pairs {
        let pair = (newest(store, &before).await?, newest(store, &after).await?);
        note(&format!("{} and {}", pair.0, pair.1));
        found.pairs.push(pair);
    }
    Ok(found)
}

/// The build or the channels that a name refers to.
async fn side(
    store: &dyn MirrorRead,
    text: &str,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Side, Error> {
    let path = named(store, text).await?;
    match plain_side(store, &path, note).await {
        Ok(side) => Ok(side),
        Err(failure) => plain_side(store, &otherwise(store, &path, failure).await?, note).await,
    }
}

/// As [`side`], for a name without an alias of a release.
async fn plain_side(
    store: &dyn MirrorRead,
    text: &str,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Side, Error> {
    let BuildRef::Newest(prefix) = text.parse()? else {
        return resolve_plain(store, text, note).await.map(Side::Build);
    };
    if let Some(id) = latest(store, &prefix, note).await? {
        return Ok(Side::Build(id));
    }
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let found = channels(&catalog, &prefix)?;
    Ok(Side::Channels(found.into_iter().cloned().collect()))
}

/// The one of several channels of a release that belongs to `channel`.
fn counterpart<'a>(
    channel: &Channel,
    others: &'a [Channel],
    text: &str,
) -> Result<&'a Channel, Error> {
    if let Some(same) = others.iter().find(|other| is_exact(channel, other)) {
        return Ok(same);
    }
    let alike = others.iter().filter(|other| group(channel) == group(other));
    match alike.collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        [] => Err(unpaired(text, others, &channel.to_string(), &[])),
        _ => Err(ambiguous(channel, std::slice::from_ref(channel), others)),
    }
}

/// True if two channels differ only in their releases.
fn is_exact(one: &Channel, other: &Channel) -> bool {
    group(one) == group(other) && one.platform == other.platform
}

/// True if two channels may be the same line of builds in two releases: they have the same distro, layer and architecture.
pub(crate) fn belong_together(one: &Channel, other: &Channel) -> bool {
    let arch = |channel: &Channel| {
        channel
            .platform
            .as_ref()
            .map(|platform| platform.arch.clone())
    };
    group(one) == group(other) && arch(one) == arch(other)
}

/// The parts of a channel's path that have to be equal in the channels of a pair.
fn group(channel: &Channel) -> (&Distro, Option<&Layer>) {
    (&channel.distro, channel.layer.as_ref())
}

/// Channels of two releases that belong together.
#[derive(Debug, PartialEq, Eq, Default)]
struct Matched {
    pairs: Vec<(Channel, Channel)>,
    only_from: Vec<Channel>,
    only_to: Vec<Channel>,
}

impl Matched {
    fn of(before: &[Channel], after: &[Channel]) -> Result<Self, Error> {
        let mut matched = Self::default();
        if let ([one], [other]) = (before, after) {
            // No other candidate exists, so the names do not matter.
            matched.pairs.push((one.clone(), other.clone()));
            return Ok(matched);
        }
        let lacks =
            |others: &[Channel], one: &Channel| !others.iter().any(|other| is_exact(one, other));
        let rest = |channels: &[Channel], others: &[Channel]| -> Vec<Channel> {
            let rest = channels.iter().filter(|one| lacks(others, one));
            rest.cloned().collect()
        };
        for one in before {
            if let Some(other) = after.iter().find(|other| is_exact(one, other)) {
                matched.pairs.push((one.clone(), other.clone()));
            }
        }
        // The codename may have changed between the releases.
        let (before, after) = (rest(before, after), rest(after, before));
        let groups: BTreeSet<_> = before.iter().chain(&after).map(group).collect();
        for wanted in groups {
            let of = |channels: &[Channel]| -> Vec<Channel> {
                let same = channels.iter().filter(|channel| group(channel) == wanted);
                same.cloned().collect()
            };
            match (&of(&before)[..], &of(&after)[..]) {
                ([one], [other]) => matched.pairs.push((one.clone(), other.clone())),
                (some, []) => matched.only_from.extend_from_slice(some),
                ([], some) => matched.only_to.extend_from_slice(some),
                (some, others) => return Err(ambiguous(&some[0], some, others)),
            }
        }
        matched.pairs.sort();
        Ok(matched)
    }
}

fn ambiguous(channel: &Channel, before: &[Channel], after: &[Channel]) -> Error {
    let layer = channel.layer.as_ref();
    let layer = layer.map_or_else(String::new, |layer| format!(", layer {layer}"));
    let error = format!(
        "it is not clear which channels of {}{layer} belong together",
        channel.distro
    );
    Error::usage(error).hint(format!(
        "name one of {} and one of {}",
        listed(before),
        listed(after)
    ))
}

fn unpaired(from: &str, before: &[Channel], to: &str, after: &[Channel]) -> Error {
    let error = format!("{from} and {to} have no channel of the same distro and layer");
    let has = |text: &str, channels: &[Channel]| match channels {
        [] => None,
        some => Some(format!("{text} has {}", listed(some))),
    };
    let hints: Vec<_> = [has(from, before), has(to, after)]
        .into_iter()
        .flatten()
        .collect();
    Error::new(ErrorKind::NotFound, error).hint(format!("{}; name one of each", hints.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(release: &str, channels: &[&str]) -> Vec<Channel> {
        let channels = channels
            .iter()
            .map(|rest| format!("release/{release}/{rest}"));
        channels
            .map(|text| text.parse().expect("a channel"))
            .collect()
    }

    fn shown(channels: &[Channel]) -> Vec<String> {
        channels.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn channels_are_paired_by_platform_then_by_distro_and_layer() {
        for (before, after, pairs, only) in [
            // The codename changed.
            (
                &[
                    "debian/bullseye/amd64/monolithic",
                    "debian/bullseye/amd64/openstack",
                ][..],
                &[
                    "debian/trixie/amd64/monolithic",
                    "debian/trixie/amd64/openstack",
                ][..],
                2,
                (0, 0),
            ),
            // The same codename takes precedence over another one.
            (
                &["debian/bullseye/amd64/monolithic", "centos/flock"],
                &[
                    "debian/trixie/amd64/monolithic",
                    "debian/bullseye/amd64/monolithic",
                ],
                1,
                (1, 1),
            ),
            (
                &["centos", "debian"],
                &["debian", "debian/flock"],
                1,
                (1, 1),
            ),
            (&["centos"], &["debian", "debian/flock"], 0, (1, 2)),
        ] {
            let matched = Matched::of(&of("1", before), &of("2", after)).expect("clear");
            assert_eq!(matched.pairs.len(), pairs, "{before:?} {after:?}");
            for (one, other) in &matched.pairs {
                assert_eq!(group(one), group(other));
                let exact = after.iter().any(|other| one.to_string().ends_with(other));
                assert_eq!(exact, is_exact(one, other), "{one} {other}");
            }
            let rest = (matched.only_from.len(), matched.only_to.len());
            assert_eq!(
                rest,
                only,
                "{:?} {:?}",
                shown(&matched.only_from),
                shown(&matched.only_to)
            );
        }
    }

    #[test]
    fn two_single_channels_are_paired() {
        let (before, after) = (
            of("1", &["centos"]),
            of("2", &["debian/trixie/amd64/flock"]),
        );
        let matched = Matched::of(&before, &after).expect("clear");
        assert_eq!(matched.pairs, [(before[0].clone(), after[0].clone())]);
    }

    #[test]
    fn several_candidate_channels_are_listed() {
        let (before, after) = (
            of("1", &["debian/bullseye/amd64/flock"]),
            of(
                "2",
                &["debian/trixie/amd64/flock", "debian/trixie/arm64/flock"],
            ),
        );
        let error = Matched::of(&before, &after).expect_err("it is not clear");
        let hint = error.hint.expect("a hint");
        for channel in before.iter().chain(&after) {
            assert!(hint.contains(&channel.to_string()), "{hint}");
        }
        let error = counterpart(&before[0], &after, "release/2").expect_err("not clear");
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
