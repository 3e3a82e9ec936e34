//! Wrappers of a mirror: one that forwards every method conforms, and the suite notices each one that is forgotten.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use super::*;
use crate::conformance;
use crate::memory::MemoryStore;

/// The methods of a mirror.
const METHODS: [&str; 21] = [
    "catalog",
    "record",
    "sums",
    "alias",
    "read",
    "read_part",
    "page",
    "capabilities",
    "file",
    "inspect",
    "hold",
    "audit",
    "lock",
    "lock_pages",
    "retired",
    "leftovers",
    "settle",
    "strays",
    "pins",
    "owed",
    "in_use",
];

/// A wrapper that answers for itself in one method: with the least there is, or that it cannot.
#[derive(Debug)]
struct Forgetful {
    inner: Arc<dyn MirrorStore>,
    forgotten: Option<&'static str>,
    called: Mutex<BTreeSet<&'static str>>,
}

impl Forgetful {
    fn forgets(&self, method: &'static str) -> bool {
        assert!(METHODS.contains(&method), "{method} is not listed");
        let mut called = self.called.lock().expect("no panic while it is locked");
        called.insert(method);
        self.forgotten == Some(method)
    }
}

/// Forwards a call, or refuses it.
macro_rules! forwarded {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        if $self.forgets(stringify!($method)) {
            return Err(StoreError::Unsupported {
                what: stringify!($method).to_owned(),
            });
        }
        $self.inner.$method($($argument),*).await
    }};
}

#[async_trait]
impl MirrorRead for Forgetful {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        forwarded!(self.catalog(scope))
    }
    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        forwarded!(self.record(id))
    }
    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        forwarded!(self.sums(id))
    }
    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        forwarded!(self.alias(channel, alias))
    }
    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        forwarded!(self.read(id, path, from))
    }
    async fn read_part(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
        length: u64,
    ) -> Result<FileBody, StoreError> {
        forwarded!(self.read_part(id, path, from, length))
    }
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        forwarded!(self.page(page))
    }
    fn capabilities(&self) -> Capabilities {
        if self.forgets("capabilities") {
            return Capabilities::default();
        }
        self.inner.capabilities()
    }
    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf> {
        if self.forgets("file") {
            return None;
        }
        self.inner.file(id, path)
    }
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        forwarded!(self.inspect(id, depth))
    }
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        if self.forgets("hold") {
            return Ok(Hold::nothing());
        }
        self.inner.hold(id).await
    }
    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
        forwarded!(self.audit(id, run))
    }
}

#[async_trait]
impl MirrorStore for Forgetful {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
        forwarded!(self.lock(channel))
    }
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        forwarded!(self.lock_pages())
    }
    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        forwarded!(self.retired())
    }
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        forwarded!(self.leftovers(scope))
    }
    async fn settle(&self, channel: &Channel) -> Result<(), StoreError> {
        forwarded!(self.settle(channel))
    }
    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        forwarded!(self.strays())
    }
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        forwarded!(self.pins(scope))
    }
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        forwarded!(self.owed(scope))
    }
    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        if self.forgets("in_use") {
            return Ok(BTreeSet::new());
        }
        self.inner.in_use(builds).await
    }
}

/// Whether the suite passes on a wrapper that forgets this, and what it called.
fn passes(
    inner: Arc<dyn MirrorStore>,
    forgotten: Option<&'static str>,
) -> (bool, BTreeSet<&'static str>) {
    let store = Forgetful {
        inner,
        forgotten,
        called: Mutex::default(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let run = || runtime.block_on(conformance::run(&store));
    let passed = catch_unwind(AssertUnwindSafe(run)).is_ok();
    let called = store.called.into_inner();
    (passed, called.expect("no panic while it is locked"))
}

#[test]
fn a_wrapper_that_forwards_all_conforms() {
    let (passed, called) = passes(Arc::new(MemoryStore::new()), None);
    assert!(passed);
    assert_eq!(called, BTreeSet::from(METHODS), "the suite calls each");
}

#[test]
fn a_wrapper_that_forgets_any_method_does_not() {
    for method in METHODS {
        // Nothing to forget here: memory has no such files.
        if method == "file" {
            continue;
        }
        let (passed, _) = passes(Arc::new(MemoryStore::new()), Some(method));
        assert!(!passed, "{method} can be forgotten");
    }
}

#[cfg(feature = "local")]
#[test]
fn a_wrapper_that_forgets_a_method_of_a_directory_does_not_either() {
    use crate::local::LocalStore;

    for (method, passes_then) in [
        (None, true),
        (Some("file"), false),
        (Some("capabilities"), false),
        (Some("hold"), false),
        (Some("in_use"), false),
        (Some("settle"), false),
    ] {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let store = LocalStore::create(dir.path()).expect("a mirror");
        let (passed, _) = passes(Arc::new(store), method);
        assert_eq!(passed, passes_then, "{method:?}");
    }
}

#[tokio::test]
async fn pointers_conform() {
    conformance::run(&Arc::new(MemoryStore::new())).await;
    let boxed: Box<dyn MirrorStore> = Box::new(Arc::new(MemoryStore::new()));
    conformance::run(&boxed).await;
}
