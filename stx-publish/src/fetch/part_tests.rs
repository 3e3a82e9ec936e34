//! Unfinished files in a directory where other users put files and symlinks.

use std::os::unix::fs::PermissionsExt as _;

use camino_tempfile::{Utf8TempDir, tempdir};
use fs_err::os::unix::fs::symlink;
use rustix::fs::{Uid, chownat, mknodat};

use super::*;

const TEXT: &[u8] = b"an image";

fn digest() -> Sha256 {
    Sha256(sha2::Sha256::digest(TEXT).into())
}

/// The name of an unfinished file as an earlier fetch may have left it.
fn unfinished(random: &str) -> String {
    let digest = digest().to_string();
    format!(
        "image.iso.{}.{random}.part",
        digest.get(..16).expect("long")
    )
}

/// A directory, and the user who fetches: another one than the owner of the files that are [`given_away`].
struct Shared {
    dir: Utf8TempDir,
    me: u32,
}

impl Shared {
    fn new() -> Self {
        Self {
            dir: tempdir().expect("a directory"),
            me: me(),
        }
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn enter(&self) -> Dir {
        Dir::enter(self.dir.path(), Utf8Path::new(""), self.me).expect("entered")
    }

    fn open(&self) -> Result<Part, FetchError> {
        Part::open(self.enter(), "image.iso", digest(), &Unfinished::default())
    }

    /// Fetches the missing rest of the file, and returns its number of bytes.
    fn fetch(&self) -> usize {
        let mut part = self.open().expect("opened");
        let from = usize::try_from(part.length).expect("short");
        part.append(&TEXT[from..]).expect("written");
        assert_eq!(part.digest(), digest());
        part.finish("image.iso").expect("finished");
        assert_eq!(fs::read(self.at("image.iso")).expect("read"), TEXT);
        TEXT.len() - from
    }

    fn names(&self) -> Vec<String> {
        let entries = self.dir.path().read_dir_utf8().expect("a list");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// Gives a file to another user if run as `root`; otherwise changes the user who fetches instead.
    fn given_away(&mut self, name: &str) {
        if self.me == 0 {
            let path = self.at(name);
            let owner = Some(Uid::from_raw(12345));
            chownat(
                CWD,
                path.as_std_path(),
                owner,
                None,
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .expect("given away");
        } else {
            self.me += 1;
        }
    }

    fn write(&self, name: &str, text: &[u8], mode: u32) {
        fs::write(self.at(name), text).expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        fs::set_permissions(self.at(name), mode).expect("set");
    }
}

#[test]
fn a_file_is_written_under_an_unpredictable_name() {
    let shared = Shared::new();
    let names: Vec<_> = (0..2)
        .map(|_| {
            let mut part = shared.open().expect("opened");
            part.append(b"an").expect("written");
            let mode = fs::metadata(&part.path).expect("there").permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
            let name = part.name.clone();
            part.remove().expect("removed");
            name
        })
        .collect();
    assert_ne!(names[0], names[1]);
    assert_eq!(shared.fetch(), TEXT.len());
    assert_eq!(shared.names(), ["image.iso"]);
}

#[test]
fn the_longest_unfinished_file_is_resumed() {
    let shared = Shared::new();
    for (random, text) in [("1", "a"), ("2", "an im"), ("3", "an ")] {
        shared.write(&unfinished(random), text.as_bytes(), 0o600);
    }
    assert_eq!(shared.fetch(), 3);
    assert_eq!(shared.names(), ["image.iso"], "the others are removed");
}

#[test]
fn an_unfinished_file_is_busy_only_if_another_fetch_locks_it() {
    let shared = Shared::new();
    let part = shared.open().expect("opened");
    assert!(matches!(shared.open(), Err(FetchError::Busy { .. })));
    drop(part);
    shared.open().expect("it ended").remove().expect("removed");
    // Readable by others, who may hold a lock on it forever.
    shared.write(&unfinished("1"), b"an", 0o644);
    let theirs = fs::File::open(shared.at(&unfinished("1"))).expect("opened");
    theirs.file().lock().expect("locked");
    assert_eq!(shared.fetch(), TEXT.len());
}

#[test]
fn planted_symlinks_fifos_and_hard_links_are_not_used() {
    let shared = Shared::new();
    fs::write(shared.at("mine"), "mine").expect("written");
    for (random, old) in [("1", "mine"), ("2", "nothing")] {
        symlink(shared.at(old), shared.at(&unfinished(random))).expect("linked");
    }
    fs::hard_link(shared.at("mine"), shared.at(&unfinished("3"))).expect("linked");
    let fifo = shared.at(&unfinished("4"));
    mknodat(CWD, fifo.as_std_path(), FileType::Fifo, Mode::RWXU, 0).expect("made");
    // All users may write to it, now and later.
    shared.write(&unfinished("5"), b"an", 0o666);
    fs::create_dir(shared.at(&unfinished("6"))).expect("made");
    let before = shared.names();
    assert_eq!(shared.fetch(), TEXT.len());
    assert_eq!(fs::read(shared.at("mine")).expect("read"), b"mine");
    let mut after = before;
    after.insert(0, "image.iso".to_owned());
    after.sort();
    assert_eq!(shared.names(), after);
}

#[test]
fn an_unfinished_file_of_another_user_is_not_resumed() {
    let mut shared = Shared::new();
    shared.write(&unfinished("1"), b"an", 0o600);
    shared.given_away(&unfinished("1"));
    assert_eq!(shared.fetch(), TEXT.len());
}

#[test]
fn an_existing_file_is_accepted_only_if_the_user_owns_it() {
    let mut shared = Shared::new();
    let already = |shared: &Shared| {
        let already = shared.enter().already("image.iso", digest());
        already.expect("looked at")
    };
    assert_eq!(already(&shared), None);
    shared.write("image.iso", b"another", 0o644);
    assert_eq!(already(&shared), None);
    shared.write("image.iso", TEXT, 0o644);
    assert_eq!(already(&shared), Some(8));
    shared.given_away("image.iso");
    assert_eq!(already(&shared), None);

    let shared = Shared::new();
    let name = shared.at("image.iso");
    fs::write(shared.at("other"), TEXT).expect("written");
    symlink("other", &name).expect("linked");
    assert_eq!(already(&shared), None);
    fs::remove_file(&name).expect("removed");
    // The FIFO has no writer: reading from it would wait forever.
    mknodat(CWD, name.as_std_path(), FileType::Fifo, Mode::RWXU, 0).expect("made");
    assert_eq!(already(&shared), None);
    assert_eq!(shared.fetch(), TEXT.len());
}

#[test]
fn directories_are_entered_and_links_of_other_users_are_not() {
    let mut shared = Shared::new();
    fs::create_dir(shared.at("elsewhere")).expect("made");
    symlink("elsewhere", shared.at("RPMS")).expect("linked");
    let enter = |shared: &Shared, below: &str| {
        Dir::enter(shared.dir.path(), Utf8Path::new(below), shared.me)
    };
    enter(&shared, "RPMS/std").expect("a link of one's own");
    assert!(shared.at("elsewhere/std").is_dir());
    enter(&shared, "a/b/c").expect("made");
    assert!(shared.at("a/b/c").is_dir());
    enter(&shared, "a/../../b").expect_err("it leads out");
    fs::write(shared.at("file"), "").expect("written");
    enter(&shared, "file/b").expect_err("a file");
    shared.given_away("RPMS");
    let refused = enter(&shared, "RPMS/std").expect_err("a link of somebody else");
    let why = std::error::Error::source(&refused)
        .expect("why")
        .to_string();
    assert!(why.contains("symlink of user"), "{why}");
}

#[test]
fn a_file_that_replaces_the_unfinished_one_is_detected() {
    let shared = Shared::new();
    let mut part = shared.open().expect("opened");
    part.append(TEXT).expect("written");
    fs::remove_file(&part.path).expect("removed");
    fs::write(&part.path, "another image").expect("written");
    part.finish("image.iso").expect_err("another file");
}

#[test]
fn the_longest_file_name_can_be_fetched() {
    let shared = Shared::new();
    let name = "é".repeat(127) + "a";
    assert_eq!(name.len(), 255);
    let part = Part::open(shared.enter(), &name, digest(), &Unfinished::default());
    part.expect("opened").finish(&name).expect("finished");
    assert_eq!(shared.names(), [name]);
}
