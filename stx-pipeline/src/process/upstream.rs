//! What the branches of git repositories are at, and which files changed.

use std::collections::BTreeSet;
use std::process::Stdio;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::service::Upstream;
use crate::trigger::{self, Heads, Observation, Watch, projects};

/// How many repositories are asked at a time.
const AT_A_TIME: usize = 8;

/// Sees commits by `git`; what has to be fetched for it is kept.
#[derive(Debug, Clone)]
pub struct GitUpstream {
    cache: Utf8PathBuf,
}

impl GitUpstream {
    /// Keeps bare repositories in `cache`, which is made when it is needed.
    pub fn new(cache: Utf8PathBuf) -> Self {
        Self { cache }
    }

    /// The bare repository that keeps what was fetched from `url`.
    async fn kept(&self, url: &str) -> Result<Utf8PathBuf, String> {
        let name: String = url
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => {
                    char::from(byte).to_string()
                }
                other => format!("_{other:02x}"),
            })
            .collect();
        let dir = self.cache.join(name);
        if !dir.join("HEAD").exists() {
            fs_err::create_dir_all(&dir).map_err(|error| error.to_string())?;
            git(&dir, &["init", "-q", "--bare", "."]).await?;
        }
        Ok(dir)
    }

    /// The heads of a manifest and of everything that it names.
    async fn manifest(&self, url: &str, file: &str, branch: &str) -> Result<Heads, String> {
        let dir = self.kept(url).await?;
        git(
            &dir,
            &["fetch", "-q", "--no-tags", "--depth=1", url, branch],
        )
        .await?;
        let commit = git(&dir, &["rev-parse", "FETCH_HEAD^{commit}"]).await?;
        let xml = git(&dir, &["show", &format!("FETCH_HEAD:{file}")]).await?;
        let named = projects(&xml, url).map_err(|error| error.to_string())?;
        let named = named
            .into_iter()
            .map(|project| (project.url, project.revision));
        let mut heads = self.heads(named.collect()).await?;
        heads.insert(url.to_owned(), commit.trim().to_owned());
        Ok(heads)
    }

    /// What a branch, tag or commit of each repository is.
    async fn heads(&self, repositories: Vec<(String, String)>) -> Result<Heads, String> {
        stream::iter(repositories)
            .map(|(url, revision)| async move {
                let commit = head(&url, &revision).await?;
                Ok((url, commit))
            })
            .buffered(AT_A_TIME)
            .try_collect()
            .await
    }

    /// The files that changed in the repositories that moved; `None` if that cannot be said.
    async fn changed(
        &self,
        watch: &Watch,
        before: &Heads,
        heads: &Heads,
    ) -> Option<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for (url, to) in heads {
            let from = before.get(url)?;
            if from == to {
                continue;
            }
            let dir = self.kept(url).await.ok()?;
            git(&dir, &["fetch", "-q", "--no-tags", url, &watch.git])
                .await
                .ok()?;
            let diff = ["diff", "--name-only", "--no-renames", "-z", from, to, "--"];
            let names = git(&dir, &diff).await.ok()?;
            files.extend(names.split_terminator('\0').map(str::to_owned));
        }
        Some(files)
    }
}

#[async_trait]
impl Upstream for GitUpstream {
    async fn observe(&self, watch: &Watch, before: Option<&Heads>) -> Result<Observation, String> {
        let heads = match &watch.upstream {
            None => return Err("no repository is named".to_owned()),
            Some(trigger::Upstream::Manifest { url, file }) => {
                self.manifest(url, file, &watch.git).await?
            }
            Some(trigger::Upstream::Repositories(urls)) => {
                let repositories = urls.iter().map(|url| (url.clone(), watch.git.clone()));
                self.heads(repositories.collect()).await?
            }
        };
        let changed = match before {
            Some(before) if !watch.paths.is_empty() && *before != heads => {
                self.changed(watch, before, &heads).await
            }
            Some(_) | None => None,
        };
        Ok(Observation { heads, changed })
    }
}

/// What a branch, a tag or a commit is at a repository.
async fn head(url: &str, revision: &str) -> Result<String, String> {
    if revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(revision.to_owned());
    }
    let short = revision.strip_prefix("refs/heads/").unwrap_or(revision);
    let short = short.strip_prefix("refs/tags/").unwrap_or(short);
    let (branch, tag) = (format!("refs/heads/{short}"), format!("refs/tags/{short}"));
    let peeled = format!("{tag}^{{}}");
    let refs = git(
        Utf8Path::new("/"),
        &["ls-remote", "--", url, &branch, &tag, &peeled],
    )
    .await?;
    let at = |name: &str| {
        refs.lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(_, found)| *found == name)
            .map(|(commit, _)| commit.to_owned())
    };
    at(&branch)
        .or_else(|| at(&peeled))
        .or_else(|| at(&tag))
        .ok_or_else(|| format!("{url} has no branch or tag {short}"))
}

/// Runs git, which asks nobody, and gives what it prints.
#[expect(clippy::disallowed_types, reason = "this is a backend")]
async fn git(dir: &Utf8Path, args: &[&str]) -> Result<String, String> {
    let shown = || format!("git {}", args.join(" "));
    let output = tokio::process::Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{}: {error}", shown()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.is_empty())
        .unwrap_or("no word")
        .to_owned();
    Err(format!("{}: {last}", shown()))
}

#[cfg(test)]
mod tests;
