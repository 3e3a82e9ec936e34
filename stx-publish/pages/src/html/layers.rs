//! The channels of a distribution in layers, as nested lists: each channel is in the list of the channel below.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::Channel;
use stx_layout::index::{BelowState, BelowSummary, ChannelSummary};

/// A channel in the list.
pub(super) struct Layer<'a> {
    pub(super) channel: &'a Channel,
    /// False if the mirror does not have the channel.
    pub(super) here: bool,
    /// The build below; `None` in the lowest layer.
    pub(super) after: Option<&'a BelowSummary>,
    /// True if the list of the channels above begins after it.
    pub(super) opens: bool,
    /// The number of lists that end after it.
    pub(super) closes: usize,
}

impl Layer<'_> {
    /// The state compared with the channel below, and its class in the style sheet.
    pub(super) fn state(&self) -> Option<(&'static str, &'static str)> {
        Some(match self.after?.state {
            BelowState::Newest => ("up to date", "green"),
            BelowState::Older | BelowState::Gone => ("behind", "yellow"),
        })
    }

    /// True if the build below has a page.
    pub(super) fn has_below(&self) -> bool {
        let state = self.after.map(|after| after.state);
        matches!(state, Some(BelowState::Newest | BelowState::Older))
    }
}

/// The channels that are built upon others, and those below them, each after the one below.
pub(super) fn layers(channels: &[ChannelSummary]) -> Vec<Layer<'_>> {
    let known = channels.iter().map(|known| &known.channel);
    let known: BTreeSet<_> = known.collect();
    let after = channels.iter();
    let after = after.filter_map(|known| Some((&known.channel, known.after.as_ref()?)));
    let after: BTreeMap<_, _> = after.collect();
    let mut above = BTreeMap::<_, Vec<_>>::new();
    for (upper, below) in &after {
        above.entry(&below.build.channel).or_default().push(*upper);
    }
    let lowest = above.keys().filter(|below| !after.contains_key(*below));
    // The remaining channels are only those of cycles, which records can contain after the configuration changed.
    let from: Vec<_> = lowest.chain(above.keys()).copied().collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::<(&Channel, usize)>::new();
    for first in from {
        let mut open = vec![(first, 0)];
        while let Some((channel, depth)) = open.pop() {
            if !seen.insert(channel) {
                continue;
            }
            found.push((channel, depth));
            let upper = above.get(channel).into_iter().flatten().rev();
            open.extend(upper.map(|upper| (*upper, depth + 1)));
        }
    }
    let next = found.iter().skip(1).map(|(_, depth)| *depth).chain([0]);
    let layers = found.iter().zip(next);
    layers
        .map(|(&(channel, depth), next)| Layer {
            channel,
            here: known.contains(channel),
            after: after.get(channel).copied(),
            opens: next > depth,
            closes: depth.saturating_sub(next),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in brackets, for channels given as `(CHANNEL, CHANNEL BELOW)`.
    fn drawn(channels: &[(&str, Option<&str>)]) -> String {
        let channel = |name: &str| format!("master/{name}");
        let below = |name: &str| {
            let date = "20181105T060000Z";
            serde_json::json!({"date": date, "build": format!("{}/{date}", channel(name)), "state": "newest"})
        };
        let channels = channels.iter().map(|(name, after)| {
            let after = after.map(below);
            let summary =
                serde_json::json!({"channel": channel(name), "builds": 1, "bytes": 1, "after": after});
            serde_json::from_value(summary).expect("a summary")
        });
        let channels: Vec<ChannelSummary> = channels.collect();
        let mut text = String::new();
        for layer in layers(&channels) {
            text.push_str(layer.channel.to_string().trim_start_matches("master/"));
            if !layer.here {
                text.push('?');
            }
            text.push_str(if layer.opens { "(" } else { " " });
            text.push_str(&")".repeat(layer.closes));
        }
        text
    }

    #[test]
    fn each_channel_is_listed_under_the_channel_that_it_builds_upon() {
        assert_eq!(drawn(&[("other", None)]), "");
        let chain = [
            ("compiler", None),
            ("containers", Some("distro")),
            ("distro", Some("compiler")),
            ("flock", Some("distro")),
            ("other", None),
            ("tools", Some("compiler")),
        ];
        assert_eq!(drawn(&chain), "compiler(distro(containers flock )tools )");
        // Two trees, and a channel whose channel below is on another mirror.
        let trees = [
            ("a", None),
            ("b", Some("a")),
            ("d", Some("c")),
            ("e", Some("d")),
        ];
        assert_eq!(drawn(&trees), "a(b )c?(d(e ))");
    }

    #[test]
    fn a_circle_of_records_is_drawn_once() {
        let circle = [
            ("a", Some("c")),
            ("b", Some("a")),
            ("c", Some("b")),
            ("d", Some("b")),
            ("e", Some("e")),
        ];
        assert_eq!(drawn(&circle), "a(b(c d ))e ");
    }
}
