//! `status --watch` as shown on a terminal.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use vt100::{Color, Parser};

use super::hostile::ends_in_time;
use super::{Daemon, Site, holding};
use crate::harness::{around, at_terminal, run, tool, wait_or_show};

const ROWS: NonZero<u16> = NonZero::new(11).expect("rows");
const COLUMNS: NonZero<u16> = NonZero::new(74).expect("columns");

/// A shell on a terminal of this size that prints a text, runs a command, and then prints its status and the terminal's settings.
const SESSION: &str = r#"
trap : INT
stty rows 11 cols 74
before=$(stty -g)
seq 20
"$@"
code=$?
now=changed
test "$(stty -g)" != "$before" || now=unchanged
echo "ended with $code, the terminal is $now"
"#;

/// A terminal and its content.
struct Terminal {
    script: Daemon,
    keys: ChildStdin,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    fn start(command: &Command) -> Self {
        let shell = around(tool("sh", ["-c", SESSION, "sh"]), command);
        let mut script = at_terminal(&shell);
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = Daemon(script.spawn().expect("script of util-linux (bsdutils)"));
        let keys = script.0.stdin.take().expect("a pipe");
        let mut output = script.0.stdout.take().expect("a pipe");
        let screen = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no panic").process(&bytes[..count]);
            }
        });
        Self {
            script,
            keys,
            screen,
        }
    }

    /// The rows on the terminal, to the last one with a text.
    fn rows(&self) -> Vec<String> {
        let parser = self.screen.lock().expect("no panic");
        let rows = parser.screen().rows(0, COLUMNS.get());
        let mut rows: Vec<_> = rows.map(|row| row.trim_end().to_owned()).collect();
        let last = rows.iter().rposition(|row| !row.is_empty());
        rows.truncate(last.map_or(0, |last| last + 1));
        rows
    }

    /// Waits until the rows satisfy the condition.
    #[track_caller]
    fn until(&self, what: &str, so: impl Fn(&[&str]) -> bool) {
        let shown = || {
            let rows = self.rows();
            so(&rows.iter().map(String::as_str).collect::<Vec<_>>())
        };
        wait_or_show(what, shown, || format!("{:#?}", self.rows()));
    }

    /// The colour of the first character of this text in a row.
    fn color(&self, row: usize, text: &str) -> Color {
        let column = self.rows()[row].find(text).expect(text);
        let parser = self.screen.lock().expect("no panic");
        let [row, column] = [row, column].map(|at| u16::try_from(at).expect("a small number"));
        parser.screen().cell(row, column).expect("a cell").fgcolor()
    }
}

/// True if a row contains the time.
fn is_time(row: &str) -> bool {
    chrono::NaiveDateTime::parse_from_str(row, "%Y-%m-%d %H:%M:%S").is_ok()
}

#[test]
fn a_terminal_shows_only_the_current_builds() {
    let site = Site::new("", "");
    let small = &site.small;
    let recipe = fs_err::read_to_string(small.at("recipe.toml")).expect("a recipe");
    let waits = format!(
        "mkdir -p wheels\nwhile [ -e {}/compiles ]; do sleep 0.05; done\n",
        small.dir.path()
    );
    fs_err::write(
        small.at("recipe.toml"),
        recipe.replace("mkdir -p wheels\n", &waits),
    )
    .expect("a recipe");
    let image = holding(small.dir.path());
    small.commit(
        "image.sh",
        &format!("{image}for i in $(seq 9); do echo \"line\t$i\"; done\nexit 7\n"),
    );
    for name in ["compiles", "hold"] {
        fs_err::write(small.at(name), "").expect("a file");
    }
    let daemon = site.start();
    site.until_file("state.spool/status.json");

    let mut terminal = Terminal::start(&site.stx(&["status", "--watch"]));
    let idle = |rows: &[&str]| matches!(rows, [time, "nothing runs or waits"] if is_time(time));
    terminal.until("the first screen, without what stood there", idle);

    // A running build is a row, which is cut, and is redrawn with each phase.
    let trigger = || {
        let args = ["trigger", "master", "--force", "--reason", "please"];
        run(&mut site.stx(&args)).ok();
    };
    trigger();
    let in_phase = |phase: &str, rows: &[&str]| {
        let [time, build, ..] = rows else {
            return false;
        };
        is_time(time)
            && build.starts_with("runs  master/centos/")
            && build.contains(&format!("  phase {phase} of 3), "))
            && build.ends_with('…')
            && build.chars().count() == usize::from(COLUMNS.get())
    };
    terminal.until("the first phase", |rows| {
        rows.len() == 2 && in_phase("compile (2", rows)
    });
    fs_err::remove_file(small.at("compiles")).expect("a file");
    terminal.until("the next phase", |rows| {
        rows.len() == 2 && in_phase("image (3", rows)
    });

    // Its end: the log is longer than the terminal, and the first rows are still visible.
    fs_err::remove_file(small.at("hold")).expect("a file");
    terminal.until("the failure", |rows| {
        let [time, idle, "", failed, "", log, begin, _, first, more] = rows else {
            return false;
        };
        is_time(time)
            && *idle == "nothing runs or waits"
            && failed.starts_with("master/centos: 20")
            && failed.ends_with(" s: phase image: exit status 7")
            && log.starts_with("the end of the log of phase image, /")
            && log.ends_with('…')
            && begin.starts_with("  20")
            && begin.ends_with('…')
            && first.ends_with("Z line    1")
            && *more == "… 9 more lines"
    });
    assert_eq!(terminal.color(3, "fail in"), Color::Idx(1));
    assert_eq!(terminal.color(0, "20"), Color::Default);

    // The next build is shown above the failure, and its end removes the failure.
    small.commit("image.sh", &image);
    fs_err::write(small.at("hold"), "").expect("a file");
    trigger();
    terminal.until("the next build", |rows| {
        in_phase("image (3", rows) && rows.iter().any(|row| row.contains("exit status 7"))
    });
    fs_err::remove_file(small.at("hold")).expect("a file");
    terminal.until("the success, and nothing of the failure", idle);

    // Ctrl-C.
    terminal.keys.write_all(b"\x03").expect("a key");
    terminal.until("the end", |rows| {
        let [time, "nothing runs or waits", end] = rows else {
            return false;
        };
        is_time(time) && end.ends_with("ended with 130, the terminal is unchanged")
    });
    {
        let parser = terminal.screen.lock().expect("no panic");
        let screen = parser.screen();
        assert!(!screen.hide_cursor() && !screen.alternate_screen());
        assert_eq!(screen.fgcolor(), Color::Default);
        assert_eq!(screen.cursor_position(), (3, 0));
    }
    drop(terminal.keys);
    assert_eq!(terminal.script.end(), Some(0));
    ends_in_time(daemon, "at the end");
}
