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
    let gone = scan(&dir.path().join("gone"));
    assert!(matches!(gone, Err(ScanError::Missing { .. })), "{gone:?}");
    let file = scan(&dir.path().join("file"));
    assert!(
        matches!(file, Err(ScanError::NotADirectory { .. })),
        "{file:?}"
    );
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

#[test]
fn symlinks_below_a_source_root_are_followed_and_others_are_not() {
    let dir = tempdir().expect("a directory");
    let (tree, root) = (dir.path().join("tree"), dir.path().join("import"));
    for made in ["tree/inputs/RPMS", "import/sub", "other"] {
        fs::create_dir_all(dir.path().join(made)).expect("made");
    }
    for (file, text) in [
        ("import/a.rpm", "a"),
        ("import/sub/b.rpm", "b"),
        ("other/c", "c"),
    ] {
        fs::write(dir.path().join(file), text).expect("written");
    }
    let link = |target: &Utf8Path, name: &Utf8Path| {
        fs::os::unix::fs::symlink(target, name).expect("made");
    };
    link("b.rpm".into(), &root.join("sub/kept"));
    // As published in another place, this link would point to another file.
    link("../a.rpm".into(), &root.join("sub/up"));
    link("../../other/c".into(), &root.join("sub/out"));
    let rpms = tree.join("inputs/RPMS");
    link(&root.join("a.rpm"), &rpms.join("a.rpm"));
    link("../../../import/sub".into(), &rpms.join("sub"));
    let found = survey(&tree, std::slice::from_ref(&root)).expect("surveyed");
    let problems: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["inputs/RPMS/sub/out: symlink to \"../../other/c\", outside of the tree"]
    );
    let entries: Vec<_> = found
        .incoming
        .entries
        .iter()
        .map(|(path, entry)| match entry {
            Entry::File { source, .. } => {
                format!(
                    "{path}: {}",
                    source.strip_prefix(dir.path()).expect("below")
                )
            }
            Entry::Symlink { target } => format!("{path} -> {target}"),
            Entry::Generated(_) => unreachable!("nothing is made"),
        })
        .collect();
    insta::assert_snapshot!(entries.join("\n"), @r"
    inputs/RPMS/a.rpm: import/a.rpm
    inputs/RPMS/sub/b.rpm: import/sub/b.rpm
    inputs/RPMS/sub/kept -> b.rpm
    inputs/RPMS/sub/up: import/a.rpm
    ");
    assert_eq!(survey(&tree, &[]).expect("surveyed").problems.len(), 2);
    link(&dir.path().join("other/c"), &rpms.join("c"));
    link(&root, &root.join("sub/loop"));
    let problems = survey(&tree, &[root]).expect("surveyed").problems;
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(
        paths,
        [
            "inputs/RPMS/c",
            "inputs/RPMS/sub/loop",
            "inputs/RPMS/sub/out"
        ]
    );
}
