//! The most recently opened bucket, for the next operation of the same command: pages are made after a publish.

use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use stx_publish_s3::{BucketOptions, BucketStore};
use tokio::runtime;

/// The most recently opened bucket.
#[derive(Debug, Default)]
pub(crate) struct OpenedBucket(Mutex<Option<Opened>>);

#[derive(Debug)]
struct Opened {
    root: Utf8PathBuf,
    options: BucketOptions,
    /// Connections belong to the runtime that opened them. Another runtime, such as that of another build of the service, would wait
    /// for them forever.
    runtime: Option<runtime::Id>,
    store: BucketStore,
}

impl OpenedBucket {
    fn runtime() -> Option<runtime::Id> {
        let handle = runtime::Handle::try_current().ok();
        handle.map(|handle| handle.id())
    }

    /// The bucket, if it was the last one opened, with the same options and in the same runtime.
    pub(crate) fn get(&self, root: &Utf8Path, options: &BucketOptions) -> Option<BucketStore> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref()?;
        let same =
            opened.root == root && opened.options == *options && opened.runtime == Self::runtime();
        same.then(|| opened.store.clone())
    }

    pub(crate) fn keep(&self, root: &Utf8Path, options: BucketOptions, store: &BucketStore) {
        let opened = Opened {
            root: root.to_owned(),
            options,
            runtime: Self::runtime(),
            store: store.clone(),
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(opened);
    }
}
