//! Run a recipe and publish the result: `build_branch MIRROR RECIPE BRANCH`.
#![expect(clippy::print_stdout, reason = "a program")]

use camino::Utf8Path;
use stx_builds::build::{BuildOrder, Built, Watch};
use stx_builds::{Error, Options, Site};
use stx_pipeline::Cancel;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [mirror, recipe, branch] = &args[..] else {
        return Err(Error::usage("build_branch MIRROR RECIPE BRANCH"));
    };
    let mut options = Options::default();
    options.mirror = Some(mirror.into());
    let site = Site::open(options);
    let order = BuildOrder::new(branch, Utf8Path::new(recipe))?;
    let watch = Watch {
        events: &|event| println!("{}: {:?}", event.phase, event.what),
        note: &|text| println!("{text}"),
        cancel: &Cancel::new(),
    };
    match site.build(&order, watch).await? {
        Built::Published { published, .. } => println!("{published}"),
        Built::Unchanged { build, .. } => println!("nothing changed since {build}"),
    }
    Ok(())
}
