//! `init`: ask on a terminal, and write a first configuration.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use stx_builds::init::{self, Answers, InitPlan, Question};
use stx_builds::options::{MirrorLocation, absolute};

use super::Context;
use crate::args::Init;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(context: &Context, args: &Init) -> Result<(), Failure> {
    let mirror = context.global.mirror.first();
    let mirror = mirror.map(|mirror| match MirrorLocation::of(mirror) {
        // The configuration may be in another directory.
        MirrorLocation::Directory => absolute(mirror).map(Utf8PathBuf::into_string),
        MirrorLocation::Bucket | MirrorLocation::Web => Ok(mirror.to_string()),
    });
    let mirror = mirror
        .transpose()?
        .map(|mirror| ("mirror".to_owned(), mirror));
    let set: Vec<_> = args.set.iter().cloned().chain(mirror).collect();
    let given = given(&set)?;
    let answers = if args.yes {
        given
    } else if io::stdin().is_terminal() {
        init::check_given(&args.dir, &given)?;
        ask(&args.dir, given)?
    } else {
        return Err(Failure::usage(
            "standard input is not a terminal, so no question can be answered",
        )
        .hint("--yes takes the defaults, and --set KEY=VALUE gives answers"));
    };
    let plan = init::plan(&args.dir, &answers)?;
    plan.write()?;
    output::print(context.format(), &plan, || next(&args.dir, &plan))
}

/// The answers of `--set`, one for each question.
fn given(set: &[(String, String)]) -> Result<Answers, Failure> {
    let mut given = Answers::new();
    for (key, value) in set {
        if given.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("--set {key}: given twice")).hint(
                "each question has one answer; more branches are added as `[[branch]]` tables of the file",
            ));
        }
    }
    Ok(given)
}

/// Asks until every question is answered; repeats a question after a wrong answer.
fn ask(dir: &Utf8Path, mut answers: Answers) -> Result<Answers, Failure> {
    output::note("An empty line takes the answer in brackets.");
    while let Some(question) = init::next_question(dir, &answers)? {
        let answer = loop {
            let mut with = answers.clone();
            with.insert(question.key.clone(), read(&question)?);
            // Check all answers: one may conflict with an earlier one.
            match init::check_given(dir, &with) {
                Ok(()) => break with,
                Err(failure) => output::note(&format!("  {}", failure.line())),
            }
        };
        answers = answer;
    }
    Ok(answers)
}

/// Reads the line that answers a question.
fn read(question: &Question) -> Result<String, Failure> {
    let Question {
        ask,
        why,
        default,
        choices,
        ..
    } = question;
    output::note(&format!("\n{ask}\n  {why}"));
    if !choices.is_empty() {
        output::note(&format!("  one of: {}", choices.join(", ")));
    }
    let shown = default.as_ref().map(|default| format!(" [{default}]"));
    let failed = |error| Failure::new(Exit::Bug, error);
    let mut stderr = io::stderr().lock();
    // Without a newline, so that the cursor stays behind the prompt.
    write!(stderr, "{}{}: ", question.key, shown.unwrap_or_default())
        .and_then(|()| stderr.flush())
        .map_err(failed)?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line).map_err(failed)? == 0 {
        return Err(Failure::usage(
            "the input ended before every question was answered; nothing was written",
        ));
    }
    let line = line.trim();
    Ok(match default {
        Some(default) if line.is_empty() => default.clone(),
        Some(_) | None => line.to_owned(),
    })
}

/// The files, and the next commands.
fn next(dir: &Utf8Path, plan: &InitPlan) -> String {
    let files = plan.files.keys();
    let text: String = files
        .flat_map(|file| ["wrote ", file.as_str(), "\n"])
        .collect();
    let change = match dir.as_str() {
        "." => String::new(),
        dir => format!("  cd {}\n", shell_words::quote(dir)),
    };
    let branch = plan.answers.get("branch").map_or("master", String::as_str);
    let prepare = plan
        .prepare
        .as_ref()
        .map(|words| format!("  {}\n", shell_words::join(words)));
    let prepare = prepare.unwrap_or_default();
    text + &format!(
        "\nNext:\n{change}{prepare}  stx-builds doctor                  # finds what is still missing on this machine\n\
        \x20 stx-builds build --branch {branch}   # one build, published on the mirror\n\
        \x20 stx-builds list                    # what the mirror has\n\
        \x20 stx-builds serve                   # look at it in a browser\n\
        \x20 stx-builds daemon                  # builds by the clock and on demand\n"
    )
}
