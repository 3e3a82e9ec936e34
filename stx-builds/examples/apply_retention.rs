//! Plan retention, show the plan, and apply exactly it: `apply_retention MIRROR`.
#![expect(clippy::print_stdout, reason = "a program")]

use stx_builds::{Error, Options, Site};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut options = Options::default();
    options.mirror = std::env::args().nth(1).map(Into::into);
    let site = Site::open(options);
    let plan = site.plan_prune(None).await?;
    for entry in &plan.expire {
        println!("{}: {}", entry.build, entry.message);
    }
    let (pruned, applied) = site.apply_prune(plan, None, false).await?;
    for build in &pruned.retired {
        println!("retired {build}");
    }
    applied
}
