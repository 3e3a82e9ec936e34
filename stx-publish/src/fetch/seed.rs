//! Older files that may contain parts of a new one.
//!
//! A seed needs no trust: the assembled file is verified as a whole at the end. A seed is opened so that nothing in its place can block
//! the fetch, and only regular files are used.

use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::FetchError;
use super::file::{File, blocking};
use super::part::{Dir, Part, local};

/// The number of seeds that are searched besides those that the caller names.
const FOUND: usize = 2;

/// Smaller files are not used as seeds.
const SMALLEST: u64 = 64 << 10;

/// An older file.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) path: Utf8PathBuf,
    pub(super) file: fs::File,
    pub(super) length: u64,
}

/// Reads a seed from an offset; several readers may do so at the same time.
pub(super) struct SeedReader<'a> {
    seed: &'a Seed,
    at: u64,
}

impl Read for SeedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.seed.file.file().read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seed {
    /// An open file, if it can be a seed.
    fn of(path: Utf8PathBuf, file: fs::File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let length = metadata.len();
        (metadata.is_file() && length >= SMALLEST).then_some(Self { path, file, length })
    }

    /// Opens a file that the caller names; symlinks are followed.
    fn named(path: &Utf8Path) -> Result<Option<Self>, FetchError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat(CWD, path.as_str(), flags, Mode::empty());
        let file = opened.map_err(|error| local("open", path)(error.into()))?;
        Ok(Self::of(
            path.to_owned(),
            fs::File::from_parts(file.into(), path),
        ))
    }

    pub(super) fn reader(&self, at: u64) -> SeedReader<'_> {
        SeedReader { seed: self, at }
    }
}

impl File<'_> {
    /// The seeds of this file: those that the caller names, the file with its name, and the newest ones of its kind beside it.
    pub(super) async fn seeds(&self, part: Part) -> Result<(Part, Vec<Seed>), FetchError> {
        let named = self.options.seeds.clone();
        let name = self.name().to_owned();
        blocking(move || {
            let mut seeds = Vec::new();
            for path in &named {
                seeds.extend(Seed::named(path)?);
            }
            seeds.extend(found(part.dir(), &name));
            Ok((part, seeds))
        })
        .await
    }
}

/// The file with this name, otherwise the newest ones with its extension. None if the directory cannot be listed.
fn found(dir: &Dir, name: &str) -> Vec<Seed> {
    if let Some((path, file)) = dir.open(name)
        && let Some(seed) = Seed::of(path, file)
    {
        return vec![seed];
    }
    let extension = Utf8Path::new(name).extension();
    let same = |other: &str| extension.is_some() && Utf8Path::new(other).extension() == extension;
    let Ok(names) = dir.names(&same) else {
        return Vec::new();
    };
    let mut seeds: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let (path, file) = dir.open(&name)?;
            let modified = file
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()?;
            Some((modified, Seed::of(path, file)?))
        })
        .collect();
    seeds.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.path.cmp(&other.1.path)));
    seeds.truncate(FOUND);
    seeds.into_iter().map(|(_, seed)| seed).collect()
}
