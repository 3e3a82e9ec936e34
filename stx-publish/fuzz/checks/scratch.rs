//! A directory for the files that a reader opens, and a runtime for readers that wait.

use std::cell::RefCell;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use stx_layout::BuildPath;
use stx_publish::{Entry, Incoming};
use tokio::runtime::{Builder, Runtime};

/// The directory and the runtime of a thread, made once.
struct Scratch {
    dir: Utf8TempDir,
    runtime: Runtime,
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Runs `work` with an empty directory and a runtime.
pub(crate) fn with<T>(work: impl FnOnce(&Utf8Path, &Runtime) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { dir, runtime } = scratch.get_or_insert_with(|| Scratch {
            dir: camino_tempfile::tempdir().expect("a directory"),
            runtime: Builder::new_current_thread().build().expect("a runtime"),
        });
        let own = dir.path().join("input");
        fs_err::create_dir(&own).expect("a directory");
        let done = work(&own, runtime);
        fs_err::remove_dir_all(&own).expect("an empty directory");
        done
    })
}

/// A build that has one file.
pub(crate) fn build_of(path: &str, source: Utf8PathBuf, bytes: &[u8]) -> Incoming {
    fs_err::write(&source, bytes).expect("a file");
    let entry = Entry::File {
        source,
        size: bytes.len() as u64,
        executable: false,
        digest: None,
    };
    let path: BuildPath = path.parse().expect("a path");
    let mut incoming = Incoming::default();
    incoming.entries.insert(path, entry);
    incoming
}
