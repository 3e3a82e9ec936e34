//! The current commits of branches of git repositories, and the changed files.
//!
//! ```text
//! observe ──> heads: `git ls-remote`, which needs no repository
//!         ──> manifest and changed files: Cache (one bare repository per URL, one task at a time, one reference per branch)
//! ```
//!
//! [Public URLs](public_url) identify repositories, because observations are recorded, shown and sent to a hook. Git gets the
//! URL without credentials, and the credentials from its environment: see [`Access`].

mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::{public_url, redact_urls};

use self::cache::Cache;
use stx_pipeline::process::git_reason;

use crate::Upstream;
use crate::trigger::{
    self, Access, ChangedFile, Heads, Observation, Project, Watch, access, includes, projects,
};

/// The most repositories that are queried at a time.
const AT_A_TIME: usize = 8;

/// Observes commits by `git`; fetched commits are kept.
#[derive(Debug, Clone)]
pub struct GitUpstream {
    cache: Utf8PathBuf,
}

impl GitUpstream {
    /// Keeps bare repositories in `cache`, which is created on demand.
    pub fn new(cache: Utf8PathBuf) -> Self {
        Self { cache }
    }

    /// The heads of a manifest and of all repositories that it names.
    async fn manifest(&self, url: &str, file: &str, branch: &str) -> Result<Seen, String> {
        let (commit, texts) = {
            let cache = Cache::open(&self.cache, url).await?;
            let at = cache.fetch(branch, &["--depth=1"]).await?;
            let commit = cache
                .git(&["rev-parse", &format!("{at}^{{commit}}")])
                .await?;
            (commit, texts(&cache, &at, file).await?)
        };
        let named = projects(file, &texts, url).map_err(|error| error.to_string())?;
        let mut found = heads(named).await?;
        let manifest = Project {
            url: url.to_owned(),
            revision: branch.to_owned(),
            path: MANIFEST.to_owned(),
        };
        found.push((manifest, commit.trim().to_owned()));
        Ok(Seen::of(found))
    }

    /// The files that changed in the repositories that moved; `None` if they cannot be determined.
    async fn changed(&self, before: &Heads, seen: &Seen) -> Option<BTreeSet<ChangedFile>> {
        let mut files = BTreeSet::new();
        for (key, to) in &seen.heads {
            let from = before.get(key)?;
            if from == to {
                continue;
            }
            // All projects of a key are at the same revision.
            let projects = seen.projects.get(key)?;
            let project = projects.first()?;
            let cache = Cache::open(&self.cache, &project.url).await.ok()?;
            cache.fetch(&project.revision, &[]).await.ok()?;
            let diff = ["diff", "--name-only", "--no-renames", "-z", from, to, "--"];
            let names = cache.git(&diff).await.ok()?;
            for project in projects {
                files.extend(names.split_terminator('\0').map(|file| ChangedFile {
                    git: project.path.clone(),
                    file: file.to_owned(),
                }));
            }
        }
        Some(files)
    }
}

#[async_trait]
impl Upstream for GitUpstream {
    async fn observe(&self, watch: &Watch, before: Option<&Heads>) -> Result<Observation, String> {
        let seen = match &watch.upstream {
            None => return Err("no repository is named".to_owned()),
            Some(trigger::Upstream::Manifest { url, file }) => {
                self.manifest(url, file, &watch.git).await?
            }
            Some(trigger::Upstream::Repositories(urls)) => {
                // The key `watch` names no path in a source tree.
                let project = |url: &String| Project {
                    url: url.clone(),
                    revision: watch.git.clone(),
                    path: String::new(),
                };
                Seen::of(heads(urls.iter().map(project).collect()).await?)
            }
        };
        let changed = match before {
            Some(before) if !watch.paths.is_empty() && *before != seen.heads => {
                self.changed(before, &seen).await
            }
            Some(_) | None => None,
        };
        let heads = seen.heads;
        Ok(Observation { heads, changed })
    }

    async fn has(&self, upstream: &trigger::Upstream, git: &str) -> Result<bool, String> {
        let urls = match upstream {
            trigger::Upstream::Manifest { url, .. } => std::slice::from_ref(url),
            trigger::Upstream::Repositories(urls) => urls.as_slice(),
        };
        let mut unknown = None;
        for url in urls {
            match find(url, git).await {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(why) => unknown = Some(why),
            }
        }
        unknown.map_or(Ok(false), Err)
    }
}

/// The path of the manifest itself in a source tree of `repo`.
const MANIFEST: &str = ".repo/manifests";

/// The texts of a manifest file and of the files that it includes, without those that do not exist.
async fn texts(cache: &Cache, at: &str, file: &str) -> Result<BTreeMap<String, String>, String> {
    let mut texts = BTreeMap::new();
    let mut left = vec![file.to_owned()];
    while let Some(name) = left.pop() {
        if texts.contains_key(&name) {
            continue;
        }
        match cache.git(&["show", &format!("{at}:{name}")]).await {
            Ok(text) => {
                left.extend(includes(&name, &text).map_err(|error| error.to_string())?);
                texts.insert(name, text);
            }
            Err(why) if name == file => return Err(why),
            // The parser of the manifest reports a missing file, with the line that includes it.
            Err(_) => {}
        }
    }
    Ok(texts)
}

/// Heads and projects, by the keys of [`Heads`].
#[derive(Debug, Default)]
struct Seen {
    heads: Heads,
    projects: BTreeMap<String, Vec<Project>>,
}

impl Seen {
    /// Groups the projects: a manifest may name a repository several times, with one revision for all its paths, or with
    /// several.
    fn of(found: Vec<(Project, String)>) -> Self {
        let mut revisions = BTreeMap::<String, BTreeSet<String>>::new();
        for (project, _) in &found {
            let known = revisions.entry(public_url(&project.url)).or_default();
            known.insert(project.revision.clone());
        }
        let mut seen = Self::default();
        for (project, commit) in found {
            let mut key = public_url(&project.url);
            if revisions[&key].len() > 1 {
                key = format!("{key} {}", project.revision);
            }
            seen.heads.insert(key.clone(), commit);
            seen.projects.entry(key).or_default().push(project);
        }
        seen
    }
}

/// The current commit of the branch, tag or commit of each project.
async fn heads(projects: Vec<Project>) -> Result<Vec<(Project, String)>, String> {
    stream::iter(projects)
        .map(|project| async move {
            let commit = head(&project.url, &project.revision).await?;
            Ok((project, commit))
        })
        .buffered(AT_A_TIME)
        .try_collect()
        .await
}

/// The commit that a branch, a tag or a commit identifier names in a repository.
async fn head(url: &str, revision: &str) -> Result<String, String> {
    let found = find(url, revision).await?;
    found.ok_or_else(|| {
        format!(
            "{} has no branch or tag {}",
            public_url(url),
            short(revision)
        )
    })
}

/// The name of a branch or tag without the prefix of its reference.
fn short(revision: &str) -> &str {
    let short = revision.strip_prefix("refs/heads/").unwrap_or(revision);
    short.strip_prefix("refs/tags/").unwrap_or(short)
}

/// The commit that a branch, a tag or a commit identifier names in a repository; `None` if no such branch or tag exists.
async fn find(url: &str, revision: &str) -> Result<Option<String>, String> {
    if revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Some(revision.to_owned()));
    }
    let short = short(revision);
    let (branch, tag) = (format!("refs/heads/{short}"), format!("refs/tags/{short}"));
    let peeled = format!("{tag}^{{}}");
    let access = reach(url)?;
    let asked = ["ls-remote", "--", &access.url, &branch, &tag, &peeled];
    let refs = git(Utf8Path::new("/"), &asked, &access, Stdio::null()).await?;
    let at = |name: &str| {
        refs.lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(_, found)| *found == name)
            .map(|(commit, _)| commit.to_owned())
    };
    Ok(at(&branch).or_else(|| at(&peeled)).or_else(|| at(&tag)))
}

/// The way to reach a URL in this program's environment.
fn reach(url: &str) -> Result<Access, String> {
    let configured = std::env::var("GIT_CONFIG_COUNT");
    let configured = configured.ok().and_then(|count| count.parse().ok());
    access(url, configured.unwrap_or(0))
}

/// Runs git without prompts, and returns its output.
#[expect(clippy::disallowed_types, reason = "this is a backend")]
async fn git(
    dir: &Utf8Path,
    args: &[&str],
    access: &Access,
    stdin: Stdio,
) -> Result<String, String> {
    let shown = || redact_urls(&format!("git {}", args.join(" "))).into_owned();
    let mut command = tokio::process::Command::new("git");
    // They would select another repository than `dir`, for example if a hook of git started this program.
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_COMMON_DIR",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    ] {
        command.env_remove(name);
    }
    if std::env::var_os("GIT_SSH_COMMAND").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
    }
    let output = command
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        // `git_reason` searches the output for `fatal:`.
        .env("LC_ALL", "C")
        .envs(access.env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{}: {error}", shown()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", shown(), git_reason(&output.stderr)))
}

#[cfg(test)]
mod tests;
