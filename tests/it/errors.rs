//! Wrong inputs, and the words that answer them: where, why, and what to do next.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{binary, in_memory, package, run, stx, tool};

const CHANNEL: &str = "master/centos";
const GOOD: &str = "20200101T000000Z";

/// A recipe whose one phase fails.
const RECIPE: &str = "schema = 1\nname = \"demo\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\nrepositories = []\n\
    [[phase]]\nname = \"sync\"\nrun = [\"false\"]\n";

/// A directory with a mirror in `srv/mirror`, and with what may be taken for one.
struct Bed {
    dir: Utf8TempDir,
}

/// What one command has to answer.
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

    /// The same as somebody who owns nothing here.
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

/// The program where also somebody who may not enter the project can run it.
fn binary_of_everybody() -> Utf8PathBuf {
    static COPY: std::sync::OnceLock<Utf8TempDir> = std::sync::OnceLock::new();
    let dir = COPY.get_or_init(|| {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        fs_err::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("a mode");
        fs_err::copy(binary(), dir.path().join("stx-builds")).expect("a copy");
        dir
    });
    dir.path().join("stx-builds")
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

/// Lets everybody enter a directory and what is in it, or nobody but its owner.
fn set_mode(path: &Utf8Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn a_place_that_is_no_mirror_says_where_one_is() {
    let bed = Bed::new();
    let mirror = bed.path("srv/mirror");
    // A copy as `rsync` makes it has no private area.
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
    bed.check([
        row(
            "--mirror other list",
            5,
            &["other is not a mirror", none, "holds the channels"],
        ),
        row("--mirror other verify", 5, &[none]),
        row("--mirror other prune", 5, &[none]),
        row("--mirror other pages", 5, &[none]),
        row("serve other --port 0", 5, &[none]),
        row("copy other new", 5, &[none]),
        row(
            "--mirror srv list",
            5,
            &[none, "a mirror lies below it", "the mirror is srv/mirror"],
        ),
        row(
            "--mirror srv/mirror/master list",
            5,
            &["it lies within the mirror", &is],
        ),
        row(
            "--mirror srv/mirror/master/centos show master/centos/latest_build",
            5,
            &[&is],
        ),
        row(&*within, 5, &["it lies within the mirror", &is]),
        row(&*around, 5, &["a mirror lies below it"]),
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
fn names_of_builds_and_channels_that_are_not_there() {
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
            // Its newest good build, as everywhere.
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
fn files_that_are_not_there_or_are_something_else() {
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
            2,
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
            &["empty: no *.rpm below it"],
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
fn a_repository_that_holds_itself_is_refused_before_anything_is_staged() {
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
        "outputs/RPMS/std/again: symlink to \".\", which never ends",
        "nothing was published; mend the tree",
    ];
    bed.check([row(&*publish, 4, &loops).without(&["staging", "goes on"])]);
}

#[test]
fn what_somebody_may_not_see_is_not_called_absent() {
    let bed = Bed::new();
    // `in_memory` makes a directory that nobody else may enter.
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
            2,
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
    // Now nothing of the state can be seen, and nobody knows whether a build is there.
    set_mode(&bed.path("conf/state"), 0o700);
    for row in [
        row(
            "--config conf/stx-builds.toml resume master/centos",
            2,
            &[whose],
        )
        .without(&["no build is unfinished"]),
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

/// A web server that answers everything below `/404/` with that, and everything else with a page for people.
fn web() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            // The rest of the request.
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let status = if first.starts_with("GET /404/") {
                "404 Not Found"
            } else {
                "200 OK"
            };
            let body = "\n<!DOCTYPE html><html><body>Please log in</body></html>";
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // Who asked may be gone.
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_web_page_is_not_called_broken_json() {
    let bed = Bed::new();
    let web = web();
    let page = [
        "the server answered with a web page",
        "no login or proxy in between?",
    ];
    let at = |args: &str| format!("--mirror {web}/html {args}");
    let (list, show, verify) = (
        at("list"),
        at("show master/centos/latest_build"),
        at("verify"),
    );
    let fetch = at("fetch master/centos/20200101T000000Z iso --to out");
    let missing = format!("--mirror {web}/404/mirror list");
    let missing_root = row(&*missing, 5, &["is not a mirror", "index.json: not found"]);
    let row = |args| row(args, 4, &page).without(&["line 1"]);
    bed.check([row(&list), row(&show), row(&verify), row(&fetch)]);
    bed.check([missing_root]);
}

#[test]
fn a_url_within_a_mirror_names_the_mirror() {
    let bed = Bed::new();
    let mut serve = bed.stx("serve srv/mirror --port 0");
    let mut child = serve
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut url).expect("a line");
    let url = url.trim().to_owned();
    let is = format!("the mirror is {url}");
    let (master, channel) = (
        format!("--mirror {url}master list"),
        format!("--mirror {url}master/centos list"),
    );
    bed.check([
        row(&*master, 5, &["is not a mirror", &is]),
        row(
            &*channel,
            5,
            &["its index.json is that of the channel master/centos", &is],
        ),
    ]);
    child.kill().expect("ended");
    child.wait().expect("ended");
}

#[test]
fn every_mistake_of_every_file_is_in_one_list() {
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
    let lines: Vec<_> = ran.stderr.lines().collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            line.trim_start_matches("error: ")
                .replace(&format!("{dir}/"), "DIR/")
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    // What only a build needs may be readable by the service's user alone.
    bed.write(
        "keys/stx-builds.toml",
        "mirror = \"../srv/mirror\"\n[service]\n[signing]\nkey_file = \"nosuch.key\"\n",
    );
    let warned = ["warning: no build could be published", "keys/nosuch.key"];
    bed.check([row(
        "--config keys/stx-builds.toml daemon --check",
        0,
        &warned,
    )]);
    // The other commands find those of the file itself.
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
    bed.write("conf/hook", "#!/bin/sh\ncat > \"$0.told\"\n");
    set_mode(&bed.path("conf/hook"), 0o755);
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
    let end = Instant::now() + Duration::from_mins(2);
    // A build that fails is told to the hook; the first commit starts it.
    let there = ["conf/hook.told", "conf/metrics.prom", "conf/spool"];
    while !there.iter().all(|name| bed.path(name).exists()) {
        let said = service.try_wait().expect("a child");
        assert!(
            said.is_none() && Instant::now() < end,
            "{said:?}, {there:?} are to be there"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    service.kill().expect("ended");
    service.wait().expect("ended");
}
