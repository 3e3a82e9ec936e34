//! Servers that hang: each request is given up after its limit, unless it makes progress.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use stx_publish::store::{MirrorRead as _, Scope, StoreError};

use super::super::objects::Keep;
use super::super::{BucketOptions, BucketStore, RequestFailure, Secret};
use super::Limits;

const LIMITS: Limits = Limits {
    small: Duration::from_millis(400),
    stalled: Duration::from_secs(1),
    work: Duration::from_secs(20),
    retries: 2,
};

/// Longer than all attempts of a request and the waits between them; much shorter than the waits of a client without limits.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// A request as a server reads it.
struct Asked {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    method: String,
    length: usize,
    /// The number of earlier requests.
    number: usize,
}

impl Asked {
    /// Reads the body, `step` bytes at a time, with a pause after each read.
    fn read(&mut self, most: usize, step: usize, pause: Duration) {
        let mut left = most.min(self.length);
        let mut buffer = vec![0; step];
        while left > 0 {
            let count = left.min(step);
            if self.reader.read_exact(&mut buffer[..count]).is_err() {
                return;
            }
            left -= count;
            std::thread::sleep(pause);
        }
    }

    fn read_all(&mut self) {
        self.read(usize::MAX, 1 << 20, Duration::ZERO);
    }

    fn answer(&mut self, status: &str, length: usize, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Nov 2018 06:00:00 GMT\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        // The client may have given up.
        self.socket
            .write_all(&[head.as_bytes(), body].concat())
            .ok();
    }
}

/// A server, and a mirror in it. `serve` answers a request; if it returns `false`, the connection hangs.
fn server(
    serve: impl Fn(&mut Asked) -> bool + Send + Sync + 'static,
) -> (BucketStore, Arc<AtomicUsize>) {
    limited(LIMITS, serve)
}

/// Like [`server`], with other limits.
fn limited(
    limits: Limits,
    serve: impl Fn(&mut Asked) -> bool + Send + Sync + 'static,
) -> (BucketStore, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (serve, count) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (serve, count) = (Arc::clone(&serve), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
                while let Some((method, length)) = head(&mut reader) {
                    let mut asked = Asked {
                        socket: socket.try_clone().expect("a socket"),
                        reader,
                        method,
                        length,
                        number: count.fetch_add(1, Ordering::SeqCst),
                    };
                    if !serve(&mut asked) {
                        // Longer than any test.
                        std::thread::sleep(Duration::from_mins(10));
                    }
                    reader = asked.reader;
                }
            });
        }
    });
    let mut options = BucketOptions {
        endpoint: Some(endpoint),
        limits,
        ..BucketOptions::default()
    };
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let value = Secret::new("test");
        options.environment.insert(name.to_owned(), value);
    }
    let clock: super::super::Clock = Arc::new(chrono::DateTime::default);
    let store = BucketStore::open("s3://stx/mirror", &options, clock);
    (store.expect("opened"), count)
}

fn head(reader: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    Some((first.split(' ').next()?.to_owned(), length))
}

async fn is_given_up<T: std::fmt::Debug>(
    request: impl Future<Output = Result<T, StoreError>>,
    says: &str,
) {
    let given_up = tokio::time::timeout(GIVEN_UP, request).await;
    let error = given_up.expect("given up in time");
    let error = error.expect_err("the server hangs");
    let StoreError::Network { source, .. } = &error else {
        panic!("{error}");
    };
    let said = source.to_string();
    assert!(said.contains(says), "{said}");
}

#[tokio::test]
async fn small_requests_fail_after_some_attempts() {
    let (store, asked) = server(|_| false);
    is_given_up(store.catalog(&Scope::All), "did not answer within 400ms").await;
    let before = asked.swap(0, Ordering::SeqCst);
    assert!(before >= 3, "{before} attempts of several questions");
    let created = store.inner.objects.create("one", "text");
    is_given_up(created, "did not answer within 400ms").await;
    assert_eq!(asked.load(Ordering::SeqCst), 1 + LIMITS.retries);
    asked.store(0, Ordering::SeqCst);
    let put = store.inner.objects.put("one", "text", Keep::Not);
    is_given_up(put, "did not answer within 400ms").await;
    assert_eq!(asked.load(Ordering::SeqCst), 1 + LIMITS.retries);
}

/// The answer to a conditional request is lost: the repeated request is told that the object exists, and it is the same object.
#[tokio::test]
async fn a_request_is_repeated_if_the_server_hangs_once() {
    let (store, asked) = server(|asked| {
        asked.read_all();
        match (asked.method.as_str(), asked.number) {
            ("PUT", 0) => return false,
            ("PUT", _) => asked.answer("412 Precondition Failed", 0, b""),
            ("GET", _) => asked.answer("200 OK", 4, b"text"),
            _ => asked.answer("404 Not Found", 0, b""),
        }
        true
    });
    let created = store.inner.objects.create("one", "text").await;
    assert!(created.expect("answered"), "it is his own");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

/// A server that is restarted or overloaded is away for seconds, and it has many clients.
#[tokio::test]
async fn a_request_is_repeated_if_the_server_is_away_for_seconds() {
    let start = Instant::now();
    let (store, _) = limited(Limits::default(), move |asked| {
        if start.elapsed() < Duration::from_millis(2_500) {
            asked.answer("503 Service Unavailable", 0, b"");
        } else {
            asked.answer("200 OK", 4, b"text");
        }
        true
    });
    let found = store.inner.objects.get("one").await;
    assert!(found.expect("asked again").is_some());
}

/// A server of another region answers with such a redirect.
#[tokio::test]
async fn a_redirect_without_a_target_hints_at_the_region() {
    let (store, _) = server(|asked| {
        asked.answer("301 Moved Permanently", 0, b"");
        true
    });
    let error = store.inner.objects.get("one").await.expect_err("elsewhere");
    let StoreError::Network { source, .. } = &error else {
        panic!("{error}");
    };
    let failure = source.downcast_ref::<RequestFailure>();
    let hint = failure.and_then(RequestFailure::hint);
    assert!(
        hint.is_some_and(|hint| hint.contains("AWS_REGION")),
        "{error:?}"
    );
}

/// OpenStack's Swift answers every condition like this.
#[tokio::test]
async fn a_server_that_rejects_conditions_is_refused() {
    let limits = Limits {
        retries: 0,
        ..LIMITS
    };
    let (store, _) = limited(limits, |asked| {
        asked.read_all();
        asked.answer("501 Not Implemented", 0, b"");
        true
    });
    let error = store.inner.probed().await.expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("does not support `If-None-Match: *`"),
        "{error:?}"
    );
}

/// Many objects are deleted with one request: an error names the mirror.
#[tokio::test]
async fn the_error_of_a_failed_deletion_names_the_mirror() {
    let (store, _) = server(|asked| {
        asked.read_all();
        asked.answer("403 Forbidden", 0, b"");
        true
    });
    let deleted = store.inner.objects.delete(["one".to_owned()]).await;
    let error = deleted.expect_err("forbidden").to_string();
    assert_eq!(error, "s3://stx/mirror/: the request failed");
}

/// Another tool, or a mistake, has created an object whose name is not a valid path.
#[tokio::test]
async fn a_name_that_is_not_a_valid_path_does_not_break_the_listing() {
    let (store, _) = server(|asked| {
        let entry = |name| {
            let time = "2018-11-01T06:00:00Z";
            format!(
                "<Contents><Key>mirror/{name}</Key><Size>1</Size><LastModified>{time}</LastModified></Contents>"
            )
        };
        let entries = [entry("/x"), entry("robots.txt"), entry("master/")].concat();
        let body = format!("<ListBucketResult>{entries}</ListBucketResult>");
        asked.answer("200 OK", body.len(), body.as_bytes());
        true
    });
    let level = store.inner.objects.level("").await.expect("listed");
    let names: Vec<_> = level.objects.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["robots.txt"]);
    assert_eq!(store.inner.foreign.below("mirror"), ["/x"]);
}

/// The head of an answer arrives, and the rest of a small object does not.
#[tokio::test]
async fn an_incomplete_small_answer_times_out() {
    let (store, _) = server(|asked| {
        asked.answer("200 OK", 100, b"half of it");
        false
    });
    let found = store.inner.objects.get("one");
    is_given_up(found, "did not answer within 400ms").await;
}

#[tokio::test]
async fn a_large_body_may_take_long_while_it_makes_progress() {
    const LENGTH: usize = 24 << 20;
    let (store, _) = server(|asked| {
        // In total, longer than the limits for a small request and for silence.
        asked.read(usize::MAX, 1 << 20, Duration::from_millis(100));
        asked.answer("200 OK", 0, b"");
        true
    });
    let start = Instant::now();
    let put = store
        .inner
        .objects
        .put("one", vec![1; LENGTH], Keep::ForEver);
    put.await.expect("it went on");
    assert!(
        start.elapsed() > LIMITS.stalled * 2,
        "{:?}",
        start.elapsed()
    );

    let (store, asked) = server(|asked| {
        asked.read(1 << 20, 1 << 20, Duration::ZERO);
        false
    });
    let put = store
        .inner
        .objects
        .put("one", vec![1; LENGTH], Keep::ForEver);
    is_given_up(put, "accepted no data for 1s").await;
    assert_eq!(asked.load(Ordering::SeqCst), 1 + LIMITS.retries);
}

#[tokio::test]
async fn a_stalled_download_times_out() {
    let (store, _) = server(|asked| {
        asked.answer("200 OK", 1 << 20, &[1; 1_000]);
        false
    });
    let read = async {
        let found = store.inner.objects.open("one", None).await?;
        let found = found.expect("it is there");
        let read = found.into_stream().try_collect::<Vec<_>>().await;
        read.map_err(|error| store.inner.objects.failed("one", error))
    };
    is_given_up(read, "").await;
}

#[tokio::test]
async fn a_server_may_be_silent_while_it_copies() {
    let (store, asked) = server(|asked| {
        std::thread::sleep(LIMITS.small * 3);
        let body = b"<CopyObjectResult><ETag>\"1\"</ETag></CopyObjectResult>";
        asked.answer("200 OK", body.len(), body);
        true
    });
    let copied = store.inner.objects.copy_small("one", "other").await;
    assert!(copied.expect("it was at work"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// The server begins its answer before the work ends, and may die in between.
#[tokio::test]
async fn a_server_that_hangs_while_it_copies_times_out() {
    let limits = Limits {
        work: Duration::from_secs(1),
        ..LIMITS
    };
    for (body, says) in [(None, "within 1s"), (Some(b"<Copy"), "")] {
        let (store, _) = limited(limits, move |asked| {
            if let Some(body) = body {
                asked.answer("200 OK", 100, body);
            }
            false
        });
        let copied = store.inner.objects.copy_small("one", "other");
        is_given_up(copied, says).await;
    }
}
