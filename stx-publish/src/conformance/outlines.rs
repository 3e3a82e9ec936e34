//! The part of the suite about outlines, and the note beside the pages.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::{AliasEntry, AliasName, BuildOutcome, Channel, Pin, Verdict, VerdictEntry};

use super::{put, sample_id};
use crate::index::{PageId, PageName};
use crate::store::{MirrorStore, Outline, Scope};

pub(super) async fn run(store: &dyn MirrorStore) {
    let pages = store.lock_pages().await.expect("the lock");
    let note = Bytes::from_static(b"a note");
    pages.note(Some(note.clone())).await.expect("kept");
    let kept = store.noted().await.expect("read");
    pages.note(None).await.expect("removed");
    assert_eq!(store.noted().await.expect("read"), None);
    pages.note(None).await.expect("removed twice");
    let Some(first) = store.outlines().await.expect("outlines") else {
        return;
    };
    assert_eq!(kept, Some(note));

    let mut known = first;
    for date in [25, 26] {
        put(store, date, BuildOutcome::Success).await;
        known = differs(store, &known, "a build").await;
    }
    let id = sample_id(26);
    let page = PageId {
        channel: Some(id.channel.clone()),
        name: PageName::Feed,
    };
    pages.remove(&page).await.expect("removed");
    let without = store.outlines().await.expect("outlines").expect("some");
    pages
        .write(&page, Bytes::from_static(b"<feed/>"))
        .await
        .expect("written");
    let with = store.outlines().await.expect("outlines").expect("some");
    let [without, with] = [&without, &with].map(|outlines| &outlines[&id.channel]);
    assert_eq!(
        without.digest, with.digest,
        "a page is nothing of the catalog"
    );
    assert!(!without.pages.contains(&PageName::Feed));
    assert!(with.pages.contains(&PageName::Feed));
    pages.remove(&page).await.expect("removed");
    drop(pages);

    let (writer, latest) = (
        store.lock(&id.channel).await.expect("the lock"),
        AliasName::latest_build(),
    );
    let [one, other] = [25, 26].map(|date| AliasEntry::Build(sample_id(date).date));
    let verdict = VerdictEntry {
        build: id.clone(),
        at: sample_id(27).date.time(),
        verdict: Verdict::Red,
        author: "outlines".to_owned(),
        reason: None,
        url: None,
    };
    writer.mark(&verdict).await.expect("marked");
    known = differs(store, &known, "a verdict").await;
    let pin = Pin {
        build: id.clone(),
        reason: "outlines".to_owned(),
        author: "outlines".to_owned(),
        until: None,
    };
    writer.pin(&pin).await.expect("pinned");
    known = differs(store, &known, "a pin").await;
    writer.unpin(id.date, "outlines").await.expect("unpinned");
    known = differs(store, &known, "a pin that is gone").await;
    let earlier = Some(sample_id(25).date);
    writer
        .point(&latest, Some(&other), earlier)
        .await
        .expect("pointed");
    known = differs(store, &known, "an alias").await;
    writer
        .hold_alias(&latest, sample_id(25).date)
        .await
        .expect("held");
    known = differs(store, &known, "an alias that is held").await;
    writer
        .point(&latest, Some(&one), Some(id.date))
        .await
        .expect("pointed");
    known = differs(store, &known, "an alias").await;
    let at = sample_id(28).date.time();
    let retired = writer
        .retire(sample_id(25).date, at)
        .await
        .expect("retired");
    known = differs(store, &known, "a build that is gone").await;
    // The same build again, then another build with its id.
    writer.restore(&retired).await.expect("restored");
    known = differs(store, &known, "a build that is back").await;
    let retired = writer
        .retire(sample_id(25).date, at)
        .await
        .expect("retired");
    writer.purge(&retired).await.expect("purged");
    drop(writer);
    put(store, 25, BuildOutcome::Fail).await;
    differs(store, &known, "another build of that id").await;
}

/// Reads the outlines again. Only that of the sample's channel has changed; all dates are those of the catalog.
async fn differs(
    store: &dyn MirrorStore,
    before: &BTreeMap<Channel, Outline>,
    what: &str,
) -> BTreeMap<Channel, Outline> {
    let now = store.outlines().await.expect("outlines").expect("some");
    let again = store.outlines().await.expect("outlines").expect("some");
    assert_eq!(now, again, "nothing changed");
    let channels = now
        .keys()
        .filter(|channel| now.get(*channel) != before.get(*channel));
    assert_eq!(
        channels.collect::<Vec<_>>(),
        [&sample_id(1).channel],
        "{what}"
    );
    let (digest, other) = (
        &now[&sample_id(1).channel].digest,
        before.get(&sample_id(1).channel),
    );
    assert!(other.is_none_or(|other| other.digest != *digest), "{what}");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let dates = catalog.channels.iter();
    let dates = dates.map(|(channel, entry)| (channel, entry.builds.keys().collect::<Vec<_>>()));
    let told = now.iter();
    let told = told.map(|(channel, outline)| (channel, outline.builds.iter().collect::<Vec<_>>()));
    assert!(dates.eq(told), "{what}");
    now
}
