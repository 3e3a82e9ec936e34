//! The request for a part of a copy, as a server receives it, and its answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use super::*;
use crate::{BucketOptions, BucketStore, Secret};

/// A server that gives one answer per connection; returns the heads of the requests.
fn server(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = thread::spawn(move || {
        let heads = answers.into_iter().map(|answer| {
            let (stream, _) = listener.accept().expect("a client");
            let lines = BufReader::new(&stream).lines();
            let lines = lines.map(|line| line.expect("a line"));
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            (&stream).write_all(answer.as_bytes()).expect("answered");
            head.join("\n")
        });
        heads.collect()
    });
    (format!("http://{address}"), served)
}

/// Copies bytes 100 to 199 of an object as the third part of an upload; returns the result, and the requests for it.
async fn copy(answers: Vec<&'static str>) -> (object_store::Result<PartId>, Vec<String>) {
    let (endpoint, served) = server(answers);
    let mut options = BucketOptions {
        endpoint: Some(endpoint),
        ..BucketOptions::default()
    };
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let value = Secret::new("x");
        options.environment.insert(name.to_owned(), value);
    }
    let store = BucketStore::open("s3://stx/m", &options, Arc::new(chrono::DateTime::default));
    let store = store.expect("opened");
    let (from, to, upload) = (Path::from("m/a+b"), Path::from("m/to"), "up".to_owned());
    let copied = store.inner.objects.parts.copy_part(PartCopy {
        from: &from,
        tag: Some("\"tag\""),
        range: 100..200,
        to: &to,
        upload: &upload,
        number: 2,
    });
    let copied = copied.await;
    (copied, served.join().expect("served"))
}

macro_rules! answer {
    ($status:literal, $body:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nConnection: close\r\nContent-Type: application/xml\r\n\r\n",
            $body
        )
    };
}

const COPIED: &str = answer!(
    "200 OK",
    "<CopyPartResult><ETag>&quot;part&quot;</ETag></CopyPartResult>"
);

#[tokio::test]
async fn the_request_names_the_part_and_the_exact_object() {
    let (copied, requests) = copy(vec![COPIED]).await;
    assert_eq!(copied.expect("copied").content_id, "\"part\"");
    let [request] = &requests[..] else {
        panic!("{requests:?}");
    };
    let (first, headers) = request.split_once('\n').expect("headers");
    assert!(first.starts_with("PUT /stx/m/to?"), "{first}");
    for part in [
        "partNumber=3",
        "uploadId=up",
        // A proxy could remove a header that is not signed.
        "x-amz-copy-source%3Bx-amz-copy-source-if-match%3Bx-amz-copy-source-range",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    for header in [
        "x-amz-copy-source: stx/m/a%2Bb",
        "x-amz-copy-source-range: bytes=100-199",
        "x-amz-copy-source-if-match: \"tag\"",
        "content-length: 0",
    ] {
        let is_there = headers.lines().any(|line| line == header);
        assert!(is_there, "{header}: {headers}");
    }
}

#[tokio::test]
async fn only_a_copied_part_is_a_success() {
    let changed = answer!(
        "412 Precondition Failed",
        "<Error><Code>PreconditionFailed</Code></Error>"
    );
    let (copied, _) = copy(vec![changed]).await;
    assert!(
        matches!(copied, Err(Error::Precondition { .. })),
        "{copied:?}"
    );
    let gone = answer!("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>");
    let (copied, _) = copy(vec![gone]).await;
    assert!(matches!(copied, Err(Error::NotFound { .. })), "{copied:?}");
    // The status was sent before the server began to copy.
    let failed = answer!(
        "200 OK",
        "<Error><Code>InvalidRequest</Code><Message>why</Message></Error>"
    );
    let (copied, _) = copy(vec![failed]).await;
    let error = copied.expect_err("not copied").to_string();
    assert!(error.contains("InvalidRequest: why"), "{error}");
    // A transient failure is tried again.
    let busy = answer!("200 OK", "<Error><Code>SlowDown</Code></Error>");
    let (copied, requests) = copy(vec![busy, COPIED]).await;
    assert_eq!(copied.expect("copied").content_id, "\"part\"");
    assert_eq!(requests.len(), 2);
}
