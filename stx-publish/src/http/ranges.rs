//! Several ranges of a file with one request: `multipart/byteranges` (RFC 9110, 14.6).
//!
//! The head of each part states its range, so the bytes are counted and not searched for the boundary. If a server answers with
//! anything but the requested ranges in their order, only one range is requested at a time from then on. Crates for multipart
//! bodies, such as `multer`, read forms: they search every byte for the boundary, and copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use memchr::memmem;
use reqwest::header::{self, HeaderMap};
use reqwest::{StatusCode, Url};

use super::{HttpStore, network, parse_content_range};
use crate::store::{ByteRange, ByteStream, FileBody, StoreError};

/// The largest head of a part, in bytes.
const LONGEST_HEAD: usize = 8 << 10;

/// The most header lines of a part.
const MOST_LINES: usize = 16;

impl HttpStore {
    /// Requests several ranges at once; `None` if the server does not support that. Each range has at least one byte.
    pub(super) async fn several(
        &self,
        url: &Url,
        ranges: &[ByteRange],
    ) -> Result<Option<FileBody>, StoreError> {
        if !self.takes_several.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let asked: Vec<_> = ranges
            .iter()
            .map(|range| format!("{}-{}", range.from, last(*range)))
            .collect();
        let mut headers = vec![(header::RANGE, format!("bytes={}", asked.join(",")))];
        headers.extend(self.tag(url).map(|tag| (header::IF_RANGE, tag)));
        let response = match self.send(url, &headers).await {
            // Some servers refuse several ranges as an error; the request for one range then shows any other reason.
            Err(StoreError::Refused { .. }) => None,
            response => Some(response?),
        };
        let response = response.filter(|response| {
            response.status() == StatusCode::PARTIAL_CONTENT && is_multipart(response.headers())
        });
        let Some(response) = response else {
            self.takes_several.store(false, Ordering::Relaxed);
            return Ok(None);
        };
        self.keep_tag(url, response.headers());
        let mut parts = Parts {
            url: url.clone(),
            body: self.counted(response, url.clone()).boxed(),
            buffer: BytesMut::new(),
        };
        let Ok((first, size)) = parts.head().await else {
            self.takes_several.store(false, Ordering::Relaxed);
            return Ok(None);
        };
        // Servers omit ranges beyond the end of the file.
        let ranges: Vec<_> = ranges
            .iter()
            .filter(|range| range.from < size)
            .map(|range| (range.from, last(*range).min(size - 1)))
            .collect();
        if ranges.first() != Some(&first) {
            self.takes_several.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let takes_several = Arc::clone(&self.takes_several);
        let state = (parts, ranges.into_iter(), None::<u64>);
        let stream = stream::try_unfold(state, move |(mut parts, mut ranges, mut left)| {
            let takes_several = Arc::clone(&takes_several);
            async move {
                while left.is_none_or(|left| left == 0) {
                    let Some((from, last)) = ranges.next() else {
                        return Ok(None);
                    };
                    // The head of the first part was read above.
                    if left.is_some() && parts.head().await? != ((from, last), size) {
                        takes_several.store(false, Ordering::Relaxed);
                        return Err(parts.error(OTHER));
                    }
                    left = Some(last - from + 1);
                }
                let most = left.unwrap_or(0);
                let chunk = parts.bytes(most).await?;
                let left = most - chunk.len() as u64;
                Ok(Some((chunk, (parts, ranges, Some(left)))))
            }
        });
        Ok(Some(FileBody {
            size,
            stream: stream.boxed(),
            is_whole: false,
        }))
    }
}

const OTHER: &str = "the server sent other parts than were requested";

/// The offset of the last byte of a range that is not empty.
fn last(range: ByteRange) -> u64 {
    range.from.saturating_add(range.length.max(1)) - 1
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("multipart/byteranges")
}

/// The multipart body of an answer.
struct Parts {
    url: Url,
    body: ByteStream,
    /// Bytes that arrived and are not parsed yet.
    buffer: BytesMut,
}

impl Parts {
    /// Reads the head of the next part: the offsets of its first and last byte, and the size of the file.
    async fn head(&mut self) -> Result<((u64, u64), u64), StoreError> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        let end = loop {
            let from = usize::saturating_sub(searched, END.len());
            if let Some(end) = memmem::find(&self.buffer[from..], END) {
                break from + end + END.len();
            }
            searched = self.buffer.len();
            if searched > LONGEST_HEAD {
                return Err(self.error(OTHER));
            }
            let chunk = self.chunk().await?;
            self.buffer.extend_from_slice(&chunk);
        };
        let head = self.buffer.split_to(end);
        head_range(&head).ok_or_else(|| self.error(OTHER))
    }

    /// The next bytes of a part, at least one and at most `most`.
    async fn bytes(&mut self, most: u64) -> Result<Bytes, StoreError> {
        while self.buffer.is_empty() {
            let chunk = self.chunk().await?;
            // Most chunks belong to one part, and are passed on without a copy.
            if chunk.len() as u64 <= most && !chunk.is_empty() {
                return Ok(chunk);
            }
            self.buffer.extend_from_slice(&chunk);
        }
        let most = usize::try_from(most).map_or(self.buffer.len(), |it| it.min(self.buffer.len()));
        Ok(self.buffer.split_to(most).freeze())
    }

    async fn chunk(&mut self) -> Result<Bytes, StoreError> {
        match self.body.next().await {
            Some(chunk) => chunk,
            None => Err(self.error("the server's answer broke off")),
        }
    }

    fn error(&self, why: &'static str) -> StoreError {
        network(&self.url, why)
    }
}

/// The range that the head of a part states, and the size of the file.
fn head_range(head: &[u8]) -> Option<((u64, u64), u64)> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = memmem::find(head, b"\r\n").filter(|_| head.starts_with(b"--"))?;
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let (_, lines) = httparse::parse_headers(&head[line + 2..], &mut lines)
        .ok()
        .filter(httparse::Status::is_complete)?
        .unwrap();
    let line = lines.iter().find(|line| {
        line.name
            .eq_ignore_ascii_case(header::CONTENT_RANGE.as_str())
    })?;
    let (range, size) = parse_content_range(str::from_utf8(line.value).ok()?)?;
    let (from, last) = range?;
    (from <= last && last < size).then_some(((from, last), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(chunks: &[&'static str]) -> Parts {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        Parts {
            url: Url::parse("http://mirror.example/a").expect("a URL"),
            body: stream::iter(chunks).boxed(),
            buffer: BytesMut::new(),
        }
    }

    #[tokio::test]
    async fn parts_are_read_independently_of_chunk_boundaries() {
        let text = "\r\n--00001\r\nContent-Type: a/b\r\ncontent-range: bytes 2-4/90\r\n\r\n\
                    abc\r\n--00001\r\nContent-Range: bytes 7-8/90\r\n\r\n\r\n\r\n--00001--\r\n";
        for at in 1..text.len() {
            let mut parts = parts(&[&text[..at], &text[at..]]);
            for (range, expected) in [((2, 4), &b"abc"[..]), ((7, 8), b"\r\n")] {
                let head = parts.head().await.expect("a head");
                assert_eq!(head, (range, 90), "{at}");
                let mut bytes = Vec::new();
                while bytes.len() < expected.len() {
                    let most = (expected.len() - bytes.len()) as u64;
                    bytes.extend_from_slice(&parts.bytes(most).await.expect("bytes"));
                }
                assert_eq!(bytes, expected, "{at}");
            }
        }
    }

    #[tokio::test]
    async fn invalid_heads_are_refused_and_never_kept_in_memory() {
        for wrong in [
            "--1\r\n\r\n",
            "--1\r\nContent-Range: bytes 2-1/9\r\n\r\n",
            "--1\r\nContent-Range: bytes 2-9/9\r\n\r\n",
            "--1\r\nContent-Range: bytes */9\r\n\r\n",
            "--1\r\nContent-Range: lines 1-2/9\r\n\r\n",
            "1\r\nContent-Range: bytes 1-2/9\r\n\r\n",
            "--1\r\nContent-Range\r\n\r\n",
        ] {
            let error = parts(&[wrong]).head().await.expect_err(wrong);
            assert!(crate::error::chain(&error).contains(OTHER), "{error}");
        }
        let error = parts(&["--1\r\nContent-Ra"]).head().await;
        assert!(crate::error::chain(&error.expect_err("it ended")).contains("broke off"));
        let endless: &str = "x".repeat(4 << 10).leak();
        let mut long = parts(&[endless; 1_000]);
        long.head().await.expect_err("no end");
        assert!(long.buffer.len() <= 3 * LONGEST_HEAD);
    }
}
