use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, TimeZone as _, Utc};
use stx_layout::index::{
    ChannelIndex, ChannelSummary, PackageChanges, PageId, PageName, RootIndex, Stay,
};
use stx_layout::{
    BuildId, BuildOutcome, BuildRecord, Channel, ImageRecord, Origin, PhaseRecord, PhaseStatus,
    ReleaseKind, Sha256, SourceRecord, Verdict, VerdictEntry,
};
use stx_publish::conformance::{sample_id, sample_request};
use stx_publish::incoming::Entry;
use stx_publish::memory::MemoryStore;
use stx_publish::publish::{prepare, publish};
use stx_publish::seal::LONGEST_TEXT;
use stx_publish::store::{MirrorRead as _, MirrorStore as _, Scope};
use stx_publish::thinning::ThinnedSection;
use stx_publish::verify::{Finding, FindingKind, VerifyReport};

use super::refresh::refresh_up_to;
use super::{MirrorContents, Refreshed, Site, refresh, verify_pages};

mod escaping;
mod install;
mod layers;

/// Publishes a build of a package with that release and a complete record.
async fn put(store: &MemoryStore, day: u32, result: BuildOutcome, release: u32) {
    let mut request = sample_request(day, result, &format!("day {day}"));
    let package = format!("outputs/RPMS/std/a-1-{release}.noarch.rpm");
    request.tree.incoming_mut().entries.insert(
        package.parse().expect("a path"),
        Entry::Generated(format!("release {release}").into()),
    );
    let start = request.record.id.date.time();
    let phase = |name: &str, from: i64, to: i64, status| PhaseRecord {
        name: name.to_owned(),
        status,
        required: true,
        attempts: 1,
        started: Some(start + TimeDelta::seconds(from)),
        finished: Some(start + TimeDelta::seconds(to)),
        reason: None,
    };
    let failed = result == BuildOutcome::Fail;
    let last = if failed {
        PhaseStatus::Failed
    } else {
        PhaseStatus::Succeeded
    };
    let record = &mut request.record;
    record.trigger = Some("commit: <b>bold</b> & \u{1b}[31mred".to_owned());
    record.phases = vec![
        phase("sync", 0, 60, PhaseStatus::Succeeded),
        phase("compile", 60, 7260, last),
    ];
    record.first_failing_phase = failed.then(|| "compile".to_owned());
    record.phases[1].reason = failed.then(|| "exit status <7>".to_owned());
    record.sources = vec![SourceRecord {
        path: "stx/config".to_owned(),
        url: None,
        commit: "1".repeat(40),
    }];
    record.images = vec![ImageRecord {
        name: "starlingx/stx-keystone:master-centos-stable-latest".to_owned(),
        digest: Sha256([7; 32]),
        platform: None,
        size: None,
    }];
    let plan = prepare(store, request).await.expect("a plan");
    publish(store, &plan).await.expect("published");
}

fn channel_page(name: PageName) -> PageId {
    PageId {
        channel: Some(sample_id(1).channel),
        name,
    }
}

async fn text(store: &MemoryStore, page: &PageId) -> String {
    let bytes = store.page(page).await.expect("read").expect("a page");
    String::from_utf8(bytes.to_vec()).expect("text")
}

async fn example() -> (MemoryStore, Site) {
    let store = MemoryStore::new();
    put(&store, 1, BuildOutcome::Success, 1).await;
    put(&store, 2, BuildOutcome::Fail, 2).await;
    put(&store, 3, BuildOutcome::Success, 2).await;
    let stay = Stay {
        until: Some(Utc.with_ymd_and_hms(2018, 11, 15, 6, 0, 0).unwrap()),
        reasons: vec!["younger than 14 days".to_owned()],
    };
    let site = Site {
        stays: [(sample_id(1), stay)].into(),
        ..Site::default()
    };
    (store, site)
}

#[tokio::test]
async fn the_pages_of_a_channel() {
    let (store, site) = example().await;
    refresh(&store, &site).await.expect("pages");
    // The digest of the index, which also appears here.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("data-index=\"[0-9a-f]{64}\"", "data-index=\"DIGEST\"");
    // The digests of pages, which change with every template.
    settings.add_filter("\"look\":\"[0-9a-f]{64}\"", "\"look\":\"DIGEST\"");
    let of_page = "\"page\":\\{\"sha256\":\"[0-9a-f]{64}\"";
    settings.add_filter(of_page, "\"page\":{\"sha256\":\"DIGEST\"");
    let _bound = settings.bind_to_scope();
    for name in [PageName::IndexJson, PageName::IndexHtml, PageName::Feed] {
        let page = channel_page(name);
        insta::assert_snapshot!(&*name.file_name(), text(&store, &page).await);
    }
    let root = PageId {
        channel: None,
        name: PageName::IndexHtml,
    };
    insta::assert_snapshot!("root", text(&store, &root).await);
    let build = channel_page(PageName::HtmlOf(sample_id(3).date));
    insta::assert_snapshot!("build", text(&store, &build).await);
}

#[tokio::test]
async fn an_index_gives_back_the_catalog() {
    let (store, site) = example().await;
    refresh(&store, &site).await.expect("pages");
    let index = text(&store, &channel_page(PageName::IndexJson)).await;
    let index = ChannelIndex::from_json(index.as_bytes()).expect("an index");
    assert_eq!(
        index.builds[0].changes.as_ref().map(PackageChanges::count),
        Some(1)
    );
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    assert_eq!(index.entry(), catalog.channels[&sample_id(1).channel]);
    let newer = br#"{"schema": 99}"#;
    assert!(RootIndex::from_json(newer).is_err());
}

#[tokio::test]
async fn only_changed_pages_are_written_and_old_ones_are_removed() {
    let (store, site) = example().await;
    let first = refresh(&store, &site).await.expect("pages");
    assert_eq!(first.written.len(), 8);
    assert_eq!(
        refresh(&store, &site).await.expect("pages"),
        Refreshed::default()
    );

    let id = sample_id(2);
    let writer = store.lock(&id.channel).await.expect("the lock");
    writer
        .retire(id.date, id.date.time())
        .await
        .expect("retired");
    let second = refresh(&store, &site).await.expect("pages");
    assert_eq!(second.written.len(), 5);
    let page = channel_page(PageName::HtmlOf(id.date));
    let removed = std::slice::from_ref(&page);
    assert_eq!(second.removed, removed, "the page goes with its build");
    // The publisher of a page died before the index named it, and the build was deleted.
    let pages = store.lock_pages().await.expect("the lock");
    pages.write(&page, "x".into()).await.expect("written");
    drop(pages);
    let thorough = Site {
        thorough: true,
        ..site.clone()
    };
    let done = refresh(&store, &thorough).await.expect("pages");
    assert_eq!(done.removed, removed);
    let html = text(&store, &channel_page(PageName::IndexHtml)).await;
    assert!(!html.contains("20181102T060000Z"));

    let latest = stx_layout::AliasName::latest_build();
    let shown = store.alias(&id.channel, &latest).await.expect("an alias");
    writer
        .point(&latest, shown.as_ref(), None)
        .await
        .expect("removed");
    for day in [1, 3] {
        let date = sample_id(day).date;
        writer.retire(date, date.time()).await.expect("retired");
    }
    let third = refresh(&store, &site).await.expect("pages");
    assert_eq!(third.removed.len(), 5);
}

#[tokio::test]
async fn missing_and_outdated_pages_are_found() {
    let (store, site) = example().await;
    let check = async |scope: &Scope, makes| {
        let mut report = VerifyReport::default();
        verify_pages(&store, scope, makes, Duration::ZERO, &mut report)
            .await
            .expect("verified");
        let found = report.findings.iter().map(|finding| {
            let path = finding.path.clone().unwrap_or_default();
            let root = if finding.channel.is_some() { "" } else { "/" };
            (format!("{root}{path}"), finding.kind)
        });
        found.collect::<Vec<_>>()
    };
    let all = Scope::All;
    let missing = |path: &str| (path.to_owned(), FindingKind::PageMissing);
    let stale = |path: &str| (path.to_owned(), FindingKind::PageStale);
    // A mirror without pages is not reported unless it should have some.
    assert_eq!(check(&all, false).await, []);
    let all_of_it = PageName::HtmlOf(sample_id(1).date);
    let none = [
        "/index.html",
        "/index.json",
        "feed.xml",
        "index.html",
        "index.json",
    ];
    assert_eq!(check(&all, true).await, none.map(missing));
    refresh(&store, &site).await.expect("pages");
    assert_eq!(check(&all, true).await, []);

    let pages = store.lock_pages().await.expect("the lock");
    for name in [
        PageName::IndexJson,
        PageName::IndexHtml,
        PageName::Feed,
        all_of_it,
    ] {
        let page = channel_page(name);
        let before = store.page(&page).await.expect("read").expect("a page");
        pages.remove(&page).await.expect("removed");
        assert_eq!(check(&all, false).await, [missing(&name.file_name())]);
        let channel = Scope::Channel(sample_id(1).channel);
        assert_eq!(check(&channel, false).await, [missing(&name.file_name())]);
        pages.write(&page, before).await.expect("written");
    }
    let of_build = channel_page(all_of_it);
    let before = store.page(&of_build).await.expect("read").expect("a page");
    pages.write(&of_build, "x".into()).await.expect("written");
    assert_eq!(check(&all, true).await, [stale("20181101T060000Z.html")]);
    pages.write(&of_build, before).await.expect("written");

    let torn = channel_page(PageName::IndexJson);
    let before = store.page(&torn).await.expect("read").expect("a page");
    pages.write(&torn, "{".into()).await.expect("written");
    assert_eq!(check(&all, true).await, [stale("index.json")]);
    pages.write(&torn, before).await.expect("written");
    assert_eq!(check(&all, true).await, []);

    // A build was published, and its publisher died before the pages were refreshed.
    put(&store, 4, BuildOutcome::Success, 3).await;
    let both = [stale("/index.json"), stale("index.json")];
    assert_eq!(check(&all, true).await, both);
    assert_eq!(check(&Scope::Build(sample_id(4)), true).await, []);
    // Or it died later, between two pages.
    let old = channel_page(PageName::Feed);
    let feed = store.page(&old).await.expect("read").expect("a page");
    drop(pages);
    refresh(&store, &site).await.expect("pages");
    let pages = store.lock_pages().await.expect("the lock");
    pages.write(&old, feed).await.expect("written");
    assert_eq!(check(&all, true).await, [stale("feed.xml")]);
    // A page of an earlier version does not name its index.
    let text = "<feed/>";
    pages.write(&old, text.into()).await.expect("written");
    assert_eq!(check(&all, true).await, []);
}

#[tokio::test]
async fn the_finding_of_the_root_index_names_the_channel_that_differs() {
    let (store, site) = example().await;
    let message = async || {
        let mut report = VerifyReport::default();
        verify_pages(&store, &Scope::All, true, Duration::ZERO, &mut report)
            .await
            .expect("verified");
        let of_root = |it: &&Finding| {
            it.channel.is_none() && it.path.as_ref().is_some_and(|path| path == "index.json")
        };
        let found = report.findings.iter().find(of_root);
        found.map(|finding| finding.message.clone())
    };
    refresh(&store, &site).await.expect("pages");
    assert_eq!(message().await, None);

    let root = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    let json = store.page(&root).await.expect("read").expect("an index");
    let index = RootIndex::from_json(&json).expect("an index");
    let channel = sample_id(1).channel;
    let known = index.channels.first().expect("a channel").clone();
    let write = async |change: &dyn Fn(&mut Vec<ChannelSummary>)| {
        let mut index = index.clone();
        change(&mut index.channels);
        let text = serde_json::to_string(&index).expect("JSON");
        let pages = store.lock_pages().await.expect("the lock");
        pages.write(&root, text.into()).await.expect("written");
    };
    let other = |builds| ChannelSummary {
        channel: "rc/1.0/centos".parse().expect("a channel"),
        builds,
        ..known.clone()
    };
    write(&|channels| channels.push(other(2))).await;
    assert_eq!(
        message().await.as_deref(),
        Some(
            "names rc/1.0/centos with 2 builds, which the mirror does not have; if nobody removed that, restore it first: a repair forgets it"
        )
    );
    for (change, how) in [
        (
            &(|channels: &mut Vec<ChannelSummary>| channels.push(other(0)))
                as &dyn Fn(&mut Vec<ChannelSummary>),
            "it names rc/1.0/centos, which does not exist".to_owned(),
        ),
        (
            &|channels| channels.clear(),
            format!("it does not name {channel}"),
        ),
        (
            &|channels| channels[0].builds += 1,
            format!("the builds of {channel} differ"),
        ),
        (
            &|channels| channels[0].newest = None,
            format!("the builds of {channel} differ"),
        ),
        (
            &|channels| channels[0].latest_build = None,
            format!("`latest_build` of {channel} differs"),
        ),
    ] {
        write(change).await;
        let expected = format!("is older than the mirror: {how}");
        assert_eq!(message().await, Some(expected));
    }
}

#[tokio::test]
async fn only_the_pages_of_builds_that_changed_are_written() {
    let (store, mut site) = example().await;
    refresh(&store, &site).await.expect("pages");
    let of_build = |day| channel_page(PageName::HtmlOf(sample_id(day).date));
    let written = async |site: &Site| {
        let done = refresh(&store, site).await.expect("pages");
        let of_builds = done.written.into_iter();
        let of_builds = of_builds.filter(|page| matches!(page.name, PageName::HtmlOf(_)));
        of_builds.collect::<Vec<_>>()
    };
    put(&store, 4, BuildOutcome::Success, 3).await;
    assert_eq!(written(&site).await, [of_build(4)]);

    let id = sample_id(2);
    let writer = store.lock(&id.channel).await.expect("the lock");
    let mark = VerdictEntry {
        build: id.clone(),
        at: id.date.time() + TimeDelta::hours(1),
        verdict: Verdict::Red,
        author: "<i>lab</i>".to_owned(),
        reason: Some("\u{1b}[2J\"'".to_owned()),
        url: Some("javascript:alert(1)".to_owned()),
    };
    writer.mark(&mark).await.expect("marked");
    assert_eq!(written(&site).await, [of_build(2)]);
    let html = text(&store, &of_build(2)).await;
    assert!(html.contains("&#60;i&#62;lab"), "{html}");
    let failed = "compile</a>: exit status &#60;7&#62;</p>";
    assert!(html.contains(failed), "{html}");
    assert!(!html.contains("href=\"javascript"), "{html}");

    // A section that retention retires, and that is restored.
    let section = ThinnedSection {
        section: "inputs/downloads".parse().expect("a path"),
        since: id.date.time(),
        at: id.date,
        rule: "<u>a rule</u>".to_owned(),
    };
    let taken = writer
        .thin(id.date, std::slice::from_ref(&section))
        .await
        .expect("thinned");
    assert_eq!(written(&site).await, [of_build(2)]);
    let html = text(&store, &of_build(2)).await;
    assert!(html.contains("&#60;u&#62;a rule"), "{html}");
    assert!(!html.contains("source.tar"), "{html}");
    for retired in &taken {
        writer.restore(retired).await.expect("restored");
    }
    assert_eq!(written(&site).await, [of_build(2)]);
    assert!(text(&store, &of_build(2)).await.contains("source.tar"));

    assert_eq!(written(&site).await, []);
    site.title = "Another".to_owned();
    assert_eq!(written(&site).await.len(), 4);
}

#[tokio::test]
async fn an_index_that_no_reader_accepts_is_not_written() {
    let store = MemoryStore::new();
    put(&store, 1, BuildOutcome::Success, 1).await;
    refresh(&store, &Site::default()).await.expect("pages");
    let index = channel_page(PageName::IndexJson);
    let before = text(&store, &index).await;
    let length = usize::try_from(LONGEST_TEXT).expect("a length") + 1;
    let pages = store.lock_pages().await.expect("the pages");
    let made = [(index.clone(), Bytes::from(vec![b' '; length]))];
    let pages = super::locked::LockedPages::new(&store, &*pages);
    let refused = super::replace::replace(&pages, None, made).await;
    let refused = refused.expect_err("too long").to_string();
    assert!(
        refused.contains("index.json") && refused.contains("64 MiB"),
        "{refused}"
    );
    assert_eq!(text(&store, &index).await, before, "the old one stays");
}

/// The HTML pages and those of other channels are up to date; the index is the previous one, which readers can at least read.
#[tokio::test]
async fn an_index_that_is_too_long_does_not_prevent_other_pages() {
    let store = MemoryStore::new();
    put(&store, 1, BuildOutcome::Success, 1).await;
    let site = Site::default();
    refresh(&store, &site).await.expect("pages");
    let index = channel_page(PageName::IndexJson);
    let before = text(&store, &index).await;
    put(&store, 2, BuildOutcome::Success, 2).await;
    let other = "feature/f/centos/20181101T060000Z".parse::<BuildId>();
    let other = other.expect("a build");
    let writer = store.lock(&other.channel).await.expect("the lock");
    let staged = writer.begin(other.date).await.expect("begun");
    let record = BuildRecord::new(other.clone(), BuildOutcome::Success);
    staged.commit(record).await.expect("committed");

    let pages = store.lock_pages().await.expect("the lock");
    let contents = MirrorContents::read(&store).await.expect("read");
    let longest = before.len() as u64;
    let made = refresh_up_to(
        longest,
        &store,
        &*pages,
        contents,
        BTreeMap::new(),
        &site,
        None,
    );
    let made = made.await.expect("made");
    assert_eq!(made.refreshed.too_long, std::slice::from_ref(&index));
    let whole = made.channels.iter().map(|made| made.is_whole);
    assert_eq!(whole.collect::<Vec<_>>(), [false, true]);
    assert_eq!(text(&store, &index).await, before);
    for name in [PageName::IndexHtml, PageName::Feed] {
        assert!(
            text(&store, &channel_page(name))
                .await
                .contains("20181102T060000Z")
        );
    }
    let of_other = PageId {
        channel: Some(other.channel),
        name: PageName::IndexJson,
    };
    assert!(text(&store, &of_other).await.contains("20181101T060000Z"));
    let root = text(
        &store,
        &PageId {
            channel: None,
            name: PageName::IndexJson,
        },
    )
    .await;
    let root = RootIndex::from_json(root.as_bytes()).expect("an index");
    assert_eq!(root.channels[0].builds, 2);
    drop(pages);
    // This is the first finding about the channel.
    let mut report = VerifyReport::default();
    let found = verify_pages(&store, &Scope::All, true, Duration::ZERO, &mut report).await;
    found.expect("verified");
    assert!(
        report
            .findings
            .iter()
            .any(|it| it.kind == FindingKind::PageStale),
        "{report:?}"
    );
    assert!(
        refresh(&store, &site)
            .await
            .expect("pages")
            .too_long
            .is_empty()
    );
}
