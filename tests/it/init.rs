//! `init`: creates a first configuration that `doctor` accepts, and that builds.

use std::process::Stdio;

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use crate::harness::{assert_whole, at_terminal, builds, in_memory, root, run, stx, tool};

#[test]
fn files_of_init_pass_doctor_and_build_the_sample() {
    let dir = Utf8TempDir::new().expect("a directory");
    let recipe = root().join("recipes/sample/recipe.toml");
    let at = dir.path().join("new");
    let set = format!("recipe={recipe}");
    let written = run(&mut stx(["init", at.as_str(), "--yes", "--set", &set])).ok();
    for words in [
        "stx-builds.toml\n",
        "retention.toml\n",
        "stx-builds doctor",
        "build --branch master",
    ] {
        assert!(written.contains(words), "{words}: {written}");
    }
    let here = |args: &[&str]| {
        let mut command = stx(args.iter().copied());
        command.current_dir(&at);
        run(&mut command)
    };
    // The real disk may be full, which would be a finding.
    let file = at.join("stx-builds.toml");
    let text = fs_err::read_to_string(&file).expect("the configuration");
    let text = text.replace("[service]\n", "[service]\nmin_free_percent = 1\n");
    fs_err::write(&file, text).expect("the configuration");
    let checked = here(&["doctor"]).code(0);
    assert_eq!(checked.stderr, "no problems found\n", "{}", checked.stdout);
    assert!(
        checked
            .stdout
            .contains("master/centos  master  `0 6 * * *`"),
        "{}",
        checked.stdout
    );

    // The next commands are those that it prints.
    let script = root().join("recipes/sample/upstream");
    let prepare = format!("  {script} create upstream\n");
    assert!(written.contains(&prepare), "{prepare}: {written}");
    run(tool(script.as_str(), ["create", "upstream"]).current_dir(&at)).ok();
    let cache = crate::harness::cache();
    let cache = format!("STX_BUILDS_CACHE={cache}");
    here(&["build", "--branch", "master", "--set", &cache]).code(0);
    let mirror = at.join("mirror");
    assert_eq!(builds(&mirror, "master/centos").len(), 1);
    assert_whole(&mirror, "master/centos");
    // With a build on the mirror, there are still no findings.
    let checked = here(&["doctor"]).code(0);
    assert_eq!(checked.stderr, "no problems found\n", "{}", checked.stdout);

    // Two answers to one question are refused.
    let twice = [
        "init", "twice", "--yes", "--set", &set, "--set", "branch=a", "--set", "branch=b",
    ];
    let refused = here(&twice).code(2).stderr;
    assert!(refused.contains("--set branch: given twice"), "{refused}");

    // As a shell parses it.
    let mut elsewhere = stx(["init", "a new one", "--yes", "--set", &set]);
    let written = run(elsewhere.current_dir(dir.path())).ok();
    assert!(written.contains("\n  cd 'a new one'\n"), "{written}");

    // A second call overwrites nothing.
    let before = fs_err::read(at.join("stx-builds.toml")).expect("the configuration");
    let refused = here(&["init", "--yes", "--set", &set, "--set", "mirror=other"]).code(2);
    assert!(
        refused
            .stderr
            .contains("already exists; nothing was written"),
        "{}",
        refused.stderr
    );
    assert!(before == fs_err::read(at.join("stx-builds.toml")).expect("the configuration"));
}

/// The output of `init` on a terminal with these input lines, and its exit status.
fn on_a_terminal(dir: &Utf8Path, more: &str, lines: &str) -> (Option<i32>, String) {
    let command = stx(["init", dir.as_str()]
        .into_iter()
        .chain(more.split_whitespace()));
    let mut child = at_terminal(&command)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script of util-linux (bsdutils)");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, lines.as_bytes()).expect("lines");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).replace('\r', ""),
    )
}

#[test]
fn init_asks_on_a_terminal_until_the_answers_are_valid() {
    let dir = in_memory();
    let recipe = "schema = 1\nname = \"x\"\ndistro = \"debian\"\n[variables]\nWHO = { ask = \"Who commits?\" }\n\
        [source]\nphase = \"sync\"\nrepositories = []\n[[phase]]\nname = \"sync\"\nrun = [\"true\"]\n";
    fs_err::write(dir.path().join("recipe.toml"), recipe).expect("a recipe");
    // Mirror, state, branch (wrong first), schedule, keep, newest, signing, builder, and the recipe's variables.
    let lines = "pub\n\nmastre\nf/new\nnone\n5 days\n\n\n\nme\n";
    let (code, said) = on_a_terminal(dir.path(), "--set recipe=recipe.toml", lines);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "Where is the mirror?\n  the directory that the web server serves",
        "mirror [mirror]: ",
        "expected a branch or tag",
        "Who commits?\n  the recipe asks for WHO",
        "wrote ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(
        !said.contains("Which distribution"),
        "a recipe is given: {said}"
    );
    let text =
        fs_err::read_to_string(dir.path().join("stx-builds.toml")).expect("the configuration");
    for line in [
        "mirror = \"pub\"",
        "state = \"state\"",
        "name = \"f/new\"",
        "#schedule = \"0 6 * * *\"",
        "\"WHO\" = \"me\"",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    let policy = fs_err::read_to_string(dir.path().join("retention.toml")).expect("the policy");
    assert!(policy.contains("keep = \"5 days\""), "{policy}");
    let checked = run(stx(["doctor"]).current_dir(dir.path())).code(0);
    assert_eq!(
        checked.stdout, "feature/new/debian  f/new  on demand\n",
        "{}",
        checked.stderr
    );
    // A wrong answer on the command line is refused before the first question.
    let (code, said) = on_a_terminal(dir.path(), "--set mirorr=pub", "");
    assert!(
        code == Some(2) && said.contains("did you mean `mirror`?") && !said.contains("Where is"),
        "{said}"
    );
}

#[test]
fn init_asks_no_questions_without_a_terminal() {
    let dir = Utf8TempDir::new().expect("a directory");
    let refused = run(stx(["init"]).current_dir(dir.path())).code(2);
    assert!(
        refused.stderr.contains("--yes takes the defaults"),
        "{}",
        refused.stderr
    );
    let debian = root().join("recipes/starlingx-debian-trixie.toml");
    let missing =
        run(stx(["init", "--yes", "--set", &format!("recipe={debian}")]).current_dir(dir.path()))
            .code(2);
    for name in ["GIT_EMAIL", "GIT_USER", "STX_BUILD_HOME"] {
        assert!(
            missing
                .stderr
                .contains(&format!("--set variables.{name}=…")),
            "{}",
            missing.stderr
        );
    }
    assert_eq!(crate::harness::names(dir.path()), Vec::<String>::new());
}
