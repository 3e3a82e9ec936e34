//! Credentials in the URLs of a log that arrives in pieces.

use stx_layout::{REDACTED, url_secrets};

use super::{Findings, Private};

/// A longer word is searched in parts of this size.
const LONGEST_WORD: usize = 1024 * 1024;

/// Redacts a text that arrives in pieces; the result does not depend on their boundaries.
#[derive(Debug)]
pub(crate) struct Urls {
    /// The last word, which may continue in the next piece.
    pending: Vec<u8>,
    /// The line in which that word begins, counted from 1.
    line: u64,
    findings: Findings,
}

impl Urls {
    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::new(),
            line: 1,
            findings: Findings::default(),
        }
    }

    /// Takes the next piece, and passes the part of the redacted text that is final to `write`.
    pub(crate) fn push(&mut self, piece: &[u8], mut write: impl FnMut(&[u8])) {
        self.pending.extend_from_slice(piece);
        // The decision about a word depends on nothing beyond the white space around it.
        let end = self.pending.iter().rposition(u8::is_ascii_whitespace);
        let mut done = end.map_or(0, |end| end + 1);
        self.redact(0..done, &mut write);
        while self.pending.len() - done >= LONGEST_WORD {
            self.redact(done..done + LONGEST_WORD, &mut write);
            done += LONGEST_WORD;
        }
        self.pending.drain(..done);
    }

    /// Passes the rest to `write`, and returns the findings.
    pub(crate) fn finish(mut self, mut write: impl FnMut(&[u8])) -> Findings {
        self.redact(0..self.pending.len(), &mut write);
        self.findings
    }

    fn redact(&mut self, part: std::ops::Range<usize>, write: &mut impl FnMut(&[u8])) {
        let text = &self.pending[part];
        let lines = |text: &[u8]| memchr::memchr_iter(b'\n', text).count() as u64;
        let mut done = 0;
        for secret in url_secrets(text) {
            let before = &text[done..secret.start];
            self.line += lines(before);
            write(before);
            write(REDACTED.as_bytes());
            self.findings.add(&Private::Url, self.line);
            done = secret.end;
        }
        self.line += lines(&text[done..]);
        write(&text[done..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_wherever_the_pieces_end() {
        let text =
            b"get https://jim:s3cret@h/a?t=s\nthen \xff git:s3cret@h:a and https://h/b?\"t\"\nend";
        let expected = b"get https://[redacted]@h/a?[redacted]\nthen \xff git:[redacted]@h:a and https://h/b?\"t\"\nend";
        for size in 1..=text.len() {
            let (mut urls, mut written) = (Urls::new(), Vec::new());
            for piece in text.chunks(size) {
                urls.push(piece, |bytes| written.extend_from_slice(bytes));
            }
            let findings = urls.finish(|bytes| written.extend_from_slice(bytes));
            assert_eq!(written, expected, "pieces of {size}");
            let seen = &findings.0[&Private::Url];
            assert_eq!((seen.count, &seen.lines[..]), (3, &[1, 2][..]));
        }
    }

    #[test]
    fn an_endless_word_needs_limited_memory() {
        let (mut urls, mut written) = (Urls::new(), 0);
        for _ in 0..5 {
            urls.push(&vec![b'x'; LONGEST_WORD / 2], |bytes| {
                written += bytes.len();
            });
            assert!(urls.pending.len() < LONGEST_WORD);
        }
        urls.finish(|bytes| written += bytes.len());
        assert_eq!(written, 5 * LONGEST_WORD / 2);
    }
}
