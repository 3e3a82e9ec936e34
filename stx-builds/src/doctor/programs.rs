//! Programs that the configuration calls: hooks, labs, signers, tools of recipes, `git`.

use std::time::Duration;

use camino::Utf8PathBuf;
use stx_pipeline::Invocation;
use stx_pipeline::recipe::Tool;

use super::case::{Case, Named};
use super::{Finding, Severity, Subject};
use crate::build::place_env;
use crate::options::Metadata;

/// The time in which a program must print its version or state.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// The checks that only look for programs.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut look = |word: &str, path: &[&str], why: &str| {
        let Err(error) = case.machine.program(word) else {
            return;
        };
        let key = path.last().copied().unwrap_or_default();
        let fix = format!("create it and make it executable (chmod +x), or remove `{key}`");
        let texts = [
            format!("{word} cannot be run: {error}"),
            why.to_owned(),
            fix,
        ];
        findings.push(case.finding(Severity::Error, Subject::Programs, path, texts));
    };
    if let Some(service) = &case.service {
        if let Some(word) = service.hook.first() {
            look(
                word,
                &["service", "hook"],
                "failures, recoveries and alarms are not reported",
            );
        }
        for (index, lab) in service.labs.iter().enumerate() {
            let index = index.to_string();
            if let Some(word) = lab.command.first() {
                let why = "builds are never tested, and `latest_green_build` stays where it is";
                look(word, &["lab", &index, "command"], why);
            }
        }
    }
    for (table, word) in case.site.options.signing_programs() {
        look(
            word,
            &[table, "command"],
            "no build can be signed, and so none is published",
        );
    }
    if case.site.options.metadata.made_by() == Metadata::CreaterepoC {
        let why = "no build with RPMs can be published";
        look("createrepo_c", &["metadata"], why);
    }
    findings.extend(case.recipes.iter().filter_map(|named| tools(case, named)));
    findings
}

/// The missing tools of a recipe, in one finding.
fn tools(case: &Case<'_>, named: &Named) -> Option<Finding> {
    let Named { file, recipe, .. } = named;
    let missing = recipe.tools.iter();
    let missing = missing.filter(|(program, _)| case.machine.program(program).is_err());
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return None;
    }
    let list = |of: &dyn Fn(&(&String, &Tool)) -> String, between: &str| {
        let mut words: Vec<_> = missing.iter().map(of).collect();
        words.dedup();
        words.join(between)
    };
    Some(Finding {
        severity: if named.is_used {
            Severity::Error
        } else {
            Severity::Warning
        },
        file: case.file.clone(),
        at: named.at,
        subject: Subject::Programs,
        message: format!(
            "recipe {file} needs programs that are not in PATH: {}",
            list(&|it| it.0.clone(), ", ")
        ),
        why: "a build of this recipe is refused before its first phase".to_owned(),
        fix: format!(
            "`apt install {}` or `dnf install {}`",
            list(&|it| it.1.apt.clone(), " "),
            list(&|it| it.1.dnf.clone(), " ")
        ),
    })
}

/// An invocation of a program of the system, without a log.
pub(super) fn call(program: Utf8PathBuf, args: &[&str]) -> Invocation {
    Invocation {
        program: program.into_string(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: place_env(),
        dir: Utf8PathBuf::from("/"),
        log: Utf8PathBuf::from("/dev/null"),
        log_limit: None,
        timeout: None,
        stop_grace: None,
    }
}

/// Checks that `git` is installed, and new enough to take credentials from its environment.
pub(super) async fn git(case: &Case<'_>) -> Option<Finding> {
    if case.recipes.is_empty() {
        return None;
    }
    let finding = |severity, message: String, why: &str| {
        let texts = [
            message,
            why.to_owned(),
            "install git 2.31 or newer".to_owned(),
        ];
        case.finding(severity, Subject::Programs, &["recipe"], texts)
    };
    let program = match case.machine.program("git") {
        Ok(program) => program,
        Err(error) => {
            // If a recipe names it as a tool, it was already reported.
            if case
                .recipes
                .iter()
                .any(|named| named.recipe.tools.contains_key("git"))
            {
                return None;
            }
            let why = "the commits of a build cannot be read";
            return Some(finding(
                Severity::Error,
                format!("git cannot be run: {error}"),
                why,
            ));
        }
    };
    let said = case
        .machine
        .run(call(program, &["version"]), LIMIT)
        .await
        .ok()?;
    let version = said.stdout.split_whitespace().nth(2)?;
    let mut parts = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    if (parts.next()?, parts.next()?) >= (2, 31) {
        return None;
    }
    let why = "it takes no credentials from its environment, so repositories with a password cannot be watched";
    Some(finding(
        Severity::Warning,
        format!("git {version} is too old"),
        why,
    ))
}
