//! `fetch`: download files of a build, each completely and verified, or not at all.

use serde::Serialize;
use stx_builds::ErrorKind;
use stx_builds::fetch::{Fetch, FetchedBuild, LocatedBuild};
use stx_layout::{BuildId, counted, size};
use stx_publish::fetch::{Fetched, What};

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

/// The fetched files, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    build: &'a BuildId,
    files: &'a [Fetched],
    /// The number of bytes received for all files.
    transferred: u64,
    failed: Vec<String>,
}

/// Fetches from the first mirror. Missing files are fetched from the next mirror, which also resumes unfinished ones. All mirrors are
/// asked for the build that the first mirror named, since another one may be behind.
async fn from_any(context: &Context, mut wanted: Fetch) -> Result<FetchedBuild, Failure> {
    let (mut site, mut others) = (context.site.clone(), context.global.mirror.iter().skip(1));
    loop {
        let fetched = site.fetch(&wanted).await;
        let failure = match &fetched {
            Ok(FetchedBuild { failed: None, .. }) => return Ok(fetched?),
            Ok(FetchedBuild {
                failed: Some(error),
                ..
            })
            | Err(error) => error,
        };
        let is_of_mirror = matches!(failure.kind, ErrorKind::Mirror | ErrorKind::NotFound);
        let next = others.next().filter(|_| is_of_mirror);
        let Some(next) = next else {
            return Ok(fetched?);
        };
        context.say(&format!(
            "{}; trying {}",
            failure.chain(),
            stx_layout::redact_urls(next.as_str())
        ));
        if let Ok(fetched) = &fetched {
            wanted.build = fetched.build.to_string();
        }
        site.options.mirror = Some(next.clone());
    }
}

pub(crate) async fn run(context: &Context, args: &args::Fetch) -> Result<(), Failure> {
    if args.to.as_str().contains("://") {
        return Err(
            Failure::usage(format!("{}: `fetch` writes to a directory", args.to))
                .hint("`stx-builds copy FROM TO` copies builds to a mirror in a bucket"),
        );
    }
    let what = args.what.iter().map(|word| word.parse());
    let what: Vec<What> = what.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let wanted = Fetch {
        build: args.build.clone(),
        what,
        to: args.to.clone(),
        connections: args.connections,
        delta: !args.whole,
        seeds: args.seed.clone(),
        trust: args.trust.options(),
    };
    if args.print_url {
        let LocatedBuild { files, failed } = context.site.locate(&wanted).await?;
        output::print(context.format(), &files, || {
            let urls = files.iter().map(|file| format!("{}\n", file.url));
            urls.collect::<String>()
        })?;
        return failed.map_or(Ok(()), |error| Err(error.into()));
    }
    let FetchedBuild {
        build,
        report,
        failed,
        ..
    } = from_any(context, wanted).await?;
    let failures = report.failed.iter();
    let shown = Report {
        build: &build,
        files: &report.fetched,
        transferred: report.transferred(),
        failed: failures
            .map(|error| stx_builds::error::chain(error).to_string())
            .collect(),
    };
    output::print(context.format(), &shown, || report.to_string())?;
    context.say(&format!(
        "{} of {build} fetched and checked, {} transferred{}",
        counted(report.fetched.len(), "file"),
        size(report.transferred()),
        match report.fetched.iter().map(|file| file.reused).sum() {
            0 => String::new(),
            reused => format!(", {} taken from older files", size(reused)),
        }
    ));
    failed.map_or(Ok(()), |error| Err(error.into()))
}
