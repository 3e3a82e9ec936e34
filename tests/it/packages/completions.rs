//! Completions, tested with the shells themselves.

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{binary, run, stx, tool};

/// A recipe with one phase.
const RECIPE: &str = "schema = 1\nname = \"x\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\nrepositories = []\n\
    [[phase]]\nname = \"sync\"\nrun = [\"true\"]\n";

/// A directory with the completions of a shell, files to complete, a mirror and its configuration.
fn place(shell: &str, file: &str) -> (Utf8TempDir, Utf8PathBuf) {
    let dir = Utf8TempDir::new().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| fs_err::write(at(name), text).expect("a file");
    let script = run(&mut stx(["completions", shell])).ok();
    write(file, &script);
    write("plan-here", "");
    for name in [
        "master/centos/20200101T000000Z/outputs/iso",
        "release/2018.10/centos/20181030T000000Z/outputs/iso",
    ] {
        fs_err::create_dir_all(at("mirror-here").join(name)).expect("a directory");
    }
    let alias = at("mirror-here/master/centos/latest_build");
    fs_err::os::unix::fs::symlink("20200101T000000Z", alias).expect("an alias");
    write("recipe.toml", RECIPE);
    let config = "mirror = \"mirror-here\"\nrecipe = \"recipe.toml\"\n[service]\n[[branch]]\nname = \"f/new\"\n";
    write("stx-builds.toml", config);
    let file = at(file);
    (dir, file)
}

/// The search path of a shell that finds the program.
fn path() -> String {
    let dir = binary().parent().expect("a directory");
    format!("{dir}:{}", std::env::var("PATH").unwrap_or_default())
}

/// A typed line, and the expected completion of its last word; `None` if there is none.
const LINES: [(&str, Option<&str>); 18] = [
    ("stx-builds pub", Some("publish")),
    ("stx-builds verify --repa", Some("--repair")),
    ("stx-builds list --format js", Some("json")),
    ("stx-builds list --format plan-h", None),
    ("stx-builds recipe ch", Some("check")),
    ("stx-builds list --mirror mirr", Some("mirror-here")),
    ("stx-builds prune --plan plan-h", Some("plan-here")),
    // Names on the mirror and in the configuration.
    ("stx-builds pins mas", Some("master/centos")),
    ("stx-builds explain rel", Some("release/2018.10/centos")),
    (
        "stx-builds show master/centos/2020",
        Some("master/centos/20200101T000000Z"),
    ),
    (
        "stx-builds verify master/centos/lat",
        Some("master/centos/latest_build"),
    ),
    (
        "stx-builds fetch master/centos outputs/",
        Some("outputs/iso"),
    ),
    (
        "stx-builds compare a --with master/centos --phase sy",
        Some("sync"),
    ),
    ("stx-builds trigger f/", Some("f/new")),
    // The files of options are not builds, and each directory is relative to the one before.
    (
        "stx-builds fetch --keyring ./k.asc master/centos outputs/",
        Some("outputs/iso"),
    ),
    (
        "stx-builds -C mirror-here -C .. pins mas",
        Some("master/centos"),
    ),
    // No remote mirror is contacted, and an error is silent.
    ("stx-builds --mirror https://127.0.0.1:1/ pins mas", None),
    ("stx-builds --config gone.toml pins mas", None),
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
    // As readline calls the function; readline itself completes directories.
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
        let ran = run(tool("bash", args)
            .current_dir(dir.path())
            .env("PATH", path()));
        assert_eq!(ran.stderr, "", "{line}");
        ran.ok()
    });
}

/// The same with a real readline, on a terminal that zsh creates.
#[test]
fn bash_completes_on_a_terminal() {
    let (dir, file) = place("bash", "stx-builds");
    let script = r#"
        zmodload zsh/zpty
        zpty shell bash --norc --noprofile -i
        zpty -w shell "source $1"
        zpty -w shell 'PS1=; show() { printf "LI""NE<%s>\n" "$READLINE_LINE"; }; bind -x "\"\C-o\": show"; echo be""gin'
        zpty -r shell text $'*begin\r\n*'
        zpty -w -n shell $'stx-builds show master/centos/2020\t\x0f'
        zpty -r shell text '*LINE<*>*'
        print -r -- "${${text##*LINE<}%%>*}"
        zpty -d shell
    "#;
    let args = [
        "--signal=KILL",
        "60",
        "zsh",
        "-f",
        "-c",
        script,
        "zsh",
        file.as_str(),
    ];
    let mut zsh = tool("timeout", args);
    zsh.current_dir(dir.path())
        .env("TERM", "dumb")
        .env("PATH", path());
    let shown = run(&mut zsh).ok();
    assert_eq!(
        shown.trim_end(),
        "stx-builds show master/centos/20200101T000000Z"
    );
}

/// The user waits for completions. The test measures processor time, which does not depend on other load of the machine.
#[test]
fn a_completion_is_fast() {
    let (dir, _) = place("bash", "stx-builds");
    for build in 0..2000 {
        let (month, day, second) = (build / 200 + 1, build / 10 % 20 + 1, build % 10);
        let name = format!("mirror-here/master/centos/2019{month:02}{day:02}T{second:06}Z");
        fs_err::create_dir(dir.path().join(name)).expect("a build");
    }
    let script = r"
        export STX_BUILDS_COMPLETE=bash _CLAP_COMPLETE_INDEX=2
        for n in {1..20}; do stx-builds -- stx-builds show master/centos/ > words; done
        times
    ";
    let mut bash = tool("bash", ["--norc", "-c", script]);
    let times = run(bash.current_dir(dir.path()).env("PATH", path())).ok();
    // The alias, and only the newest builds.
    let words = fs_err::read_to_string(dir.path().join("words")).expect("words");
    assert_eq!(words.lines().count(), 51, "{words}");
    // The second line is about the children: user and system time, as `0m0.250s`.
    let children = times.lines().nth(1).expect("two lines").split(' ');
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').expect("a time");
        60.0 * minutes.parse::<f64>().expect("minutes") + seconds.parse::<f64>().expect("seconds")
    };
    let each = children.map(seconds).sum::<f64>() / 20.0;
    assert!(each < 0.05, "a completion takes {each} s");
}

#[test]
fn fish_completes() {
    let (dir, file) = place("fish", "stx-builds.fish");
    let script = r"source $argv[1]; complete --do-complete $argv[2] | string replace --regex '\t.*' ''; or true";
    check("fish", |line| {
        let args = ["--no-config", "-c", script, file.as_str(), line];
        let mut fish = tool("fish", args);
        run(fish
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .env("PATH", path()))
        .ok()
    });
}

/// zsh completes only on a terminal: on one that it creates itself, with a key that prints the line.
#[test]
fn zsh_completes() {
    let (dir, _) = place("zsh", "_stx-builds");
    let script = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PS1= PS2=; setopt no_beep; fpath=('$1' $fpath); autoload -Uz compinit; compinit -u -D'
        zpty -w shell 'show() { print -r -- "LI""NE<$BUFFER>" }; zle -N show; bindkey "^O" show; print be''gin'
        zpty -r shell text $'*begin\r\n*'
        zpty -w -n shell "$2"$'\t\x0f'
        zpty -r shell text '*LINE<*>*'
        print -r -- "${${text##*LINE<}%%>*}"
        zpty -d shell
    "#;
    check("zsh", |line| {
        let mut args = vec!["--signal=KILL", "60", "zsh", "-f", "-c", script, "zsh"];
        args.extend([dir.path().as_str(), line]);
        let mut zsh = tool("timeout", args);
        zsh.current_dir(dir.path())
            .env("TERM", "dumb")
            .env("PATH", path());
        let shown = run(&mut zsh).ok();
        let completed = shown.trim_end().rsplit(' ').next().unwrap_or_default();
        let typed = line.rsplit(' ').next().unwrap_or_default();
        // Without a completion, the line stays as typed.
        let completed = if completed == typed { "" } else { completed };
        completed.to_owned()
    });
}
