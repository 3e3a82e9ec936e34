//! `compare`: compare packages with the reference build, or build with build.

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
        context.say(&format!("{} transferred over the network", size(bytes)));
    }
    finish(&report)
}

fn finish(report: &Reports) -> Result<(), Failure> {
    let failed = report
        .packages()
        .find_map(|package| match &package.outcome {
            Outcome::Failed { reason, hint } => Some((package, reason, hint)),
            _ => None,
        });
    let Some((package, reason, hint)) = failed else {
        return if report.differs() {
            Err(Failure::said(Exit::DIFFERENT))
        } else {
            Ok(())
        };
    };
    let name = [package.key.name.as_str(), &package.key.arch].join(".");
    let name = printable(name.trim_end_matches('.')).into_owned();
    let failure = Failure::new(Exit::Mirror, format!("{name}: {}", printable(reason)));
    let reports = report.reports.iter();
    let all: usize = reports.map(|it| it.identical + it.packages.len()).sum();
    let others = (all > 1).then(|| "the other packages were compared".to_owned());
    let hints: Vec<_> = others.into_iter().chain(hint.clone()).collect();
    Err(match hints.join("; ") {
        none if none.is_empty() => failure,
        hint => failure.hint(hint),
    })
}
