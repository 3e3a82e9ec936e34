//! Assembles a file from older local files and from the ranges that they lack.
//!
//! ```text
//! control file ──> sums of blocks ──┐
//! older files, the seeds ───────────┴─ search ──> pieces ──> here: copied ──────┬──> unfinished file, in order
//!                                                       └──> not here: ranges ──┘
//! ```
//!
//! The unfinished file is always a prefix of the new one. So a killed fetch is resumed like any other, by this method or by the
//! plain one. None of the data used here is trusted: neither the control file nor its block sums, which are short. If anything
//! fails, the rest of the file is fetched as if no seed existed, and a file whose digest differs from `SHA256SUMS` is fetched
//! from its beginning.

use std::fmt;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use stx_layout::{counted, size as size_of};
use stx_zsync::{Control, Index, LONGEST, Piece, plan};
use tokio::sync::{Semaphore, mpsc};

use super::file::{File, blocking, joined};
use super::part::Part;
use super::seed::Seed;
use super::{FetchError, FetchEvent};
use crate::error::chain;
use crate::incoming::digest_of;
use crate::store::{ByteRange, StoreError, read_all};

/// The most bytes of one request, in one range or in several.
const RANGE: u64 = 1 << 20;

/// The most ranges of one request. Servers accept header lines of 8 KiB; Apache accepts 200 ranges.
const RANGES: usize = 64;

/// The longest gap between two ranges that is fetched with them although its bytes exist locally: another request costs as much.
const GAP: u64 = 8 << 10;

/// The number of steps per connection that are fetched or wait to be written: with [`RANGE`], that many MiB are in memory.
const AHEAD: usize = 4;

/// Seeds that contain less than this fraction (1/`WORTH`) of the file are not used.
const WORTH: u64 = 50;

/// The number of bytes that are copied from a seed at a time.
const COPY: usize = 256 << 10;

/// A part of the new file that waits to be written.
enum Chunk {
    /// From the seed of this number.
    Seed { seed: usize, at: u64, length: u64 },
    /// From the mirror.
    Bytes(Vec<Bytes>),
}

/// Bytes that were transferred.
#[derive(Debug, Default)]
struct Arrived {
    control: u64,
    ranges: u64,
}

/// The reason why a file is not assembled, or not completely.
enum Stop {
    /// The rest is fetched as if no seed existed.
    Whole(String),
    /// The fetch fails.
    Failed(FetchError),
}

impl Stop {
    fn whole(why: impl fmt::Display) -> Self {
        Self::Whole(why.to_string())
    }
}

impl File<'_> {
    /// Continues the file as far as seeds and ranges allow. Returns it with the number of bytes that were transferred and of those
    /// that were found locally.
    pub(super) async fn delta(&self, part: Part) -> Result<(Part, u64, u64), FetchError> {
        let begun = part.length;
        let mut arrived = Arrived::default();
        let (part, stopped) = self.put_together(part, &mut arrived).await?;
        match stopped {
            Some(Stop::Failed(error)) => return Err(error),
            Some(Stop::Whole(why)) => {
                let text = format!("{}: {why}; fetching it without one", self.wanted.path);
                (self.observe)(FetchEvent::Note { text: &text });
            }
            None => {}
        }
        let here = (part.length - begun).saturating_sub(arrived.ranges);
        Ok((part, arrived.control + arrived.ranges, here))
    }

    async fn put_together(
        &self,
        part: Part,
        arrived: &mut Arrived,
    ) -> Result<(Part, Option<Stop>), FetchError> {
        let (part, seeds) = self.seeds(part).await?;
        if seeds.is_empty() {
            return Ok((part, None));
        }
        let control = match self.control(&mut arrived.control).await {
            Ok(control) => control,
            Err(stop) => return Ok((part, Some(stop))),
        };
        if control.length() <= part.length {
            return Ok((
                part,
                Some(Stop::whole(
                    "the existing part is larger than its control file says",
                )),
            ));
        }
        let (length, begun) = (control.length(), part.length);
        (self.observe)(FetchEvent::Begun {
            path: &self.wanted.path,
            size: length,
            from: begun,
        });
        let seeds = Arc::new(seeds);
        let searched = Arc::clone(&seeds);
        let pieces = blocking(move || Ok(search(&control, &searched))).await?;
        let pieces = merged(cut(pieces, begun));
        let here: u64 = pieces
            .iter()
            .filter(|it| it.seed.is_some())
            .map(|it| it.length)
            .sum();
        if here < (length - begun) / WORTH {
            let names: Vec<_> = seeds.iter().map(|seed| seed.path.as_str()).collect();
            let why = format!("{} contains too little of it", names.join(", "));
            return Ok((part, Some(Stop::Whole(why))));
        }
        let text = format!(
            "{}: {} of {} are in {}",
            self.wanted.path,
            size_of(here),
            size_of(length - begun),
            seeds
                .iter()
                .map(|seed| seed.path.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        );
        (self.observe)(FetchEvent::Note { text: &text });
        self.assemble(part, length, pieces, seeds, &mut arrived.ranges)
            .await
    }

    /// The control file of the build, checked by its digest and parsed.
    async fn control(&self, arrived: &mut u64) -> Result<Control, Stop> {
        let Some((path, expected)) = &self.wanted.control else {
            return Err(Stop::whole("the build has no control file"));
        };
        let unusable = |why: String| Stop::Whole(format!("its control file cannot be used: {why}"));
        let bytes = read_all(self.store, self.id, path, LONGEST).await;
        let bytes = bytes.map_err(|error| unusable(chain(&error)))?;
        *arrived = bytes.len() as u64;
        if digest_of(&bytes) != *expected {
            return Err(unusable(
                "it is not the one that SHA256SUMS names".to_owned(),
            ));
        }
        Control::parse(&bytes).map_err(|error| unusable(error.to_string()))
    }

    /// Writes the pieces in order while the next ranges are fetched.
    async fn assemble(
        &self,
        part: Part,
        length: u64,
        pieces: Vec<Piece>,
        seeds: Arc<Vec<Seed>>,
        arrived: &mut u64,
    ) -> Result<(Part, Option<Stop>), FetchError> {
        let connections = self.options.ranges.max(1);
        let turns = Semaphore::new(connections);
        let (sender, receiver) = mpsc::channel(1);
        let writer = tokio::task::spawn_blocking(move || write(part, receiver, &seeds));
        let get = |step: Vec<Piece>| {
            let turns = &turns;
            async move {
                let ranges: Vec<_> = step.iter().filter_map(range_of).collect();
                let mut bytes = Vec::new();
                if !ranges.is_empty() {
                    let _turn = turns.acquire().await.expect("it is never closed");
                    bytes = self.ranges(&ranges, length).await?;
                }
                let mut bytes = bytes.into_iter();
                let chunks = step.into_iter().map(move |Piece { seed, length, .. }| {
                    let chunk = match seed {
                        Some((seed, at)) => Chunk::Seed { seed, at, length },
                        None => Chunk::Bytes(bytes.next().unwrap_or_default()),
                    };
                    (length, chunk)
                });
                Ok::<_, Stop>(stream::iter(chunks.map(Ok)))
            }
        };
        // A server without ranges sends the whole file for each request, so only one is made before its answer is seen.
        let mut steps = steps(pieces);
        let is_asked = |step: &Vec<Piece>| step.iter().any(|piece| piece.seed.is_none());
        let first = steps.iter().position(is_asked).map_or(0, |at| at + 1);
        let rest = stream::iter(steps.split_off(first)).map(get);
        let chunks = stream::iter(steps)
            .then(get)
            .chain(rest.buffered(connections * AHEAD))
            .try_flatten();
        let mut chunks = std::pin::pin!(chunks);
        let mut stopped = None;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok((length, chunk)) => {
                    if matches!(chunk, Chunk::Bytes(_)) {
                        *arrived += length;
                    }
                    (self.observe)(FetchEvent::Bytes(length));
                    // The writer ended early, and reports the reason.
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Err(stop) => {
                    stopped = Some(stop);
                    break;
                }
            }
        }
        drop(sender);
        let (part, unread) = joined(writer.await)?;
        if let Some(why) = unread {
            stopped = Some(Stop::Whole(why));
        }
        Ok((part, stopped))
    }

    /// The bytes of each range of the file. An interrupted answer is requested again as a whole.
    async fn ranges(&self, ranges: &[ByteRange], size: u64) -> Result<Vec<Vec<Bytes>>, Stop> {
        let mut tried = 0;
        loop {
            let error = match self.try_ranges(ranges, size).await {
                Ok(bytes) => return Ok(bytes),
                Err(Ok(stop)) => return Err(stop),
                Err(Err(error)) => error,
            };
            tried += 1;
            if tried >= self.options.attempts.max(1) {
                return Err(Stop::Failed(FetchError::Truncated {
                    path: self.wanted.path.clone(),
                    got: ranges.first().map_or(0, |range| range.from),
                    size,
                    source: error,
                }));
            }
            tokio::time::sleep(self.options.wait).await;
        }
    }

    /// One attempt. The inner error is transient: another attempt may succeed.
    async fn try_ranges(
        &self,
        ranges: &[ByteRange],
        size: u64,
    ) -> Result<Vec<Vec<Bytes>>, Result<Stop, Option<StoreError>>> {
        let path = &self.wanted.path;
        let mut body = match self.store.read_ranges(self.id, path, ranges).await {
            Ok(body) => body,
            Err(source @ StoreError::NotFound { .. }) => {
                let path = path.clone();
                return Err(Ok(Stop::Failed(FetchError::Gone { path, source })));
            }
            Err(error @ (StoreError::Network { .. } | StoreError::Io { .. })) => {
                return Err(Err(Some(error)));
            }
            Err(error) => return Err(Ok(Stop::Failed(self.failed(error)))),
        };
        if body.is_whole {
            return Err(Ok(Stop::whole("the server sends no ranges")));
        }
        if body.size != size {
            let why = format!(
                "it has {}, and its control file says {size}",
                counted(body.size, "byte")
            );
            return Err(Ok(Stop::Whole(why)));
        }
        let (mut bytes, mut chunk) = (Vec::with_capacity(ranges.len()), Bytes::new());
        for range in ranges {
            let (mut chunks, mut missing) = (Vec::new(), range.length);
            while missing > 0 {
                if chunk.is_empty() {
                    let next = body.stream.next().await.ok_or(Err(None))?;
                    chunk = next.map_err(|error| Err(Some(error)))?;
                }
                let most = usize::try_from(missing).map_or(chunk.len(), |it| it.min(chunk.len()));
                missing -= most as u64;
                chunks.push(chunk.split_to(most));
            }
            bytes.push(chunks);
        }
        Ok(bytes)
    }
}

/// The pieces of a file that the seeds contain; each seed supplies only what the seeds before it lack.
fn search(control: &Control, seeds: &[Seed]) -> Vec<Piece> {
    let index = Index::new(control);
    let found = seeds.iter().map(|seed| {
        let parts = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
        let step = seed.length.div_ceil(parts as u64).max(1 << 20);
        let found = std::thread::scope(|scope| {
            let parts: Vec<_> = (0..seed.length)
                .step_by(usize::try_from(step).unwrap_or(usize::MAX))
                .map(|from| {
                    let until = (from + step).min(seed.length);
                    let index = &index;
                    scope.spawn(move || index.scan(&mut seed.reader(from), from, until))
                })
                .collect();
            let found = parts.into_iter().map(std::thread::ScopedJoinHandle::join);
            // A part of a seed that cannot be read supplies nothing.
            found
                .filter_map(|found| found.ok()?.ok())
                .flatten()
                .collect()
        });
        (seed.length, found)
    });
    let found: Vec<_> = found.collect();
    plan(&index, &found)
}

/// The pieces after the first `begun` bytes.
fn cut(pieces: Vec<Piece>, begun: u64) -> Vec<Piece> {
    let rest = pieces.into_iter().filter_map(|mut piece| {
        let gone = begun.saturating_sub(piece.at).min(piece.length);
        piece.at += gone;
        piece.length -= gone;
        if let Some((_, at)) = &mut piece.seed {
            *at += gone;
        }
        (piece.length > 0).then_some(piece)
    });
    rest.collect()
}

/// Merges the ranges into fewer, larger ones, none of them longer than [`RANGE`].
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::new();
    let count = pieces.len();
    for (number, piece) in pieces.into_iter().enumerate() {
        let before = merged.last_mut();
        // A short piece between two ranges is fetched with the first one, and the second one with both.
        let between = number + 1 < count && piece.length <= GAP;
        match before {
            Some(before) if before.seed.is_none() && (piece.seed.is_none() || between) => {
                before.length += piece.length;
            }
            _ => merged.push(piece),
        }
    }
    let mut parts = Vec::with_capacity(merged.len());
    for piece in merged {
        let step = if piece.seed.is_none() {
            RANGE
        } else {
            piece.length
        };
        let mut at = 0;
        while at < piece.length {
            let length = step.min(piece.length - at);
            parts.push(Piece {
                at: piece.at + at,
                length,
                seed: piece.seed,
            });
            at += length;
        }
    }
    parts
}

/// The range to request for a piece; `None` if a seed contains the piece.
fn range_of(piece: &Piece) -> Option<ByteRange> {
    let Piece { at, length, seed } = *piece;
    seed.is_none().then_some(ByteRange { from: at, length })
}

/// Groups the pieces into steps; one request asks for all ranges of a step.
fn steps(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let (mut steps, mut step) = (Vec::new(), Vec::new());
    let (mut ranges, mut bytes) = (0, 0);
    for piece in pieces {
        if piece.seed.is_none() {
            let is_full = ranges == RANGES || bytes + piece.length > RANGE;
            if ranges == 0 || is_full {
                (ranges, bytes) = (0, 0);
                steps.push(std::mem::take(&mut step));
            }
            ranges += 1;
            bytes += piece.length;
        }
        step.push(piece);
    }
    steps.push(step);
    steps
}

/// Appends the chunks that arrive. Ends early with the reason if a seed cannot be read.
fn write(
    mut part: Part,
    mut chunks: mpsc::Receiver<Chunk>,
    seeds: &[Seed],
) -> Result<(Part, Option<String>), FetchError> {
    let mut buffer = vec![0; COPY];
    while let Some(chunk) = chunks.blocking_recv() {
        match chunk {
            Chunk::Bytes(chunks) => {
                for chunk in chunks {
                    part.append(&chunk)?;
                }
            }
            Chunk::Seed {
                seed,
                mut at,
                mut length,
            } => {
                let seed = &seeds[seed];
                while length > 0 {
                    let step = usize::try_from(length).map_or(COPY, |length| length.min(COPY));
                    let piece = &mut buffer[..step];
                    if let Err(error) = seed.file.file().read_exact_at(piece, at) {
                        return Ok((part, Some(format!("{} cannot be read: {error}", seed.path))));
                    }
                    part.append(piece)?;
                    at += step as u64;
                    length -= step as u64;
                }
            }
        }
    }
    Ok((part, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(at: u64, length: u64, seed: Option<(usize, u64)>) -> Piece {
        Piece { at, length, seed }
    }

    #[test]
    fn short_gaps_between_ranges_are_fetched_with_them() {
        let pieces = vec![
            piece(0, 100_000, Some((0, 0))),
            piece(100_000, 4096, None),
            piece(104_096, 4096, Some((0, 7))),
            piece(108_192, 4096, None),
            piece(112_288, 100_000, Some((0, 9))),
            piece(212_288, 3 << 20, None),
            piece(212_288 + (3 << 20), 10, Some((0, 0))),
        ];
        let last = 212_288 + (3 << 20);
        assert_eq!(
            merged(pieces),
            [
                piece(0, 100_000, Some((0, 0))),
                piece(100_000, 12_288, None),
                piece(112_288, 100_000, Some((0, 9))),
                piece(212_288, 1 << 20, None),
                piece(212_288 + (1 << 20), 1 << 20, None),
                piece(212_288 + (2 << 20), 1 << 20, None),
                piece(last, 10, Some((0, 0))),
            ]
        );
    }

    #[test]
    fn adjacent_ranges_are_requested_together() {
        let here = |at: u64, length| piece(at, length, Some((0, at)));
        let there = |at, length| piece(at, length, None);
        let pieces = vec![
            here(0, 100),
            there(100, 10),
            here(110, 1 << 30),
            there(200, 10),
            there(300, RANGE),
            there(400, 10),
            here(500, 10),
        ];
        let steps = steps(pieces.clone());
        let lengths: Vec<_> = steps.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 3, 1, 2]);
        assert_eq!(steps.concat(), pieces);

        let many: Vec<_> = (0..100_u64)
            .flat_map(|at| [there(at * 20, 10), here(at * 20 + 10, 10)])
            .collect();
        let steps = super::steps(many.clone());
        let lengths: Vec<_> = steps.iter().map(Vec::len).collect();
        assert_eq!(lengths, [0, 2 * RANGES, 200 - 2 * RANGES]);
        assert_eq!(steps.concat(), many);
    }

    #[test]
    fn pieces_that_already_exist_are_cut_off() {
        let pieces = vec![
            piece(0, 100, None),
            piece(100, 100, Some((1, 1000))),
            piece(200, 100, None),
        ];
        assert_eq!(
            cut(pieces.clone(), 150),
            [piece(150, 50, Some((1, 1050))), piece(200, 100, None)]
        );
        assert_eq!(cut(pieces.clone(), 0), pieces);
        assert_eq!(cut(pieces, 300), []);
    }
}
