use std::os::unix::fs::PermissionsExt as _;

use camino_tempfile::tempdir;
use rustix::fs::{CWD, FileType, Mode};

use super::*;

#[test]
fn everything_wrong_is_named() {
    let dir = tempdir().expect("a directory");
    let outputs = dir.path().join("outputs");
    fs::create_dir_all(outputs.join("iso")).expect("made");
    fs::write(outputs.join("iso/good"), "x").expect("written");
    fs::write(outputs.join("setuid"), "x").expect("written");
    fs::set_permissions(
        outputs.join("setuid"),
        std::fs::Permissions::from_mode(0o4755),
    )
    .expect("set");
    fs::write(outputs.join("a%20b"), "x").expect("written");
    rustix::fs::mknodat(
        CWD,
        outputs.join("pipe").as_str(),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .expect("made");
    drop(std::os::unix::net::UnixListener::bind(outputs.join("socket")).expect("bound"));
    for (name, target) in [
        ("kept", "iso/good"),
        ("dir", "iso"),
        ("absolute", "/etc/passwd"),
        ("outside", "../../x"),
        ("dangling", "gone"),
    ] {
        fs::os::unix::fs::symlink(target, outputs.join(name)).expect("made");
    }
    let ScanError::Refused { problems, .. } = scan(dir.path()).expect_err("refused") else {
        panic!("refused")
    };
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_tree_without_inputs_and_outputs_is_refused() {
    let dir = tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "x").expect("written");
    assert!(matches!(scan(dir.path()), Err(ScanError::Empty { .. })));
}

#[tokio::test]
async fn a_changed_file_is_named() {
    let dir = tempdir().expect("a directory");
    fs::create_dir(dir.path().join("inputs")).expect("made");
    fs::write(dir.path().join("inputs/file"), "x").expect("written");
    let incoming = scan(dir.path()).expect("scanned");
    assert!(
        hash(incoming.clone())
            .await
            .expect("hashed")
            .sums()
            .is_some()
    );
    fs::write(dir.path().join("inputs/file"), "longer").expect("written");
    let ScanError::Refused { problems, .. } = hash(incoming).await.expect_err("refused") else {
        panic!("refused")
    };
    assert_eq!(problems[0].kind, ProblemKind::Changed);
}
