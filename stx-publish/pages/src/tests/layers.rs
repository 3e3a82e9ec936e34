//! The graph of channels on the page of the root.

use stx_layout::index::BelowState;
use stx_layout::{After, BuildOutcome, Channel};
use stx_publish::conformance::{sample_id, sample_request};
use stx_publish::incoming::digest_of;
use stx_publish::memory::MemoryStore;
use stx_publish::publish::{prepare, publish};
use stx_publish::seal::{LONGEST_TEXT, sums_path};
use stx_publish::store::{MirrorStore as _, Scope, read_all};

use super::{FindingKind, PageId, PageName, RootIndex, Site, VerifyReport, text};
use crate::{refresh, verify_pages};

const COMPILER: &str = "master/centos/compiler";
const DISTRO: &str = "master/centos/distro";
const FLOCK: &str = "master/centos/flock";

/// Publishes a success that was built upon the build of `after`.
async fn put(store: &MemoryStore, channel: &str, day: u32, after: Option<(&str, u32)>) {
    let mut request = sample_request(day, BuildOutcome::Success, channel);
    let id = |channel: &str, day| {
        let channel: Channel = channel.parse().expect("a channel");
        stx_layout::BuildId::new(channel, sample_id(day).date)
    };
    request.record.id = id(channel, day);
    if let Some((below, day)) = after {
        let build = id(below, day);
        let sums = read_all(store, &build, &sums_path(), LONGEST_TEXT).await;
        let sums = digest_of(&sums.expect("sums"));
        request.record.after = Some(After { build, sums });
    }
    let plan = prepare(store, request).await.expect("a plan");
    publish(store, &plan).await.expect("published");
}

fn root(name: PageName) -> PageId {
    PageId {
        channel: None,
        name,
    }
}

/// The state of the build below each channel.
async fn below(store: &MemoryStore) -> Vec<(String, BelowState)> {
    let index = text(store, &root(PageName::IndexJson)).await;
    let index = RootIndex::from_json(index.as_bytes()).expect("an index");
    let channels = index.channels.into_iter();
    let below = channels.filter_map(|known| Some((known.channel.to_string(), known.after?.state)));
    below.collect()
}

#[tokio::test]
async fn the_root_shows_which_channel_is_built_upon_which() {
    let store = MemoryStore::new();
    let site = Site::default();
    put(&store, COMPILER, 1, None).await;
    put(&store, DISTRO, 2, Some((COMPILER, 1))).await;
    put(&store, FLOCK, 3, Some((DISTRO, 2))).await;
    refresh(&store, &site).await.expect("pages");
    let all = |distro, flock| [(DISTRO.to_owned(), distro), (FLOCK.to_owned(), flock)];
    assert_eq!(
        below(&store).await,
        all(BelowState::Newest, BelowState::Newest)
    );
    let html = text(&store, &root(PageName::IndexHtml)).await;
    let (_, list) = html.split_once("<ul class=\"layers\"").expect("a list");
    let (list, _) = list.split_once("<footer>").expect("a footer");
    insta::assert_snapshot!("layers", list);

    // A newer build of the lowest layer leaves only the next layer behind.
    put(&store, COMPILER, 4, None).await;
    let mut report = VerifyReport::default();
    let verify = verify_pages(
        &store,
        &Scope::All,
        true,
        std::time::Duration::ZERO,
        &mut report,
    );
    verify.await.expect("verified");
    assert!(!report.findings.is_empty());
    refresh(&store, &site).await.expect("pages");
    assert_eq!(
        below(&store).await,
        all(BelowState::Older, BelowState::Newest)
    );
    let html = text(&store, &root(PageName::IndexHtml)).await;
    assert_eq!(html.matches(">behind<").count(), 1, "{html}");

    // The build below is removed by hand: the page names it, and contains no dead link.
    let channel: Channel = COMPILER.parse().expect("a channel");
    let writer = store.lock(&channel).await.expect("the lock");
    let date = sample_id(1).date;
    writer.retire(date, date.time()).await.expect("retired");
    refresh(&store, &site).await.expect("pages");
    assert_eq!(
        below(&store).await,
        all(BelowState::Gone, BelowState::Newest)
    );
    let html = text(&store, &root(PageName::IndexHtml)).await;
    assert!(html.contains(", which is not on this mirror"), "{html}");
    assert!(!html.contains(&format!("{COMPILER}/{date}")), "{html}");
}

#[tokio::test]
async fn a_root_page_with_outdated_layers_is_found() {
    let store = MemoryStore::new();
    put(&store, COMPILER, 1, None).await;
    put(&store, DISTRO, 2, Some((COMPILER, 1))).await;
    refresh(&store, &Site::default()).await.expect("pages");
    // The index in the form of a version that is older than the layers.
    let page = root(PageName::IndexJson);
    let index = text(&store, &page).await;
    let mut index = RootIndex::from_json(index.as_bytes()).expect("an index");
    for known in &mut index.channels {
        known.after = None;
    }
    let pages = store.lock_pages().await.expect("the lock");
    let json = index.to_json().into_bytes().into();
    pages.write(&page, json).await.expect("written");
    drop(pages);
    let found = async || {
        let mut report = VerifyReport::default();
        let patience = std::time::Duration::ZERO;
        let verified = verify_pages(&store, &Scope::All, true, patience, &mut report).await;
        verified.expect("verified");
        let found = report.findings.into_iter();
        let found = found.map(|one| (one.path.unwrap_or_default(), one.kind));
        found.collect::<Vec<_>>()
    };
    let stale = ["index.html", "index.json"].map(|it| (it.to_owned(), FindingKind::PageStale));
    assert_eq!(found().await, stale);
    refresh(&store, &Site::default()).await.expect("pages");
    assert_eq!(found().await, []);
}
