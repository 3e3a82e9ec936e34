//! `fetch`: files of a build, whole and right or not at all.

use serde::Serialize;
use stx_builds::fetch::{Fetch, FetchedBuild};
use stx_layout::{BuildId, counted};
use stx_publish::fetch::{Fetched, What};

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

/// The files that were fetched, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    build: &'a BuildId,
    files: &'a [Fetched],
    /// The bytes that were transferred, of all files.
    transferred: u64,
    failed: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &args::Fetch) -> Result<(), Failure> {
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
        let places = context.site.locate(&wanted).await?;
        return output::print(context.format(), &places, || {
            let urls: Vec<_> = places.iter().map(|place| place.url.as_str()).collect();
            urls.join("\n") + "\n"
        });
    }
    let FetchedBuild {
        build,
        report,
        failed,
        ..
    } = context.site.fetch(&wanted).await?;
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
        counted(report.transferred(), "byte"),
        match report.fetched.iter().map(|file| file.reused).sum() {
            0 => String::new(),
            reused => format!(", {} taken from older files", counted(reused, "byte")),
        }
    ));
    failed.map_or(Ok(()), |error| Err(error.into()))
}
