//! A registry behind HTTP, according to the OCI distribution specification 1.1.
//!
//! This module is not built on a client crate: `oci-client` 0.18 hides `Retry-After`, has no call that deletes, and requests no
//! token that would allow one. Requests are therefore made here; `oci-spec` parses their contents, `http-auth` the challenges,
//! and `docker_credential` finds credentials.
//!
//! A request with a transient failure (no connection, 408, 429, 5xx) is repeated, after the time in `Retry-After` or after a wait
//! that doubles. An interrupted upload starts again, after a check that the blob is still missing. Credentials are sent to the
//! registry and to its token server, never to another host that receives an upload.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use reqwest::header::{self, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use stx_layout::{ImageName, Sha256};

use super::{
    Blob, ImageRegistry, Manifest, Pushed, RegistryError, Untagged, by_digest, repository,
};
use stx_publish::net::{self, HttpOptions};

mod auth;
mod body;
mod request;
mod upload;

use auth::{Access, Auth};
use request::{Again, Attempt, Status, is_transient, whole};

/// The largest number of tags of a repository that are examined.
const MOST_TAGS: usize = 1_000_000;

/// The manifest types that are requested; a registry may convert others into one of these.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// The options for requests to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OciOptions {
    /// Waits and attempts.
    pub http: HttpOptions,
    /// The number of blobs that are sent at the same time.
    pub parallel: usize,
    /// True to use `http` instead of `https`.
    pub plain_http: bool,
    /// Docker's `config.json`, which holds credentials or names the helper that does; it need not exist.
    pub docker_config: Option<Utf8PathBuf>,
}

impl Default for OciOptions {
    fn default() -> Self {
        Self {
            http: HttpOptions::default(),
            parallel: 4,
            plain_http: false,
            docker_config: None,
        }
    }
}

/// A registry behind HTTP. Clones share their connections and tokens.
#[derive(Clone)]
pub struct OciRegistry {
    client: Client,
    /// The client for uploads. It waits up to a day for an answer, because the wait includes the time in which bytes are sent.
    patient: Client,
    host: String,
    base: Url,
    options: Arc<OciOptions>,
    auth: Arc<Auth>,
    uploads: Arc<AtomicU64>,
}

impl fmt::Debug for OciRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRegistry")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl OciRegistry {
    /// The registry `HOST[:PORT]`. No request is made yet.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] for a host that is not valid in a URL, or if HTTP cannot be set up.
    pub fn new(host: &str, options: OciOptions) -> Result<Self, RegistryError> {
        let refused = |reason: String| RegistryError::Refused {
            what: host.to_owned(),
            reason,
        };
        // The registry of the names `docker.io/…` has this host.
        let server = match host {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme = if options.plain_http { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{server}/v2/"));
        let base = base.map_err(|error| refused(error.to_string()))?;
        let mut patient = options.http.clone();
        patient.idle = Duration::from_hours(24);
        let client = |http: &HttpOptions| {
            let mut builder = net::client_builder(http)?;
            if options.plain_http {
                // Unencrypted requests are sent to this machine only, and not through a proxy.
                builder = builder.no_proxy();
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(builder.build()?)
        };
        let patient = client(&patient).map_err(|error| refused(error.to_string()))?;
        let client = client(&options.http).map_err(|error| refused(error.to_string()))?;
        let auth = Auth::new(host, &base, options.docker_config.clone(), client.clone());
        Ok(Self {
            client,
            patient,
            host: host.to_owned(),
            base,
            options: Arc::new(options),
            auth: Arc::new(auth),
            uploads: Arc::default(),
        })
    }

    /// The number of uploads that were begun so far, by this registry and its clones.
    pub fn uploads(&self) -> u64 {
        self.uploads.load(Ordering::Relaxed)
    }

    fn url(&self, name: &ImageName, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", repository(name)));
        url
    }

    /// A manifest by tag or digest, whatever digest the registry states.
    async fn fetch(
        &self,
        name: &ImageName,
        reference: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let what = format!("{}:{reference}", repository(name));
        let url = self.url(name, &format!("manifests/{reference}"));
        let accept = (header::ACCEPT, HeaderValue::from_static(MANIFESTS));
        let access = Access::pull(name);
        let accept = [accept];
        let mut tries = self.tries();
        loop {
            let response = self
                .send(Method::GET, &url, access, &what, &accept, None)
                .await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                _ => return Err(self.refused(response, &what).await),
            }
            let media_type = response.headers().get(header::CONTENT_TYPE);
            let media_type = media_type.cloned();
            let failed = |source| RegistryError::Network {
                what: self.shown(&what),
                source,
            };
            match whole(response).await {
                // The page of a login or a proxy is not an image.
                Ok(bytes) if net::is_web_page(media_type.as_ref(), &bytes) => {
                    return Err(failed(net::WebPage.into()));
                }
                Ok(bytes) if !is_object(&bytes) => {
                    return Err(failed("the answer is not a manifest".into()));
                }
                Ok(bytes) => {
                    let media_type = media_type.as_ref().and_then(|value| value.to_str().ok());
                    let media_type = media_type.unwrap_or_default().to_owned();
                    return Ok(Some(Manifest { media_type, bytes }));
                }
                Err(source) => {
                    let error = failed(source);
                    tries.again(Again { wait: None, error }).await?;
                }
            }
        }
    }

    /// [`Unreadable`](RegistryError::Unreadable) for a tag that `docker-registry` cannot read, because the disk was full while it was
    /// written; `error` for a registry in trouble, which does not list the tags either.
    async fn unless_unreadable(
        &self,
        name: &ImageName,
        tag: &str,
        error: RegistryError,
    ) -> RegistryError {
        let RegistryError::Network { what, source } = &error else {
            return error;
        };
        let status = source.downcast_ref::<Status>().map(|Status(status)| status);
        if status != Some(&StatusCode::INTERNAL_SERVER_ERROR) {
            return error;
        }
        match self.tags(name).await {
            Ok(tags) if tags.iter().any(|listed| listed == tag) => RegistryError::Unreadable {
                what: what.clone(),
                reason: source.to_string(),
            },
            Ok(_) | Err(_) => error,
        }
    }

    /// Stores a manifest under a tag or its digest.
    async fn put(
        &self,
        name: &ImageName,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let what = format!("{}:{reference}", repository(name));
        let url = self.url(name, &format!("manifests/{reference}"));
        let kind =
            HeaderValue::from_str(&manifest.media_type).map_err(|_| RegistryError::Refused {
                what: self.shown(&what),
                reason: format!("{:?} is not a media type", manifest.media_type),
            })?;
        let headers = [(header::CONTENT_TYPE, kind)];
        let body = Some(&manifest.bytes);
        let response = self
            .send(Method::PUT, &url, Access::push(name), &what, &headers, body)
            .await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            _ => Err(self.refused(response, &what).await),
        }
    }
}

#[async_trait]
impl ImageRegistry for OciRegistry {
    fn host(&self) -> &str {
        &self.host
    }

    fn parallel(&self) -> usize {
        self.options.parallel
    }

    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError> {
        let tag = name.parts().tag.to_string();
        match self.fetch(name, &tag).await {
            Ok(found) => Ok(found.map(|manifest| manifest.digest())),
            Err(error) => Err(self.unless_unreadable(name, &tag, error).await),
        }
    }

    async fn tags(&self, name: &ImageName) -> Result<Vec<String>, RegistryError> {
        let what = repository(name);
        let mut tags = Vec::new();
        let mut next = Some(self.url(name, "tags/list"));
        while let Some(url) = next {
            let access = Access::pull(name);
            let response = self
                .send(Method::GET, &url, access, &what, &[], None)
                .await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(Vec::new()),
                _ => return Err(self.refused(response, &what).await),
            }
            next = next_page(&url, response.headers());
            let text = whole(response).await;
            let page: Tags = text
                .and_then(|text| match serde_json::from_slice(&text) {
                    Err(_) if net::is_web_page(None, &text) => Err(net::WebPage.into()),
                    page => Ok(page?),
                })
                .map_err(|source| RegistryError::Network {
                    what: self.shown(&what),
                    source,
                })?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() {
                break;
            }
            tags.extend(page);
            if tags.len() > MOST_TAGS {
                return Err(RegistryError::Refused {
                    what: self.shown(&what),
                    reason: format!("it has more than {MOST_TAGS} tags"),
                });
            }
        }
        tags.sort();
        Ok(tags)
    }

    async fn manifest(
        &self,
        name: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError> {
        let Some(manifest) = self.fetch(name, &format!("sha256:{digest}")).await? else {
            return Ok(None);
        };
        let found = manifest.digest();
        if found != digest {
            return Err(RegistryError::Digest {
                what: self.shown(&by_digest(name, digest)),
                found,
            });
        }
        Ok(Some(manifest))
    }

    async fn push_blob(
        &self,
        name: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError> {
        self.upload(name, blob, from).await
    }

    async fn push_manifest(
        &self,
        name: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let digest = manifest.digest();
        self.put(name, &format!("sha256:{digest}"), manifest).await
    }

    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        let manifest = self.manifest(name, digest).await?;
        let manifest = manifest.ok_or_else(|| RegistryError::NotFound {
            what: self.shown(&by_digest(name, digest)),
        })?;
        let tag = name.parts().tag.to_string();
        self.put(name, &tag, &manifest).await
    }

    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError> {
        if self.resolve(name).await?.is_none() {
            return Ok(Untagged::Absent);
        }
        let tag = name.parts().tag.to_string();
        let what = format!("{}:{tag}", repository(name));
        let url = self.url(name, &format!("manifests/{tag}"));
        let access = Access::delete(name);
        let response = self
            .send(Method::DELETE, &url, access, &what, &[], None)
            .await?;
        match response.status() {
            StatusCode::ACCEPTED
            | StatusCode::OK
            | StatusCode::NO_CONTENT
            | StatusCode::NOT_FOUND
            // Before OCI 1.1: "400 or 405" if a tag cannot be deleted.
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED => {}
            _ => return Err(self.refused(response, &what).await),
        }
        // The state of the registry counts for more than its answer.
        Ok(match self.resolve(name).await? {
            None => Untagged::Removed,
            Some(_) => Untagged::Unsupported,
        })
    }

    async fn delete(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        let what = by_digest(name, digest);
        let url = self.url(name, &format!("manifests/sha256:{digest}"));
        let access = Access::delete(name);
        let response = self
            .send(Method::DELETE, &url, access, &what, &[], None)
            .await?;
        match response.status() {
            StatusCode::ACCEPTED
            | StatusCode::OK
            | StatusCode::NO_CONTENT
            | StatusCode::NOT_FOUND => Ok(()),
            StatusCode::METHOD_NOT_ALLOWED => Err(RegistryError::Undeletable {
                what: self.shown(&what),
            }),
            _ => Err(self.refused(response, &what).await),
        }
    }
}

/// Returns true if a text is a JSON object, as every manifest is.
fn is_object(text: &[u8]) -> bool {
    serde_json::from_slice::<Map<String, Value>>(text).is_ok()
}

/// The next page of a list: `Link: </v2/…?last=…>; rel="next"`, only on the same registry.
fn next_page(url: &Url, headers: &header::HeaderMap) -> Option<Url> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("rel=\"next\"") && !rest.contains("rel=next") {
        return None;
    }
    let next = url.join(target).ok()?;
    (next.origin() == url.origin()).then_some(next)
}
