use bytes::Bytes;
use camino_tempfile::Utf8TempDir;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::Index;
use stx_layout::{
    After, AliasName, BuildDate, BuildId, BuildOutcome, BuildRecord, Channel, Origin, Pin,
    RootAlias, RootTarget, Sha256, Verdict, VerdictEntry,
};
use stx_publish::faulty::{Fault, FaultyStore};
use stx_publish::incoming::Entry;
use stx_publish::index::{ChannelIndex, PageName};
use stx_publish::memory::MemoryStore;
use stx_publish::thinning::ThinnedSection;
use stx_publish::{MirrorRead as _, MirrorStore as _, PageId, Retired, Scope};

use super::{made, stale};
use crate::options::Options;
use crate::site::Site;

const CHANNELS: [&str; 5] = [
    "master/debian",
    "master/debian/bullseye/amd64/flock",
    "milestone/1/debian",
    "release/1/debian",
    "release/2/debian",
];

/// Days on which builds are made.
const DAYS: i64 = 8;

fn day(days: i64) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2018-11-01T06:00:00Z".parse().expect("a time");
    first + TimeDelta::days(days)
}

fn build(channel: usize, days: i64) -> BuildId {
    let channel: Channel = CHANNELS[channel].parse().expect("a channel");
    BuildId::new(channel, BuildDate::at(day(days)).expect("a date"))
}

/// A step in the life of a mirror. Steps that the mirror refuses change nothing.
#[derive(Debug, Clone)]
enum Step {
    /// Publishes a build that is based on another one, or promoted so many days later.
    Publish(
        (usize, i64),
        BuildOutcome,
        Option<(usize, i64)>,
        Option<i64>,
    ),
    Mark((usize, i64), Verdict),
    Pin((usize, i64), Option<i64>),
    Unpin((usize, i64)),
    Point((usize, i64)),
    Hold((usize, i64)),
    Unpoint(usize),
    Retire((usize, i64)),
    Thin((usize, i64)),
    Restore(Index),
    Purge(Index),
    AliasOfRelease(bool),
    /// A user removes a page.
    Lose(usize, Index),
    Title(bool),
    /// Builds of master are kept for three days, or as the specification says.
    Policy(bool),
    /// So many hours pass; a negative number sets the clock back.
    Wait(i64),
    /// All pages are compared.
    Compare,
}

fn step() -> impl Strategy<Value = Step> {
    let build = || (0..CHANNELS.len(), 0..DAYS);
    let outcome = prop_oneof![3 => Just(BuildOutcome::Success), 1 => Just(BuildOutcome::Fail)];
    let upon = prop::option::weighted(0.3, build());
    let promoted = prop::option::weighted(0.2, 0..DAYS);
    prop_oneof![
        8 => (build(), outcome, upon, promoted).prop_map(|(id, outcome, upon, promoted)| {
            Step::Publish(id, outcome, upon, promoted)
        }),
        2 => (build(), prop::sample::select(&Verdict::ALL[..])).prop_map(|(id, it)| Step::Mark(id, it)),
        2 => (build(), prop::option::of(0_i64..40)).prop_map(|(id, until)| Step::Pin(id, until)),
        1 => build().prop_map(Step::Unpin),
        3 => build().prop_map(Step::Point),
        1 => build().prop_map(Step::Hold),
        1 => (0..CHANNELS.len()).prop_map(Step::Unpoint),
        3 => build().prop_map(Step::Retire),
        2 => build().prop_map(Step::Thin),
        2 => any::<Index>().prop_map(Step::Restore),
        1 => any::<Index>().prop_map(Step::Purge),
        1 => any::<bool>().prop_map(Step::AliasOfRelease),
        1 => (0..CHANNELS.len(), any::<Index>()).prop_map(|(channel, page)| Step::Lose(channel, page)),
        1 => any::<bool>().prop_map(Step::Title),
        1 => any::<bool>().prop_map(Step::Policy),
        4 => (-60_i64..400).prop_map(Step::Wait),
        1 => Just(Step::Compare),
    ]
}

/// A mirror, and the site that makes its pages.
struct World {
    dir: Utf8TempDir,
    store: MemoryStore,
    site: Site,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        let now = day(DAYS / 2);
        Self {
            dir: camino_tempfile::tempdir().expect("a directory"),
            store: MemoryStore::new(),
            site: Site::open(Options::default()).at(now),
            now,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    async fn take(&mut self, step: &Step) {
        let of = |(channel, days): (usize, i64)| build(channel, days);
        let id = match step {
            Step::Publish(id, ..)
            | Step::Mark(id, _)
            | Step::Pin(id, _)
            | Step::Unpin(id)
            | Step::Point(id)
            | Step::Hold(id)
            | Step::Retire(id)
            | Step::Thin(id) => of(*id),
            Step::Unpoint(channel) | Step::Lose(channel, _) => build(*channel, 0),
            Step::Restore(_)
            | Step::Purge(_)
            | Step::AliasOfRelease(_)
            | Step::Title(_)
            | Step::Policy(_)
            | Step::Wait(_)
            | Step::Compare => build(0, 0),
        };
        let retired =
            |index: &Index, all: &[Retired]| (!all.is_empty()).then(|| index.get(all).clone());
        let all = self.store.retired().await.expect("a list");
        let latest = AliasName::latest_build();
        let channel = match step {
            Step::Restore(index) | Step::Purge(index) => match retired(index, &all) {
                Some(retired) => retired.id.channel,
                None => return,
            },
            _ => id.channel.clone(),
        };
        let shown = self.store.alias(&channel, &latest).await.expect("an alias");
        let writer = self.store.lock(&channel).await.expect("the lock");
        match step {
            Step::Publish(_, outcome, upon, promoted) => {
                let Ok(staged) = writer.begin(id.date).await else {
                    return;
                };
                for path in [
                    "outputs/CHANGELOG",
                    "outputs/iso/bootimage.iso",
                    "inputs/a.tar",
                ] {
                    let entry = Entry::Generated(Bytes::from(format!("{path} of {id}")));
                    staged
                        .add(&path.parse().expect("a path"), &entry)
                        .await
                        .expect("added");
                }
                let mut record = BuildRecord::new(id.clone(), *outcome);
                record.after = upon.map(|upon| After {
                    build: of(upon),
                    sums: Sha256([0; 32]),
                });
                record.origin = promoted.map(|days| Origin::Promoted {
                    from: build(0, 0),
                    at: day(days),
                    by: "ann".to_owned(),
                    reason: None,
                });
                staged.commit(record).await.expect("committed");
            }
            Step::Mark(_, verdict) => {
                let entry = VerdictEntry {
                    build: id,
                    at: self.now,
                    verdict: *verdict,
                    author: "lab".to_owned(),
                    reason: None,
                    url: None,
                };
                writer.mark(&entry).await.ok();
            }
            Step::Pin(_, until) => {
                let pin = Pin {
                    build: id,
                    reason: "why".to_owned(),
                    author: "ann".to_owned(),
                    until: until.map(day),
                };
                writer.pin(&pin).await.ok();
            }
            Step::Unpin(_) => drop(writer.unpin(id.date, "ann").await),
            Step::Point(_) => {
                writer
                    .point(&latest, shown.as_ref(), Some(id.date))
                    .await
                    .ok();
            }
            Step::Hold(_) => writer.hold_alias(&latest, id.date).await.expect("held"),
            Step::Unpoint(_) => {
                writer.point(&latest, shown.as_ref(), None).await.ok();
            }
            Step::Retire(_) => drop(writer.retire(id.date, self.now).await),
            Step::Thin(_) => {
                let section = ThinnedSection {
                    section: "inputs".parse().expect("a path"),
                    since: id.date.time(),
                    at: id.date,
                    rule: "inputs go at once".to_owned(),
                };
                writer.thin(id.date, &[section]).await.ok();
            }
            Step::Restore(index) => {
                let retired = retired(index, &all).expect("one");
                writer.restore(&retired).await.ok();
            }
            Step::Purge(index) => {
                let retired = retired(index, &all).expect("one");
                writer.purge(&retired).await.expect("purged");
            }
            Step::AliasOfRelease(to) => {
                let alias: RootAlias = "r1".parse().expect("an alias");
                let target: RootTarget = "release/1".parse().expect("a target");
                let known = self.store.root_aliases().await.expect("aliases");
                let aliases = self.store.lock_aliases().await.expect("the lock");
                let to = to.then_some(&target);
                aliases.link(&alias, known.get(&alias), to).await.ok();
            }
            Step::Lose(_, index) => {
                let pages = self.store.lock_pages().await.expect("the lock");
                let name = *index.get(&PageName::ALL);
                let channel = Some(channel);
                pages
                    .remove(&PageId { channel, name })
                    .await
                    .expect("removed");
            }
            Step::Title(other) => {
                let title = if *other { "Other builds" } else { "" };
                let options = toml::from_str(&format!("site.title = \"{title}\""));
                let policy = self.site.options.policy.take();
                self.site.options = options.expect("options");
                self.site.options.policy = policy;
            }
            Step::Policy(short) => {
                let file = self.dir.path().join("policy.toml");
                fs_err::write(
                    &file,
                    "[kind.master]\nkeep = \"3 days\"\nfailed = \"2 days\"\n",
                )
                .expect("written");
                self.site.options.policy = short.then_some(file);
            }
            Step::Wait(hours) => self.now += TimeDelta::hours(*hours),
            Step::Compare => {
                self.renew().await;
                self.compare().await;
            }
        }
    }

    /// Makes the pages as each command does.
    async fn renew(&self) {
        assert_eq!(stale(&self.site, &self.store, self.now).await, None);
    }

    /// Makes all pages, which must already exist, byte for byte.
    async fn compare(&self) {
        let site = self.site.clone().at(self.now);
        let wrong = made(&site, &self.store).await.expect("made");
        assert_eq!([wrong.written, wrong.removed].concat(), [""; 0]);
    }

    async fn page(&self, channel: usize, name: PageName) -> Bytes {
        let page = page(channel, name);
        self.store.page(&page).await.expect("read").expect("a page")
    }
}

fn page(channel: usize, name: PageName) -> PageId {
    PageId {
        channel: Some(build(channel, 0).channel),
        name,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn publish(channel: usize, days: i64) -> Step {
    Step::Publish((channel, days), BuildOutcome::Success, None, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn updating_changed_pages_gives_the_same_result_as_making_all(
        steps in prop::collection::vec(step(), 1..24),
    ) {
        runtime().block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.take(step).await;
                world.renew().await;
            }
            world.compare().await;
        });
    }
}

#[tokio::test]
async fn an_unchanged_channel_is_not_read() {
    let mut world = World::new();
    for channel in 0..CHANNELS.len() {
        world.take(&publish(channel, 1)).await;
        world.take(&publish(channel, 2)).await;
    }
    world.renew().await;
    // Only a look at the page itself would find that.
    let pages = world.store.lock_pages().await.expect("the lock");
    for channel in 0..CHANNELS.len() {
        let damaged = page(channel, PageName::IndexHtml);
        pages
            .write(&damaged, Bytes::from_static(b"damaged"))
            .await
            .expect("written");
    }
    drop(pages);
    let changed = async |world: &World| {
        let mut changed = Vec::new();
        for channel in 0..CHANNELS.len() {
            if world.page(channel, PageName::IndexHtml).await != "damaged" {
                changed.push(channel);
            }
        }
        changed
    };
    world.renew().await;
    assert_eq!(changed(&world).await, [0; 0], "nothing changed");
    world.take(&publish(2, 3)).await;
    world.renew().await;
    assert_eq!(changed(&world).await, [2]);
    // From now on, the build above keeps the build below.
    world
        .take(&Step::Publish(
            (1, 3),
            BuildOutcome::Success,
            Some((0, 1)),
            None,
        ))
        .await;
    world.renew().await;
    assert_eq!(changed(&world).await, [0, 1, 2]);
    let made_again = made(&world.site, &world.store).await.expect("made");
    assert_eq!(made_again.written.len(), 2, "{made_again:?}");
    world.compare().await;
}

/// An edited policy changes no file of the mirror.
#[tokio::test]
async fn another_policy_changes_the_pages_of_every_channel() {
    let mut world = World::new();
    for days in 0..4 {
        world.take(&publish(0, days)).await;
    }
    world.renew().await;
    for short in [true, false] {
        let before = world.page(0, PageName::IndexJson).await;
        world.take(&Step::Policy(short)).await;
        world.renew().await;
        assert_ne!(world.page(0, PageName::IndexJson).await, before);
        world.compare().await;
    }
}

/// If the process died while it made the pages of a mirror, the next change of any channel makes all of them.
#[tokio::test]
async fn the_next_change_repairs_the_pages_after_a_crash() {
    let mut world = World::new();
    for channel in 0..2 {
        world.take(&publish(channel, 1)).await;
        world.take(&publish(channel, 2)).await;
    }
    world.take(&Step::Point((0, 1))).await;
    world.renew().await;
    for fault in Fault::ALL {
        let mut at = 0;
        loop {
            world.take(&Step::Point((0, 2))).await;
            let faulty = FaultyStore::new(world.store.clone(), fault, at);
            let failed = stale(&world.site, &faulty, world.now).await;
            world.take(&Step::Point((0, 1))).await;
            world.take(&Step::Mark((1, 1), Verdict::ALL[at % 3])).await;
            world.renew().await;
            world.compare().await;
            if failed.is_none() {
                break;
            }
            at += 1;
        }
        assert!(at > 20, "{fault:?}: {at} calls");
    }
}

/// A reader appears with a change of the channel, and disappears with the next change of any channel.
#[tokio::test]
async fn a_reader_is_shown_until_the_next_change_at_most() {
    let mut world = World::new();
    for channel in 0..2 {
        world.take(&publish(channel, 1)).await;
    }
    world.renew().await;
    let hold = world.store.hold(&build(0, 1)).await.expect("held");
    world.take(&publish(0, 2)).await;
    world.renew().await;
    let shown = async |world: &World| {
        let text = world.page(0, PageName::IndexJson).await;
        let index = ChannelIndex::from_json(&text).expect("an index");
        let stays = index.builds.into_iter().filter_map(|build| build.stays);
        stays
            .flat_map(|stay| stay.reasons)
            .any(|reason| reason == "in use by a reader")
    };
    assert!(shown(&world).await);
    drop(hold);
    world.take(&publish(1, 2)).await;
    world.renew().await;
    assert!(!shown(&world).await);
    world.compare().await;
}

#[tokio::test]
async fn a_store_without_outlines_makes_all_pages() {
    let mut world = World::new();
    world.take(&publish(0, 1)).await;
    let store = FaultyStore::forgetting(world.store.clone(), "outlines");
    assert_eq!(stale(&world.site, &store, world.now).await, None);
    world.take(&publish(1, 1)).await;
    assert_eq!(stale(&world.site, &store, world.now).await, None);
    world.compare().await;
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    assert_eq!(catalog.channels.len(), 2);
}
