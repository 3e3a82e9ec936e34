//! Range requests (RFC 9110, 14) in the form that the file server understands: one range with both ends.
//!
//! `ServeDir` of `tower-http` answers 416 to several ranges, to a suffix that is longer than the file, and to a header that it cannot parse.
//! `zsync` and `fetch` ask for several ranges in one request, and a header that cannot be parsed has to be ignored.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{
    self, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LAST_MODIFIED,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

/// The maximal number of ranges in one request. The file is opened for each; a request for more gets the whole file.
const MOST: usize = 256;

/// One requested range, before the size of the file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `FROM-` or `FROM-LAST`.
    From(u64, Option<u64>),
    /// `-COUNT`: the last bytes.
    Last(u64),
}

impl Asked {
    /// The requested bytes of a file of `size` bytes; `None` if the file has none of them.
    fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(from, last) => {
                from..last.map_or(size, |last| last.saturating_add(1).min(size))
            }
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Parses a `Range` header; `None` if it is not valid, or does not count bytes.
fn parse(text: &str) -> Option<Vec<Asked>> {
    let (unit, ranges) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let ranges = ranges
        .split(',')
        .map(|range| range.trim_matches([' ', '\t']));
    // A list may have empty elements (RFC 9110, 5.6.1).
    let ranges = ranges.filter(|range| !range.is_empty()).map(|range| {
        let (from, last) = range.split_once('-')?;
        Some(match (from, last) {
            ("", count) => Asked::Last(number(count)?),
            (from, "") => Asked::From(number(from)?, None),
            (from, last) => {
                let (from, last) = (number(from)?, number(last)?);
                (from <= last).then_some(Asked::From(from, Some(last)))?
            }
        })
    });
    let ranges: Vec<_> = ranges.collect::<Option<_>>()?;
    (!ranges.is_empty()).then_some(ranges)
}

/// A number of any length: a number beyond the size of any file counts as the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Answers a request for ranges by requesting each range from the next service.
pub(super) async fn answer(mut request: Request, next: Next) -> Response {
    let asked = request.headers_mut().remove(header::RANGE);
    let asked = asked.as_ref().and_then(|asked| asked.to_str().ok());
    let asked = asked.and_then(parse).filter(|asked| asked.len() <= MOST);
    // Other methods do not support ranges.
    let Some(asked) = asked.filter(|_| *request.method() == Method::GET) else {
        return next.run(request).await;
    };
    let mut head = like(&request);
    *head.method_mut() = Method::HEAD;
    let head = next.clone().run(head).await;
    let size = number_of(head.headers(), &CONTENT_LENGTH);
    let Some(size) =
        size.filter(|_| head.status() == StatusCode::OK && is_current(&request, &head))
    else {
        return next.run(request).await;
    };
    let ranges: Vec<_> = asked.iter().filter_map(|asked| asked.of(size)).collect();
    match &ranges[..] {
        [] => {
            let headers = [(CONTENT_RANGE, format!("bytes */{size}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()
        }
        [range] => {
            set(&mut request, range);
            next.run(request).await
        }
        // Overlapping ranges could make an answer that is many times as long as the file.
        ranges
            if ranges
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>()
                > size =>
        {
            next.run(request).await
        }
        ranges => several(&request, &next, &head, size, ranges),
    }
}

/// True unless the ranges were requested for another version of the file (`If-Range`).
fn is_current(request: &Request, head: &Response) -> bool {
    let Some(version) = request.headers().get(IF_RANGE) else {
        return true;
    };
    [ETAG, LAST_MODIFIED]
        .iter()
        .any(|name| head.headers().get(name) == Some(version))
}

/// `multipart/byteranges`: each part with its range. The file is read as the parts are sent.
fn several(
    request: &Request,
    next: &Next,
    head: &Response,
    size: u64,
    ranges: &[Range<u64>],
) -> Response {
    let kind = head.headers().get(CONTENT_TYPE);
    let kind = kind
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("application/octet-stream");
    // Random: a fixed line would occur in the files of a mirror that contains this program.
    let boundary = format!("{:016x}", RandomState::new().build_hasher().finish());
    let mut length = 0;
    let mut parts = Vec::new();
    for range in ranges {
        let (from, last) = (range.start, range.end - 1);
        let begin = format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {from}-{last}/{size}\r\n\r\n"
        );
        length += begin.len() as u64 + range.end - range.start;
        let mut part = like(request);
        set(&mut part, range);
        parts.push((begin, part));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;

    let version = version(head.headers(), size);
    let next = next.clone();
    let parts = stream::iter(parts).then(move |(begin, part)| {
        let (next, version) = (next.clone(), version.clone());
        async move {
            let answer = next.run(part).await;
            let found = answer.headers().get(CONTENT_RANGE);
            let found =
                found.and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
            // An alias may move between two parts. The connection ends then, so that no reader takes a mixture for the file.
            if found.is_none_or(|size| self::version(answer.headers(), size) != version) {
                return Err(io::Error::other("the file changed while it was sent"));
            }
            let begin = stream::iter([Ok(Bytes::from(begin))]);
            let body = answer
                .into_body()
                .into_data_stream()
                .map_err(io::Error::other);
            Ok(begin.chain(body))
        }
    });
    let body = parts
        .try_flatten()
        .chain(stream::iter([Ok(Bytes::from(end))]));

    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response.headers_mut().clone_from(head.headers());
    let kind = format!("multipart/byteranges; boundary={boundary}");
    for (name, value) in [(CONTENT_TYPE, kind), (CONTENT_LENGTH, length.to_string())] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Distinguishes versions of a file as far as its headers allow.
fn version(headers: &HeaderMap, size: u64) -> (u64, Option<HeaderValue>, Option<HeaderValue>) {
    let of = |name| headers.get(name).cloned();
    (size, of(ETAG), of(LAST_MODIFIED))
}

fn number_of(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The same request without a body, which requests for files do not have.
fn like(request: &Request) -> Request {
    let mut same = Request::new(Body::empty());
    same.method_mut().clone_from(request.method());
    same.uri_mut().clone_from(request.uri());
    same.headers_mut().clone_from(request.headers());
    same
}

/// Requests one range, which is not empty.
fn set(request: &mut Request, range: &Range<u64>) {
    let text = format!("bytes={}-{}", range.start, range.end - 1);
    if let Ok(value) = HeaderValue::try_from(text) {
        request.headers_mut().insert(header::RANGE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_rfc_9110_has_them() {
        let of = |text: &str| {
            let ranges = parse(text)?;
            Some(ranges.iter().map(|range| range.of(10)).collect::<Vec<_>>())
        };
        for (text, ranges) in [
            ("bytes=0-1,5-6", &[Some(0..2), Some(5..7)][..]),
            ("bytes=0-1, ,\t5-6 ,", &[Some(0..2), Some(5..7)]),
            ("Bytes=3-", &[Some(3..10)]),
            ("bytes=3-99999999999999999999999", &[Some(3..10)]),
            ("bytes=-4", &[Some(6..10)]),
            ("bytes=-99999999999", &[Some(0..10)]),
            ("bytes=-0", &[None]),
            ("bytes=10-", &[None]),
            ("bytes=9-9,10-12", &[Some(9..10), None]),
            ("bytes=99999999999999999999999-", &[None]),
        ] {
            assert_eq!(of(text).as_deref(), Some(ranges), "{text}");
        }
        for wrong in [
            "bytes=5-3",
            "bytes=abc",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes",
            "bytes=0-1,5-3",
            "lines=1-2",
            "bytes =1-2",
            "bytes=1 -2",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(Asked::From(0, None).of(0), None);
        assert_eq!(Asked::Last(5).of(0), None);
    }
}
