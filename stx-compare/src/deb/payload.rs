//! Reads the files of a package from its payload.

use std::collections::BTreeMap;
use std::io::{self, Read};

use sha2::Digest as _;
use stx_deb::{DebError, Entry, EntryKind, read_payload};
use stx_layout::Sha256;

use super::{changelog, text};
use crate::package::{ChangelogEntry, File, Listing, Package};

/// The longest changelog that is read, in bytes, packed and unpacked.
const LONGEST_CHANGELOG: u64 = 16 << 20;

/// Replaces the files and the changelog of `package` with those of the package file in `reader`.
///
/// # Errors
/// When the archive is damaged; `package` is then unchanged.
pub fn read_files(package: &mut Package, reader: impl Read) -> Result<(), DebError> {
    let mut files = BTreeMap::<String, File>::new();
    let mut links = Vec::new();
    let mut entries = Vec::new();
    let doc = format!("/usr/share/doc/{}/changelog", package.name);
    read_payload(reader, |entry, contents| {
        let mut file = described(entry);
        if entry.kind == EntryKind::File {
            let wanted = entry.path.starts_with(&doc);
            let (digest, kept) = read(contents, wanted)?;
            file.digest = Some(format!("sha256:{digest}"));
            if let Some(bytes) = kept {
                entries.extend(entries_of(&bytes));
            }
        } else if entry.kind == EntryKind::HardLink {
            links.push(entry.path.clone());
        }
        // Every package contains the root directory, and none changes it.
        if entry.path != "/" {
            files.insert(entry.path.clone(), file);
        }
        Ok(())
    })?;
    for path in links {
        let target = files[&path]
            .target
            .clone()
            .map(|target| super::absolute(&target));
        let linked = target.and_then(|target| files.get(&target)).cloned();
        if let (Some(linked), Some(file)) = (linked, files.get_mut(&path)) {
            (file.digest, file.size) = (linked.digest, linked.size);
        }
    }
    for (path, known) in &package.files {
        if known.flags.is_empty() {
            continue;
        }
        // A configuration file that is marked for removal is not in the payload.
        files
            .entry(path.clone())
            .or_default()
            .flags
            .clone_from(&known.flags);
    }
    package.files = files;
    package.listing = Listing::Whole;
    package.changelog = entries;
    Ok(())
}

/// The type bits of a mode.
fn type_bits(kind: EntryKind) -> u16 {
    match kind {
        EntryKind::File | EntryKind::HardLink => 0o100_000,
        EntryKind::Directory => 0o040_000,
        EntryKind::Symlink => 0o120_000,
        EntryKind::CharDevice => 0o020_000,
        EntryKind::BlockDevice => 0o060_000,
        EntryKind::Fifo => 0o010_000,
    }
}

fn described(entry: &Entry) -> File {
    let named = |name: &str, number: u64| {
        if name.is_empty() {
            number.to_string()
        } else {
            name.to_owned()
        }
    };
    let permissions = u16::try_from(entry.mode & 0o7777).unwrap_or_default();
    File {
        mode: type_bits(entry.kind) | permissions,
        owner: format!(
            "{}:{}",
            named(&entry.user, entry.uid),
            named(&entry.group, entry.gid)
        ),
        size: entry.size,
        target: entry.target.clone(),
        // In the old format of `st_rdev`, which RPM headers use.
        device: entry
            .device
            .and_then(|(major, minor)| u16::try_from((major << 8) | minor).ok()),
        modified: u32::try_from(entry.modified).unwrap_or(u32::MAX),
        ..File::default()
    }
}

/// The digest of the contents, and their bytes if they are wanted and not too many.
fn read(contents: &mut dyn Read, wanted: bool) -> io::Result<(Sha256, Option<Vec<u8>>)> {
    let mut hash = sha2::Sha256::new();
    let mut kept = wanted.then(Vec::new);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match contents.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..count]);
        if let Some(bytes) = &mut kept {
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > LONGEST_CHANGELOG {
                kept = None;
            }
        }
    }
    Ok((Sha256(hash.finalize().into()), kept))
}

/// The entries of a changelog, which may be compressed. None if it cannot be unpacked; its digest is compared in any case.
fn entries_of(bytes: &[u8]) -> Vec<ChangelogEntry> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return changelog::entries(&text(bytes));
    }
    let mut unpacked = Vec::new();
    let decoder = flate2::read::MultiGzDecoder::new(bytes);
    match decoder.take(LONGEST_CHANGELOG).read_to_end(&mut unpacked) {
        Ok(_) => changelog::entries(&text(&unpacked)),
        Err(_) => Vec::new(),
    }
}
