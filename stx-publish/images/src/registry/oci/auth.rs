//! Authentication: credentials from Docker's `config.json`, and tokens for them.
//!
//! No type here implements `Debug`, and header values that hold a secret are marked as sensitive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8PathBuf;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use stx_layout::ImageName;

use super::{Again, Attempt, RegistryError, is_transient, repository, whole};
use stx_publish::net;

/// The access to a repository that a request needs.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    name: &'a ImageName,
    actions: &'static str,
}

impl<'a> Access<'a> {
    pub(super) fn pull(name: &'a ImageName) -> Self {
        Self {
            name,
            actions: "pull",
        }
    }

    pub(super) fn push(name: &'a ImageName) -> Self {
        Self {
            name,
            actions: "pull,push",
        }
    }

    pub(super) fn delete(name: &'a ImageName) -> Self {
        Self {
            name,
            actions: "pull,delete",
        }
    }
}

/// The answer of a registry to credentials.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The credentials for a registry, and the tokens that were obtained with them.
pub(super) struct Auth {
    host: String,
    base: Url,
    docker_config: Option<Utf8PathBuf>,
    client: Client,
    /// By repository and actions.
    tokens: Mutex<HashMap<(String, &'static str), HeaderValue>>,
    /// Read at the registry's first challenge; a helper may ask a person.
    credential: tokio::sync::OnceCell<Option<Arc<DockerCredential>>>,
}

impl Auth {
    pub(super) fn new(
        host: &str,
        base: &Url,
        docker_config: Option<Utf8PathBuf>,
        client: Client,
    ) -> Self {
        Self {
            host: host.to_owned(),
            base: base.clone(),
            docker_config,
            client,
            tokens: Mutex::default(),
            credential: tokio::sync::OnceCell::new(),
        }
    }

    /// The `Authorization` of a request to `url`; `None` if that is not the registry itself (CVE-2020-15157).
    pub(super) fn header(&self, url: &Url, access: Access<'_>) -> Option<HeaderValue> {
        if url.origin() != self.base.origin() {
            return None;
        }
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .get(&(repository(access.name), access.actions))
            .cloned()
    }

    /// Answers the challenge of a registry, for the next request of this kind.
    pub(super) async fn answer(
        &self,
        access: Access<'_>,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<Attempt<()>, RegistryError> {
        let denied = |reason: &str| RegistryError::Denied {
            what: format!("{}/{what}", self.host),
            reason: reason.to_owned(),
        };
        let bearer = challenge(headers, "bearer");
        let wants_basic = challenge(headers, "basic").is_some();
        let credential = self.credential().await?;
        let value = if let Some(bearer) = bearer {
            match self
                .token(access, &bearer, credential.as_deref(), what)
                .await?
            {
                Attempt::Done(token) => format!("Bearer {token}"),
                Attempt::Again(again) => return Ok(Attempt::Again(again)),
            }
        } else if wants_basic {
            match credential.as_deref() {
                Some(DockerCredential::UsernamePassword(user, password)) => {
                    basic(&self.client, &self.base, user, password)
                        .ok_or_else(|| denied("the credentials cannot be sent"))?
                }
                Some(DockerCredential::IdentityToken(_)) => {
                    return Err(denied(
                        "it requires a password; only an identity token is configured",
                    ));
                }
                None => {
                    return Err(denied(
                        "it requires credentials; Docker's config.json has none",
                    ));
                }
            }
        } else {
            return Err(denied(
                "it answers 401 without naming the credentials that it requires",
            ));
        };
        let mut value =
            HeaderValue::try_from(value).map_err(|_| denied("the token cannot be sent"))?;
        value.set_sensitive(true);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert((repository(access.name), access.actions), value);
        Ok(Attempt::Done(()))
    }

    /// Requests a token from the token server that the registry names.
    async fn token(
        &self,
        access: Access<'_>,
        challenge: &Challenge,
        credential: Option<&DockerCredential>,
        what: &str,
    ) -> Result<Attempt<String>, RegistryError> {
        let what = format!("a token for {}/{what}", self.host);
        let denied = |reason: String| RegistryError::Denied {
            what: what.clone(),
            reason,
        };
        let realm = challenge.get("realm");
        let realm = realm.ok_or_else(|| denied("it names no realm".to_owned()))?;
        let realm = Url::parse(realm).map_err(|_| denied("its realm is not a URL".to_owned()))?;
        // A registry over https cannot obtain an unencrypted password by naming such a realm.
        if realm.scheme() != "https" && realm.scheme() != self.base.scheme() {
            return Err(denied("its realm is not safe".to_owned()));
        }
        let scope = format!("repository:{}:{}", repository(access.name), access.actions);
        let service = challenge.get("service").map(String::as_str);
        let request = request(&self.client, realm, service, &scope, credential);
        let network = |source| RegistryError::Network {
            what: what.clone(),
            source,
        };
        let response = match request.send().await {
            Ok(response) if is_transient(response.status()) => {
                return Ok(Attempt::Again(Again {
                    wait: net::retry_after(response.headers()),
                    error: network(format!("the server says {}", response.status()).into()),
                }));
            }
            Ok(response) => response,
            Err(error) => {
                return Ok(Attempt::Again(Again {
                    wait: None,
                    error: network(error.without_url().into()),
                }));
            }
        };
        if response.status() != StatusCode::OK {
            return Err(denied(format!("the server says {}", response.status())));
        }
        let text = match whole(response).await {
            Ok(text) => text,
            Err(error) => {
                return Ok(Attempt::Again(Again {
                    wait: None,
                    error: network(error),
                }));
            }
        };
        // An answer that cannot be parsed is not shown: it is, or holds, a token.
        let token: Option<Token> = serde_json::from_slice(&text).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.ok_or_else(|| denied("the server sends no token".to_owned()))?;
        Ok(Attempt::Done(token))
    }

    async fn credential(&self) -> Result<Option<Arc<DockerCredential>>, RegistryError> {
        let read = self.credential.get_or_try_init(|| async {
            let Some(file) = self.docker_config.clone() else {
                return Ok::<_, RegistryError>(None);
            };
            let host = self.host.clone();
            let read = tokio::task::spawn_blocking(move || read(&file, &host)).await;
            let read = read.unwrap_or_else(|_| Err("they could not be read".to_owned()));
            let credential = read.map_err(|reason| RegistryError::Credentials {
                registry: self.host.clone(),
                reason,
            })?;
            Ok(credential.map(Arc::new))
        });
        Ok(read.await?.clone())
    }
}

/// The parameters of a challenge.
type Challenge = HashMap<String, String>;

/// The challenge of a scheme, if it exists.
fn challenge(headers: &HeaderMap, scheme: &str) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values
        .filter_map(|value| http_auth::parse_challenges(value.to_str().ok()?).ok())
        .flatten()
        .find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
        .map(|challenge| {
            let params = challenge.params.iter();
            params
                .map(|(key, value)| (key.to_ascii_lowercase(), value.to_unescaped()))
                .collect()
        })
}

/// Reads `config.json`, or asks the helper that it names. Errors do not quote the text that was read.
fn read(file: &Utf8PathBuf, host: &str) -> Result<Option<DockerCredential>, String> {
    let text = match fs_err::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let server = match host {
        "docker.io" => "https://index.docker.io/v1/",
        host => host,
    };
    match docker_credential::get_credential_from_reader(text.as_slice(), server) {
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        Err(error) => Err(match error {
            CredentialRetrievalError::HelperFailure { helper, .. } => format!("{helper} fails"),
            CredentialRetrievalError::HelperCommunicationError => {
                format!("the helper that {file} names cannot be run")
            }
            CredentialRetrievalError::MalformedHelperResponse => {
                format!("the helper that {file} names gives an answer that cannot be understood")
            }
            CredentialRetrievalError::CredentialDecodingError
            | CredentialRetrievalError::CredentialMismatchError
            | CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError => {
                format!("{file} cannot be understood")
            }
        }),
    }
}

/// The header of HTTP's basic scheme.
fn basic(client: &Client, url: &Url, user: &str, password: &str) -> Option<String> {
    let request = client.get(url.clone()).basic_auth(user, Some(password));
    let request = request.build().ok()?;
    let value = request.headers().get(reqwest::header::AUTHORIZATION)?;
    value.to_str().ok().map(str::to_owned)
}

/// The request for a token: with a password according to the registry specification, with an identity token according to OAuth 2.
fn request(
    client: &Client,
    mut realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<&DockerCredential>,
) -> RequestBuilder {
    let mut fields = vec![("scope", scope)];
    fields.extend(service.map(|service| ("service", service)));
    match credential {
        Some(DockerCredential::IdentityToken(token)) => {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "stx-builds"),
                ("refresh_token", token),
            ]);
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields);
            client
                .post(realm)
                .header(
                    reqwest::header::CONTENT_TYPE,
                    "application/x-www-form-urlencoded",
                )
                .body(form.finish())
        }
        Some(DockerCredential::UsernamePassword(user, password)) => {
            realm.query_pairs_mut().extend_pairs(fields);
            client.get(realm).basic_auth(user, Some(password))
        }
        None => {
            realm.query_pairs_mut().extend_pairs(fields);
            client.get(realm)
        }
    }
}
