//! The mirror in a bucket, tested in memory: the contract, and a failure at every request.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use stx_layout::{BuildOutcome, BuildPath};

use super::lease::{Clock, MARGIN};
use super::parts::{CopyParts, PartCopy, ThroughHere};
use super::{Backend, BucketStore, Inner, LEASE, keys};
use stx_publish::conformance::{sample_id, sample_request, test_seal};
use stx_publish::faulty::Fault;
use stx_publish::publish::{prepare, publish};
use stx_publish::seal::Seal;
use stx_publish::store::{MirrorRead as _, MirrorStore as _, Scope, StoreError, read_all};
use stx_publish::sweep;
use stx_publish::verify::{Finding, FindingKind, repair, verify};

mod files;
mod locks;
mod sending;

/// The size of a part of a large file, in bytes.
const PART: u64 = 1 << 10;

/// The largest object that is copied in one request, where copies in parts are tested.
const LARGEST_COPY: u64 = 100;

/// A clock that tests set.
#[derive(Clone, Default)]
pub(super) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(super) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || {
            let passed = TimeDelta::seconds(seconds.load(Ordering::SeqCst));
            sample_id(1).date.time() + passed
        })
    }

    pub(super) fn pass(&self, span: TimeDelta) {
        self.0.fetch_add(span.num_seconds(), Ordering::SeqCst);
    }

    /// Advances the clock until every lease that is not renewed has ended.
    pub(super) fn outlive(&self) {
        let lease = TimeDelta::from_std(LEASE).expect("a minute");
        self.pass(lease + MARGIN + TimeDelta::seconds(1));
    }
}

/// A bucket that fails at one request.
#[derive(Debug, Clone)]
struct Failing {
    inner: Arc<InMemory>,
    fault: Fault,
    at: usize,
    requests: Arc<AtomicUsize>,
    /// The number of parts of large files that were sent.
    parts: Arc<AtomicUsize>,
    /// The number of objects that the server was asked to copy.
    copies: Arc<AtomicUsize>,
    /// Uploads whose identifier a client knows, and that are neither completed nor aborted.
    uploads: Arc<Mutex<BTreeSet<String>>>,
    /// The number of parts that the server was asked to copy.
    copied_parts: Arc<AtomicUsize>,
    /// True if the upload of a large file can be completed.
    completes: bool,
    /// The server's treatment of a condition.
    mode: fn(PutMode) -> PutMode,
    /// Generations below this name are overtaken: when one is created, the next one already exists.
    overtaken: Option<&'static str>,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

fn failure() -> Error {
    Error::Generic {
        store: "failing",
        source: "failed on demand".into(),
    }
}

impl Failing {
    fn new(inner: &Arc<InMemory>, fault: Fault, at: usize) -> Self {
        Self {
            inner: Arc::clone(inner),
            fault,
            at,
            requests: Arc::default(),
            parts: Arc::default(),
            copies: Arc::default(),
            uploads: Arc::default(),
            copied_parts: Arc::default(),
            completes: true,
            mode: |mode| mode,
            overtaken: None,
        }
    }

    /// Counts a request; returns `Err` if it fails without effect, `true` if it must fail after its effect.
    fn request(&self) -> Result<bool> {
        let request = self.requests.fetch_add(1, Ordering::SeqCst);
        let fails = match self.fault {
            Fault::Once => request == self.at,
            Fault::AfterEffect => return Ok(request == self.at),
            Fault::FromThenOn => request >= self.at,
        };
        if fails { Err(failure()) } else { Ok(false) }
    }

    fn has_failed(&self) -> bool {
        self.requests.load(Ordering::SeqCst) > self.at
    }
}

macro_rules! through {
    ($self:expr, $call:expr) => {{
        let after = $self.request()?;
        let result = $call.await;
        if after {
            result.and_then(|_| Err(failure()))
        } else {
            result
        }
    }};
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        to: &Path,
        bytes: PutPayload,
        mut with: PutOptions,
    ) -> Result<PutResult> {
        if self
            .overtaken
            .is_some_and(|below| to.as_ref().contains(below))
            && let Some((prefix, number)) = to.as_ref().rsplit_once('/')
            && let Some(number) = keys::number(number)
            && with.mode == PutMode::Create
        {
            let next = Path::parse(keys::generation(prefix, number + 1))?;
            self.inner.put(&next, bytes.clone()).await?;
        }
        with.mode = (self.mode)(with.mode);
        through!(self, self.inner.put_opts(to, bytes, with))
    }
    async fn put_multipart_opts(
        &self,
        to: &Path,
        with: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        through!(self, self.inner.put_multipart_opts(to, with))
    }
    async fn get_opts(&self, from: &Path, with: GetOptions) -> Result<GetResult> {
        through!(self, self.inner.get_opts(from, with))
    }
    fn delete_stream(
        &self,
        names: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.request() {
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
            Ok(false) => self.inner.delete_stream(names),
            Ok(true) => {
                let failed = futures_util::stream::iter([Err(failure())]);
                let deleted = self
                    .inner
                    .delete_stream(names)
                    .filter(|_| std::future::ready(false));
                deleted.chain(failed).boxed()
            }
        }
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.request() {
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
            Ok(_) => self.inner.list(prefix),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        through!(self, self.inner.list_with_delimiter(prefix))
    }
    async fn copy_opts(&self, from: &Path, to: &Path, with: CopyOptions) -> Result<()> {
        self.copies.fetch_add(1, Ordering::SeqCst);
        through!(self, self.inner.copy_opts(from, to, with))
    }
}

#[async_trait]
impl MultipartStore for Failing {
    async fn create_multipart(&self, to: &Path) -> Result<MultipartId> {
        let upload = through!(self, self.inner.create_multipart(to))?;
        self.uploads.lock().expect("alive").insert(upload.clone());
        Ok(upload)
    }
    async fn create_multipart_opts(
        &self,
        to: &Path,
        _: PutMultipartOptions,
    ) -> Result<MultipartId> {
        // A bucket in memory keeps no attributes of such uploads.
        self.create_multipart(to).await
    }
    async fn put_part(
        &self,
        to: &Path,
        id: &MultipartId,
        number: usize,
        bytes: PutPayload,
    ) -> Result<PartId> {
        self.parts.fetch_add(1, Ordering::SeqCst);
        through!(self, self.inner.put_part(to, id, number, bytes))
    }
    async fn complete_multipart(
        &self,
        to: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        if !self.completes {
            return Err(failure());
        }
        let completed = self.inner.complete_multipart(to, id, parts);
        through!(self, async {
            let completed = completed.await?;
            self.uploads.lock().expect("alive").remove(id);
            Ok(completed)
        })
    }
    async fn abort_multipart(&self, to: &Path, id: &MultipartId) -> Result<()> {
        through!(self, async {
            let aborted = self.inner.abort_multipart(to, id).await;
            self.uploads.lock().expect("alive").remove(id);
            // The answer of a server for an upload that it does not have.
            aborted.map_err(|error| Error::NotFound {
                path: to.to_string(),
                source: error.into(),
            })
        })
    }
}

#[async_trait]
impl CopyParts for Failing {
    async fn copy_part(&self, part: PartCopy<'_>) -> Result<PartId> {
        self.copied_parts.fetch_add(1, Ordering::SeqCst);
        let through: Arc<dyn Backend> = Arc::<InMemory>::clone(&self.inner);
        through!(self, ThroughHere(through).copy_part(part))
    }
}

fn store(backend: Arc<dyn Backend>, clock: &TestClock) -> BucketStore {
    let keepers = Arc::clone(&backend);
    let store = BucketStore::new(backend, keepers, Path::from("mirror"), clock.clock());
    BucketStore {
        inner: Arc::new(Inner {
            large: PART,
            seal: test_seal(),
            ..(*store.inner).clone()
        }),
    }
}

fn sound(bucket: &Arc<InMemory>, clock: &TestClock) -> BucketStore {
    store(
        Arc::new(Failing::new(bucket, Fault::Once, usize::MAX)),
        clock,
    )
}

#[tokio::test]
async fn conforms() {
    let clock = TestClock::default();
    let unsealed = sound(&Arc::default(), &clock).with_seal(Seal::default());
    stx_publish::conformance::run(&unsealed).await;
    stx_publish::conformance::sealed(&sound(&Arc::default(), &clock)).await;
}

/// Runs `work` on a copy of a mirror that fails at one request, for each request and each way to fail; then `after`.
async fn at_every_request(
    mirror: &Arc<InMemory>,
    clock: &TestClock,
    work: impl AsyncFn(&BucketStore) -> bool,
    after: impl AsyncFn(&BucketStore, &str),
) -> usize {
    let mut most = 0;
    for fault in Fault::ALL {
        for at in 0.. {
            let bucket = Arc::new(mirror.fork());
            let failing = Failing::new(&bucket, fault, at);
            let done = work(&store(Arc::new(failing.clone()), clock)).await;
            let context = format!("{fault:?} at request {at}");
            clock.outlive();
            after(&sound(&bucket, clock), &context).await;
            if !failing.has_failed() {
                assert!(done, "{context}");
                most = most.max(at);
                break;
            }
        }
    }
    most
}

#[tokio::test]
async fn publishing_survives_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    assert!(sweep::put(&sound(&bucket, &clock), 1).await);
    let work = async |store: &BucketStore| sweep::put(store, 2).await;
    let after = async |store: &BucketStore, context: &str| {
        sweep::check(store, context).await;
        sweep::converge(store, context).await;
    };
    let requests = at_every_request(&bucket, &clock, work, after).await;
    assert!(requests > 30, "only {requests} requests");
}

#[tokio::test]
async fn names_of_releases_survive_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    assert!(sweep::names::put(&sound(&bucket, &clock), "9.0", 1).await);
    let work = async |store: &BucketStore| sweep::names::put(store, "10.0", 2).await;
    let after = async |store: &BucketStore, context: &str| {
        sweep::names::check(store, context).await;
        sweep::names::converge(store, context).await;
    };
    let requests = at_every_request(&bucket, &clock, work, after).await;
    assert!(requests > 60, "only {requests} requests");
}

#[tokio::test]
async fn promotions_survive_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    for day in [1, 2] {
        assert!(sweep::put(&sound(&bucket, &clock), day).await);
    }
    let work = async |store: &BucketStore| sweep::promotion::put(store).await;
    let after = async |store: &BucketStore, context: &str| {
        sweep::promotion::check(store, context).await;
        sweep::promotion::converge(store, context).await;
    };
    let requests = at_every_request(&bucket, &clock, work, after).await;
    assert!(requests > 30, "only {requests} requests");
}

/// The files of a release are larger than the server copies in one request: they are copied in parts, and no upload is left.
#[tokio::test]
async fn large_promotions_survive_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    for day in [1, 2] {
        assert!(sweep::put(&sound(&bucket, &clock), day).await);
    }
    let in_parts = |failing: &Failing| {
        let parts = Arc::new(failing.clone());
        store(Arc::new(failing.clone()), &clock).with_copies_above(LARGEST_COPY, parts)
    };
    let (mut most, mut parts, mut left) = (0, 0, Vec::new());
    for fault in Fault::ALL {
        for at in 0.. {
            let bucket: Arc<InMemory> = Arc::new(bucket.fork());
            let failing = Failing::new(&bucket, fault, at);
            let done = sweep::promotion::put(&in_parts(&failing)).await;
            let context = format!("{fault:?} at request {at}");
            clock.outlive();
            let sound = Failing {
                uploads: Arc::clone(&failing.uploads),
                ..Failing::new(&bucket, Fault::Once, usize::MAX)
            };
            sweep::promotion::check(&in_parts(&sound), &context).await;
            sweep::promotion::converge(&in_parts(&sound), &context).await;
            if !failing.uploads.lock().expect("alive").is_empty() {
                left.push((fault, at));
            }
            if !failing.has_failed() {
                assert!(done, "{context}");
                parts = failing.copied_parts.load(Ordering::SeqCst);
                most = most.max(at);
                break;
            }
        }
    }
    assert!(most > 40, "only {most} requests");
    assert!(parts > 10, "only {parts} parts were copied");
    // An upload is left only if the server became unreachable between its answer with the upload and the journal entry that would
    // have named the upload to other publishers.
    assert!(
        left.iter()
            .all(|(fault, _)| matches!(fault, Fault::FromThenOn)),
        "{left:?}"
    );
    assert!(left.len() <= parts, "{left:?}");
}

/// Every part is copied from the same version of the object.
#[tokio::test]
async fn an_object_that_changes_during_the_copy_is_not_copied() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let mut objects = sound(&bucket, &clock).inner.objects.clone();
    objects.largest_copy = LARGEST_COPY;
    let bytes = |byte: u8| vec![byte; 500];
    objects
        .put("from", bytes(1), super::objects::Keep::ForEver)
        .await
        .expect("put");
    let changed = async |_: &String| {
        objects
            .put("from", bytes(2), super::objects::Keep::ForEver)
            .await
    };
    let copied = objects.copy_in_parts("from", "to", 500, changed).await;
    assert!(copied.is_err(), "half of it would be another file's");
    assert_eq!(objects.get("to").await.expect("asked"), None);
    assert!(!objects.copy("none", "to", 500).await.expect("asked"));
    assert!(
        objects.copy("from", "to", 499).await.is_err(),
        "of another size"
    );
    assert!(objects.copy("from", "to", 500).await.expect("copied"));
    let (copied, _) = objects.get("to").await.expect("asked").expect("there");
    assert_eq!(copied, bytes(2));
}

#[tokio::test]
async fn pruning_survives_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    sweep::retention::prepared(&sound(&bucket, &clock)).await;
    let work = async |store: &BucketStore| sweep::retention::run(store).await;
    let after = async |store: &BucketStore, context: &str| {
        sweep::retention::check(store, context).await;
        sweep::retention::converge(store, context).await;
    };
    let requests = at_every_request(&bucket, &clock, work, after).await;
    assert!(requests > 60, "only {requests} requests");
}

#[tokio::test]
async fn a_build_that_replaces_another_survives_a_failure_at_every_request() {
    let (bucket, clock) = (Arc::default(), TestClock::default());
    let now = sample_id(20).date.time();
    let (id, latest) = (sample_id(1), sample_id(2));
    let mirror = sound(&bucket, &clock);
    publish_day(&mirror, 2, BuildOutcome::Success, "the newest").await;
    publish_day(&mirror, 1, BuildOutcome::Fail, "the first").await;
    let writer = mirror.lock(&id.channel).await.expect("the lock");
    let first = writer.retire(id.date, now).await.expect("retired");
    drop(writer);
    let text = async |store: &BucketStore| {
        let read = read_all(store, &id, &path("outputs/CONTEXT"), 100).await;
        read.map(|bytes| String::from_utf8(bytes).expect("text"))
    };
    // Another build takes its place, is retired, and makes room for the first one again.
    let steps = async |store: &BucketStore| -> Result<(), StoreError> {
        if let Err(StoreError::NotFound { .. }) = text(store).await {
            let request = sample_request(1, BuildOutcome::Fail, "the second");
            let plan = prepare(store, request).await;
            let plan = plan.map_err(|_| StoreError::NotFound {
                what: "a plan".to_owned(),
            })?;
            let published = publish(store, &plan).await;
            published.map_err(|_| StoreError::NotFound {
                what: "a build".to_owned(),
            })?;
        }
        let writer = store.lock(&id.channel).await?;
        if text(store).await? == "the second" {
            let second = writer.retire(id.date, now + TimeDelta::days(1)).await?;
            writer.restore(&first).await?;
            writer.purge(&second).await?;
        }
        Ok(())
    };
    let work = async |store: &BucketStore| steps(store).await.is_ok();
    let after = async |store: &BucketStore, context: &str| {
        let report = verify(store, &Scope::All).await.expect("verified");
        let left = |finding: &Finding| finding.kind == FindingKind::Leftover;
        assert!(report.findings.iter().all(left), "{context}: {report}");
        repair(store, &report).await.expect("repaired");
        // After any failure, both builds are known, and each can be restored whole.
        let retired = store.retired().await.expect("a list");
        let writer = store.lock(&id.channel).await.expect("the lock");
        if store.record(&id).await.is_ok() && text(store).await.expect("text") == "the second" {
            assert!(retired.contains(&first), "{context}: {retired:?}");
            drop(
                writer
                    .retire(id.date, now + TimeDelta::days(2))
                    .await
                    .expect("retired"),
            );
        }
        if store.record(&id).await.is_err() {
            writer.restore(&first).await.expect(context);
        }
        assert_eq!(text(store).await.expect("text"), "the first", "{context}");
        for retired in store.retired().await.expect("a list") {
            writer.purge(&retired).await.expect(context);
        }
        drop(writer);
        let report = verify(store, &Scope::All).await.expect("verified");
        assert_eq!(report.findings, [], "{context}");
        // Nothing is left of purged builds.
        let inner = &store.inner.objects;
        for area in ["aside", "retired", "marks", "uploads"] {
            let left = inner.list(&format!(".stx/{area}")).await.expect("listed");
            assert_eq!(left, [], "{context}: {area}");
        }
        let manifests = inner.list(".stx/manifests").await.expect("listed");
        assert_eq!(manifests.len(), 2, "{context}");
        assert!(store.record(&latest).await.is_ok());
    };
    let requests = at_every_request(&bucket, &clock, work, after).await;
    assert!(requests > 60, "only {requests} requests");
}

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

async fn publish_day(store: &BucketStore, day: u32, result: BuildOutcome, text: &str) {
    let plan = prepare(store, sample_request(day, result, text)).await;
    let published = publish(store, &plan.expect("a plan")).await;
    drop(published.expect("published"));
}
