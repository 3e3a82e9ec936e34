//! Time limits for requests: each kind of request has a limit of its own.
//!
//! ```text
//! small      questions, listings, small objects, conditions   the whole answer within seconds, else the request is repeated
//! transfer   larger bodies, in either direction               no limit in all, but some bytes must pass now and then
//! work       copies by the server, completed uploads          the server may be silent for minutes
//! ```
//!
//! With one limit for all, a server that hangs would block the holder of a lock for as long as the slowest copy may take.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body::Body as _;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use reqwest::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use reqwest::{Body, Client, Method, Request, Url};
use tokio::time::{Instant, timeout, timeout_at};

use super::foreign::Foreign;

/// The largest size of a small body, in bytes.
const SMALL: usize = 64 << 10;

/// Time limits for requests, and the number of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The time for the answer to a small request; also for a new connection.
    pub small: Duration,
    /// The longest time without a byte of a large body.
    pub stalled: Duration,
    /// The time for which the server may be silent while it copies, or completes an upload.
    pub work: Duration,
    /// The number of times that a failed request is repeated.
    pub retries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            small: Duration::from_secs(10),
            // On a slow line, bytes that the system has accepted may still be in transit for a long time.
            stalled: Duration::from_mins(1),
            work: Duration::from_mins(5),
            retries: 6,
        }
    }
}

/// The server has sent nothing for too long.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {0:?}")]
struct Silent(Duration);

/// No byte of a body was transferred for too long.
#[derive(Debug, thiserror::Error)]
#[error("the server accepted no data for {0:?}")]
struct Stalled(Duration);

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    Transfer,
    Work,
}

impl Kind {
    fn of(request: &HttpRequest) -> Self {
        let copies = request.headers().contains_key("x-amz-copy-source");
        let length = request.body().content_length();
        match *request.method() {
            Method::PUT if copies => Self::Work,
            // Completes an upload, or deletes many objects.
            Method::POST if length > 0 && length <= SMALL => match request.uri().query() {
                Some(query) if query.contains("uploadId=") => Self::Work,
                Some(query) if query.starts_with("delete") && length > 2 << 10 => Self::Work,
                _ => Self::Small,
            },
            Method::POST if length > SMALL => Self::Work,
            _ if length > SMALL => Self::Transfer,
            _ => Self::Small,
        }
    }
}

/// A client with time limits.
pub(super) struct Limited {
    limits: Limits,
    /// The names that are left out of listings.
    foreign: Foreign,
    /// The client with a limit for silence of the server.
    quick: Client,
    /// The client without a limit: a limit for silence would also count the time in which a body is sent.
    patient: Client,
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limited({:?})", self.limits)
    }
}

impl Limited {
    /// `quick` has a limit for silence of its own, [`stalled`](Limits::stalled); `patient` has none.
    pub(super) fn new(limits: Limits, foreign: Foreign, quick: Client, patient: Client) -> Self {
        Self {
            limits,
            foreign,
            quick,
            patient,
        }
    }

    /// Makes a small request. The body is part of the answer if it is a listing, or small by its `Content-Length`.
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let end = Instant::now() + self.limits.small;
        // A creator recognises its own object, so the request may be repeated.
        let is_created = request.headers().contains_key(IF_NONE_MATCH);
        let lists = request.method() == Method::GET
            && request
                .uri()
                .query()
                .is_some_and(|it| it.contains("list-type="));
        let silent = |_| {
            let kind = if is_created {
                HttpErrorKind::Request
            } else {
                HttpErrorKind::Timeout
            };
            HttpError::new(kind, Silent(self.limits.small))
        };
        let answer = timeout_at(end, self.quick.call(request));
        let answer = answer.await.map_err(silent)??;
        let length = answer.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if !lists && length.is_none_or(|length| length > SMALL) {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let bytes = timeout_at(end, body.bytes()).await.map_err(silent)??;
        let bytes = match str::from_utf8(&bytes) {
            Ok(text) if lists && head.status.is_success() => self.foreign.without(text).into(),
            _ => bytes,
        };
        Ok(HttpResponse::from_parts(head, bytes.into()))
    }

    /// Makes a request that keeps the server busy. Some servers answer at once, send blanks while they work, and report success
    /// or failure at the end of the body.
    async fn wait_for(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = self.limits.work;
        let silent = |_| HttpError::new(HttpErrorKind::Timeout, Silent(limit));
        let answer = timeout(limit, self.patient.call(request));
        let (head, body) = answer.await.map_err(silent)??.into_parts();
        let (mut pieces, mut bytes) = (body.bytes_stream(), Vec::new());
        while let Some(piece) = timeout(limit, pieces.next()).await.map_err(silent)? {
            bytes.extend_from_slice(&piece?);
        }
        Ok(HttpResponse::from_parts(head, bytes.into()))
    }

    /// Sends a large body, as long as its bytes make progress.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url: Url = head.uri.to_string().parse().map_err(unknown)?;
        let mut request = Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        let passed = Arc::new(AtomicU64::new(0));
        *request.body_mut() = Some(Body::wrap_stream(counted(body, Arc::clone(&passed))));
        let answered = async {
            let answer = self.patient.execute(request).await.map_err(failed)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            // The answer to a body is short.
            let bytes = answer.bytes().await.map_err(failed)?;
            let mut answer = HttpResponse::new(bytes.into());
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            Ok(answer)
        };
        let mut answered = pin!(answered);
        loop {
            let before = passed.load(Ordering::Relaxed);
            if let Ok(answer) = timeout(self.limits.stalled, &mut answered).await {
                return answer;
            }
            if passed.load(Ordering::Relaxed) == before {
                let stalled = Stalled(self.limits.stalled);
                return Err(HttpError::new(HttpErrorKind::Timeout, stalled));
            }
        }
    }
}

/// A body in pieces; counts the pieces that were sent.
fn counted(
    mut body: HttpRequestBody,
    passed: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, HttpError>> {
    let frames = stream::poll_fn(move |context| Pin::new(&mut body).poll_frame(context));
    let pieces = frames.flat_map(|frame| {
        let bytes = frame.map(|frame| frame.into_data().unwrap_or_default());
        let (mut rest, error) = match bytes {
            Ok(bytes) => (bytes, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        let pieces = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(SMALL))))
        });
        stream::iter(pieces.chain(error.map(Err)))
    });
    pieces.inspect(move |_| {
        passed.fetch_add(1, Ordering::Relaxed);
    })
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

/// The error of a body that was not sent; its kind decides if the request may be repeated.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        // An interrupted connection.
        () if error.is_request() || error.is_body() => HttpErrorKind::Interrupted,
        () => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error.without_url())
}

#[async_trait]
impl HttpService for Limited {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match Kind::of(&request) {
            Kind::Small => self.ask(request).await,
            Kind::Transfer => self.send(request).await,
            Kind::Work => self.wait_for(request).await,
        }
    }
}

#[cfg(test)]
mod tests;
