//! Successes of the channel below.
//!
//! A branch that is built `after` a channel is built once for each new success of that channel, whatever its origin: a run of
//! this service, a promotion, a copy. The newest success is read from the mirror. The mark holds the last success that started
//! a build. It is recorded in one transaction with the request for that build, so no success is missed or built upon twice.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::{BuildDate, BuildId, Channel};

use super::{Cause, Mark, Reason, Watch};

/// The effect of the newest success of the channel below: the mark to remember, and the reason to build, if any.
///
/// The first success of a channel starts a build, as the first poll of commits does. A success that is older than the last one
/// starts none: it became the newest because a newer build was removed.
pub fn after(
    watch: &Watch,
    mark: &Mark,
    newest: Option<BuildDate>,
    now: DateTime<Utc>,
) -> Option<(Mark, Option<Reason>)> {
    let (below, newest) = (watch.after.as_ref()?, newest?);
    let build = BuildId::new(below.clone(), newest);
    if mark.after.as_ref() == Some(&build) {
        return None;
    }
    // Dates of different channels are not comparable: the configuration may name another channel by now.
    let is_older = |last: &BuildId| last.channel == build.channel && last.date > build.date;
    let is_new = !mark.after.as_ref().is_some_and(is_older);
    let mut mark = mark.clone();
    mark.after = Some(build.clone());
    let reason = Reason {
        at: now,
        cause: Cause::After { build },
    };
    Some((mark, is_new.then_some(reason)))
}

/// A circle of channels, each of which is built after the next; the first one is repeated at the end. `None` if no circle
/// exists.
pub fn circle(after: &BTreeMap<Channel, Channel>) -> Option<Vec<Channel>> {
    after.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        while let Some(below) = after.get(way.last()?) {
            if below == start {
                way.push(below.clone());
                return Some(way);
            }
            // This circle does not contain `start`; it is found from one of its own channels.
            if way.contains(below) {
                return None;
            }
            way.push(below.clone());
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::tests::watch;

    fn date(text: &str) -> BuildDate {
        text.parse().unwrap()
    }

    #[test]
    fn each_new_success_is_a_reason_and_an_older_one_is_not() {
        let mut upper = watch();
        upper.after = Some("master/centos/distro".parse().unwrap());
        let now = DateTime::UNIX_EPOCH;
        let mut mark = Mark::default();
        assert_eq!(after(&upper, &mark, None, now), None, "nothing below yet");
        let mut builds = Vec::new();
        // The newest success is seen twice. Then a newer one appears and is removed, and another one appears.
        for newest in [
            "20200101T000000Z",
            "20200101T000000Z",
            "20200103T000000Z",
            "20200102T000000Z",
            "20200102T000000Z",
            "20200104T000000Z",
        ] {
            let Some((next, reason)) = after(&upper, &mark, Some(date(newest)), now) else {
                continue;
            };
            mark = next;
            builds.extend(reason.map(|reason| reason.cause.to_string()));
        }
        assert_eq!(
            builds,
            [
                "after master/centos/distro/20200101T000000Z",
                "after master/centos/distro/20200103T000000Z",
                "after master/centos/distro/20200104T000000Z",
            ]
        );
        // The configuration names another channel, whose success is older.
        upper.after = Some("master/centos/compiler".parse().unwrap());
        let (next, reason) = after(&upper, &mark, Some(date("20190101T000000Z")), now).unwrap();
        assert_eq!(
            reason.unwrap().cause.to_string(),
            "after master/centos/compiler/20190101T000000Z"
        );
        mark = next;
        upper.after = None;
        let other = Some(date("20200105T000000Z"));
        assert_eq!(after(&upper, &mark, other, now), None);
    }

    #[test]
    fn circles_are_found_and_chains_are_not_circles() {
        let of = |pairs: &[(&str, &str)]| {
            let layer = |name: &str| -> Channel { format!("master/{name}").parse().unwrap() };
            let pairs = pairs.iter();
            let after = pairs.map(|(upper, below)| (layer(upper), layer(below)));
            circle(&after.collect()).map(|circle| {
                let names: Vec<_> = circle.iter().map(ToString::to_string).collect();
                names.join(" ").replace("master/", "")
            })
        };
        assert_eq!(of(&[("flock", "distro"), ("distro", "compiler")]), None);
        assert_eq!(of(&[("a", "a")]).as_deref(), Some("a a"));
        let three = [("z", "b"), ("a", "b"), ("b", "c"), ("c", "a")];
        assert_eq!(of(&three).as_deref(), Some("a b c a"));
    }
}
