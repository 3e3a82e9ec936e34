//! The contract of every store, as one test suite that runs on each of them.

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use stx_layout::{AliasEntry, AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel};

use crate::Cleared;
use crate::incoming::{Entry, Incoming};
use crate::index::{PageId, PageName};
use crate::plan::PublishRequest;
use crate::publish::{prepare, publish};
use crate::store::{Audit, ByteRange, Depth, Found, MirrorStore, Scope, StoreError, read_all};
use crate::verify::verify;

mod apt;
mod controls;
mod corners;
mod names;
mod outlines;
pub mod retention;
mod sealed;
mod wrapper;

pub use apt::{sample_control, sample_deb, sample_dsc};
pub use sealed::{TestSigner, sealed, test_seal};
pub use wrapper::wrapper;

/// A build of the channel `master/centos`, the `day`th of November 2018.
pub fn sample_id(day: u32) -> BuildId {
    format!("master/centos/201811{day:02}T060000Z")
        .parse()
        .expect("a build")
}

/// A request to publish [`sample_id`] with a few generated files, one of which contains `text`.
pub fn sample_request(day: u32, result: BuildOutcome, text: &str) -> PublishRequest {
    let id = sample_id(day);
    let entries = [
        (
            "inputs/downloads/source.tar",
            Entry::Generated(Bytes::from_static(b"the same in every build")),
        ),
        (
            "outputs/CONTEXT",
            Entry::Generated(Bytes::from(text.to_owned())),
        ),
        (
            "outputs/iso/bootimage.iso",
            Entry::Generated(Bytes::from(format!("image of {text}"))),
        ),
        (
            "outputs/iso/latest.iso",
            Entry::Symlink {
                target: "bootimage.iso".to_owned(),
            },
        ),
    ];
    let entries = entries.map(|(path, entry)| (path.parse().expect("a path"), entry));
    let now = id.date.time() + TimeDelta::hours(5);
    PublishRequest::new(
        BuildRecord::new(id, result),
        Cleared::unsearched(
            Incoming {
                entries: entries.into(),
            },
            "made for a test",
        ),
        now,
    )
}

async fn put(store: &dyn MirrorStore, day: u32, result: BuildOutcome) {
    let plan = prepare(store, sample_request(day, result, &format!("day {day}")))
        .await
        .expect("a plan");
    publish(store, &plan).await.expect("published");
}

async fn shown(store: &dyn MirrorStore, channel: &Channel) -> Option<AliasEntry> {
    store
        .alias(channel, &AliasName::latest_build())
        .await
        .expect("an alias can be read")
}

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

/// Runs the whole suite on a store, which must be empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn run(store: &dyn MirrorStore) {
    absent(store).await;
    staging_is_invisible(store).await;
    a_published_build_is_complete(store).await;
    capabilities_are_true(store).await;
    locks_exclude(store).await;
    aliases_compare_and_swap(store).await;
    names::run(store).await;
    pages(store).await;
    builds_are_retired_and_restored(store).await;
    retention::run(store).await;
    corners::run(store).await;
    outlines::run(store).await;
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "the suite leaves a right mirror");
}

async fn absent(store: &dyn MirrorStore) {
    let id = sample_id(1);
    assert!(
        store
            .catalog(&Scope::All)
            .await
            .expect("a catalog")
            .channels
            .is_empty()
    );
    assert!(matches!(
        store.record(&id).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.sums(&id).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.inspect(&id, Depth::Listing).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.read(&id, &path("outputs/CONTEXT"), 0).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(shown(store, &id.channel).await, None);
    assert_eq!(store.retired().await.expect("a list"), []);
}

async fn staging_is_invisible(store: &dyn MirrorStore) {
    let id = sample_id(1);
    let writer = store.lock(&id.channel).await.expect("the lock");
    assert_eq!(writer.channel(), &id.channel);
    let staged = writer.begin(id.date).await.expect("begun");
    assert_eq!(staged.id(), &id);
    assert!(staged.parallel() > 0, "files can be added");
    let entry = Entry::Generated(Bytes::from_static(b"x"));
    staged
        .add(&path("outputs/CONTEXT"), &entry)
        .await
        .expect("added");
    let twice = staged.add(&path("outputs/CONTEXT"), &entry).await;
    assert!(matches!(twice, Err(StoreError::AlreadyExists { .. })));
    assert!(
        store
            .catalog(&Scope::All)
            .await
            .expect("a catalog")
            .builds()
            .next()
            .is_none()
    );
    assert!(matches!(
        store.record(&id).await,
        Err(StoreError::NotFound { .. })
    ));
    drop(staged);
    drop(writer);
    assert_eq!(store.leftovers(&Scope::All).await.expect("a list").len(), 1);
    let writer = store
        .lock(&id.channel)
        .await
        .expect("the lock ends with its writer");
    assert_eq!(writer.sweep().await.expect("swept").len(), 1);
    drop(writer);
    assert_eq!(store.leftovers(&Scope::All).await.expect("a list"), []);
}

async fn a_published_build_is_complete(store: &dyn MirrorStore) {
    let id = sample_id(1);
    put(store, 1, BuildOutcome::Success).await;
    let sums = store.sums(&id).await.expect("sums");
    let listed: Vec<_> = sums.lines().iter().map(|line| line.path.as_str()).collect();
    assert_eq!(
        listed,
        [
            "build.json",
            "inputs/downloads/source.tar",
            "outputs/CONTEXT",
            "outputs/iso/bootimage.iso",
            "outputs/iso/latest.iso",
            "outputs/success"
        ]
    );
    assert_eq!(
        sums.get(&path("outputs/iso/latest.iso")),
        sums.get(&path("outputs/iso/bootimage.iso"))
    );
    let record = store.record(&id).await.expect("a record");
    assert_eq!(record.files, 5);
    let through_link = read_all(store, &id, &path("outputs/iso/latest.iso"), 100)
        .await
        .expect("read");
    assert_eq!(through_link, b"image of day 1");
    let sums_file = read_all(store, &id, &path("SHA256SUMS"), 10_000)
        .await
        .expect("read");
    assert_eq!(sums_file, sums.to_string().into_bytes());
    let mut rest = store
        .read(&id, &path("outputs/CONTEXT"), 4)
        .await
        .expect("read");
    assert_eq!(rest.size, 5);
    let mut bytes = Vec::new();
    while let Some(chunk) = rest.stream.next().await {
        bytes.extend_from_slice(&chunk.expect("a chunk"));
    }
    assert_eq!(bytes, b"1");
    ranges_are_read(store, &id).await;
    assert_eq!(
        shown(store, &id.channel).await,
        Some(AliasEntry::Build(id.date))
    );

    // Publishing the same build again changes nothing; another build with the same id is refused.
    let again = prepare(store, sample_request(1, BuildOutcome::Success, "day 1"))
        .await
        .expect("a plan");
    assert!(again.is_noop(), "{again}");
    assert!(
        publish(store, &again)
            .await
            .expect("nothing to do")
            .moved
            .is_empty()
    );
    assert!(
        prepare(store, sample_request(1, BuildOutcome::Success, "other"))
            .await
            .is_err()
    );
    assert!(
        prepare(store, sample_request(1, BuildOutcome::Fail, "day 1"))
            .await
            .is_err()
    );

    // A failed build is published without an alias; so is an older successful one.
    put(store, 3, BuildOutcome::Fail).await;
    assert_eq!(
        shown(store, &id.channel).await,
        Some(AliasEntry::Build(id.date))
    );
    put(store, 4, BuildOutcome::Success).await;
    put(store, 2, BuildOutcome::Success).await;
    assert_eq!(
        shown(store, &id.channel).await,
        Some(AliasEntry::Build(sample_id(4).date))
    );
    let catalog = store
        .catalog(&Scope::Channel(id.channel.clone()))
        .await
        .expect("a catalog");
    assert_eq!(catalog.builds().count(), 4);
}

/// Ranges of a file of five bytes.
async fn ranges_are_read(store: &dyn MirrorStore, id: &BuildId) {
    for (ranges, expected) in [
        (&[(1, 3)][..], &b"ay "[..]),
        (&[(3, 100)], b" 1"),
        (&[(0, 0)], b""),
        (&[(9, 1)], b""),
        (&[(0, 1), (2, 1), (4, 1)], b"dy1"),
        (&[(1, 1), (3, 100)], b"a 1"),
        (&[(0, 2), (9, 1)], b"da"),
        (&[], b""),
    ] {
        let asked: Vec<_> = ranges
            .iter()
            .map(|&(from, length)| ByteRange { from, length })
            .collect();
        let body = store
            .read_ranges(id, &path("outputs/CONTEXT"), &asked)
            .await
            .expect("read");
        assert_eq!(body.size, 5);
        let chunks: Vec<_> = body.stream.collect().await;
        let bytes: Vec<u8> = chunks
            .into_iter()
            .flat_map(|chunk| chunk.expect("a chunk"))
            .collect();
        assert_eq!(bytes, expected, "{ranges:?}");
    }
}

/// A mirror can do everything that its capabilities state, and nothing that they deny.
async fn capabilities_are_true(store: &dyn MirrorStore) {
    let (id, can) = (sample_id(1), store.capabilities());
    let file = store.file(&id, &path("outputs/CONTEXT"));
    assert_eq!(file.is_some(), can.has_local_files, "{can:?}: {file:?}");
    let hold = store.hold(&id).await.expect("held");
    assert_eq!(hold.is_effective(), can.holds, "{can:?}");
    drop(hold);
    let seen = store.inspect(&id, Depth::Digests).await.expect("inspected");
    let link = seen.found.get(&path("outputs/iso/latest.iso"));
    let is_link = matches!(link, Some(Found::Symlink { .. }));
    assert_eq!(!is_link, can.shows_files_only, "{can:?}: {link:?}");
    let run = Audit::default();
    for _ in 0..2 {
        let audited = store.audit(&id, &run).await.expect("audited");
        assert_eq!(audited, seen, "an audit sees the same");
    }
    assert_eq!(store.strays().await.expect("a list"), Vec::<String>::new());
}

async fn locks_exclude(store: &dyn MirrorStore) {
    let id = sample_id(5);
    let writer = store.lock(&id.channel).await.expect("the lock");
    assert!(matches!(
        store.lock(&id.channel).await,
        Err(StoreError::Busy { .. })
    ));
    let other: Channel = "master/debian".parse().expect("a channel");
    drop(
        store
            .lock(&other)
            .await
            .expect("another channel is not locked"),
    );
    let staged = writer.begin(id.date).await.expect("begun");
    drop(writer);
    assert!(
        matches!(store.lock(&id.channel).await, Err(StoreError::Busy { .. })),
        "a staged build holds the lock"
    );
    assert_eq!(
        store.leftovers(&Scope::All).await.expect("a list"),
        [],
        "a living publisher leaves nothing behind"
    );
    staged.discard().await.expect("discarded");
    assert_eq!(
        store.leftovers(&Scope::All).await.expect("a list"),
        [],
        "nothing is left of a build that was discarded"
    );
    drop(store.lock(&id.channel).await.expect("free again"));
}

async fn aliases_compare_and_swap(store: &dyn MirrorStore) {
    let channel = sample_id(1).channel;
    let latest = AliasName::latest_build();
    let (first, newest) = (
        AliasEntry::Build(sample_id(1).date),
        AliasEntry::Build(sample_id(4).date),
    );
    let writer = store.lock(&channel).await.expect("the lock");
    let date = |day| Some(sample_id(day).date);
    let wrong = writer.point(&latest, Some(&first), date(2)).await;
    assert!(matches!(wrong, Err(StoreError::Conflict { .. })));
    assert!(matches!(
        writer.point(&latest, None, date(2)).await,
        Err(StoreError::Conflict { .. })
    ));
    assert!(matches!(
        writer.point(&latest, Some(&newest), date(3)).await,
        Err(StoreError::Refused { .. })
    ));
    assert!(matches!(
        writer.point(&latest, Some(&newest), date(9)).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(shown(store, &channel).await, Some(newest.clone()));
    writer
        .point(&latest, Some(&newest), date(1))
        .await
        .expect("moved");
    assert_eq!(shown(store, &channel).await, Some(first.clone()));
    assert!(!held(store, &channel).await, "nobody holds it");
    writer
        .hold_alias(&latest, sample_id(1).date)
        .await
        .expect("held");
    assert!(held(store, &channel).await, "it is where it is held");
    writer
        .hold_alias(&latest, sample_id(4).date)
        .await
        .expect("held");
    assert!(!held(store, &channel).await, "it is elsewhere");
    writer
        .point(&latest, Some(&first), None)
        .await
        .expect("removed");
    assert_eq!(shown(store, &channel).await, None);
    writer.point(&latest, None, date(4)).await.expect("made");
    assert!(matches!(
        writer.begin(sample_id(4).date).await,
        Err(StoreError::AlreadyExists { .. })
    ));
}

async fn pages(store: &dyn MirrorStore) {
    let root = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    let inner = PageId {
        channel: Some(sample_id(1).channel),
        name: PageName::IndexHtml,
    };
    let writer = store.lock_pages().await.expect("the lock");
    for page in [&root, &inner] {
        assert_eq!(store.page(page).await.expect("read"), None);
        for text in ["one", "another"] {
            let bytes = Bytes::from_static(text.as_bytes());
            writer.write(page, bytes.clone()).await.expect("written");
            assert_eq!(store.page(page).await.expect("read"), Some(bytes));
        }
    }
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    assert!(
        catalog
            .channels
            .values()
            .all(|entry| entry.strays.is_empty()),
        "pages are no strays"
    );
    for _ in 0..2 {
        writer.remove(&inner).await.expect("removed");
        assert_eq!(store.page(&inner).await.expect("read"), None);
    }
    drop(writer);
    let again = store
        .lock_pages()
        .await
        .expect("the lock ends with its holder");
    again.remove(&root).await.expect("removed");
}

/// True if the catalog reports `latest_build` as held.
async fn held(store: &dyn MirrorStore, channel: &Channel) -> bool {
    let scope = Scope::Channel(channel.clone());
    let catalog = store.catalog(&scope).await.expect("a catalog");
    let entry = catalog.channels.get(channel).expect("a channel");
    entry.held.contains(&AliasName::latest_build())
}

async fn builds_are_retired_and_restored(store: &dyn MirrorStore) {
    let id = sample_id(2);
    let now = sample_id(20).date.time();
    let writer = store.lock(&id.channel).await.expect("the lock");
    assert!(
        matches!(
            writer.retire(sample_id(4).date, now).await,
            Err(StoreError::Refused { .. })
        ),
        "an alias points at it"
    );
    assert!(matches!(
        writer.retire(sample_id(9).date, now).await,
        Err(StoreError::NotFound { .. })
    ));
    let retired = writer.retire(id.date, now).await.expect("retired");
    assert!(matches!(
        store.record(&id).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(
        store.retired().await.expect("a list"),
        std::slice::from_ref(&retired)
    );
    assert!(matches!(
        writer.retire(id.date, now).await,
        Err(StoreError::NotFound { .. })
    ));
    writer.restore(&retired).await.expect("restored");
    assert!(matches!(
        writer.restore(&retired).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(store.record(&id).await.is_ok());
    let retired = writer
        .retire(id.date, now + TimeDelta::days(1))
        .await
        .expect("retired again");
    writer.purge(&retired).await.expect("purged");
    assert!(matches!(
        writer.purge(&retired).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        writer.restore(&retired).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(store.retired().await.expect("a list"), []);
    let other = crate::store::Retired {
        id: "master/debian/20181101T060000Z".parse().expect("a build"),
        at: retired.at,
        section: None,
    };
    assert!(
        matches!(writer.purge(&other).await, Err(StoreError::Refused { .. })),
        "the lock is another's"
    );
}
