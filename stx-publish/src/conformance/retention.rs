//! The part of the suite about pins, readers, verdicts and sections that are removed before their build.

use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildOutcome, Pin, Verdict, VerdictEntry,
};

use super::{path, put, sample_id};
use crate::incoming::digest_of;
use crate::store::{
    ChannelWriter, Depth, MirrorStore, OwedTag, OwedTags, Scope, StoreError, read_all, thinned,
};
use crate::thinning::ThinnedSection;
use crate::verdicts::point_green;
use crate::verify::verify;

/// A pin of a build.
pub fn sample_pin(id: &BuildId, author: &str, until: Option<DateTime<Utc>>) -> Pin {
    Pin {
        build: id.clone(),
        reason: "a customer runs it".to_owned(),
        author: author.to_owned(),
        until,
    }
}

/// A section that is removed on the `day`th of November 2018.
pub fn sample_section(section: &str, day: u32) -> ThinnedSection {
    let at = sample_id(day).date;
    ThinnedSection {
        section: path(section),
        since: at.time(),
        at,
        rule: "inputs go after 10 days".to_owned(),
    }
}

pub(super) async fn run(store: &dyn MirrorStore) {
    pins_keep(store).await;
    verdicts_are_remembered(store).await;
    readers_hold(store).await;
    sections_are_retired_and_restored(store).await;
    files_that_identify_a_build_cannot_be_retired(store).await;
    tags_are_owed(store).await;
}

async fn locked(store: &dyn MirrorStore) -> Box<dyn ChannelWriter> {
    let lock = store.lock(&sample_id(1).channel).await;
    lock.expect("the lock")
}

fn refused<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused { .. }))
}

fn not_found<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::NotFound { .. }))
}

async fn pins_keep(store: &dyn MirrorStore) {
    let (id, now) = (sample_id(1), sample_id(20).date.time());
    let scope = Scope::Build(id.clone());
    let pins = async |scope: &Scope| store.pins(scope).await.expect("pins");
    assert_eq!(pins(&Scope::All).await, []);
    let writer = locked(store).await;
    let nowhere = sample_pin(&sample_id(27), "ann", None);
    assert!(not_found(&writer.pin(&nowhere).await), "no such build");
    let mut elsewhere = nowhere;
    elsewhere.build = "master/debian/20181101T060000Z".parse().expect("a build");
    assert!(refused(&writer.pin(&elsewhere).await), "another's lock");

    // One pin per author, ordered by author; a later pin replaces an earlier one.
    let (ann, bob) = (
        sample_pin(&id, "ann", None),
        sample_pin(&id, "bob", Some(now)),
    );
    writer.pin(&bob).await.expect("pinned");
    let first = sample_pin(&id, "ann", Some(now));
    writer.pin(&first).await.expect("pinned");
    writer.pin(&ann).await.expect("pinned again");
    assert_eq!(pins(&scope).await, [ann.clone(), bob.clone()]);
    assert_eq!(pins(&Scope::All).await, [ann.clone(), bob.clone()]);
    let channel = Scope::Channel(id.channel.clone());
    assert_eq!(pins(&channel).await, [ann.clone(), bob.clone()]);
    assert_eq!(pins(&Scope::Build(sample_id(4))).await, []);
    assert!(refused(&writer.retire(id.date, now).await), "pinned");
    let section = [sample_section("inputs", 20)];
    assert!(refused(&writer.thin(id.date, &section).await), "pinned");

    // A pin of any author keeps the build, unless it has ended.
    let before = sample_id(19).date.time();
    let gone = writer.unpin(id.date, "ann").await.expect("unpinned");
    assert_eq!(gone, ann);
    assert!(not_found(&writer.unpin(id.date, "ann").await));
    assert!(refused(&writer.retire(id.date, before).await));
    let retired = writer.retire(id.date, now).await.expect("the pin ended");

    // Pins survive the removal of their build, and exist before it is restored.
    assert_eq!(pins(&Scope::All).await, std::slice::from_ref(&bob));
    writer.pin(&ann).await.expect("pinned while it is away");
    assert_eq!(pins(&scope).await, [ann.clone(), bob.clone()]);
    drop(writer.unpin(id.date, "ann").await.expect("unpinned"));
    writer.restore(&retired).await.expect("restored");
    assert_eq!(pins(&scope).await, [bob]);
    drop(writer.unpin(id.date, "bob").await.expect("unpinned"));
    assert_eq!(pins(&Scope::All).await, []);
}

async fn verdicts_are_remembered(store: &dyn MirrorStore) {
    let id = sample_id(1);
    let found = async |scope: &Scope| store.verdicts(scope).await.expect("verdicts");
    let said = |day: u32, verdict, author: &str| VerdictEntry {
        build: id.clone(),
        at: sample_id(day).date.time(),
        verdict,
        author: author.to_owned(),
        reason: Some("\u{fc}ber all tests".to_owned()),
        url: None,
    };
    assert_eq!(found(&Scope::All).await, []);
    let writer = locked(store).await;
    let green = said(20, Verdict::Green, "lab");
    let nowhere = VerdictEntry {
        build: sample_id(27),
        ..green.clone()
    };
    assert!(not_found(&writer.mark(&nowhere).await), "no such build");
    let elsewhere = VerdictEntry {
        build: "master/debian/20181101T060000Z".parse().expect("a build"),
        ..green.clone()
    };
    assert!(refused(&writer.mark(&elsewhere).await), "another's lock");

    // The history is in order of time; marking the same verdict again adds nothing.
    let red = said(21, Verdict::Red, "ann");
    for entry in [&green, &said(22, Verdict::Green, "lab"), &red] {
        writer.mark(entry).await.expect("marked");
    }
    let history = [green.clone(), red.clone()];
    for scope in [
        Scope::All,
        Scope::Channel(id.channel.clone()),
        Scope::Build(id.clone()),
    ] {
        assert_eq!(found(&scope).await, history, "{scope}");
    }
    assert_eq!(found(&Scope::Build(sample_id(4))).await, []);

    // The history survives while the build is in the trash.
    let now = sample_id(20).date.time();
    let retired = writer.retire(id.date, now).await.expect("retired");
    assert_eq!(found(&Scope::All).await, history);
    assert!(not_found(&writer.mark(&green).await), "it is in the trash");
    writer.restore(&retired).await.expect("restored");
    let again = said(23, Verdict::Green, "lab");
    writer.mark(&again).await.expect("marked");
    // A verdict that a copy brings late is sorted by its time.
    let late = said(19, Verdict::Yellow, "lab");
    for entry in [&late, &late, &red] {
        writer.mark(entry).await.expect("marked");
    }
    assert_eq!(found(&Scope::All).await, [late, green, red, again]);

    // The alias follows the verdicts, and keeps its build from being retired.
    let follows = async || point_green(store, &*writer).await.expect("pointed");
    assert_eq!(follows().await, Some(id.date));
    assert!(refused(&writer.retire(id.date, now).await));
    writer
        .mark(&said(24, Verdict::Yellow, "ann"))
        .await
        .expect("marked");
    assert_eq!(follows().await, None);
    let alias = store
        .alias(&id.channel, &AliasName::latest_green_build())
        .await;
    assert_eq!(alias.expect("an answer"), None);

    // Verdicts belong to these bytes: another build with this id, which a promotion or a copy may bring, has none.
    let first = writer.retire(id.date, now).await.expect("retired");
    drop(writer);
    put(store, 1, BuildOutcome::Success).await;
    assert_eq!(found(&Scope::All).await, []);
    let writer = locked(store).await;
    let alias = AliasName::latest_build();
    let shown = store.alias(&id.channel, &alias).await.expect("an answer");
    if shown == Some(AliasEntry::Build(id.date)) {
        let moved = writer.point(&alias, shown.as_ref(), None).await;
        moved.expect("it shows nothing");
    }
    let later = writer
        .retire(id.date, now + chrono::TimeDelta::seconds(1))
        .await;
    writer
        .purge(&later.expect("retired"))
        .await
        .expect("purged");
    writer.restore(&first).await.expect("restored");
    assert_eq!(found(&Scope::All).await, []);
}

async fn tags_are_owed(store: &dyn MirrorStore) {
    let owed = async |scope: &Scope| store.owed(scope).await.expect("an answer");
    // The tags of a build that does not exist.
    let id = sample_id(27);
    let of = |why: &[&str]| OwedTags {
        build: id.clone(),
        tags: why
            .iter()
            .map(|why| OwedTag {
                name: "r.example/starlingx/stx-nova:by-hand"
                    .parse()
                    .expect("a name"),
                digest: digest_of(b"an image"),
                why: (*why).to_owned(),
            })
            .collect(),
    };
    assert_eq!(owed(&Scope::All).await, []);
    let writer = locked(store).await;
    let elsewhere = OwedTags {
        build: "master/debian/20181101T060000Z".parse().expect("a build"),
        ..of(&["a chart"])
    };
    assert!(refused(&writer.owe(&elsewhere).await), "another's lock");
    for why in [&["a chart", "another one"][..], &["a pin"], &[], &[]] {
        writer.owe(&of(why)).await.expect("noted");
        let expected: Vec<_> = (!why.is_empty()).then(|| of(why)).into_iter().collect();
        for scope in [
            Scope::All,
            Scope::Channel(id.channel.clone()),
            Scope::Build(id.clone()),
        ] {
            assert_eq!(owed(&scope).await, expected, "{scope}");
        }
        assert_eq!(owed(&Scope::Build(sample_id(1))).await, []);
    }
}

async fn readers_hold(store: &dyn MirrorStore) {
    let (id, now) = (sample_id(1), sample_id(20).date.time());
    let all = [sample_id(1), sample_id(4), sample_id(27)];
    assert!(not_found(&store.hold(&sample_id(27)).await));
    let one = store.hold(&id).await.expect("held");
    if !one.is_effective() {
        return;
    }
    let other = store.hold(&id).await.expect("held twice");
    let writer = locked(store).await;
    let section = [sample_section("inputs", 20)];
    for hold in [one, other] {
        let used = store.in_use(&all).await.expect("an answer");
        assert!(used.into_iter().eq([id.clone()]));
        assert!(refused(&writer.retire(id.date, now).await));
        assert!(refused(&writer.thin(id.date, &section).await));
        drop(hold);
    }
    assert!(store.in_use(&all).await.expect("an answer").is_empty());
    let retired = writer.retire(id.date, now).await.expect("nobody reads it");
    assert!(not_found(&store.hold(&id).await));
    writer.restore(&retired).await.expect("restored");
}

/// The number of entries in a build.
async fn files(store: &dyn MirrorStore, id: &BuildId) -> usize {
    let inspection = store.inspect(id, Depth::Listing).await.expect("there");
    inspection.found.len()
}

async fn sections_are_retired_and_restored(store: &dyn MirrorStore) {
    put(store, 6, BuildOutcome::Success).await;
    put(store, 7, BuildOutcome::Success).await;
    let (id, latest) = (sample_id(6), sample_id(7));
    let writer = locked(store).await;
    let wanted = [
        sample_section("inputs", 20),
        sample_section("outputs/iso", 20),
    ];
    let date: BuildDate = latest.date;
    assert!(
        refused(&writer.thin(date, &wanted).await),
        "an alias is there"
    );
    let whole = files(store, &id).await;
    let taken = writer.thin(id.date, &wanted).await.expect("thinned");
    let names: Vec<_> = taken.iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("{id}/inputs"), format!("{id}/outputs/iso")]);
    assert_eq!(store.retired().await.expect("a list"), taken);
    assert_eq!(files(store, &id).await, whole - 3);
    let recorded = thinned(store, &id).await.expect("a record");
    assert_eq!(recorded.sections, wanted);
    assert_eq!(
        store
            .inspect(&id, Depth::Listing)
            .await
            .expect("there")
            .thinned,
        recorded
    );
    let source = path("inputs/downloads/source.tar");
    assert!(not_found(&read_all(store, &id, &source, 100).await));
    let again = writer.thin(id.date, &wanted).await.expect("nothing left");
    assert_eq!(again, []);
    let report = verify(store, &Scope::Build(id.clone())).await;
    assert_eq!(report.expect("verified").findings, [], "all as recorded");

    // Retired and restored with the build; the sections can be restored on their own.
    let now = sample_id(21).date.time();
    let retired = writer.retire(id.date, now).await.expect("retired");
    assert!(
        not_found(&writer.restore(&taken[0]).await),
        "no build to restore to"
    );
    writer.restore(&retired).await.expect("restored");
    writer
        .restore(&taken[1])
        .await
        .expect("the images come back");
    assert!(not_found(&writer.restore(&taken[1]).await));
    assert_eq!(
        thinned(store, &id).await.expect("a record").sections,
        wanted[..1]
    );
    writer.purge(&taken[0]).await.expect("purged");
    assert!(not_found(&writer.restore(&taken[0]).await));
    assert_eq!(store.retired().await.expect("a list"), []);
    let report = verify(store, &Scope::Build(id.clone())).await;
    assert_eq!(report.expect("verified").findings, []);

    // A section is restored only to the build that it was taken from.
    let taken = writer.thin(id.date, &wanted[1..]).await.expect("thinned");
    let mut other = taken[0].clone();
    other.at = sample_id(1).date;
    let wrong = writer.restore(&other).await;
    assert!(refused(&wrong) || not_found(&wrong));
    writer.restore(&taken[0]).await.expect("restored");
}

async fn files_that_identify_a_build_cannot_be_retired(store: &dyn MirrorStore) {
    let id = sample_id(6);
    let writer = locked(store).await;
    for section in [
        "outputs",
        "outputs/success",
        "build.json",
        "SHA256SUMS",
        "THINNED.json",
        "KEEP",
        // latest.iso points to it.
        "outputs/iso/bootimage.iso",
    ] {
        let wanted = [sample_section(section, 20)];
        let result = writer.thin(id.date, &wanted).await;
        assert!(refused(&result), "{section}: {result:?}");
    }
    let wanted = [sample_section("outputs/installer", 20)];
    assert!(not_found(&writer.thin(id.date, &wanted).await));
    let wanted = [sample_section("inputs", 20)];
    assert!(not_found(&writer.thin(sample_id(27).date, &wanted).await));
    let sections = thinned(store, &id).await.expect("a record").sections;
    assert_eq!(sections.len(), 1, "only what went before");
}
