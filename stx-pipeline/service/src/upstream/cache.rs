//! The bare repositories that keep what was fetched.
//!
//! Several branches of one repository are looked at side by side. Whoever has a [`Cache`] has its repository alone: it is
//! locked, and the reference that a fetch sets is its branch's own. `FETCH_HEAD` is what the last fetch of *anybody* brought,
//! and is never read.

use std::process::Stdio;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::public_url;
use stx_pipeline::process::remove_locks_in;

use super::{Access, git, reach};

/// How often a lock is tried that somebody else has.
const AGAIN: Duration = Duration::from_millis(20);

/// The repository that keeps what was fetched from a URL, locked.
#[derive(Debug)]
pub(super) struct Cache {
    dir: Utf8PathBuf,
    access: Access,
    lock: fs_err::File,
}

impl Cache {
    /// Waits for the repository of `url` below `root`, and makes it if it is not there.
    pub(super) async fn open(root: &Utf8Path, url: &str) -> Result<Self, String> {
        let access = reach(url)?;
        let name = file_name(&public_url(url));
        let failed = |error: std::io::Error| error.to_string();
        fs_err::create_dir_all(root).map_err(failed)?;
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true);
        let path = root.join(format!("{name}.lock"));
        let lock = options.open(&path).map_err(failed)?;
        // Every git gets a copy as its standard input. So one that outlives a service that was killed keeps the lock.
        while let Err(error) = lock.file().try_lock() {
            match error {
                std::fs::TryLockError::WouldBlock => tokio::time::sleep(AGAIN).await,
                std::fs::TryLockError::Error(error) => return Err(format!("{path}: {error}")),
            }
        }
        let cache = Self {
            dir: root.join(&name),
            access,
            lock,
        };
        if cache.dir.join("HEAD").exists() {
            // Left by a git that was killed: every git that is alive has our lock.
            remove_locks_in(&cache.dir);
        } else {
            let new = root.join(format!("{name}.new"));
            if new.exists() {
                fs_err::remove_dir_all(&new).map_err(failed)?;
            }
            let init = ["init", "-q", "--bare", new.as_str()];
            git(root, &init, &cache.access, cache.stdin()?).await?;
            fs_err::rename(&new, &cache.dir).map_err(failed)?;
        }
        Ok(cache)
    }

    fn stdin(&self) -> Result<Stdio, String> {
        let copy = self.lock.file().try_clone();
        copy.map(Stdio::from).map_err(|error| error.to_string())
    }

    /// Fetches a branch, tag or commit; the reference that it is kept by.
    pub(super) async fn fetch(&self, branch: &str, options: &[&str]) -> Result<String, String> {
        let kept = format!("refs/stx-builds/{}", file_name(branch).replace('.', "_2e"));
        let refspec = format!("+{branch}:{kept}");
        // Tidying up is part of it: beside it, it would change what the next one reads.
        let tidy = [
            "-c",
            "gc.autoDetach=false",
            "-c",
            "maintenance.autoDetach=false",
        ];
        let fetch = ["fetch", "-q", "--no-tags"];
        let what = ["--", &self.access.url, &refspec];
        self.git(&[&tidy[..], &fetch, options, &what].concat())
            .await?;
        Ok(kept)
    }

    /// Runs git in the repository.
    pub(super) async fn git(&self, args: &[&str]) -> Result<String, String> {
        git(&self.dir, args, &self.access, self.stdin()?).await
    }
}

/// A text as a file name.
fn file_name(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
            other => format!("_{other:02x}"),
        })
        .collect()
}
