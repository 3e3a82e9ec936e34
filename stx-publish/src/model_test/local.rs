//! The model test on a mirror in a directory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use proptest_state_machine::prop_state_machine;

use super::{Medium, Publishing, config};
use crate::local::LocalStore;
use crate::store::MirrorStore;

struct Directory(Utf8TempDir);

impl Medium for Directory {
    type Store = LocalStore;

    fn new() -> Self {
        // On a file system in memory if one exists, so that syncing costs nothing.
        let memory = Utf8Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            Utf8TempDir::new_in(memory)
        } else {
            Utf8TempDir::new()
        };
        Self(dir.expect("a temporary directory"))
    }

    fn store(&self) -> LocalStore {
        LocalStore::create(self.0.path()).expect("a mirror")
    }

    fn stopped(&self, at: usize) -> Box<dyn MirrorStore> {
        let steps = AtomicUsize::new(0);
        Box::new(self.store().with_crash_point(Arc::new(move |step| {
            if steps.fetch_add(1, Ordering::SeqCst) < at {
                Ok(())
            } else {
                Err(io::Error::other(step))
            }
        })))
    }
}

prop_state_machine! {
    #![proptest_config(config(64))]

    #[test]
    fn a_mirror_in_a_directory_matches_the_model(sequential 1..24 => Publishing<Directory>);
}
