//! The preview of a build: a web server that shows the files of finished phases while others run.
//!
//! ```text
//! a phase is over ──> its record ──> settle: collect, show ──> served at the paths of the mirror
//! a phase starts ──────────────────> settle ──> PREVIEW_URL ──> the phase
//! ```
//!
//! The server runs in the process of the build and ends with it. It serves a directory of its own in the state of the channel.
//! The next build removes the directory that a killed build left.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use camino::Utf8Path;
use percent_encoding::percent_decode_str;
use stx_layout::{PhaseRecord, encode_path};
use stx_pages::install_files;
use stx_pipeline::process::collect_preview;
use stx_pipeline::{
    BuildPlan, Cancel, Ended, Event, EventKind, Invocation, Preview as Table, Runner, Stream,
};
use stx_publish::preview::PreviewTree;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tracing::{Instrument as _, debug};

use super::BuildArea;
use super::state::remove_tree;
use crate::error::{Error, ErrorKind, chain};
use crate::mirror::metadata;
use crate::server::{files, serve};

/// The name of the preview's directory in the state of a channel.
const DIR: &str = "preview";

/// Removes the directory that the preview of a killed build left. The caller holds the lock of the state.
pub(super) fn clear(state: &Utf8Path) -> Result<(), Error> {
    remove_tree(&state.join(DIR))
}

/// The preview of a running build.
pub(super) struct Preview {
    shared: Arc<Shared>,
    url: String,
    /// Ends the server when it is dropped.
    end: oneshot::Sender<()>,
}

struct Shared {
    plan: BuildPlan,
    /// The URL at which the server stands in for the mirror.
    root: String,
    /// The finished phases, in the order in which they ended.
    over: Mutex<Vec<PhaseRecord>>,
    shown: AsyncMutex<Shown>,
}

struct Shown {
    /// The tree that the server shows; `None` after the preview is closed.
    tree: Option<PreviewTree>,
    /// The number of finished phases whose files the tree has.
    phases: usize,
    result: Result<(), String>,
}

impl Preview {
    /// Starts the server. `over` are the phases that had already finished.
    pub(super) async fn open(
        area: &BuildArea,
        state: &Utf8Path,
        plan: &BuildPlan,
        over: &[PhaseRecord],
    ) -> Result<Self, Error> {
        let table = &area.site.options.preview;
        let address = table.address();
        let failed = |error: std::io::Error| {
            let text = format!("cannot offer a preview of the build on {address}: {error}");
            Error::usage(text).hint("set `address` and `port` in [preview]")
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let mut root = String::new();
        if table.token() {
            root = format!("/{}", token().map_err(failed)?);
        }
        root.push_str(&mirror_path(area.site.options.site().url.as_deref())?);
        let path = format!("{root}/{}", encode_path(&plan.id.to_string()));
        let below = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        let below = below.trim_start_matches('/');
        clear(state)?;
        let metadata = metadata(&area.site);
        let dir = state.join(DIR);
        let tree = PreviewTree::create(&dir, Utf8Path::new(below), plan.id.clone(), metadata)
            .map_err(|error| Error::new(ErrorKind::Bug, error))?;
        let served = tree.root();
        let (end, ended) = oneshot::channel::<()>();
        // The server ends when `end` is dropped, and with the process.
        tokio::spawn(async move {
            let ended = async {
                // An error means that the sender was dropped, which also ends the server.
                ended.await.ok();
            };
            if let Err(error) = serve(listener, files(&served), ended).await {
                debug!(%error, "the preview ended");
            }
        });
        let host = table.host(port);
        let (root, url) = (
            format!("http://{host}{root}"),
            format!("http://{host}{path}"),
        );
        debug!(url, "preview opened");
        let preview = Self {
            shared: Arc::new(Shared {
                plan: plan.clone(),
                root,
                over: Mutex::new(over.to_vec()),
                shown: AsyncMutex::new(Shown {
                    tree: Some(tree),
                    phases: 0,
                    result: Ok(()),
                }),
            }),
            url,
            end,
        };
        Ok(preview)
    }

    /// Handles an event: when a phase finishes, its files are shown.
    pub(super) fn hear(&self, event: &Event) {
        let EventKind::Finished { status, attempts } = event.what else {
            return;
        };
        let over = PhaseRecord {
            name: event.phase.clone(),
            status,
            required: true,
            attempts,
            started: None,
            finished: None,
            reason: None,
        };
        lock(&self.shared.over).push(over);
        // Show the files now, not only when the next phase starts: people read the preview, too.
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { drop(shared.settle().await) });
    }

    /// Ends the server and removes its directory.
    pub(super) async fn close(self) -> Result<(), Error> {
        let Self { shared, url, end } = self;
        drop(end);
        debug!(url, "preview closed");
        // The lock waits until the tree is complete; without the tree, no phase adds to it later.
        let tree = shared.shown.lock().await.tree.take();
        let removed = tree.map_or(Ok(()), |tree| tree.remove());
        removed.map_err(|error| Error::new(ErrorKind::Bug, error))
    }

    /// The runner whose phases see the preview.
    pub(super) fn runner<'a>(&'a self, inner: &'a dyn Runner) -> Previewed<'a> {
        Previewed {
            inner,
            preview: self,
        }
    }
}

impl Shared {
    /// Shows the files of the finished phases.
    async fn settle(&self) -> Result<(), String> {
        let mut shown = self.shown.lock().await;
        let over = lock(&self.over).clone();
        if shown.phases == over.len() {
            return shown.result.clone();
        }
        shown.phases = over.len();
        shown.result = match &mut shown.tree {
            Some(tree) => self.show(tree, over).await,
            None => Ok(()),
        };
        shown.result.clone()
    }

    async fn show(&self, tree: &mut PreviewTree, over: Vec<PhaseRecord>) -> Result<(), String> {
        let latest = over.last().map(|record| record.name.clone());
        let latest = latest.unwrap_or_default();
        let failed = |error: &dyn std::error::Error| {
            let reason = chain(error);
            format!("the files of phase {latest} cannot be offered: {reason}")
        };
        let plan = self.plan.clone();
        let collected = tokio::task::spawn_blocking(move || collect_preview(&plan, &over));
        let files = match collected.await {
            Err(error) => return Err(failed(&error)),
            Ok(collected) => collected.map_err(|error| failed(&error))?,
        };
        let files = files.into_iter().map(|file| (file.path, file.source));
        let shown = tree.show(files.collect()).await;
        let repositories = shown.map_err(|error| failed(&error))?;
        for (name, text) in install_files(&self.root, &self.plan.id, &repositories) {
            let written = tree.write_beside(&name.file_name(), &text);
            written.map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// Runs phases that see the preview.
pub(super) struct Previewed<'a> {
    inner: &'a dyn Runner,
    preview: &'a Preview,
}

#[async_trait]
impl Runner for Previewed<'_> {
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        let shared = Arc::clone(&self.preview.shared);
        let phase = invocation.variable("PHASE");
        let always = shared.plan.phases.iter();
        let always = always.filter(|phase| phase.always);
        let always = always.map(|phase| &*phase.name).any(|name| name == phase);
        // A separate task completes the tree even if this phase is cancelled.
        let settled = tokio::spawn(async move { shared.settle().await }.in_current_span());
        let settled = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ended::Cancelled,
            settled = settled => settled,
        };
        let settled = settled.unwrap_or_else(|error| Err(error.to_string()));
        // The phase would read the files of fewer phases than have finished. Phases that always run, such as those that end pods,
        // run nevertheless.
        if let Err(reason) = settled
            && !always
        {
            return Ended::NotStarted { reason };
        }
        let invocation = invocation.clone().knowing(Table::URL, &self.preview.url);
        self.inner.run(&invocation, output, cancel).await
    }
}

/// A random token of 128 bits.
fn token() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u128::from_ne_bytes(bytes)).map(|number| format!("{number:032x}"))
}

/// The path of the mirror in its URL, without a slash at its end.
fn mirror_path(url: Option<&str>) -> Result<String, Error> {
    let rest = url.and_then(|url| Some(url.split_once("://")?.1));
    let path = rest.and_then(|rest| Some(rest.split_once('/')?.1));
    let path = path.unwrap_or_default().trim_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let odd = |segment: &str| {
        let segment = percent_decode_str(segment).decode_utf8_lossy();
        matches!(&*segment, "" | "." | "..") || segment.contains(['/', '\0', '\u{fffd}'])
    };
    if path.contains(['?', '#']) || path.split('/').any(odd) {
        let text = format!("`url` of [site]: no preview can be served at the path {path}");
        return Err(Error::usage(text));
    }
    Ok(format!("/{path}"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_mirror_is_that_of_its_url() {
        for (url, path) in [
            (None, ""),
            (Some("https://mirror.example.org"), ""),
            (Some("https://mirror.example.org/"), ""),
            (
                Some("https://mirror.example.org/mirror/starlingx/"),
                "/mirror/starlingx",
            ),
            (Some("http://[::1]:80/a%20b"), "/a%20b"),
        ] {
            assert_eq!(mirror_path(url).expect("a path"), path);
        }
        for url in [
            "https://h/a/../b",
            "https://h/%2e%2e",
            "https://h/a//b",
            "https://h/a%2Fb",
        ] {
            mirror_path(Some(url)).expect_err(url);
        }
    }

    #[test]
    fn tokens_differ() {
        let [one, other] = [token().expect("random"), token().expect("random")];
        assert!(one.len() == 32 && one != other, "{one} {other}");
    }
}
