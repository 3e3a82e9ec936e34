//! Completions, by the shells themselves.

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{run, stx, tool};

/// A directory with the completions of a shell, and files to complete.
fn place(shell: &str, file: &str) -> (Utf8TempDir, Utf8PathBuf) {
    let dir = Utf8TempDir::new().expect("a directory");
    let script = run(&mut stx(["completions", shell])).ok();
    let file = dir.path().join(file);
    fs_err::write(&file, script).expect("a file");
    fs_err::create_dir(dir.path().join("mirror-here")).expect("a directory");
    fs_err::write(dir.path().join("plan-here"), "").expect("a file");
    (dir, file)
}

/// A line as it is typed, and the text that its last word has to become; `None` where there is nothing to complete.
const LINES: [(&str, Option<&str>); 7] = [
    ("stx-builds pub", Some("publish")),
    ("stx-builds verify --repa", Some("--repair")),
    ("stx-builds list --format js", Some("json")),
    ("stx-builds list --format plan-h", None),
    ("stx-builds recipe ch", Some("check")),
    ("stx-builds list --mirror mirr", Some("mirror-here")),
    ("stx-builds prune --plan plan-h", Some("plan-here")),
];

fn check(shell: &str, offered: impl Fn(&str) -> String) {
    for (line, expected) in LINES {
        let offered = offered(line);
        let words: Vec<_> = offered
            .split_whitespace()
            .map(|word| word.trim_end_matches('/'))
            .collect();
        assert_eq!(words, expected.as_slice(), "{shell}: {line}");
    }
}

#[test]
fn bash_completes() {
    let (dir, file) = place("bash", "stx-builds");
    // As readline calls the function; a directory's own completion by readline is not of it.
    let script = r#"
        compopt() { [[ $2 != plusdirs ]] || mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}"); }
        source "$1"
        read -ra COMP_WORDS <<< "$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
        function=$(complete -p stx-builds | sed -E 's/.*-F ([^ ]+).*/\1/')
        "$function" stx-builds "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    check("bash", |line| {
        let args = ["--norc", "-c", script, "bash", file.as_str(), line];
        run(tool("bash", args).current_dir(dir.path())).ok()
    });
}

#[test]
fn fish_completes() {
    let (dir, file) = place("fish", "stx-builds.fish");
    let script = r"source $argv[1]; complete --do-complete $argv[2] | string replace --regex '\t.*' ''; or true";
    check("fish", |line| {
        let args = ["--no-config", "-c", script, file.as_str(), line];
        let mut fish = tool("fish", args);
        run(fish.current_dir(dir.path()).env("HOME", dir.path())).ok()
    });
}

/// zsh completes on a terminal only: on one that it makes itself, with a program that says how it was called.
#[test]
fn zsh_completes() {
    let (dir, _) = place("zsh", "_stx-builds");
    let script = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PS1= PS2=; setopt no_beep; fpath=('$1' $fpath); autoload -Uz compinit; compinit -u -D'
        zpty -w shell 'stx-builds() { print -r -- "CALL""ED<$*>" }; print be''gin'
        zpty -r shell text $'*begin\r\n*'
        zpty -w shell "$2"$'\t'
        zpty -r shell text '*CALLED<*>*'
        print -r -- "${${text##*CALLED<}%%>*}"
        zpty -d shell
    "#;
    check("zsh", |line| {
        let mut args = vec!["--signal=KILL", "60", "zsh", "-f", "-c", script, "zsh"];
        args.extend([dir.path().as_str(), line]);
        let mut zsh = tool("timeout", args);
        let called = run(zsh.current_dir(dir.path()).env("TERM", "dumb")).ok();
        let completed = called.trim_end().rsplit(' ').next().unwrap_or_default();
        let typed = line.rsplit(' ').next().unwrap_or_default();
        // What could not be completed stays as it was typed.
        let completed = if completed == typed { "" } else { completed };
        completed.to_owned()
    });
}
