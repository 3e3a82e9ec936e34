//! The binary, real tools, and their output.

use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};

use crate::cargo::built;
pub(crate) use crate::waiting::{free_port, wait, wait_for_server, wait_or_show};

/// The root of the project.
pub(crate) fn root() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the project")
}

/// The binary under test, built once per run, from the same crates as the unit tests.
pub(crate) fn binary() -> &'static Utf8Path {
    static BINARY: OnceLock<Utf8PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        crate::watchdog::start();
        built(&["--workspace", "--all-features", "--bin", "stx-builds"])
    })
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The command line.
    pub(crate) command: String,
    /// Its exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test unless the exit status is `code`.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert!(
            self.code == Some(code),
            "{}\nended with {:?}, not {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless it succeeded; returns its standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.code(0).stdout
    }

    /// The JSON document on its standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.command, self.stdout))
    }
}

/// Runs a program with an environment of its own to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ran {
    let shown = format!("{command:?}");
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{shown}: {error}; `scripts/setup.sh test` installs what the tests need")
        });
    Ran {
        command: shown,
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// A program that runs beside the test. If it is dropped while it runs, as by a failed test, it and its phases are ended.
pub(crate) struct Started(Option<Child>);

impl Started {
    #[track_caller]
    pub(crate) fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(Some(
            child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        ))
    }

    /// Waits until it has opened a file below a directory.
    #[track_caller]
    pub(crate) fn until_it_reads(&self, dir: &Utf8Path) {
        let files = format!("/proc/{}/fd", self.id());
        wait(&format!("a file below {dir} is open"), || {
            // It may have ended, which the test notices by its output.
            let open = fs_err::read_dir(&files).into_iter().flatten().flatten();
            let mut targets = open.filter_map(|entry| entry.path().read_link().ok());
            targets.any(|target| target.starts_with(dir))
        });
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> Output {
        let child = self.0.take().expect("taken here only");
        child.wait_with_output().expect("it ends")
    }
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("taken at the end only")
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("taken at the end only")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let Some(child) = &mut self.0 else { return };
        // After a wait, the process id may belong to another program.
        if matches!(child.try_wait(), Ok(None)) {
            kill_process(Pid::from_child(child), Signal::TERM).ok();
            child.wait().ok();
        }
    }
}

/// A real tool with its arguments.
pub(crate) fn tool<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C.UTF-8");
    command
}

/// Copies the program under test, for a user who cannot access the original.
///
/// A child process writes the file: a process that another test starts meanwhile inherits the descriptors of this process, and a file
/// that is open for writing cannot be executed.
pub(crate) fn copy_program(to: &Utf8Path) {
    run(&mut tool("cp", [binary(), to])).ok();
}

/// Writes an executable script; a child process does, as in [`copy_program`].
pub(crate) fn write_script(path: &Utf8Path, text: &str) {
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    run(&mut tool("sh", ["-c", write, path.as_str(), text])).ok();
}

/// `stx-builds` with a clean environment.
pub(crate) fn stx<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env_clear().current_dir(root());
    for name in [
        "PATH",
        "HOME",
        "USER",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "STX_BUILDS_CACHE",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A tool that runs a command, in the command's directory.
pub(crate) fn around(mut tool: Command, command: &Command) -> Command {
    tool.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        tool.current_dir(dir);
    }
    tool
}

/// A command on a terminal, by util-linux' `script`, with the exit status of the command. Both of its output streams become standard
/// output; input to `script` is typed.
pub(crate) fn at_terminal(command: &Command) -> Command {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words = words.map(|word| word.to_str().expect("text").replace('\'', r"'\''"));
    let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    // Programs that a shell runs in the background, such as these tests, ignore SIGINT; programs on a terminal do not.
    let line = format!("exec env --default-signal=INT {}", words.join(" "));
    let mut script = tool("script", ["-qec", &line, "/dev/null"]);
    if let Some(dir) = command.get_current_dir() {
        script.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    // `CI` also enables colours.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        script.env_remove(name);
    }
    script.env("TERM", "xterm");
    script
}

/// The arguments that publish a tree as a build.
pub(crate) fn publish_args<'a>(
    tree: &'a str,
    channel: &'a str,
    date: &'a str,
    result: &'a str,
) -> [&'a str; 8] {
    [
        "publish",
        tree,
        "--channel",
        channel,
        "--date",
        date,
        "--result",
        result,
    ]
}

/// `stx-builds` with a clean environment and without catalog pages, which are derived data, for tests of everything else.
pub(crate) fn stx_without_pages<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    static CONFIG: OnceLock<camino_tempfile::Utf8TempDir> = OnceLock::new();
    let dir = CONFIG.get_or_init(|| {
        let dir = in_memory();
        fs_err::write(dir.path().join("config.toml"), "[site]\nenabled = false\n").expect("a file");
        dir
    });
    let mut command = stx(args);
    command.env("STX_BUILDS_CONFIG", dir.path().join("config.toml"));
    command
}

/// The directory of the files that `scripts/setup.sh` installs without a package.
pub(crate) fn cache() -> Utf8PathBuf {
    let variable = |name: &str| std::env::var(name).ok().map(Utf8PathBuf::from);
    variable("STX_BUILDS_CACHE").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME");
        let home = || variable("HOME").expect("HOME").join(".cache");
        cache.unwrap_or_else(home).join("stx-builds")
    })
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Utf8Path) -> Vec<String> {
    let Ok(entries) = dir.read_dir_utf8() else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").file_name().to_owned())
        .collect();
    names.sort();
    names
}

/// The dated builds of a channel, oldest first.
pub(crate) fn builds(mirror: &Utf8Path, channel: &str) -> Vec<String> {
    let mut names = names(&mirror.join(channel));
    names.retain(|name| name.parse::<stx_layout::BuildDate>().is_ok());
    names
}

/// Fails the test unless every visible build is complete by coreutils' `sha256sum -c`, contains no file outside of its sums except
/// these and their signature, and every alias is a relative symlink to a success.
#[track_caller]
pub(crate) fn assert_whole(mirror: &Utf8Path, channel: &str) {
    for build in builds(mirror, channel) {
        let dir = mirror.join(channel).join(&build);
        run(tool(
            "sha256sum",
            ["--check", "--strict", "--quiet", "SHA256SUMS"],
        )
        .current_dir(&dir))
        .ok();
        let sums = fs_err::read_to_string(dir.join("SHA256SUMS")).expect("sums");
        for entry in walkdir::WalkDir::new(&dir) {
            let entry = entry.expect("a readable tree");
            if entry.file_type().is_file() {
                let path = entry
                    .path()
                    .strip_prefix(&dir)
                    .expect("below")
                    .to_str()
                    .expect("UTF-8")
                    .to_owned();
                assert!(
                    ["SHA256SUMS", "SHA256SUMS.asc"].contains(&path.as_str())
                        || sums.lines().any(|line| line.get(66..) == Some(&path)),
                    "{dir}: {path} is in no sum"
                );
            }
        }
    }
    for name in names(&mirror.join(channel))
        .iter()
        .filter(|name| name.starts_with("latest_"))
    {
        let alias = mirror.join(channel).join(name);
        let target = alias.read_link_utf8().expect("an alias is a symlink");
        assert_eq!(
            target.components().count(),
            1,
            "{alias} -> {target} is not relative to its channel"
        );
        assert!(
            alias.join("outputs/success").is_file(),
            "{alias} -> {target} is no success"
        );
    }
}

/// A small package, built once per run of the tests.
pub(crate) fn package() -> &'static Utf8Path {
    static PACKAGE: OnceLock<Utf8PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let dir = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
        fs_err::create_dir_all(&dir).expect("a directory");
        let spec = dir.join("message.spec");
        let text = "Name: message\nVersion: 1\nRelease: 1\nSummary: A message\nLicense: Apache-2.0\nBuildArch: noarch\n\
            %description\nA message.\n%install\nmkdir -p %{buildroot}/etc\necho hello > %{buildroot}/etc/message\n\
            %files\n/etc/message\n";
        fs_err::write(&spec, text).expect("a file");
        let top = format!("_topdir {dir}");
        let host = "_buildhost builder";
        let defines = ["--define", &top, "--define", host];
        run(tool("rpmbuild", ["-bb", "--quiet"]).args(defines).arg(&spec)).ok();
        let package = dir.join("RPMS/noarch/message-1-1.noarch.rpm");
        assert!(package.is_file(), "rpmbuild makes {package}");
        package
    })
}

/// A directory in memory: independent of the disk's speed, and of other processes' pending writes.
pub(crate) fn in_memory() -> camino_tempfile::Utf8TempDir {
    camino_tempfile::Utf8TempDir::new_in("/dev/shm").expect("a directory in memory, at /dev/shm")
}
