//! A small mirror with large ISO images, for tests of readers.

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{in_memory, publish_args, run, stx};
use crate::nginx::Nginx;

/// The channel of the builds.
pub(crate) const CHANNEL: &str = "master/centos";
/// The dates of two builds.
pub(crate) const DATES: [&str; 2] = ["20200101T000000Z", "20200102T000000Z"];

/// A mirror in memory.
pub(crate) struct Site {
    pub(crate) dir: Utf8TempDir,
}

impl Site {
    /// A mirror with a build for each of these ISO images, dated [`DATES`].
    pub(crate) fn new(images: &[&[u8]]) -> Self {
        let site = Self { dir: in_memory() };
        for (image, date) in images.iter().zip(DATES) {
            site.publish(image, date);
        }
        site
    }

    pub(crate) fn mirror(&self) -> Utf8PathBuf {
        self.dir.path().join("mirror")
    }

    /// An empty directory for downloads.
    pub(crate) fn to(&self, name: &str) -> Utf8PathBuf {
        let to = self.dir.path().join("to").join(name);
        fs_err::create_dir_all(&to).expect("a directory");
        to
    }

    pub(crate) fn publish(&self, image: &[u8], date: &str) {
        self.publish_to(CHANNEL, date, "success", image);
    }

    pub(crate) fn publish_to(&self, channel: &str, date: &str, result: &str, image: &[u8]) {
        let tree = self.dir.path().join("tree");
        let context =
            format!("(cd ./{date} && git checkout -f 0123456789012345678901234567890123456789)\n");
        for (path, bytes) in [
            ("outputs/iso/bootimage.iso", image),
            ("outputs/CONTEXT", context.as_bytes()),
            ("outputs/installer/vmlinuz", date.as_bytes()),
        ] {
            let file = tree.join(path);
            fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs_err::write(file, bytes).expect("a file");
        }
        let mirror = self.mirror();
        run(stx(["--mirror", mirror.as_str()]).args(publish_args(
            tree.as_str(),
            channel,
            date,
            result,
        )))
        .ok();
    }

    /// The mirror behind nginx; `more` is added to its `server` block.
    pub(crate) fn serve(&self, more: &str) -> Nginx {
        Nginx::of_mirror(&self.to("nginx"), &self.mirror(), more)
    }
}

/// Pseudo-random bytes, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
