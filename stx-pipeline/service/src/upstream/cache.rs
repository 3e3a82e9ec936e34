//! The bare repositories that keep fetched commits.
//!
//! Several branches of one repository may be polled at the same time. The owner of a [`Cache`] has its repository exclusively:
//! it is locked, and each branch is fetched into a reference of its own. `FETCH_HEAD` holds the result of the last fetch of
//! *any* branch, and is never read.

use std::process::Stdio;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::public_url;
use stx_pipeline::process::remove_locks_in;

use super::{Access, git, reach};

/// The interval between attempts to take a lock that another task holds.
const AGAIN: Duration = Duration::from_millis(20);

/// The locked repository that keeps the commits fetched from a URL.
#[derive(Debug)]
pub(super) struct Cache {
    dir: Utf8PathBuf,
    access: Access,
    lock: fs_err::File,
}

impl Cache {
    /// Waits for the repository of `url` below `root`, and creates it if it does not exist.
    pub(super) async fn open(root: &Utf8Path, url: &str) -> Result<Self, String> {
        let access = reach(url)?;
        let name = file_name(&public_url(url));
        let failed = |error: std::io::Error| error.to_string();
        fs_err::create_dir_all(root).map_err(failed)?;
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true);
        let path = root.join(format!("{name}.lock"));
        let lock = options.open(&path).map_err(failed)?;
        // Each git process gets a copy as its standard input. A git that outlives a killed service thus keeps the lock.
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
            // A killed git left these locks: every live git holds our lock.
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

    /// Fetches a branch, tag or commit, and returns the reference that keeps it.
    pub(super) async fn fetch(&self, branch: &str, options: &[&str]) -> Result<String, String> {
        let kept = format!("refs/stx-builds/{}", file_name(branch).replace('.', "_2e"));
        let refspec = format!("+{branch}:{kept}");
        // Run maintenance in the foreground: in the background, it would change the repository while the next command reads it.
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

/// Escapes a text for use as a file name.
fn file_name(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
            other => format!("_{other:02x}"),
        })
        .collect()
}
