//! `compare`: packages against the reference build, or build against build.

use stx_builds::compare::Compare;
use stx_builds::files::{self, Durable};
use stx_compare::junit::junit;
use stx_compare::report::{NoiseMode, Outcome, Reports};
use stx_layout::{printable, size};

use super::Context;
use crate::args::{self, Noise};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Compare) -> Result<(), Failure> {
    let wanted = Compare {
        what: args.what.clone(),
        with: args.with.clone(),
        source: args.source.clone(),
        phase: args.phase.clone(),
        contents: args.contents,
        trust: args.trust.options(),
    };
    let mut report = context.site.compare(&wanted).await?;
    report.apply(match args.noise {
        Noise::List => NoiseMode::List,
        Noise::Hide => NoiseMode::Hide,
        Noise::Count => NoiseMode::Count,
    });
    if let Some(file) = &args.junit {
        let text = junit(&report).map_err(|error| Failure::new(Exit::Bug, error))?;
        files::replace(file, text.as_bytes(), Durable::No).map_err(Failure::usage)?;
    }
    output::print(context.format(), &report, || report.to_string())?;
    if let Some(bytes) = report.transferred {
        context.say(&format!("{} came over the network", size(bytes)));
    }
    finish(&report)
}

fn finish(report: &Reports) -> Result<(), Failure> {
    let failed = report
        .packages()
        .find_map(|package| match &package.outcome {
            Outcome::Failed { reason } => Some(format!(
                "{}.{}: {}",
                printable(&package.key.name),
                printable(&package.key.arch),
                printable(reason)
            )),
            _ => None,
        });
    match failed {
        Some(first) => Err(Failure::new(Exit::Mirror, first)
            .hint("the other packages were compared; `verify` checks a mirror's files")),
        None if report.differs() => Err(Failure::said(Exit::DIFFERENT)),
        None => Ok(()),
    }
}
