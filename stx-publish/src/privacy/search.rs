//! The search of a text that arrives in pieces.

use std::cmp::Reverse;

use super::stretch::{LONGEST_ACCOUNT, LONGEST_NAME, LONGEST_VALUE};
use super::{Findings, Privacy};

/// The least number of bytes that are searched at a time.
const WINDOW: usize = 64 * 1024;

/// Searches a text that arrives in pieces. The findings and the redacted text do not depend on the boundaries of the pieces;
/// memory is bounded by the longest pattern.
#[derive(Debug)]
pub struct Search<'a> {
    privacy: &'a Privacy,
    /// Bytes that were written and are still needed as context, followed by bytes that were not written yet.
    buffer: Vec<u8>,
    /// The offset in the buffer of the first byte that was not written yet.
    done: usize,
    /// True if the buffer starts at the beginning of the text.
    whole: bool,
    /// The line in which `done` is, counted from 1.
    line: u64,
    findings: Findings,
}

impl<'a> Search<'a> {
    /// A search before its first piece.
    pub fn new(privacy: &'a Privacy) -> Self {
        Self {
            privacy,
            buffer: Vec::new(),
            done: 0,
            whole: true,
            line: 1,
            findings: Findings::default(),
        }
    }

    /// The number of bytes that can affect the decision about one byte: the longest pattern, with its longest extensions.
    fn margin(&self) -> usize {
        self.privacy.longest + LONGEST_ACCOUNT + LONGEST_NAME.max(LONGEST_VALUE) + 16
    }

    /// Takes the next piece, and passes the part of the redacted text that is final to `write`.
    pub fn push(&mut self, piece: &[u8], mut write: impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(piece);
        let margin = self.margin();
        if self.buffer.len() - self.done < margin + WINDOW {
            return;
        }
        self.advance(self.buffer.len() - margin, &mut write);
        let old = self.done.saturating_sub(2 * margin);
        if old > 0 {
            self.buffer.drain(..old);
            self.done -= old;
            self.whole = false;
        }
    }

    /// Takes a piece without searching it.
    #[cfg(test)]
    pub(super) fn hold(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Passes the rest to `write`, and returns the findings.
    pub fn finish(mut self, mut write: impl FnMut(&[u8])) -> Findings {
        self.advance(self.buffer.len(), &mut write);
        self.findings
    }

    /// Decides about all findings that start before `limit`.
    fn advance(&mut self, limit: usize, write: &mut impl FnMut(&[u8])) {
        let text = &self.buffer;
        let mut spans: Vec<_> = self
            .privacy
            .automaton
            .find_overlapping_iter(text)
            .filter_map(|found| {
                let pattern = &self.privacy.patterns[found.pattern()];
                pattern.judge(text, found.range(), self.whole)
            })
            .filter(|(span, _)| span.start < limit && span.end > self.done)
            .collect();
        spans.sort_by(|(a, a_is), (b, b_is)| {
            (a.start, Reverse(a.end), a_is).cmp(&(b.start, Reverse(b.end), b_is))
        });
        for (span, what) in spans {
            // A finding that overlaps an earlier one is counted as part of it.
            if span.start >= self.done {
                let before = &text[self.done..span.start];
                write(before);
                self.line += memchr::memchr_iter(b'\n', before).count() as u64;
                write(what.replacement());
                self.findings.add(&what, self.line);
            }
            self.done = self.done.max(span.end);
        }
        if self.done < limit {
            let rest = &text[self.done..limit];
            write(rest);
            self.line += memchr::memchr_iter(b'\n', rest).count() as u64;
            self.done = limit;
        }
    }
}
