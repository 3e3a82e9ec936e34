//! Requests: repeated if that may help, with the credentials that the registry demands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::Access;
use super::{OciOptions, OciRegistry};
use crate::registry::RegistryError;
use stx_publish::net;

/// The longest manifest or list of tags that is read, in bytes.
const LONGEST_TEXT: usize = 16 << 20;

/// The errors in the answer of a registry. Their codes are a closed set of words; their messages are not shown, because they may
/// repeat the request.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorCode>,
}

#[derive(Deserialize)]
struct ErrorCode {
    code: String,
    message: Option<String>,
}

impl ErrorCode {
    /// True for a used-up quota. Registries have no code for it, so the message is searched.
    fn is_quota(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        let message = message.to_ascii_lowercase();
        message.contains("quota") || message.contains("exceed the configured upper limit")
    }
}

/// A transient status that all attempts got.
#[derive(Debug, thiserror::Error)]
#[error("the registry says {0}")]
pub(super) struct Status(pub(super) StatusCode);

/// A failed attempt that may succeed when it is repeated.
pub(super) struct Again {
    /// The time that the registry asks to wait.
    pub(super) wait: Option<Duration>,
    /// The error, if this was the last attempt.
    pub(super) error: RegistryError,
}

/// The number of attempts so far.
pub(super) struct Tries {
    options: Arc<OciOptions>,
    made: u32,
}

impl Tries {
    /// Waits for the next attempt; returns the error after the last one.
    pub(super) async fn again(&mut self, again: Again) -> Result<(), RegistryError> {
        let http = &self.options.http;
        self.made += 1;
        if self.made >= http.attempts {
            return Err(again.error);
        }
        let wait = again.wait.unwrap_or_else(|| http.wait(self.made - 1));
        let wait = wait.min(http.longest_wait);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The outcome of an attempt.
pub(super) enum Attempt<T> {
    Done(T),
    Again(Again),
}

impl OciRegistry {
    pub(super) fn tries(&self) -> Tries {
        Tries {
            options: Arc::clone(&self.options),
            made: 0,
        }
    }

    /// Requests `url` with the credentials that the registry demands; returns every answer other than "not now".
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        access: Access<'_>,
        what: &str,
        headers: &[(header::HeaderName, HeaderValue)],
        body: Option<&Bytes>,
    ) -> Result<Response, RegistryError> {
        let mut tries = self.tries();
        let mut answered = false;
        loop {
            let mut request = self.client.request(method.clone(), url.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(body) = body {
                request = request.body(body.clone());
            }
            if let Some(token) = self.auth.header(url, access) {
                request = request.header(header::AUTHORIZATION, token);
            }
            let again = match self.outcome(request.send().await, what) {
                Attempt::Again(again) => again,
                // Once per request: a token may be missing or expired.
                Attempt::Done(response)
                    if response.status() == StatusCode::UNAUTHORIZED && !answered =>
                {
                    match self.auth.answer(access, response.headers(), what).await? {
                        Attempt::Again(again) => again,
                        Attempt::Done(()) => {
                            answered = true;
                            continue;
                        }
                    }
                }
                Attempt::Done(response) => return Ok(response),
            };
            tries.again(again).await?;
        }
    }

    /// Distinguishes an answer from a request to try again.
    pub(super) fn outcome(
        &self,
        sent: Result<Response, reqwest::Error>,
        what: &str,
    ) -> Attempt<Response> {
        let network = |source: Box<dyn std::error::Error + Send + Sync>| RegistryError::Network {
            what: self.shown(what),
            source,
        };
        match sent {
            Ok(response) if is_transient(response.status()) => Attempt::Again(Again {
                wait: net::retry_after(response.headers()),
                error: network(Status(response.status()).into()),
            }),
            Ok(response) => Attempt::Done(response),
            Err(error) => Attempt::Again(Again {
                wait: None,
                error: network(error.without_url().into()),
            }),
        }
    }

    pub(super) fn shown(&self, what: &str) -> String {
        format!("{}/{what}", self.host)
    }

    /// The error for an unexpected answer.
    pub(super) async fn refused(&self, response: Response, what: &str) -> RegistryError {
        let status = response.status();
        let text = whole(response).await.unwrap_or_default();
        let errors = serde_json::from_slice::<Errors>(&text).map(|errors| errors.errors);
        let errors = errors.unwrap_or_default();
        let quota = errors.iter().any(ErrorCode::is_quota);
        let codes: Vec<_> = errors
            .into_iter()
            .map(|error| error.code)
            .filter(|code| {
                code.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            })
            .collect();
        let reason = match codes.as_slice() {
            [] => format!("the registry says {status}"),
            codes => format!("the registry says {status}, {}", codes.join(", ")),
        };
        let what = self.shown(what);
        match status {
            // Better credentials would not help.
            _ if quota => RegistryError::Quota { what, reason },
            StatusCode::METHOD_NOT_ALLOWED => RegistryError::Refused {
                what,
                reason: format!("{reason}; it may be read-only"),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Denied { what, reason }
            }
            StatusCode::NOT_FOUND => RegistryError::NotFound { what },
            _ => RegistryError::Refused { what, reason },
        }
    }
}

/// True if another attempt may have another answer.
pub(super) fn is_transient(status: StatusCode) -> bool {
    net::is_transient(status) || status == StatusCode::REQUEST_TIMEOUT
}

/// The body of a small answer.
pub(super) async fn whole(
    response: Response,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let mut text = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(reqwest::Error::without_url)?;
        if text.len() + chunk.len() > LONGEST_TEXT {
            return Err(format!("longer than {LONGEST_TEXT} bytes").into());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text.into())
}
