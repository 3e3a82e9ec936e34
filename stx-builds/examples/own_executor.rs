//! Run phases with a custom executor: `own_executor CONFIG RECIPE BRANCH`, where the configuration has a place of kind `nice`.
#![expect(clippy::print_stdout, reason = "a program")]

use std::sync::Arc;

use camino::Utf8Path;
use serde::Deserialize;
use stx_builds::build::{BuildOrder, Built, Watch};
use stx_builds::{Error, Options, Site};
use stx_executors::{Check, Executor, ExecutorTable, Executors, Job, Placed};
use stx_layout::config::Within;
use stx_pipeline::{Cancel, Env, Invocation};

/// Runs phases on the build server at a lower priority, so that others can work there.
#[derive(Debug)]
struct Nice {
    level: u8,
}

/// The table of a place: `kind = "nice"`, `level = 10`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NiceTable {
    level: Within<u8, 1, 19>,
}

impl Nice {
    fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        let fields: NiceTable = table.read()?;
        let level = fields.level.get();
        Some(Arc::new(Self { level }))
    }
}

impl Executor for Nice {
    fn rewrite(&self, phase: &Invocation, _: &Job, _: &Env) -> Placed {
        let level = format!("-n{}", self.level);
        let words = [level, "--".to_owned(), phase.program.clone()];
        Placed::Direct(Invocation {
            program: "nice".to_owned(),
            args: [&words[..], &phase.args].concat(),
            ..phase.clone()
        })
    }

    fn check(&self, _: &Utf8Path, _: &Job, _: &Env) -> Option<Check> {
        None
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let Err(error) = run(&args).await {
        println!("{}", error.line());
        std::process::exit(1);
    }
}

async fn run(args: &[String]) -> Result<(), Error> {
    let [config, recipe, branch] = args else {
        return Err(Error::usage("own_executor CONFIG RECIPE BRANCH"));
    };
    let mut executors = Executors::default();
    executors.add("nice", Nice::from_table);
    let options = Options::load_with(Some(Utf8Path::new(config)), &executors)?;
    let order = BuildOrder::new(branch, Utf8Path::new(recipe))?;
    let watch = Watch {
        events: &|event| println!("{}: {:?}", event.phase, event.what),
        note: &|text| println!("{text}"),
        cancel: &Cancel::new(),
    };
    match Site::open(options).build(&order, watch).await? {
        Built::Published { published, .. } => println!("{published}"),
        Built::Unchanged { build, .. } => println!("nothing changed since {build}"),
    }
    Ok(())
}
