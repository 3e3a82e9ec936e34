//! A read-only mirror behind a web server, of which only files are requested.
//!
//! The catalog is read from `index.json`, an alias from `ALIAS/build.json`, the rest from the builds themselves; directory
//! listings are never used. A request that fails temporarily (no connection, 429, 500, 502, 503, 504) is repeated after the
//! time in `Retry-After` (RFC 9110, 10.2.3) or after a wait that doubles. If the transfer of a file is interrupted, the stream
//! ends with an error, and [`read`](MirrorRead::read) resumes from that byte.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use camino::Utf8PathBuf;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Response, StatusCode, Url};
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Catalog, Channel, ChannelEntry,
    RootAlias, RootEntry, Sums, encode_path,
};

use crate::error::chain;
use crate::index::{ChannelIndex, PageId, PageName, RootIndex};
use crate::net::{HttpOptions, NoLength, WebPage, client, is_transient, is_web_page, retry_after};
use crate::seal::LONGEST_TEXT;
use crate::store::{
    Audit, ByteRange, Capabilities, Depth, FileBody, Hold, Inspection, MirrorRead, Scope,
    StoreError,
};

mod inspect;
mod ranges;

/// The number of URLs above the root that are searched for a mirror.
const HIGHEST: usize = 8;

/// A mirror behind a web server. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpStore {
    client: Client,
    root: Url,
    options: Arc<HttpOptions>,
    /// The strong entity tags of files whose transfer began, to notice a change of the file when the transfer is resumed.
    tags: Arc<Mutex<HashMap<Url, String>>>,
    received: Arc<AtomicU64>,
    /// False once the server has answered a request for several ranges with something else.
    takes_several: Arc<AtomicBool>,
}

/// A URL that a mirror cannot be read from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not a URL.
    #[error("{text:?} is not a URL")]
    Url {
        /// The text.
        text: String,
        /// The error of the URL parser.
        source: url::ParseError,
    },
    /// A URL whose scheme is not supported.
    #[error("{url}: a mirror's URL begins with http:// or https:// and has no query")]
    Kind {
        /// The URL.
        url: String,
    },
    /// No HTTP client could be made: no certificates, or an unusable proxy setting.
    #[error("cannot set up HTTP")]
    Client {
        /// The error that caused it.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl HttpStore {
    /// The mirror with the root `url`. No request is made yet.
    ///
    /// Proxies are taken from the environment (`http_proxy`, `https_proxy`, `no_proxy`), certificates from the system.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, HttpError> {
        let mut root = Url::parse(url).map_err(|source| HttpError::Url {
            text: url.to_owned(),
            source,
        })?;
        if !matches!(root.scheme(), "http" | "https")
            || root.query().is_some()
            || root.fragment().is_some()
        {
            return Err(HttpError::Kind {
                url: url.to_owned(),
            });
        }
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let client = client(&options).map_err(|source| HttpError::Client { source })?;
        Ok(Self {
            client,
            root,
            options: Arc::new(options),
            tags: Arc::default(),
            received: Arc::default(),
            takes_several: Arc::new(AtomicBool::new(true)),
        })
    }

    /// The number of body bytes that this store and its clones received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The URL of the mirror's root, with a trailing slash.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The URL of a path in the mirror.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        // The root ends with a slash, and `set_path` keeps what is already encoded.
        url.set_path(&format!("{}{}", self.root.path(), encode_path(path)));
        url
    }

    /// The contents of a small file; `None` if it does not exist.
    async fn text(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        match self.needed(path).await {
            Err(StoreError::NotFound { .. }) => Ok(None),
            text => text.map(Some),
        }
    }

    /// The contents of a small file that must exist.
    async fn needed(&self, path: &str) -> Result<Bytes, StoreError> {
        let url = self.url(path);
        let mut attempt = 0;
        loop {
            let response = self.send(&url, &[]).await?;
            let is_page = camino::Utf8Path::new(path).extension() == Some("html");
            let said = response.headers().get(header::CONTENT_TYPE).cloned();
            match whole(response, &url, &self.received).await {
                Err(error @ StoreError::Network { .. }) if attempt + 1 < self.options.attempts => {
                    drop(error);
                    tokio::time::sleep(self.options.wait(attempt)).await;
                    attempt += 1;
                }
                Ok(body) if !is_page && is_web_page(said.as_ref(), &body) => {
                    return Err(self.damaged(path, WebPage));
                }
                result => return result,
            }
        }
    }

    /// The index of the root.
    ///
    /// # Errors
    /// [`StoreError::NotAMirror`] if the server has no index at this URL; it names the mirror that contains this URL, if one exists.
    async fn root_index(&self) -> Result<RootIndex, StoreError> {
        let page = &PageName::IndexJson.file_name();
        let why = match self.needed(page).await {
            Err(StoreError::NotFound { what }) => format!("{what}: not found"),
            Err(error) => return Err(error),
            Ok(text) => match RootIndex::from_json(&text) {
                Ok(index) => return Ok(index),
                Err(error) => match ChannelIndex::from_json(&text) {
                    Ok(index) => format!("its {page} is that of the channel {}", index.channel),
                    Err(_) => return Err(self.damaged(page, error)),
                },
            },
        };
        Err(StoreError::NotAMirror {
            what: self.root.to_string(),
            why,
            instead: self.above().await.into_iter().collect(),
        })
    }

    /// The mirror that contains the root's URL, if one of the URLs above has an index.
    async fn above(&self) -> Option<String> {
        let page = &PageName::IndexJson.file_name();
        let mut store = self.clone();
        for _ in 0..HIGHEST {
            let above = store.root.join("..").ok()?;
            if above == store.root {
                return None;
            }
            store.root = above;
            // Any other answer of the URLs above is not an error of the requested URL.
            if let Ok(Some(text)) = store.text(page).await
                && RootIndex::from_json(&text).is_ok()
            {
                return Some(store.root.to_string());
            }
        }
        None
    }

    /// Requests a URL until the answer is one that another attempt would not change.
    async fn send(
        &self,
        url: &Url,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, StoreError> {
        let mut attempt = 0;
        loop {
            let request = headers
                .iter()
                .fold(self.client.get(url.clone()), |request, (name, value)| {
                    request.header(name, value)
                });
            let (wait, error) = match request.send().await {
                Ok(response) if is_transient(response.status()) => (
                    retry_after(response.headers()),
                    network(url, format!("the server says {}", response.status())),
                ),
                Ok(response) => return answer(url, response),
                Err(error) if error.is_redirect() || error.is_builder() => {
                    return Err(StoreError::Refused {
                        what: url.to_string(),
                        reason: chain(&error.without_url()),
                    });
                }
                Err(error) => (None, network(url, error.without_url())),
            };
            attempt += 1;
            if attempt >= self.options.attempts {
                return Err(error);
            }
            let wait = wait.unwrap_or_else(|| self.options.wait(attempt - 1));
            tokio::time::sleep(wait.min(self.options.longest_wait)).await;
        }
    }

    /// The strong entity tag of a file whose transfer began earlier.
    fn tag(&self, url: &Url) -> Option<String> {
        self.tags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(url)
            .cloned()
    }

    fn keep_tag(&self, url: &Url, headers: &HeaderMap) {
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        match tag.filter(|tag| !tag.starts_with("W/")) {
            Some(tag) => drop(tags.insert(url.clone(), tag.to_owned())),
            None => drop(tags.remove(url)),
        }
    }

    /// A file from byte `from` on. At most `length` bytes are requested; the server may send more.
    async fn range(
        &self,
        url: &Url,
        from: u64,
        length: Option<u64>,
    ) -> Result<FileBody, StoreError> {
        let mut headers = Vec::new();
        let tag = self.tag(url);
        let last = length.map(|length| from.saturating_add(length.max(1)) - 1);
        if from > 0 || last.is_some() {
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            headers.push((header::RANGE, format!("bytes={from}-{last}")));
            headers.extend(tag.clone().map(|tag| (header::IF_RANGE, tag)));
        }
        let response = self.send(url, &headers).await?;
        self.keep_tag(url, response.headers());
        let part = content_range(response.headers());
        let is_whole = !headers.is_empty() && response.status() == StatusCode::OK;
        if is_whole {
            self.takes_several.store(false, Ordering::Relaxed);
        }
        let (size, skip) = match (response.status(), part) {
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((_, size))) => {
                return Ok(FileBody {
                    size,
                    stream: stream::empty().boxed(),
                    is_whole: false,
                });
            }
            (StatusCode::PARTIAL_CONTENT, Some((Some((begins, _)), size))) if begins == from => {
                (size, 0)
            }
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                return Err(network(
                    url,
                    "the server sent another part than was requested",
                ));
            }
            // A server without ranges sends the whole file; so does one whose file changed.
            _ if from > 0 && tag.is_some() && tag != self.tag(url) => {
                return Err(StoreError::Changed {
                    path: url.to_string(),
                });
            }
            _ => {
                let length = response.content_length();
                let size = length.ok_or_else(|| network(url, NoLength))?;
                (size, from)
            }
        };
        let rest = self.counted(response, url.clone());
        Ok(FileBody {
            size,
            stream: drop_first(rest, skip).boxed(),
            is_whole,
        })
    }

    /// The body of an answer; counts its bytes.
    fn counted(
        &self,
        response: Response,
        url: Url,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        let received = Arc::clone(&self.received);
        response
            .bytes_stream()
            .inspect_ok(move |chunk| {
                received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            })
            .map_err(move |error| network(&url, error.without_url()))
    }

    async fn channel_index(&self, channel: &Channel) -> Result<Option<ChannelEntry>, StoreError> {
        let page = PageId {
            channel: Some(channel.clone()),
            name: PageName::IndexJson,
        };
        let path = page.path();
        let Some(text) = self.text(&path).await? else {
            return Ok(None);
        };
        let index = ChannelIndex::from_json(&text).map_err(|error| self.damaged(&path, error))?;
        if index.channel != *channel {
            let found = format!("it belongs to {}", index.channel);
            return Err(self.damaged(&path, found));
        }
        Ok(Some(index.entry()))
    }

    fn damaged(&self, path: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Damaged {
            what: self.url(path).to_string(),
            source: source.into(),
        }
    }

    /// The record at a path below the channel: that of a build or that of an alias.
    async fn record_at(&self, channel: &Channel, name: &str) -> Result<BuildRecord, StoreError> {
        let path = format!("{channel}/{name}/{}", BuildRecord::FILE_NAME);
        let text = self.needed(&path).await?;
        let text = str::from_utf8(&text).map_err(|error| self.damaged(&path, error))?;
        let record = BuildRecord::from_json(text).map_err(|error| self.damaged(&path, error))?;
        if record.id.channel != *channel {
            let found = format!("it belongs to {}", record.id);
            return Err(self.damaged(&path, found));
        }
        Ok(record)
    }
}

fn network(url: &Url, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Network {
        url: url.to_string(),
        source: source.into(),
    }
}

/// The answer, or the error that it means.
fn answer(url: &Url, response: Response) -> Result<Response, StoreError> {
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(StoreError::NotFound {
            what: url.to_string(),
        }),
        // An object store answers like this for a missing file if the client may not list the bucket.
        StatusCode::FORBIDDEN if is_object_store(response.headers()) => Err(StoreError::NotFound {
            what: format!("{url} (403 Forbidden: missing, or not public)"),
        }),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(StoreError::Refused {
            what: url.to_string(),
            reason: format!("the server refuses access ({status})"),
        }),
        // The client follows redirects to HTTP URLs itself.
        status if status.is_redirection() => Err(StoreError::Refused {
            what: url.to_string(),
            reason: format!("a redirect that leads to no web server ({status})"),
        }),
        status => Err(StoreError::Refused {
            what: url.to_string(),
            reason: format!("the server says {status}"),
        }),
    }
}

/// True if an answer without a file comes from an object store: only those number their answers, or write errors as XML. A proxy in
/// front of one may remove either of the two.
fn is_object_store(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    headers.contains_key("x-amz-request-id")
        || ["application/xml", "text/xml"]
            .iter()
            .any(|xml| kind.eq_ignore_ascii_case(xml))
}

/// The body of a small file, read completely.
async fn whole(response: Response, url: &Url, received: &AtomicU64) -> Result<Bytes, StoreError> {
    let too_long = || StoreError::Refused {
        what: url.to_string(),
        reason: format!("longer than {} MiB", LONGEST_TEXT >> 20),
    };
    let size = response.content_length();
    if size.is_some_and(|size| size > LONGEST_TEXT) {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| network(url, error.without_url()))?;
        received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if (body.len() + chunk.len()) as u64 > LONGEST_TEXT {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The range of an answer: its first and its last byte, and the size of the whole.
fn content_range(headers: &HeaderMap) -> Option<(Option<(u64, u64)>, u64)> {
    parse_content_range(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

/// `bytes FROM-TO/SIZE` or `bytes */SIZE`.
fn parse_content_range(text: &str) -> Option<(Option<(u64, u64)>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let range = range
        .split_once('-')
        .and_then(|(from, last)| Some((from.parse().ok()?, last.parse().ok()?)));
    Some((range, size.parse().ok()?))
}

/// A stream without its first bytes.
fn drop_first(
    bytes: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
    count: u64,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    bytes
        .scan(count, |left, chunk| {
            let chunk = chunk.map(|mut chunk| {
                let skipped =
                    usize::try_from(*left).map_or(chunk.len(), |left| left.min(chunk.len()));
                *left -= skipped as u64;
                chunk.split_off(skipped)
            });
            std::future::ready(Some(chunk))
        })
        .try_filter(|chunk| std::future::ready(!chunk.is_empty()))
}

#[async_trait]
impl MirrorRead for HttpStore {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let mut catalog = Catalog::default();
        let channels = match scope {
            Scope::All => {
                let root = self.root_index().await?;
                root.channels
                    .into_iter()
                    .map(|known| known.channel)
                    .collect()
            }
            Scope::Channel(channel) => vec![channel.clone()],
            Scope::Build(id) => vec![id.channel.clone()],
        };
        let entries = channels.into_iter().map(|channel| async move {
            let entry = self.channel_index(&channel).await?;
            Ok::<_, StoreError>(entry.map(|entry| (channel, entry)))
        });
        let mut entries = stream::iter(entries).buffered(self.options.connections.max(1));
        while let Some(entry) = entries.try_next().await? {
            // A channel that was removed since the root's index was made counts as missing.
            let Some((channel, mut entry)) = entry else {
                continue;
            };
            if let Scope::Build(id) = scope {
                entry.builds.retain(|date, _| *date == id.date);
                entry.strays.clear();
            }
            catalog.channels.insert(channel, entry);
        }
        Ok(catalog)
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let record = self.record_at(&id.channel, &id.date.to_string()).await?;
        if record.id != *id {
            let found = format!("its record is that of {}", record.id);
            return Err(self.damaged(&id.to_string(), found));
        }
        Ok(record)
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        let path = format!("{id}/{}", Sums::FILE_NAME);
        let text = self.needed(&path).await?;
        let text = str::from_utf8(&text).map_err(|error| self.damaged(&path, error))?;
        text.parse()
            .map_err(|error: stx_layout::SumsError| self.damaged(&path, error))
    }

    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        match self.record_at(channel, alias.as_str()).await {
            Ok(record) => Ok(Some(AliasEntry::Build(record.id.date))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The aliases in the index of the root. A mirror without an index has no aliases that a reader could find.
    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        match self.root_index().await {
            Ok(index) => Ok(index.aliases),
            Err(StoreError::NotAMirror { .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        let url = self.url(&format!("{id}/{path}"));
        self.range(&url, from, None).await
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        let url = self.url(&format!("{id}/{path}"));
        let asked: Vec<_> = ranges.iter().copied().filter(|it| it.length > 0).collect();
        if asked.len() > 1
            && let Some(body) = self.several(&url, &asked).await?
        {
            return Ok(body);
        }
        let store = self.clone();
        FileBody::of_ranges(ranges, move |range| {
            let (store, url) = (store.clone(), url.clone());
            async move { store.range(&url, range.from, Some(range.length)).await }
        })
        .await
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        self.text(&page.path()).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shows_files_only: true,
            ..Capabilities::default()
        }
    }

    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }

    /// A web server cannot tell whether a writer is active, so it never holds a build.
    async fn hold(&self, _: &BuildId) -> Result<Hold, StoreError> {
        Ok(Hold::nothing())
    }

    async fn audit(&self, id: &BuildId, _: &Audit) -> Result<Inspection, StoreError> {
        self.inspect(id, Depth::Digests).await
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        self.inspect_files(id, depth).await
    }
}
