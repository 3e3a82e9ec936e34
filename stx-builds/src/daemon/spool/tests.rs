use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn ask() -> Ask {
    Ask::Cancel { request: 1 }
}

fn spool() -> (camino_tempfile::Utf8TempDir, Spool) {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let (spool, problem) = Spool::open(&dir.path().join("spool")).expect("a spool");
    assert_eq!(problem, None);
    (dir, spool)
}

fn text(ask: &Ask) -> Vec<u8> {
    serde_json::to_vec(ask).expect("JSON")
}

#[test]
fn an_obstacle_at_the_path_of_the_mark_is_replaced_and_never_opened() {
    let (dir, spool) = spool();
    let (path, victim) = (spool.dir.clone(), dir.path().join("victim"));
    assert!(is_alive(&path));
    drop(spool);
    assert!(!is_alive(&path));
    let mark = path.join(ALIVE);
    fs_err::write(&victim, "precious").expect("a file");
    let make = |what: &str| {
        fs_err::remove_file(&mark).expect("removed");
        match what {
            "symlink" => fs_err::os::unix::fs::symlink(&victim, &mark).expect("a symlink"),
            "pipe" => rustix::fs::mknodat(
                rustix::fs::CWD,
                mark.as_std_path(),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o666),
                0,
            )
            .expect("a pipe"),
            _ => fs_err::write(&mark, "").expect("a file"),
        }
    };
    for what in ["symlink", "pipe", "file"] {
        make(what);
        assert!(!is_alive(&path), "{what}");
        // Another process has locked the entry.
        let holder = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&mark)
            .expect("opened");
        holder.lock().expect("locked");
        let (spool, problem) = Spool::open(&path).expect("a spool");
        assert_eq!(problem, None, "{what}");
        assert!(is_alive(&path), "{what}");
        assert!(fs_err::symlink_metadata(&mark).expect("a mark").is_file());
        drop(spool);
    }
    assert_eq!(fs_err::read_to_string(victim).expect("a file"), "precious");
    // A directory cannot be replaced: the service runs, and says so.
    fs_err::remove_file(&mark).expect("removed");
    fs_err::create_dir(&mark).expect("a directory");
    let (_spool, problem) = Spool::open(&path).expect("a spool");
    assert!(problem.expect("a problem").contains("cannot show"));
    assert!(!is_alive(&path));
}

#[test]
fn an_invalid_message_is_reported_once_and_removed_if_possible() {
    let (dir, spool) = spool();
    let path = spool.dir.clone();
    fs_err::create_dir_all(path.join("full/inside")).expect("directories");
    fs_err::create_dir(path.join("empty")).expect("a directory");
    fs_err::write(path.join("bad"), "{}").expect("a file");
    fs_err::write(path.join("long"), vec![b' '; 70_000]).expect("a file");
    let odd = path.as_std_path().join(OsStr::from_bytes(b"odd\xff"));
    fs_err::write(odd, text(&ask())).expect("a file");
    fs_err::write(dir.path().join("theirs"), text(&ask())).expect("a file");
    fs_err::os::unix::fs::symlink(dir.path().join("theirs"), path.join("link")).expect("a symlink");
    fs_err::hard_link(dir.path().join("theirs"), path.join("second")).expect("a link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("pipe").as_std_path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .expect("a pipe");
    fs_err::write(path.join("good"), text(&ask())).expect("a file");
    let found = spool.read();
    let ids: Vec<_> = found.messages.iter().map(|message| &message.id).collect();
    assert_eq!(ids, ["good"]);
    // One line each, and one about the full directory that stays.
    assert_eq!(found.problems.len(), 9, "{:#?}", found.problems);
    for _ in 0..3 {
        let again = spool.read();
        assert_eq!(again.problems, Vec::<String>::new());
        assert_eq!(again.messages.len(), 1);
    }
    assert_eq!(spool.discard("good"), None);
    assert_eq!(spool.names().expect("names"), Vec::<OsString>::new());
    assert!(path.join("full").exists() && !path.join("empty").exists());
    // Once it is gone, another entry of the same name is reported.
    fs_err::remove_dir_all(path.join("full")).expect("removed");
    assert_eq!(spool.read().problems, Vec::<String>::new());
    fs_err::create_dir_all(path.join("full/inside")).expect("directories");
    assert_eq!(spool.read().problems.len(), 2);
}

#[test]
fn each_scan_reads_a_limited_number_of_messages() {
    let (_dir, spool) = spool();
    for number in 0..50 {
        fs_err::write(spool.dir.join(format!("{number:02}")), text(&ask())).expect("a file");
    }
    let mut seen = Vec::new();
    for expected in [20, 20, 10, 0] {
        let found = spool.read().messages;
        assert_eq!(found.len(), expected);
        for message in found {
            assert!(spool.has(&message.id));
            assert_eq!(spool.discard(&message.id), None);
            assert!(!spool.has(&message.id));
            seen.push(message.id);
        }
    }
    let all: Vec<_> = (0..50).map(|number| format!("{number:02}")).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_spool_that_other_users_can_write_is_refused() {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let path = dir.path().join("spool");
    drop(Spool::open(&path).expect("a spool"));
    for (mode, good) in [
        (0o3770, true),
        (0o700, true),
        (0o3772, false),
        (0o2770, false),
    ] {
        fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        assert_eq!(Spool::open(&path).is_ok(), good, "{mode:o}");
    }
    let link = dir.path().join("link");
    fs_err::os::unix::fs::symlink(&path, &link).expect("a symlink");
    let refused = Spool::open(&link).expect_err("a symlink").to_string();
    assert!(refused.contains("chmod 3770"), "{refused}");
}

#[test]
fn a_second_service_is_refused_even_if_members_replace_the_lock() {
    let (dir, first) = spool();
    let path = first.dir.clone();
    let busy = Spool::open(&path).expect_err("a second service");
    assert_eq!(busy.kind, ErrorKind::Busy);
    assert!(busy.to_string().contains(path.as_str()), "{busy}");
    assert!(is_alive(&path), "the first one is still seen");
    drop(first);
    let (lock, victim) = (path.join(LOCK), dir.path().join("victim"));
    fs_err::write(&victim, "precious").expect("a file");
    for what in ["symlink", "hard link", "open to the group", "directory"] {
        fs_err::remove_file(&lock).expect("removed");
        match what {
            "symlink" => fs_err::os::unix::fs::symlink(&victim, &lock),
            "hard link" => fs_err::hard_link(&victim, &lock),
            "directory" => fs_err::create_dir(&lock),
            _ => fs_err::write(&lock, "")
                .and_then(|()| fs_err::set_permissions(&lock, PermissionsExt::from_mode(0o640))),
        }
        .expect("made");
        let held = fs_err::File::open(&lock).expect("a file");
        held.file().lock().expect("locked");
        let (spool, problem) = Spool::open(&path).expect("a spool");
        assert_eq!(problem, None, "{what}");
        assert!(Spool::open(&path).is_err(), "{what}");
        drop(spool);
        assert_eq!(fs_err::read_to_string(&victim).expect("a file"), "precious");
    }
    // A directory that cannot be removed does not prevent the service from starting.
    fs_err::remove_file(&lock).expect("removed");
    fs_err::create_dir_all(lock.join("full")).expect("a directory");
    let (_spool, problem) = Spool::open(&path).expect("a spool");
    assert!(problem.is_some_and(|text| text.contains("lock out")));
}
