//! A mirror in memory: the cost of each command that looks at all builds.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use chrono::TimeDelta;
use stx_layout::{AliasName, BuildId, BuildPath, BuildRecord, Sha256, Sums, Verdict, VerdictEntry};
use stx_publish::replicate::{self, CopyRequest, Side, survey};
use stx_publish::verdicts::listed_verdicts;
use stx_publish::{
    Attester, HttpOptions, HttpStore, MemoryStore, MirrorRead, MirrorStore, PageId, PageName,
    Scope, Seal, SignError,
};
use stx_retention::{FileFact, Limits, Policy, PolicyInputs, plan, plan_with};
use tokio::net::TcpListener;

use super::{EACH, Settings, build, channel, now, peak, record, seconds, sizes};

/// Builds whose files retention reads, and the files of each.
const BUILDS: u32 = 500;
const FILES: u32 = 2_000;

pub(super) fn measure(settings: &Settings) {
    files(settings);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "| builds | retention plan | pages, first | pages, one more build | memory for that | root index | channel index | feed |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let mut polls = Vec::new();
    for (channels, builds) in sizes(settings) {
        let store = runtime.block_on(mirror(channels));
        let catalog = runtime.block_on(store.catalog(&Scope::All)).expect("read");
        let policy = Policy {
            limits: Limits::NONE,
            ..Policy::default()
        };
        let planned = seconds(settings.runs, || plan(&catalog, &policy, now()));
        drop(catalog);
        let site = stx_builds::Site::open(stx_builds::Options::default()).at(now());
        let refreshed = || runtime.block_on(stx_builds::pages::renew(&site, &store, now()));
        let first = seconds(1, refreshed);
        let mut next = EACH;
        let (more, memory) = peak(|| {
            seconds(settings.runs, || {
                next += 1;
                runtime.block_on(put(&store, build(0, next)));
                refreshed();
            })
        });
        let kib = |channel, name| {
            let page = PageId { channel, name };
            let page = runtime.block_on(store.page(&page)).expect("read");
            page.map_or(0, |page| page.len() / 1024)
        };
        let last = Some(channel(channels - 1));
        println!(
            "| {builds} | {planned:.3} s | {first:.2} s | {more:.2} s | {memory:.0} MiB | {} KiB | {} KiB | {} KiB |",
            kib(None, PageName::IndexJson),
            kib(last.clone(), PageName::IndexJson),
            kib(last, PageName::Feed),
        );
        polls.push((builds, runtime.block_on(poll(&store))));
    }
    println!(
        "\n| builds | requests of a poll by `copy` | MiB | seconds | seconds of its plan, with a verdict on each build |\n\
         |---|---|---|---|---|"
    );
    for (builds, [requests, mib, seconds, planned]) in polls {
        println!("| {builds} | {requests} | {mib:.1} | {seconds:.2} | {planned:.2} |");
    }
}

/// Measures retention with the files of all builds. It runs first: later, the process would reuse memory instead of growing.
fn files(settings: &Settings) {
    let ((facts, planned), memory) = peak(|| {
        let facts = facts();
        let catalog = stx_layout::Catalog::default();
        let policy = Policy::default();
        let planned = seconds(settings.runs, || {
            plan_with(&catalog, &facts, &policy, now())
        });
        (facts, planned)
    });
    let files = BUILDS * FILES;
    let per_file = memory * f64::from(1 << 20) / f64::from(files);
    drop(facts);
    println!(
        "\nretention with {files} files: {planned:.2} s, {per_file:.0} bytes of memory each\n"
    );
}

/// Adds the files of a build: an image and three small ones.
#[derive(Debug)]
struct Files;

impl Attester for Files {
    fn attest(&self, _: &BuildRecord, _: &Sums) -> Result<Vec<(BuildPath, Bytes)>, SignError> {
        let names = ["iso/bootimage.iso", "CHANGELOG", "CONTEXT", "success"];
        let file = |name| {
            let path = format!("outputs/{name}").parse().expect("a path");
            (path, Bytes::from_static(b"commit 0123456789\n"))
        };
        Ok(names.map(file).into())
    }
}

async fn put(store: &MemoryStore, id: BuildId) {
    let writer = store.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    staged.commit(record(id)).await.expect("committed");
}

async fn mirror(channels: u32) -> MemoryStore {
    let store = MemoryStore::new().with_seal(Seal {
        attester: Some(Arc::new(Files)),
        ..Seal::default()
    });
    for number in 0..channels {
        for days in 1..=EACH {
            put(&store, build(number, days)).await;
        }
        let writer = store.lock(&channel(number)).await.expect("the lock");
        let newest = Some(build(number, 1).date);
        let pointed = writer.point(&AliasName::latest_build(), None, newest).await;
        pointed.expect("pointed");
    }
    store
}

/// Polls the store for a mirror that is up to date. Returns the requests, MiB and seconds of the poll, and the seconds of its plan.
async fn poll(store: &MemoryStore) -> [f64; 4] {
    let requests = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (mirror, counted) = (store.clone(), Arc::clone(&requests));
    let router = Router::new().fallback(async move |uri: Uri| {
        counted.fetch_add(1, Ordering::Relaxed);
        file(&mirror, &uri.path()[1..])
            .await
            .ok_or(StatusCode::NOT_FOUND)
    });
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let from = HttpStore::new(&url, HttpOptions::default()).expect("a mirror");
    let request = CopyRequest {
        thinned: true,
        ..CopyRequest::default()
    };
    let start = Instant::now();
    let (mut one, mut other) = survey(&from, store, &request).await.expect("read");
    for channel in one.catalog.channels.keys() {
        listed_verdicts(&from, channel).await.expect("read");
    }
    let took = start.elapsed().as_secs_f64();
    server.abort();
    let of = |side: &Side| side.catalog.builds().map(|(id, _)| verdict(id)).collect();
    (one.verdicts, other.verdicts) = (of(&one), of(&other));
    let planned = seconds(1, || {
        let plan = replicate::plan(&one, &other, &request);
        assert!(plan.is_noop(), "{plan}");
    });
    #[expect(clippy::cast_precision_loss, reason = "a table of round numbers")]
    let [requests, bytes] = [requests.load(Ordering::Relaxed), from.received()].map(|it| it as f64);
    [requests, bytes / f64::from(1 << 20), took, planned]
}

fn verdict(build: BuildId) -> VerdictEntry {
    VerdictEntry {
        at: build.date.time() + TimeDelta::hours(8),
        build,
        verdict: Verdict::Green,
        author: "lab".to_owned(),
        reason: None,
        url: None,
    }
}

/// A file of the mirror, as a web server finds it.
async fn file(store: &MemoryStore, path: &str) -> Option<Bytes> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(name) = PageName::of(name) {
        let channel = dir.parse().ok();
        return store.page(&PageId { channel, name }).await.expect("read");
    }
    let sums = store.sums(&dir.parse().ok()?).await.ok()?;
    (name == Sums::FILE_NAME).then(|| Bytes::from(sums.to_string()))
}

/// The files of all builds, as `prune` reads them. A build shares half of its files with the previous one.
fn facts() -> PolicyInputs {
    let mut facts = PolicyInputs::default();
    for days in 0..BUILDS {
        let file = |number: u32| {
            let content = number + days * (FILES / 2) * (number % 2);
            let path = format!(
                "outputs/RPMS/std/a-package-of-the-usual-length-1.0-{number}.tis.x86_64.rpm"
            );
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&content.to_le_bytes());
            FileFact {
                path: path.parse().expect("a path"),
                digest: Sha256(digest),
                bytes: 1 << 20,
            }
        };
        let files = (0..FILES).map(file).collect();
        facts.files.insert(build(0, days), files);
    }
    facts
}
