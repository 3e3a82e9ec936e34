//! The HTTP client that all parts share: certificates, time limits, redirects and repeated requests.
//!
//! The mirror behind a web server, buckets and the registries of `stx-images` use it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, StatusCode, Url, redirect};
use rustls::CertificateError;
use rustls_platform_verifier::BuilderVerifierExt as _;

pub use crate::web_page::WebPage;
use crate::web_page::is_html;

/// The most redirects that are followed for one request.
const MOST_REDIRECTS: usize = 5;

/// The options of HTTP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// The longest time to establish a connection.
    pub connect: Duration,
    /// The longest time without data before a request is given up.
    pub idle: Duration,
    /// The number of attempts of a request before its failure is reported.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles after each further one.
    pub first_wait: Duration,
    /// The longest wait, even if the server requests more.
    pub longest_wait: Duration,
    /// The number of files that are read in parallel.
    pub connections: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            attempts: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_mins(1),
            connections: 4,
        }
    }
}

impl HttpOptions {
    /// The wait after an attempt, counted from 0, if the server does not request one.
    pub fn wait(&self, attempt: u32) -> Duration {
        let wait = self.first_wait * 2_u32.saturating_pow(attempt);
        wait.min(self.longest_wait)
    }
}

/// A client that trusts the certificates of the system.
pub fn client(options: &HttpOptions) -> Result<Client, Box<dyn Error + Send + Sync>> {
    Ok(client_builder(options)?.build()?)
}

/// The settings of every HTTP client: certificates of the system, time limits, redirects that never lead from HTTPS to HTTP.
pub fn client_builder(
    options: &HttpOptions,
) -> Result<ClientBuilder, Box<dyn Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("stx-builds/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect)
        .read_timeout(options.idle)
        .pool_max_idle_per_host(options.connections)
        .redirect(redirect::Policy::custom(follow)))
}

/// Follows a redirect to an HTTP URL, but not from an encrypted connection to an unencrypted one.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().last().map(Url::scheme);
    let refused = match (from, attempt.url().scheme()) {
        _ if attempt.previous().len() > MOST_REDIRECTS => {
            Some(format!("more than {MOST_REDIRECTS} redirects"))
        }
        (Some("https"), "http") => Some("a redirect from https to http".to_owned()),
        (_, "http" | "https") => None,
        (_, scheme) => Some(format!("a redirect to {scheme}:")),
    };
    match refused {
        None => attempt.follow(),
        Some(why) => attempt.error(why),
    }
}

/// True if a server with this answer may answer differently when it is asked again.
pub fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The proxy for a URL that the environment sets (`http_proxy`, `https_proxy`, `all_proxy`, except the hosts of `no_proxy`), without
/// credentials.
pub fn proxy(url: &str) -> Option<String> {
    let proxy = Matcher::from_env().intercept(&url.parse().ok()?)?;
    let mut proxy = Url::parse(&proxy.uri().to_string()).ok()?;
    // An error means that the URL cannot contain credentials.
    proxy.set_username("").unwrap_or_default();
    proxy.set_password(None).unwrap_or_default();
    Some(proxy.to_string())
}

/// The reason for which a server's certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// The time of its validity is over.
    Expired,
    /// The time of its validity has not begun.
    NotYetValid,
    /// It is valid for other host names than that of the URL.
    OtherName,
    /// It is the certificate of an authority, which a server must not use as its own.
    Authority,
    /// No trusted authority has issued it, or it is refused for another reason.
    Untrusted,
}

/// The reason for which the server's certificate was refused; `None` if the request failed for another reason.
pub fn certificate_fault(error: &(dyn Error + 'static)) -> Option<CertificateFault> {
    let Some(rustls::Error::InvalidCertificate(fault)) = tls_error(error) else {
        return None;
    };
    Some(match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::OtherName
        }
        // `rustls` has no variant for this reason, only the text of the verifier.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            CertificateFault::Authority
        }
        _ => CertificateFault::Untrusted,
    })
}

/// Returns true if a request failed because the server answered without TLS.
pub fn is_not_tls(error: &(dyn Error + 'static)) -> bool {
    let other = rustls::InvalidMessage::InvalidContentType;
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(found)) if *found == other)
}

/// The TLS error among the causes of an error.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `source` of an I/O error skips the error inside it and returns the source of that one.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The answer does not state its length, but a reader must know the size of a file before its first byte.
#[derive(Debug, thiserror::Error)]
#[error("the server does not send the length of the file (no Content-Length)")]
pub struct NoLength;

/// True if a body is HTML although the requested file is not one of a mirror's pages.
pub fn is_web_page(said: Option<&HeaderValue>, body: &[u8]) -> bool {
    let said = said.and_then(|said| said.to_str().ok());
    let is_said = said.is_some_and(|said| said.starts_with("text/html"));
    is_html(body) || (is_said && body.trim_ascii_start().starts_with(b"<"))
}

/// The wait that `Retry-After` requests: seconds, or a date, which is compared with the server's own date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let after = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = after.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| DateTime::parse_from_rfc2822(text).ok();
    let wait = date(after)? - date(text(header::DATE)?)?;
    Some(wait.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_of_a_certificate_is_found_in_the_errors_around_it() {
        let refused = rustls::Error::InvalidCertificate;
        let unknown = || refused(CertificateError::UnknownIssuer);
        let untrusted = Some(CertificateFault::Untrusted);
        assert_eq!(certificate_fault(&unknown()), untrusted);
        let open = rustls::InvalidMessage::InvalidContentType;
        assert!(is_not_tls(&io::Error::other(rustls::Error::from(open))));
        assert!(!is_not_tls(&unknown()));
        let within = io::Error::other(io::Error::other(unknown()));
        assert_eq!(certificate_fault(&within), untrusted);
        for (fault, expected) in [
            (CertificateError::Expired, CertificateFault::Expired),
            (CertificateError::NotValidYet, CertificateFault::NotYetValid),
            (
                CertificateError::NotValidForName,
                CertificateFault::OtherName,
            ),
        ] {
            assert_eq!(certificate_fault(&refused(fault)), Some(expected));
        }
        let other = rustls::Error::HandshakeNotComplete;
        assert_eq!(certificate_fault(&io::Error::other(other)), None);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(certificate_fault(&refused), None);
    }
}
