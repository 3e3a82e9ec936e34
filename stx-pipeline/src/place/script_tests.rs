use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;

use super::*;

/// Runs the script of an invocation in a directory of its own, as a place does; what it said, and its result.
#[expect(clippy::disallowed_methods, reason = "a real shell reads the script")]
fn run(invocation: &Invocation) -> (Output, Option<Ended>) {
    let dir = camino_tempfile::tempdir().unwrap();
    let job = Job {
        name: "p.1".into(),
        dir: dir.path().to_owned(),
        lock: dir.path().join("p.lock"),
        owner: (0, 0),
        shared: Vec::new(),
    };
    let file = job.run_script(invocation);
    fs_err::write(&file.path, file.text).unwrap();
    let words = start(&file.path, false);
    // What a login sets is not for the phase.
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["0", "here"])
        .env("LOGIN", "yes")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let result = fs_err::read_to_string(job.result()).ok();
    (output, result.and_then(|text| outcome(&text)))
}

fn invocation(program: &str, args: &[&str], env: &[(&str, &str)]) -> Invocation {
    let mut env: BTreeMap<_, _> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    env.entry("PATH".into()).or_insert("/usr/bin:/bin".into());
    Invocation {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env,
        dir: "/".into(),
        log: "/dev/null".into(),
        timeout: None,
    }
}

#[test]
fn the_phase_sees_its_environment_and_nothing_else() {
    let odd = "two\nlines 'quoted' \"twice\" $HOME `date` \\ \u{e4} * !x";
    let wanted = [
        ("ODD", odd),
        ("EMPTY", ""),
        ("UID", "the shell's own"),
        ("PWD", "/elsewhere"),
        ("IFS", "x"),
        ("not-a-name", "kept"),
    ];
    let invocation = invocation("env", &["-0"], &wanted);
    let (output, result) = run(&invocation);
    assert_eq!(result, Some(Ended::Exited { code: 0 }));
    let seen: BTreeMap<String, String> = String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        .map(|entry| {
            let (name, value) = entry.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    assert_eq!(seen, invocation.env);
}

#[test]
fn how_it_ended_is_told_exactly() {
    let cases = [
        ("exit 0", Ended::Exited { code: 0 }),
        ("exit 7", Ended::Exited { code: 7 }),
        ("exit 137", Ended::Exited { code: 137 }),
        ("exit 255", Ended::Exited { code: 255 }),
        ("kill -KILL $$", Ended::Signalled { signal: 9 }),
        ("kill -TERM $$", Ended::Signalled { signal: 15 }),
        ("kill -PIPE $$", Ended::Signalled { signal: 13 }),
    ];
    for (script, ended) in cases {
        let (output, result) = run(&invocation("bash", &["-c", script], &[]));
        assert_eq!(result, Some(ended), "{script}");
        assert_eq!(output.stderr.as_bstr(), "", "{script}");
    }
}

/// Bytes as people read them.
trait Shown {
    fn as_bstr(&self) -> String;
}

impl Shown for Vec<u8> {
    fn as_bstr(&self) -> String {
        std::ffi::OsStr::from_bytes(self)
            .to_string_lossy()
            .into_owned()
    }
}

#[test]
fn what_cannot_start_is_named() {
    let (_, result) = run(&invocation("no-such-program", &[], &[]));
    assert_eq!(
        result.unwrap().to_string(),
        "not started: no-such-program is not in PATH on here"
    );
    let mut elsewhere = invocation("true", &[], &[]);
    elsewhere.dir = "/no/such/dir".into();
    let (_, result) = run(&elsewhere);
    assert_eq!(
        result.unwrap().to_string(),
        "not started: here cannot enter /no/such/dir"
    );
}

#[test]
fn what_a_phase_leaves_behind_is_ended() {
    let script = "sleep 61 > /dev/null 2>&1 & echo $!; exit 3";
    let (output, result) = run(&invocation("bash", &["-c", script], &[]));
    assert_eq!(result, Some(Ended::Exited { code: 3 }));
    let pid = String::from_utf8(output.stdout).unwrap();
    let state = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()));
    assert!(state.is_err() || state.unwrap().contains(") Z "));
}

#[test]
fn a_text_that_no_script_wrote_is_no_outcome() {
    for text in ["", "exit", "exit x\n", "done 3\n", "signal \n"] {
        assert_eq!(outcome(text), None, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_string_survives(
        args in prop::collection::vec("[^\0]{0,12}", 0..4),
        value in "[^\0]{0,20}",
        odd in r#"['"$`\\!*?~&|;<>(){}\n\t #=-]{0,12}"#,
    ) {
        let mut words = vec!["-c", r#"printf '%s\0' "$VALUE" "$ODD" "$@""#, "sh"];
        words.extend(args.iter().map(String::as_str));
        let invocation = invocation("sh", &words, &[("VALUE", &value), ("ODD", &odd)]);
        let (output, result) = run(&invocation);
        prop_assert_eq!(result, Some(Ended::Exited { code: 0 }));
        let mut wanted = vec![value, odd];
        wanted.extend(args);
        let seen: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(seen.len(), wanted.len() + 1);
        for (seen, wanted) in seen.iter().zip(&wanted) {
            prop_assert_eq!(seen.as_slice(), wanted.as_bytes());
        }
    }
}
