//! The data: generated from a seed, the same in every run.

use std::collections::BTreeMap;
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder};
use sha2::Digest as _;
use stx_layout::Sha256;
use stx_publish::metadata::PackageCache;

use crate::peers;

/// Pseudo-random numbers, the same for the same seed (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// A finished build.
pub(crate) struct Tree {
    pub(crate) dir: Utf8PathBuf,
    sizes: Vec<usize>,
    changes: usize,
}

impl Tree {
    /// Files with the sizes of packages: most are small, and half of the bytes are in a few large ones.
    pub(crate) fn make(dir: &Utf8Path, files: usize, bytes: u64) -> Self {
        if dir.exists() {
            fs_err::remove_dir_all(dir).expect("removed");
        }
        let mut numbers = Numbers::new(0);
        let weights: Vec<_> = (0..files)
            .map(|_| numbers.next() % 1_000 + 1)
            .map(|chance| (1_000_000 / (chance * chance)).clamp(1, 2_000))
            .collect();
        let whole: u64 = weights.iter().sum();
        let mut sizes: Vec<_> = weights
            .iter()
            .map(|weight| usize::try_from(bytes / whole * weight).expect("fits"))
            .collect();
        let missing = usize::try_from(bytes).expect("fits") - sizes.iter().sum::<usize>();
        sizes[0] += missing;
        let tree = Self {
            dir: dir.to_owned(),
            sizes,
            changes: 0,
        };
        for file in 0..files {
            tree.write(file, 0);
        }
        tree
    }

    fn path(&self, file: usize) -> Utf8PathBuf {
        let phase = ["std", "rt", "installer", "containers"][file % 4];
        self.dir
            .join(format!("outputs/packages/{phase}/package-{file:04}.bin"))
    }

    fn write(&self, file: usize, version: usize) {
        let path = self.path(file);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
        let seed = (version * self.sizes.len() + file) as u64;
        let bytes = Numbers::new(seed).bytes(self.sizes[file]);
        fs_err::write(path, bytes).expect("written");
    }

    /// Changes the content of `count` files of all sizes; different ones each time.
    pub(crate) fn change(&mut self, count: usize) {
        let step = self.sizes.len() / count;
        self.changes += 1;
        for file in (self.changes % step..self.sizes.len()).step_by(step) {
            self.write(file, self.changes);
        }
    }

    /// Gives every file a new inode, with the same bytes and times.
    pub(crate) fn rewrite(&self) {
        let old = self.dir.with_extension("old");
        fs_err::rename(&self.dir, &old).expect("moved");
        for file in 0..self.sizes.len() {
            let to = self.path(file);
            let from = old.join(to.strip_prefix(&self.dir).expect("below"));
            fs_err::create_dir_all(to.parent().expect("a parent")).expect("made");
            let modified = fs_err::metadata(&from).and_then(|found| found.modified());
            let mut copy = fs_err::File::create(&to).expect("made");
            copy.write_all(&fs_err::read(&from).expect("read"))
                .expect("written");
            copy.file()
                .set_modified(modified.expect("a time"))
                .expect("set");
        }
        fs_err::remove_dir_all(&old).expect("removed");
    }
}

/// RPM packages in a directory.
pub(crate) struct Packages {
    pub(crate) dir: Utf8PathBuf,
    digests: BTreeMap<String, Sha256>,
    releases: Vec<usize>,
    renewals: usize,
}

impl Packages {
    pub(crate) fn make(dir: &Utf8Path, count: usize) -> Self {
        if dir.exists() {
            fs_err::remove_dir_all(dir).expect("removed");
        }
        fs_err::create_dir_all(dir).expect("made");
        let mut packages = Self {
            dir: dir.to_owned(),
            digests: BTreeMap::new(),
            releases: vec![1; count],
            renewals: 0,
        };
        (0..count).for_each(|package| packages.write(package));
        packages
    }

    fn name(&self, package: usize) -> String {
        format!(
            "package-{package:04}-1.0-{}.x86_64.rpm",
            self.releases[package]
        )
    }

    /// Builds a package with 20 files and 64 KiB of incompressible data.
    fn write(&mut self, package: usize) {
        let name = format!("package-{package:04}");
        let config = BuildConfig::v4()
            .compression(CompressionType::Gzip)
            .source_date(1_541_000_000_u32);
        let mut builder = PackageBuilder::new(&name, "1.0", "Apache-2.0", "x86_64", "A package");
        builder
            .using_config(config)
            .release(self.releases[package].to_string())
            .description(
                "A package like many others, with a description of usual length.\n".repeat(4),
            );
        let mut numbers = Numbers::new((package * 1_000 + self.releases[package]) as u64);
        for file in 0..20 {
            let options = FileOptions::new(format!("/usr/share/{name}/some-directory/file-{file}"));
            builder
                .with_file_contents(numbers.bytes((64 << 10) / 20), options)
                .expect("a file");
        }
        let mut bytes = Vec::new();
        let built = builder.build().expect("a package");
        built.write(&mut bytes).expect("written");
        let name = self.name(package);
        fs_err::write(self.dir.join(&name), &bytes).expect("written");
        self.digests.insert(name, digest(&bytes));
    }

    /// Rebuilds `count` packages with the next release; different ones each time.
    pub(crate) fn renew(&mut self, count: usize) {
        let step = self.releases.len() / count;
        self.renewals += 1;
        for package in (self.renewals % step..self.releases.len()).step_by(step) {
            let old = self.name(package);
            fs_err::remove_file(self.dir.join(&old)).expect("removed");
            self.digests.remove(&old);
            self.releases[package] += 1;
            self.write(package);
        }
    }

    pub(crate) fn known(&self) -> PackageCache {
        peers::known(self.digests.clone(), None)
    }

    pub(crate) fn known_after(&self, repodata: &Utf8Path) -> PackageCache {
        peers::known(self.digests.clone(), Some(repodata))
    }
}
