//! The names above the channels, and paths without a date.

use std::collections::BTreeMap;

use stx_layout::{AliasName, RootAlias, RootEntry, RootTarget, Section, UndatedEntry};

use super::sample_id;
use crate::store::rules::is_offered;
use crate::store::{MirrorStore, Scope, StoreError, offer_latest};

fn alias(text: &str) -> RootAlias {
    text.parse().expect("an alias")
}

fn target(text: &str) -> RootTarget {
    text.parse().expect("a target")
}

async fn shown(store: &dyn MirrorStore) -> BTreeMap<RootAlias, RootEntry> {
    store.root_aliases().await.expect("a list")
}

/// Expects a mirror with four builds of one channel, and `latest_build`.
pub(super) async fn run(store: &dyn MirrorStore) {
    root_aliases(store).await;
    undated(store).await;
}

async fn root_aliases(store: &dyn MirrorStore) {
    assert_eq!(shown(store).await, BTreeMap::new());
    // The directory in which this alias would be does not exist either.
    let (writer, nothing) = (store.lock_aliases().await, alias("release/11.0"));
    let unlinked = writer.expect("the lock").link(&nothing, None, None).await;
    unlinked.expect("it is not there");
    let before = store.catalog(&Scope::All).await.expect("a catalog");
    let (legacy, master) = (alias("r2018.11"), target("master"));
    let (channel, centos) = (alias("master/other"), target("master/centos"));
    let writer = store.lock_aliases().await.expect("the lock");
    for (name, to) in [(&legacy, &master), (&channel, &centos)] {
        writer.link(name, None, Some(to)).await.expect("made");
    }
    let both = shown(store).await;
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both.get(&legacy), Some(&master.clone().into()));
    assert_eq!(both.get(&channel), Some(&centos.clone().into()));
    let seen = Some(RootEntry::To(master.clone()));
    let again = writer.link(&legacy, seen.as_ref(), Some(&master)).await;
    again.expect("a right alias is set again");

    let conflict = writer.link(&legacy, None, Some(&master)).await;
    assert!(
        matches!(conflict, Err(StoreError::Conflict { .. })),
        "{conflict:?}"
    );
    let nowhere = target("release/2018.11");
    let missing = writer.link(&legacy, seen.as_ref(), Some(&nowhere)).await;
    assert!(
        matches!(missing, Err(StoreError::NotFound { .. })),
        "{missing:?}"
    );
    let latest = alias("release/latest_release");
    for (name, expected, to) in [(&legacy, seen.as_ref(), &centos), (&latest, None, &master)] {
        let unfit = writer.link(name, expected, Some(to)).await;
        assert!(
            matches!(unfit, Err(StoreError::Refused { .. })),
            "{unfit:?}"
        );
    }
    assert_eq!(shown(store).await, both, "what was refused changed nothing");

    assert_eq!(
        store.catalog(&Scope::All).await.expect("a catalog"),
        before,
        "an alias is not a channel"
    );
    assert_eq!(store.strays().await.expect("a list"), Vec::<String>::new());
    for (name, to) in [(&legacy, &master), (&channel, &centos)] {
        let there = RootEntry::To(to.clone());
        writer
            .link(name, Some(&there), None)
            .await
            .expect("removed");
        writer.link(name, None, None).await.expect("gone already");
    }
    assert_eq!(shown(store).await, BTreeMap::new());
    writer
        .link(&legacy, None, Some(&master))
        .await
        .expect("made anew");
    drop(writer);
    let writer = store
        .lock_aliases()
        .await
        .expect("the lock ends with its writer");
    writer
        .link(&legacy, seen.as_ref(), None)
        .await
        .expect("removed");
}

async fn undated(store: &dyn MirrorStore) {
    let id = sample_id(4);
    let scope = Scope::Channel(id.channel.clone());
    let entry = async || {
        let mut catalog = store.catalog(&scope).await.expect("a catalog");
        catalog.channels.remove(&id.channel).expect("a channel")
    };
    let all = [Section::Inputs, Section::Outputs].into();
    let some = [Section::Outputs].into();
    assert_eq!(entry().await.undated, BTreeMap::new());
    let writer = store.lock(&id.channel).await.expect("the lock");
    for sections in [&some, &all, &all, &some] {
        writer.offer(sections).await.expect("offered");
        let entry = entry().await;
        assert!(is_offered(&entry, sections, id.date), "{:?}", entry.undated);
        assert_eq!(entry.strays, Vec::<String>::new());
    }
    let whole = store.catalog(&Scope::All).await.expect("a catalog");
    let there = &whole.channels[&id.channel];
    assert_eq!(there.strays, Vec::<String>::new());
    assert_eq!(there.undated_build(Section::Outputs), Some(id.date));
    offer_latest(store, &*writer).await.expect("offered");
    assert!(
        is_offered(&entry().await, &all, id.date),
        "those that it has"
    );

    let (latest, date) = (AliasName::latest_build(), Some(sample_id(1).date));
    let (newest, first) = (
        stx_layout::AliasEntry::Build(id.date),
        stx_layout::AliasEntry::Build(sample_id(1).date),
    );
    writer
        .point(&latest, Some(&newest), date)
        .await
        .expect("moved");
    offer_latest(store, &*writer).await.expect("offered");
    assert!(
        is_offered(&entry().await, &all, sample_id(1).date),
        "they follow"
    );
    writer
        .point(&latest, Some(&first), None)
        .await
        .expect("removed");
    let nothing = writer.offer(&all).await;
    assert!(
        matches!(nothing, Err(StoreError::NotFound { .. })),
        "{nothing:?}"
    );
    offer_latest(store, &*writer)
        .await
        .expect("nothing to offer");
    writer
        .point(&latest, None, Some(id.date))
        .await
        .expect("made");
    writer
        .offer(&std::collections::BTreeSet::new())
        .await
        .expect("taken back");
    let undated = entry().await.undated;
    assert_eq!(undated, BTreeMap::<Section, UndatedEntry>::new());
}
