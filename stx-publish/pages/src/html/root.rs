//! The page of the root: the channels by the kind of their release, the audience of each kind, and the layers.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use askama::Template;
use stx_layout::index::{ChannelSummary, PageName, RootIndex};
use stx_layout::{ReleaseKind, ReleaseOrder, RootAlias, RootEntry, Sha256, counted};

use super::layers::{Layer, layers};
use super::{breakable, digest_of_root, file_name, in_url, made, moment, outcome, size, title};
use crate::site::{Made, Site};

/// Makes the pages of the root.
pub(crate) fn root_pages(site: &Site, index: &RootIndex) -> Vec<Made> {
    let page = RootPage {
        title: title(site),
        made_of: digest_of_root(index),
        count: index.channels.len(),
        groups: groups(site, &index.channels),
        layers: layers(&index.channels),
        aliases: &index.aliases,
    };
    vec![
        made(None, PageName::IndexHtml, page.render()),
        made(None, PageName::IndexJson, Ok(index.to_json())),
    ]
}

#[derive(Template)]
#[template(path = "root.html")]
struct RootPage<'a> {
    title: &'a str,
    made_of: Sha256,
    count: usize,
    groups: Vec<Group<'a>>,
    /// The channels of a distribution in layers.
    layers: Vec<Layer<'a>>,
    aliases: &'a BTreeMap<RootAlias, RootEntry>,
}

/// The channels of one kind of release.
struct Group<'a> {
    kind: ReleaseKind,
    title: &'static str,
    /// Their audience.
    about: &'a str,
    channels: Vec<&'a ChannelSummary>,
}

/// The kinds of releases, in the order of interest.
const ORDER: [ReleaseKind; 5] = [
    ReleaseKind::Release,
    ReleaseKind::Milestone,
    ReleaseKind::Master,
    ReleaseKind::Rc,
    ReleaseKind::Feature,
];

fn groups<'a>(site: &'a Site, channels: &'a [ChannelSummary]) -> Vec<Group<'a>> {
    let groups = ORDER.map(|kind| {
        let (title, about) = words(kind);
        let of_kind = channels.iter();
        let of_kind = of_kind.filter(|known| known.channel.release.kind() == kind);
        let mut channels: Vec<_> = of_kind.collect();
        // Newest first: releases by their order, other kinds by the newest build. Ties are broken by name.
        channels.sort_by_cached_key(|known| {
            let newest = known.newest.as_ref().map(|newest| newest.date);
            let place = match kind {
                ReleaseKind::Release => (ReleaseOrder::of(&known.channel.release), None),
                ReleaseKind::Master
                | ReleaseKind::Feature
                | ReleaseKind::Milestone
                | ReleaseKind::Rc => (None, newest),
            };
            (Reverse(place), known.channel.clone())
        });
        Group {
            kind,
            title,
            about: site.about.get(&kind).map_or(about, String::as_str),
            channels,
        }
    });
    let groups = groups.into_iter();
    groups.filter(|group| !group.channels.is_empty()).collect()
}

/// The heading of a kind, and its audience unless the configuration names one.
fn words(kind: ReleaseKind) -> (&'static str, &'static str) {
    match kind {
        ReleaseKind::Release => (
            "Releases",
            "For deployments: tested builds of finished releases, newest release first.",
        ),
        ReleaseKind::Milestone => (
            "Milestones",
            "For early evaluation: snapshots of development that passed their tests on the way to a release.",
        ),
        ReleaseKind::Master => (
            "Development",
            "For developers and testers: regular builds of the main branch. They change every day, and some do not work.",
        ),
        ReleaseKind::Rc => (
            "Release candidates",
            "For testers: builds of a release branch before the release.",
        ),
        ReleaseKind::Feature => (
            "Feature branches",
            "For the developers of one feature: builds of a branch that may never be merged.",
        ),
    }
}
