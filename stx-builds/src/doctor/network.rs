//! Other machines: mirrors, and places where phases run.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::future::join_all;
use stx_executors::{Check, Executor, Job};
use stx_layout::redact_urls;
use stx_pipeline::Env;

use super::case::Case;
use super::{Finding, Severity, Subject};
use crate::build::{BuildOrder, place_env, place_hint};
use crate::options::MirrorLocation;

/// The time within which each must answer; all are asked in parallel.
const LIMIT: Duration = Duration::from_secs(10);

/// The checks.
pub(super) async fn check(case: &Case<'_>) -> Vec<Finding> {
    let (mirrors, places) = futures_util::join!(mirrors(case), places(case));
    mirrors.into_iter().chain(places).collect()
}

async fn mirrors(case: &Case<'_>) -> Vec<Finding> {
    let options = &case.site.options;
    let own = options
        .mirror
        .iter()
        .filter(|mirror| MirrorLocation::of(mirror) != MirrorLocation::Directory);
    let own = own.map(|mirror| (vec!["mirror".to_owned()], mirror.clone(), Severity::Error));
    let others = options.mirrors.urls().iter().enumerate();
    let others = others.map(|(index, url)| {
        let path = ["mirrors", "urls", &index.to_string()].map(str::to_owned);
        (path.to_vec(), Utf8PathBuf::from(url), Severity::Warning)
    });
    let asked = own
        .chain(others)
        .map(|(path, mirror, severity)| async move {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            let name = redact_urls(mirror.as_str()).into_owned();
            let (message, hint) = match case.machine.reach(case.site, &mirror, LIMIT).await {
                Ok(true) => return None,
                Ok(false) if severity == Severity::Error => return None,
                Ok(false) => (format!("{name} answers, but has no index.json"), None),
                Err(error) => {
                    let message = format!("{name} cannot be reached: {}", error.chain());
                    (message, error.hint)
                }
            };
            let why = match severity {
                Severity::Error => "builds can be neither read nor published",
                Severity::Warning => "metalink files name it, and downloads from it fail",
            };
            let fix = hint.unwrap_or_else(|| {
                "correct the URL, or serve the root of a mirror there".to_owned()
            });
            let texts = [message, why.to_owned(), fix];
            Some(case.finding(severity, Subject::Mirrors, &path, texts))
        });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn places(case: &Case<'_>) -> Vec<Finding> {
    let common = common(case).await;
    let places = case.site.options.places.named();
    let tried = places.map(|(name, place)| {
        let common = common.clone();
        async move {
            let (program, why) = attempt(case, place, common).await.err()?;
            let texts = [
                format!("place {name} cannot be used: {why}"),
                "phases that run there fail".to_owned(),
                place_hint(&program),
            ];
            Some(case.finding(Severity::Error, Subject::Places, &["place", name], texts))
        }
    });
    join_all(tried).await.into_iter().flatten().collect()
}

/// The variables of a build's phases, which the command of a place may contain: those of the first branch.
async fn common(case: &Case<'_>) -> Env {
    let watch = case.setup.as_ref().and_then(|setup| setup.watches.first());
    let Some(watch) = watch else {
        return Env::new();
    };
    let plan = async {
        let order = BuildOrder::new(watch.git.clone(), &watch.recipe).ok()?;
        let plan = case.site.plan_build(&order).await.ok()?;
        Some(plan.phases.first()?.invocation.env.clone())
    };
    plan.await.unwrap_or_default()
}

/// Tries a place as a build does. The check that it sees the files of the build server is left to the build, which has some there.
/// The error comes with the program that tried.
async fn attempt(
    case: &Case<'_>,
    place: &dyn Executor,
    common: Env,
) -> Result<(), (String, String)> {
    let tools = place_env();
    let unready = |error: io::Error| (String::new(), error.to_string());
    let dir = camino_tempfile::Utf8TempDir::new().map_err(unready)?;
    // Connections that phases share have their sockets beside the job.
    let job = Job {
        name: "doctor".to_owned(),
        dir: dir.path().join("doctor"),
        lock: dir.path().join("lock"),
        owner: (case.machine.user(), rustix::process::getegid().as_raw()),
        shared: Vec::new(),
        common,
    };
    let marker = job.dir.join("marker");
    let write = |file: &Utf8Path, text: &str| fs_err::write(file, text).map_err(unready);
    fs_err::create_dir(&job.dir).map_err(unready)?;
    write(&marker, "here\n")?;
    let invocation = match place.check(&marker, &job, &tools) {
        None => return Ok(()),
        Some(Check::Prints(invocation)) => invocation,
        Some(Check::PrintsBy { file, invocation } | Check::Succeeds { file, invocation }) => {
            write(&file.path, &file.text)?;
            invocation
        }
    };
    let program = invocation.program.clone();
    let said = case.machine.run(invocation, LIMIT).await;
    if let Some(close) = place.close(&job, &tools) {
        // Without a connection there is nothing to close, and nothing to report.
        case.machine.run(close, LIMIT).await.ok();
    }
    let failed = |why| Err((program.clone(), why));
    let said = match said {
        Ok(said) => said,
        Err(why) => return failed(why),
    };
    // The directory exists only on this machine: a complaint about it proves that the place was reached.
    if said.ok || said.stderr.contains(dir.path().as_str()) {
        return Ok(());
    }
    // `docker` prints the reason first, and a reference to its help last.
    let lines = said.stderr.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return failed(format!("{program}: it failed and printed nothing"));
    }
    failed(format!("{program}: {}", lines.join("; ")))
}
