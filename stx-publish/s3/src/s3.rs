//! Opens a mirror in a bucket by its URL, like the tools of AWS: credentials come from the environment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::Url;

use super::foreign::Foreign;
use super::limits::{Limited, Limits};
use super::objects::Place;
use super::parts::{LARGEST, ServerSide};
use super::{BucketStore, Clock};
use stx_publish::net::{self, HttpOptions};

/// The way to reach a mirror in a bucket, beyond its URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BucketOptions {
    /// The server, such as `https://s3.example.org`; AWS if it is absent and the environment names none.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if it is absent and the environment names none.
    pub region: Option<String>,
    /// True if the name of the bucket is part of the endpoint's host name, not of the path.
    pub virtual_hosted: bool,
    /// The largest object that the server copies in one request, in bytes, at least 5 MiB; by default 5 GiB, the protocol's own
    /// limit. A larger object is copied in parts.
    pub largest_copy: Option<u64>,
    /// The time limits for requests.
    pub limits: Limits,
    /// The variables of the environment that begin with `AWS_`. They override the other options. Credentials are only read from
    /// here.
    pub environment: BTreeMap<String, Secret>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A bucket in which no mirror can be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// Not the URL of a bucket.
    #[error(
        "{text:?}: a mirror in a bucket is called s3://BUCKET/PREFIX, without `..`, `?` and `#`"
    )]
    Url {
        /// The text.
        text: String,
    },
    /// An endpoint that is not the URL of a server.
    #[error("{endpoint:?}: the endpoint of an object store is a URL: https://HOST or http://HOST")]
    Endpoint {
        /// The text.
        endpoint: String,
    },
    /// A limit for copies that the protocol does not allow.
    #[error(
        "{bytes} bytes: the largest object that is copied in one request has at least 5 MiB and at most 5 GiB"
    )]
    LargestCopy {
        /// The limit.
        bytes: u64,
    },
    /// The environment holds no credentials.
    #[error("{url}: no credentials")]
    NoCredentials {
        /// The mirror.
        url: String,
    },
    /// The settings contradict each other.
    #[error("{url}: cannot be opened")]
    Settings {
        /// The mirror.
        url: String,
        /// The error that caused it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The connections of a bucket: those of the mirror's web reader, which trusts the system's certificates.
#[derive(Debug)]
struct Connector {
    limits: Limits,
    foreign: Foreign,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = |idle| {
            let client = net::client(&http(&self.limits, idle));
            client.map_err(|source| object_store::Error::Generic {
                store: "S3",
                source,
            })
        };
        let (quick, patient) = (client(self.limits.stalled)?, client(NEVER)?);
        let foreign = self.foreign.clone();
        let limited = Limited::new(self.limits, foreign, quick, patient);
        Ok(HttpClient::new(limited))
    }
}

/// Splits the URL of a bucket into the bucket's name and the path; `None` if the text is not such a URL.
pub(crate) fn split(text: &str) -> Option<(String, Path)> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    // A URL parser resolves `..`, so the path is taken from the text as written.
    let written = text.strip_prefix("s3://")?.split_once('/');
    let path = written.map_or("", |(_, path)| path).trim_end_matches('/');
    let bucket = url.host_str().filter(|host| !host.is_empty())?;
    let path = Path::parse(path).ok()?;
    (plain && nobody).then(|| (bucket.to_owned(), path))
}

impl BucketStore {
    /// The mirror that `url` names: `s3://BUCKET/PREFIX`. No request is made yet. `clock` decides when locks end.
    ///
    /// # Errors
    /// An error in the URL, the options or the environment.
    pub fn open(url: &str, options: &BucketOptions, clock: Clock) -> Result<Self, BucketError> {
        let (bucket, root) = split(url).ok_or_else(|| BucketError::Url {
            text: url.to_owned(),
        })?;
        let foreign = Foreign::default();
        let open = |purpose| client(url, &bucket, options, (purpose, &foreign));
        let (store, endpoint) = open(Purpose::Mirror)?;
        let http = http(&options.limits, options.limits.work);
        let parts = ServerSide {
            client: net::client(&http).map_err(|source| BucketError::Settings {
                url: url.to_owned(),
                source,
            })?,
            store: store.clone(),
            bucket: bucket.clone(),
            options: http,
        };
        let largest = options.largest_copy.unwrap_or(LARGEST);
        if !(SMALLEST_PART..=LARGEST).contains(&largest) {
            return Err(BucketError::LargestCopy { bytes: largest });
        }
        let (locks, _) = open(Purpose::Locks)?;
        let place = Place {
            mirror: url.trim_end_matches('/').to_owned(),
            endpoint,
        };
        Ok(Self::new(Arc::new(store), Arc::new(locks), root, clock)
            .with_copies_above(largest, Arc::new(parts))
            .at(place, foreign))
    }
}

/// The smallest part of an upload that servers accept, except the last one: 5 MiB.
const SMALLEST_PART: u64 = 5 << 20;

/// The server if no other one is named; each region has its own, below this name.
const AWS: &str = "https://s3.amazonaws.com";

/// The use of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Everything else.
    Mirror,
    /// The thread that keeps locks. Connections belong to the runtime that opened them, so the thread has its own.
    Locks,
}

/// A limit that is never reached.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// The settings of a client that gives up when nothing arrives for `idle`.
fn http(limits: &Limits, idle: Duration) -> HttpOptions {
    let mut http = HttpOptions::default();
    http.connect = limits.small;
    http.idle = idle;
    http.connections = 128;
    http
}

/// Settings of the environment that supply credentials.
const WHO: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
    // This setting selects the credentials of the machine itself.
    "AWS_METADATA_ENDPOINT",
];

fn client(
    url: &str,
    bucket: &str,
    options: &BucketOptions,
    (purpose, foreign): (Purpose, &Foreign),
) -> Result<(AmazonS3, String), BucketError> {
    // A variable without a value counts as unset: a job whose secret is not set has such a variable.
    let environment = options.environment.iter();
    let environment: BTreeMap<_, _> = environment.filter(|(_, it)| !it.0.is_empty()).collect();
    let is_set = |name: &&str| environment.keys().any(|known| known == name);
    if !WHO.iter().any(is_set) {
        return Err(BucketError::NoCredentials {
            url: url.to_owned(),
        });
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(options.virtual_hosted);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    for (name, Secret(value)) in environment {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    // The mirror's URL names the bucket, whatever the environment contains.
    builder = builder.with_bucket_name(bucket);
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let open = match &endpoint {
        None => false,
        Some(endpoint) => match Url::parse(endpoint) {
            Ok(url) if url.scheme() == "http" => true,
            Ok(url) if url.scheme() == "https" => false,
            Ok(_) | Err(_) => {
                return Err(BucketError::Endpoint {
                    endpoint: endpoint.clone(),
                });
            }
        },
    };
    let retry = RetryConfig {
        max_retries: options.limits.retries,
        // A server that is overloaded or restarted takes seconds. By default, six attempts are over within one second.
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(500),
            ..BackoffConfig::default()
        },
        retry_timeout: match purpose {
            Purpose::Mirror => Duration::from_mins(2),
            // A command waits until its lock is released.
            Purpose::Locks => Duration::from_secs(10),
        },
    };
    let built = builder
        .with_allow_http(open)
        // A secure connection protects the bytes; without one, the server receives the digest of every body.
        .with_unsigned_payload(!open)
        .with_retry(retry)
        .with_http_connector(Connector {
            limits: options.limits,
            foreign: foreign.clone(),
        })
        .build();
    let built = built.map_err(|error| BucketError::Settings {
        url: url.to_owned(),
        source: error.into(),
    })?;
    Ok((built, endpoint.unwrap_or_else(|| AWS.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_bucket_urls_are_accepted() {
        for (text, bucket, path) in [
            ("s3://stx", "stx", ""),
            ("s3://stx/", "stx", ""),
            ("s3://stx/mirror/starlingx/", "stx", "mirror/starlingx"),
        ] {
            let split = split(text).expect("a bucket");
            assert_eq!((split.0.as_str(), split.1.as_ref()), (bucket, path));
        }
        for text in [
            "s3://",
            "s3:///mirror",
            "s3://stx/../other",
            "s3://stx/a?b",
            "s3://stx/a#b",
            "s3://key:secret@stx/a",
            "https://stx/a",
            "stx/a",
        ] {
            assert!(split(text).is_none(), "{text}");
        }
    }

    #[test]
    fn credentials_are_needed_and_never_shown() {
        let clock: Clock = Arc::new(chrono::DateTime::default);
        let mut options = BucketOptions {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..BucketOptions::default()
        };
        let opened = BucketStore::open("s3://stx/a", &options, Arc::clone(&clock));
        assert!(matches!(opened, Err(BucketError::NoCredentials { .. })));
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "who"),
            ("AWS_SECRET_ACCESS_KEY", "what"),
        ] {
            let value = Secret::new(value);
            options.environment.insert(name.to_owned(), value);
        }
        let opened = BucketStore::open("s3://stx/a", &options, Arc::clone(&clock));
        let shown = format!("{:?} {options:?}", opened.expect("opened"));
        assert!(!shown.contains("what"), "{shown}");
        for (bytes, is_right) in [
            (5 << 20, true),
            (5 << 30, true),
            ((5 << 20) - 1, false),
            ((5 << 30) + 1, false),
        ] {
            options.largest_copy = Some(bytes);
            let opened = BucketStore::open("s3://stx/a", &options, Arc::clone(&clock));
            assert_eq!(opened.is_ok(), is_right, "{bytes}");
        }
        options.largest_copy = None;
        for endpoint in [
            "s3.example.org",
            "http://",
            "https://:1",
            "ftp://s3.example.org",
        ] {
            options.endpoint = Some(endpoint.to_owned());
            let opened = BucketStore::open("s3://stx/a", &options, Arc::clone(&clock));
            assert!(
                matches!(opened, Err(BucketError::Endpoint { .. })),
                "{endpoint}"
            );
        }
        options.endpoint = None;
        for name in ["AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"] {
            let nothing = Secret::new("");
            options.environment.insert(name.to_owned(), nothing);
        }
        let opened = BucketStore::open("s3://stx/a", &options, clock);
        assert!(matches!(opened, Err(BucketError::NoCredentials { .. })));
    }
}
