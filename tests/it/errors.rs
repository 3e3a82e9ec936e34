//! Wrong inputs and the answers to them: the place, the reason, and the next step.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{around, in_memory, run, stx, tool, wait, write_script};

mod files;
mod unconfigured;
mod web;

use files::binary_of_everybody;

const CHANNEL: &str = "master/centos";
const GOOD: &str = "20200101T000000Z";

/// A recipe whose only phase fails.
const RECIPE: &str = "schema = 1\nname = \"demo\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\nrepositories = []\n\
    [[phase]]\nname = \"sync\"\nrun = [\"false\"]\n";

/// A directory with a mirror in `srv/mirror`, and with directories that may be mistaken for one.
struct Bed {
    dir: Utf8TempDir,
}

/// The expected answer of one command.
struct Row {
    args: String,
    code: i32,
    /// Words of its output, of both streams.
    says: Vec<String>,
    /// Words that would mislead.
    silent: Vec<String>,
}

fn row(args: impl Into<String>, code: i32, says: &[&str]) -> Row {
    Row {
        args: args.into(),
        code,
        says: says.iter().map(ToString::to_string).collect(),
        silent: Vec::new(),
    }
}

impl Row {
    /// The same without these words.
    fn without(mut self, words: &[&str]) -> Self {
        self.silent = words.iter().map(ToString::to_string).collect();
        self
    }
}

impl Bed {
    fn new() -> Self {
        let bed = Self { dir: in_memory() };
        bed.write("tree/outputs/iso/bootimage.img", "an image");
        bed.write("tree/inputs/source.tar", "a download");
        bed.write("text", "not a package");
        for dir in ["empty", "other/etc"] {
            fs_err::create_dir_all(bed.path(dir)).expect("a directory");
        }
        let publish = format!(
            "--mirror srv/mirror publish tree --channel {CHANNEL} --date {GOOD} --result success"
        );
        run(&mut bed.stx(&publish)).code(0);
        bed
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, text).expect("a file");
    }

    /// The program with the words of `args`, in this directory.
    fn stx(&self, args: &str) -> Command {
        let mut command = stx(args.split(' '));
        command.current_dir(self.dir.path());
        command
    }

    /// The same as a user who owns nothing here.
    fn stx_as_nobody(&self, args: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(binary_of_everybody())
            .args(args.split(' '))
            .env_clear()
            .current_dir(self.dir.path());
        command
    }

    #[track_caller]
    fn check(&self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            answer(&mut self.stx(&row.args), &row);
        }
    }
}

#[track_caller]
fn answer(command: &mut Command, row: &Row) {
    let ran = run(command).code(row.code);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for words in &row.says {
        assert!(
            said.contains(words.as_str()),
            "{}: {words:?} is missing in\n{said}",
            row.args
        );
    }
    for words in &row.silent {
        assert!(
            !said.contains(words.as_str()),
            "{}: {words:?} is in\n{said}",
            row.args
        );
    }
}

/// Sets the mode of a directory and its content, to open it to all users or only to its owner.
fn set_mode(path: &Utf8Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn a_year_is_accepted_as_the_prefix_of_a_date() {
    let bed = Bed::new();
    for begin in ["2020", "202001", "2020010"] {
        let of = |command: &str| format!("--mirror srv/mirror {command} {CHANNEL}/{begin}");
        let found = [&*format!("{CHANNEL}/{GOOD}")];
        bed.check([row(of("show"), 0, &found), row(of("verify"), 0, &[])]);
    }
    bed.check([
        row(
            format!("--mirror srv/mirror show {CHANNEL}/202002"),
            5,
            &["no build begins with 202002"],
        ),
        row(
            format!("--mirror srv/mirror show {CHANNEL}/202"),
            5,
            &["no such channel"],
        ),
        row(
            "--mirror srv/mirror pin master/centos --reason x --until tomorrow",
            2,
            &["expected a day such as 2018-11-05, or a time such as"],
        ),
    ]);
}

#[test]
fn the_error_of_a_wrong_directory_names_the_nearby_mirror() {
    let bed = Bed::new();
    let mirror = bed.path("srv/mirror");
    // A copy by `rsync` has no private area.
    run(Command::new("cp")
        .args(["-a", mirror.as_str()])
        .arg(bed.path("copy")))
    .code(0);
    fs_err::remove_dir_all(bed.path("copy/.stx")).expect("removed");
    let is = format!("the mirror is {mirror}");
    let none = "is not a mirror: it holds neither `.stx` nor a channel";
    let publish =
        format!("publish tree --channel {CHANNEL} --date 20200102T000000Z --result success");
    let within = format!("--mirror srv/mirror/master {publish}");
    let around = format!("--mirror srv {publish} --dry-run");
    let among = format!("--mirror other {publish}");
    bed.write("other/etc/motd", "a file");
    // The pages would otherwise appear in another site's directory.
    fs_err::create_dir(bed.path("www")).expect("a directory");
    fs_err::write(bed.path("www/index.html"), "mine").expect("a file");
    bed.check([
        row(
            "--mirror other list",
            5,
            &["other is not a mirror", none, "contains the channels"],
        ),
        row("--mirror other verify", 5, &[none]),
        row("--mirror other prune", 5, &[none]),
        row("--mirror other pages", 5, &[none]),
        row("serve other --port 0", 5, &[none]),
        row(
            "serve http://x --port 0",
            2,
            &[
                "http://x: only a mirror in a directory can be served",
                "a web server serves it already",
            ],
        ),
        row("serve s3://x/y --port 0", 2, &["its object store"]),
        row("copy other new", 5, &[none]),
        row(&*among, 5, &[none, "that is empty"]),
        row("copy srv/mirror other", 5, &[none]),
        row("copy srv/mirror www", 5, &[none]),
        row(
            "copy empty srv/mirror --delete",
            5,
            &["empty: holds no build", "mounted"],
        ),
        row(
            "--mirror srv list",
            5,
            &[none, "a mirror is below it", "the mirror is srv/mirror"],
        ),
        row(
            "--mirror srv/mirror/master list",
            5,
            &["it is within the mirror", &is],
        ),
        row(
            "--mirror srv/mirror/master/centos show master/centos/latest_build",
            5,
            &[&is],
        ),
        row(&*within, 5, &["it is within the mirror", &is]),
        row(&*around, 5, &["a mirror is below it"]),
        row(
            "--mirror nosuch list",
            5,
            &["nosuch: not found", "the mirror's root?"],
        ),
        row("--mirror text list", 4, &["text: not a directory"]),
        row(
            "--mirror ftp://host/mirror list",
            2,
            &["no mirror can be reached by ftp", "s3://"],
        ),
        row("copy srv/mirror srv/mirror/", 2, &["are the same mirror"]),
        row("--mirror copy list", 0, &[GOOD]),
        row(
            "--mirror empty list",
            0,
            &["no builds", "empty holds no build yet"],
        ),
    ]);
    assert!(!bed.path("other/.stx").exists() && !bed.path("other/index.html").exists());
    assert!(!bed.path("srv/.stx").exists() && !bed.path("srv/mirror/master/.stx").exists());
}

#[test]
fn an_empty_directory_that_the_configuration_names_becomes_a_mirror() {
    let bed = Bed::new();
    fs_err::create_dir_all(bed.path("new/mirror/lost+found")).expect("a directory");
    bed.write("new/stx-builds.toml", "mirror = \"mirror\"\n");
    let publish = format!(
        "--config new/stx-builds.toml publish tree --channel {CHANNEL} --date {GOOD} --result success"
    );
    bed.check([
        row("--config new/stx-builds.toml list", 0, &["no builds"]),
        row("--config new/stx-builds.toml verify", 0, &["0 builds"]),
        row(
            "--config new/stx-builds.toml prune",
            0,
            &["0 builds retired"],
        ),
        row(&*publish, 0, &["published"]),
        row("--config new/stx-builds.toml list", 0, &[GOOD]),
    ]);
}

#[test]
fn a_new_mirror_is_readable_with_any_umask() {
    let bed = Bed::new();
    let publish = format!(
        "--mirror deep/new publish tree --channel {CHANNEL} --date {GOOD} --result success"
    );
    let shell = tool("sh", ["-c", "umask 077; exec \"$@\"", "sh"]);
    run(&mut around(shell, &bed.stx(&publish))).code(0);
    for (path, mode) in [
        ("deep", 0o755),
        ("deep/new", 0o755),
        ("deep/new/master", 0o755),
        ("deep/new/.stx", 0o700),
    ] {
        let found = fs_err::metadata(bed.path(path)).expect("a directory");
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_directory_at_the_path_of_an_alias_is_reported_and_kept() {
    let bed = Bed::new();
    let alias = bed.path("srv/mirror").join(CHANNEL).join("latest_build");
    fs_err::remove_file(&alias).expect("removed");
    // The result of a copy that follows symlinks.
    let build = bed.path("srv/mirror").join(CHANNEL).join(GOOD);
    run(Command::new("cp").args(["-r", build.as_str(), alias.as_str()])).code(0);
    bed.write("tree/output/lost", "a slip");
    let publish = format!(
        "--mirror srv/mirror publish tree --channel {CHANNEL} --date 20200102T000000Z --result success"
    );
    let why = ["latest_build: it is not a symlink", "move it away"];
    bed.check([
        row(
            &*publish,
            4,
            &[
                "published, but latest_build could not be moved",
                why[0],
                why[1],
                "and not output",
            ],
        ),
        row("--mirror srv/mirror list", 0, &["20200102T000000Z"]),
        row("--mirror srv/mirror verify --repair", 4, &why),
    ]);
    assert!(alias.join("build.json").exists());
    fs_err::remove_dir_all(&alias).expect("removed");
    bed.check([
        row(&*publish, 0, &["latest_build -> 20200102T000000Z"]),
        row("--mirror srv/mirror verify", 0, &["0 findings"]),
    ]);
}

#[test]
fn sums_with_missing_lines_are_not_accepted() {
    let bed = Bed::new();
    let sums = bed
        .path("srv/mirror")
        .join(CHANNEL)
        .join(GOOD)
        .join("SHA256SUMS");
    let text = fs_err::read_to_string(&sums).expect("sums");
    let lines: Vec<_> = text.lines().collect();
    let kept = lines.iter().filter(|line| !line.ends_with("source.tar"));
    let kept: Vec<_> = kept.copied().collect();
    fs_err::write(&sums, kept.join("\n") + "\n").expect("sums");
    let why = format!(
        "SHA256SUMS: it names {} files, and build.json says {}",
        lines.len() - 2,
        lines.len() - 1
    );
    bed.check([
        row(
            "--mirror srv/mirror fetch master/centos ** --to all",
            4,
            &[&why],
        ),
        row("copy srv/mirror new", 4, &[&why, "0 builds copied"]),
    ]);
}

#[test]
fn a_channel_name_cannot_be_that_of_a_page() {
    let bed = Bed::new();
    let to = |channel: &str| {
        format!(
            "--mirror srv/mirror publish tree --channel {channel} --date {GOOD} --result success"
        )
    };
    let why = "is the name of a page, which a channel cannot have";
    bed.check([
        row(to("master/y/index.html"), 4, &["index.html", why]),
        row(to("master/centos/feed.xml") + " --dry-run", 4, &[why]),
        row(to("master/y"), 0, &["published"]),
        row("--mirror srv/mirror verify", 0, &["0 findings"]),
    ]);
}

#[test]
fn a_full_disk_behind_standard_output_is_reported() {
    let bed = Bed::new();
    for args in [
        "--mirror srv/mirror list",
        "--mirror srv/mirror show master/centos",
        "--help",
        "--version",
    ] {
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full");
        let full = full.expect("a device").into_file();
        let mut command = bed.stx(args);
        let child = command.stdout(full).stderr(std::process::Stdio::piped());
        let ended = child
            .spawn()
            .and_then(std::process::Child::wait_with_output);
        let ended = ended.expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{args}: {said}");
        for words in [
            "standard output cannot be written",
            "are kept; only its output is lost",
        ] {
            assert!(said.contains(words), "{args}: {said}");
        }
    }
}

#[test]
fn unknown_builds_and_channels_are_reported() {
    let bed = Bed::new();
    let newest = format!("the newest build of {CHANNEL} is {GOOD}");
    let gone = "master/centos/20200109T000000Z: no such build";
    let known = [
        "master/debian: no such channel",
        "the mirror holds: master/centos",
    ];
    let meant = "did you mean \"master/centos/latest_build\"?";
    bed.check([
        row("--mirror srv/mirror list master/debian", 5, &known),
        row(
            "--mirror srv/mirror list master/cetnos",
            5,
            &["did you mean master/centos?"],
        ),
        row(
            "--mirror srv/mirror list mastre/centos",
            2,
            &["did you mean \"master/centos\"?"],
        ),
        row(
            "--mirror srv/mirror show mastre/centos/latest_build",
            2,
            &["did you mean \"master/centos/latest_build\"?"],
        ),
        row("--mirror srv/mirror pins master/debian", 5, &known),
        row("--mirror srv/mirror verify master/debian", 5, &known),
        row(
            "--mirror srv/mirror since hello --in master/debian",
            5,
            &known,
        ),
        row(
            "--mirror srv/mirror fetch master/debian iso --to out",
            5,
            &known,
        ),
        row(
            "--mirror srv/mirror show master/debian/latest_build",
            5,
            &known,
        ),
        row(
            "--mirror srv/mirror compare master/centos master/debian",
            5,
            &known,
        ),
        row(
            "--mirror srv/mirror show master/centos/20200109T000000Z",
            5,
            &[gone, &newest],
        ),
        row(
            "--mirror srv/mirror verify master/centos/20200109T000000Z",
            5,
            &[gone, &newest],
        ),
        row(
            "--mirror srv/mirror explain master/centos/20200109T000000Z",
            5,
            &[gone, &newest],
        ),
        row(
            // Its newest good build, as in all commands.
            "--mirror srv/mirror show master/centos",
            0,
            &["success", "`latest_build` points at it"],
        ),
        row(
            "--mirror srv/mirror explain master/centos/20200101",
            0,
            &[GOOD],
        ),
        row(
            "--mirror srv/mirror show master/centos/20200109",
            5,
            &["no build begins with 20200109", "list master/centos"],
        ),
        row("--mirror srv/mirror show master/centos/latest", 2, &[meant]),
        row(
            "--mirror srv/mirror show master/centos/latest-build",
            2,
            &[meant],
        ),
        row(
            "--mirror srv/mirror fetch master/centos/latest iso --to out",
            2,
            &[meant],
        ),
        row(
            "--mirror srv/mirror show master/centos/2020-01-01",
            2,
            &["byte 18", "CHANNEL/YYYYMMDDTHHMMSSZ"],
        ),
        row(
            "--mirror srv/mirror show master/centos/latest_good",
            5,
            &["no such alias", "master/centos has latest_build"],
        ),
    ]);
}

#[test]
fn all_mistakes_of_all_files_are_reported_in_one_list() {
    let bed = Bed::new();
    let config = "mirorr = \"x\"\nstate = 3\npolicy = \"policy.toml\"\n[service]\nhooks = [\"x\"]\nmax_builds = 0\n\
        [signing]\nkey_file = \"nosuch.key\"\n[[branch]]\nname = \"mastre\"\n[[branch]]\nname = \"master\"\n\
        recipe = \"recipe.toml\"\nschdule = \"x\"\n[[branch]]\nname = \"f/x\"\nrecipe = \"gone.toml\"\n\
        [place.box]\nkind = \"sssh\"\n";
    bed.write("bad/stx-builds.toml", config);
    bed.write(
        "bad/recipe.toml",
        "schema = 1\nname = \"x\"\ndistr = \"centos\"\n[[phase]]\nname = \"a\"\nrun = \"true\"\n",
    );
    bed.write(
        "bad/policy.toml",
        "[kind.mastre]\nkeep = \"14 days\"\n[limit]\n",
    );
    let ran = run(&mut bed.stx("--config bad/stx-builds.toml daemon --check")).code(2);
    let dir = bed.path("bad");
    let lines = ran.stdout.lines();
    let lines: Vec<_> = lines
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.replace(&format!("{dir}/"), "DIR/"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    bed.write(
        "keys/stx-builds.toml",
        "mirror = \"../srv/mirror\"\n[service]\n[signing]\nkey_file = \"nosuch.key\"\n",
    );
    let missing = ["keys/nosuch.key", "no build can be signed"];
    bed.check([row(
        "--config keys/stx-builds.toml daemon --check",
        2,
        &missing,
    )]);
    // Other commands find the mistakes of the file itself.
    bed.check([row(
        "--config bad/stx-builds.toml list",
        2,
        &[
            ":1:1: unknown key `mirorr`; did you mean `mirror`?",
            ":2:9: `state`",
        ],
    )]);
}

/// A service in `conf/`, started from elsewhere, whose paths are relative to its configuration.
#[test]
fn paths_of_the_configuration_are_relative_to_it() {
    let bed = Bed::new();
    let git = |args: &[&str]| {
        let mut command = tool(
            "git",
            ["-c", "user.name=A", "-c", "user.email=a@example.org"],
        );
        run(command.args(args).current_dir(bed.path("conf/config"))).ok();
    };
    fs_err::create_dir_all(bed.path("conf/config")).expect("a directory");
    git(&["init", "--quiet", "--initial-branch=master"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=one"]);
    let hook = "#!/bin/sh\ncat > \"$0.told\"\n";
    write_script(&bed.path("conf/hook"), hook);
    bed.write("conf/recipe.toml", RECIPE);
    let config = "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n\
        [service]\nhook = [\"./hook\"]\nmetrics = \"metrics.prom\"\nspool = \"spool\"\n\
        [[branch]]\nname = \"master\"\npoll = \"1s\"\nwatch = [\"config\"]\n";
    bed.write("conf/stx-builds.toml", config);
    let mut service = bed
        .stx("--config conf/stx-builds.toml daemon")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    // The hook is notified of a failed build; the first commit starts the build.
    let there = ["conf/hook.told", "conf/metrics.prom", "conf/spool"];
    wait(&format!("{there:?} are there"), || {
        let ended = service.try_wait().expect("a child");
        assert!(ended.is_none(), "the service ended: {ended:?}");
        there.iter().all(|name| bed.path(name).exists())
    });
    service.kill().expect("ended");
    service.wait().expect("ended");
}
