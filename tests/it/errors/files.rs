//! Errors of files: missing, of another kind, or owned by another user.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use super::{Bed, CHANNEL, GOOD, RECIPE, answer, row, set_mode};
use crate::harness::{binary, copy_program, package, run, tool};

/// A copy of the program that users without access to the project can run.
pub(super) fn binary_of_everybody() -> Utf8PathBuf {
    static COPY: std::sync::OnceLock<Utf8TempDir> = std::sync::OnceLock::new();
    let dir = COPY.get_or_init(|| {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        fs_err::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("a mode");
        copy_program(&dir.path().join("stx-builds"));
        dir
    });
    dir.path().join("stx-builds")
}

#[test]
fn missing_files_and_files_of_another_type_are_reported() {
    let bed = Bed::new();
    let to = format!("--channel {CHANNEL} --date 20200102T000000Z --result success");
    let publish = |dir: &str| format!("--mirror srv/mirror publish {dir} {to}");
    let rooted = format!("{} --source-root nosuch", publish("tree"));
    let (missing, file, empty, low) = (
        publish("nosuch"),
        publish("text"),
        publish("empty"),
        publish("tree/outputs"),
    );
    bed.check([
        row(&*missing, 5, &["nosuch: there is no such directory"]).without(&["neither"]),
        row(
            &*file,
            5,
            &["text: is not a directory", "inputs/ and outputs/"],
        ),
        row(&*empty, 5, &["empty: holds neither inputs/ nor outputs/"]),
        row(&*low, 5, &["tree/outputs: holds neither", "/tree does"]),
        row(
            &*rooted,
            5,
            &["--source-root nosuch: there is no such directory"],
        ),
        row(
            "--mirror srv/mirror compare nosuch.rpm --with master/centos",
            5,
            &["nosuch.rpm: there is no such file"],
        )
        .without(&["metadata", "os error"]),
        row(
            "--mirror srv/mirror compare text --with master/centos",
            4,
            &["error: text: ", "is it a whole RPM package?"],
        ),
        row(
            "--mirror srv/mirror compare text text",
            2,
            &["packages --with a build"],
        ),
        row(
            "--mirror srv/mirror compare empty --with master/centos",
            5,
            &["empty: no *.rpm, *.deb, *.udeb or *.dsc below it"],
        ),
        row(
            "--mirror srv/mirror fetch master/centos outputs/iso/bootimage.img --to text",
            2,
            &["`--to DIR` names the directory"],
        ),
        row(
            "--mirror srv/mirror prune --plan text",
            2,
            &["text: not a plan of `prune`", "--plan-out"],
        ),
        row(
            "--config nosuch.toml list",
            2,
            &["nosuch.toml", "--config, or STX_BUILDS_CONFIG"],
        ),
        row("manual", 2, &["--to <DIR>"]),
    ]);
    assert!(!bed.path("stx-builds.1").exists());
}

#[test]
fn a_removed_current_directory_is_reported() {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" \"$@\"";
    let stx = |args: &[&str]| {
        let mut shell = tool("sh", ["-c", script, binary().as_str()]);
        run(shell.args(args).current_dir(dir.path())).code(2).stderr
    };
    let list = stx(&["--mirror", "mirror", "list"]);
    assert!(
        list.contains("the current directory cannot be found"),
        "{list}"
    );
    assert!(list.contains("was it removed?"), "{list}");
}

#[test]
fn a_repository_that_contains_itself_is_refused_before_staging() {
    let bed = Bed::new();
    fs_err::create_dir_all(bed.path("tree/outputs/RPMS/std")).expect("a directory");
    fs_err::copy(
        package(),
        bed.path("tree/outputs/RPMS/std/message-1-1.noarch.rpm"),
    )
    .expect("a copy");
    symlink(".", bed.path("tree/outputs/RPMS/std/again")).expect("a link");
    let publish = format!(
        "--mirror srv/mirror publish tree --channel {CHANNEL} --date 20200102T000000Z --result success"
    );
    let loops = [
        "outputs/RPMS/std/again: symlink to \".\", which leads back to itself",
        "nothing was published; correct the tree",
    ];
    bed.check([row(&*publish, 4, &loops).without(&["staging", "goes on"])]);
}

#[test]
fn an_unreadable_file_is_not_reported_as_missing() {
    let bed = Bed::new();
    // `in_memory` makes a directory that other users cannot enter.
    set_mode(bed.dir.path(), 0o755);
    let config = "mirror = \"../srv/mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n[[branch]]\nname = \"master\"\n";
    bed.write("conf/stx-builds.toml", config);
    bed.write("conf/recipe.toml", RECIPE);
    bed.write("conf/state/.service/ledger.sqlite", "");
    bed.write("closed/outputs/file", "x");
    for closed in ["conf/state/.service", "closed"] {
        set_mode(&bed.path(closed), 0o700);
    }
    set_mode(&bed.path("text"), 0o600);
    let whose = "belongs to root (0), and you are nobody (65534)";
    let run_as = "run the command as a user who may do this";
    let ledger = |args| {
        row(
            args,
            2,
            &["ledger.sqlite: Permission denied", whose, run_as],
        )
        .without(&["no ledger", "denied (os error 13): Permission denied"])
    };
    let publish =
        |what: &str| format!("publish {what} --channel {CHANNEL} --date {GOOD} --result fail");
    let (new, open) = (
        format!("--mirror new {}", publish("tree")),
        format!("--mirror srv/mirror {}", publish("tree")),
    );
    let closed = format!("--mirror srv/mirror {}", publish("closed"));
    let rows = [
        ledger("--config conf/stx-builds.toml status"),
        ledger("--config conf/stx-builds.toml history"),
        ledger("--config conf/stx-builds.toml stats master/centos"),
        row(
            &*new,
            4,
            &["the current directory belongs to root (0)", run_as],
        ),
        row(&*open, 4, &[".stx", whose, run_as]).without(&["warning"]),
        row(&*closed, 5, &["closed", "Permission denied", whose]).without(&["neither"]),
        row(
            "--mirror srv/mirror compare text --with master/centos",
            4,
            &["Permission denied", whose],
        )
        .without(&["is it a whole RPM package?"]),
        row(
            "--mirror srv/mirror fetch master/centos outputs/iso/bootimage.img --to closed/x",
            2,
            &[whose],
        )
        .without(&["goes on where it broke off"]),
    ];
    for row in rows {
        answer(&mut bed.stx_as_nobody(&row.args), &row);
    }
    // Now the state is inaccessible, so that the existence of a build is unknown.
    set_mode(&bed.path("conf/state"), 0o700);
    for row in [
        row(
            "--config conf/stx-builds.toml resume master/centos",
            2,
            &[whose],
        )
        .without(&["there is no unfinished build"]),
        row(
            "--config conf/stx-builds.toml cancel master/centos",
            2,
            &[whose],
        )
        .without(&["no build is running"]),
    ] {
        answer(&mut bed.stx_as_nobody(&row.args), &row);
    }
    set_mode(&bed.path("srv/mirror"), 0o700);
    let closed = row(
        "--mirror srv/mirror list",
        4,
        &["srv/mirror belongs to root (0)", run_as],
    );
    answer(&mut bed.stx_as_nobody(&closed.args), &closed);
}
