use std::os::unix::fs::PermissionsExt as _;

use stx_publish::Identity;

use super::*;

struct Fixture {
    dir: camino_tempfile::Utf8TempDir,
    copies: Copies,
}

impl Fixture {
    fn new() -> Self {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let shown = dir.path().join(RUNNING);
        make(&shown).expect("made");
        let copies = Copies {
            dir: shown,
            runs: BTreeMap::new(),
        };
        Self { dir, copies }
    }

    fn log(&self) -> Utf8PathBuf {
        self.dir.path().join("compile")
    }

    fn add(&self, text: &[u8]) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log());
        file.and_then(|mut file| file.write_all(text))
            .expect("written");
    }

    fn step(&mut self, over: bool) {
        let secret = Identity::Secret {
            label: "token".to_owned(),
            value: b"correct-horse".to_vec(),
        };
        let privacy = Privacy::new([secret], []).expect("patterns");
        self.copies.step(&[Followed {
            run: 7,
            privacy: Arc::new(Some(privacy)),
            logs: vec![Log {
                phase: "compile".to_owned(),
                file: self.log(),
                over,
            }],
        }]);
    }

    fn shown(&self) -> String {
        let file = self.dir.path().join(Follower::shown(7, "compile"));
        fs_err::read_to_string(file).unwrap_or_default()
    }
}

#[test]
fn whole_lines_are_shown_at_once_and_redacted() {
    let mut fixture = Fixture::new();
    fixture.step(false);
    assert_eq!(fixture.shown(), "", "there is no log yet");
    fixture.add(b"one\nthe token is correct-");
    fixture.step(false);
    assert_eq!(fixture.shown(), "one\n");
    fixture.add(b"horse.\nthe end");
    fixture.step(false);
    let redacted = "one\nthe token is [redacted secret].\n";
    assert_eq!(fixture.shown(), redacted);
    fixture.step(true);
    assert_eq!(fixture.shown(), format!("{redacted}the end"));
    fixture.step(true);
    assert_eq!(fixture.shown(), format!("{redacted}the end"), "once");
}

#[test]
fn the_group_reads_and_only_the_service_writes() {
    let mut fixture = Fixture::new();
    fixture.add(b"one\n");
    fixture.step(false);
    let mode = |path: Utf8PathBuf| fs_err::metadata(path).expect("there").permissions().mode();
    let shown = fixture.dir.path().join(Follower::shown(7, "compile"));
    assert_eq!(mode(shown.clone()) & 0o7777, 0o640);
    let run = shown.parent().expect("a directory");
    assert_eq!(mode(run.to_owned()) & 0o777, 0o750);
    assert_eq!(mode(fixture.copies.dir.clone()) & 0o777, 0o750);
}

#[test]
fn a_long_line_is_shown_before_its_end() {
    let mut fixture = Fixture::new();
    fixture.add(&vec![b'x'; LONGEST_LINE]);
    fixture.step(false);
    assert_eq!(fixture.shown().len(), LONGEST_LINE);
}

#[test]
fn the_log_copies_of_a_run_remain_for_a_while_after_its_end() {
    let mut fixture = Fixture::new();
    fixture.add(b"one\n");
    fixture.step(false);
    fixture.add(b"two, and half a li");
    fixture.copies.step(&[]);
    assert_eq!(fixture.shown(), "one\ntwo, and half a li");
    let run = fixture.copies.runs.get_mut(&7).expect("it stays");
    run.ended = run.ended.and_then(|at| at.checked_sub(STAY));
    fixture.copies.step(&[]);
    assert!(!fixture.copies.dir.join("7").exists());
}

#[test]
fn the_next_start_removes_leftovers_and_follows_no_link() {
    let dir = camino_tempfile::tempdir().expect("a directory");
    let left = dir.path().join("running/3");
    fs_err::create_dir_all(&left).expect("made");
    fs_err::write(left.join("compile.log"), "old").expect("written");
    let follower = Follower::start(dir.path()).expect("started");
    assert!(!left.exists() && dir.path().join(RUNNING).exists());
    drop(follower);
    assert!(
        !dir.path().join(RUNNING).exists(),
        "nothing stays after a stop"
    );
    let is_own = || crate::daemon::is_own_dir(dir.path(), RUNNING);
    let follower = Follower::start(dir.path()).expect("started");
    assert!(is_own());
    drop(follower);
    assert!(!is_own());
    let victim = dir.path().join("victim");
    fs_err::create_dir(&victim).expect("made");
    fs_err::write(victim.join("file"), "precious").expect("written");
    fs_err::os::unix::fs::symlink(&victim, dir.path().join(RUNNING)).expect("a symlink");
    assert!(!is_own(), "a link is not the service's directory");
    drop(Follower::start(dir.path()).expect("started"));
    assert!(victim.join("file").exists());
}
