//! The search of a text that comes in pieces.

use std::cmp::Reverse;

use super::stretch::{LONGEST_ACCOUNT, LONGEST_NAME, LONGEST_VALUE};
use super::{Findings, Privacy};

/// How many bytes are looked at together, at least.
const WINDOW: usize = 64 * 1024;

/// Searches a text that comes in pieces. What is found and what is written does not depend on where the pieces end; memory
/// is bounded by the longest thing that is looked for.
#[derive(Debug)]
pub struct Search<'a> {
    privacy: &'a Privacy,
    /// Bytes that were written and are still needed as context, then bytes that were not written yet.
    buffer: Vec<u8>,
    /// Where in the buffer that begins which was not written yet.
    done: usize,
    /// Whether the buffer begins where the text begins.
    whole: bool,
    /// The line in which `done` is, counted from 1.
    line: u64,
    findings: Findings,
}

impl<'a> Search<'a> {
    /// A search that has seen nothing yet.
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

    /// How many bytes may decide about one: the longest thing there is, with all that it may be stretched by.
    fn margin(&self) -> usize {
        self.privacy.longest + LONGEST_ACCOUNT + LONGEST_NAME.max(LONGEST_VALUE) + 16
    }

    /// Takes the next piece, and gives `write` what of the redacted text is certain by now.
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

    /// Takes a piece without looking at it.
    #[cfg(test)]
    pub(super) fn hold(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Gives `write` the rest, and says what was found.
    pub fn finish(mut self, mut write: impl FnMut(&[u8])) -> Findings {
        self.advance(self.buffer.len(), &mut write);
        self.findings
    }

    /// Decides about everything that begins before `limit`.
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
            // What overlaps belongs to what was found before it.
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
