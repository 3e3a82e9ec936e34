//! Publish a finished tree: `publish_tree MIRROR DIR CHANNEL/DATE`.
#![expect(clippy::print_stdout, reason = "a program")]

use stx_builds::publish::Tree;
use stx_builds::{Error, Options, Site};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [mirror, dir, build] = &args[..] else {
        return Err(Error::usage("publish_tree MIRROR DIR CHANNEL/DATE"));
    };
    let mut options = Options::default();
    options.mirror = Some(mirror.into());
    let site = Site::open(options);
    let build = build.parse().map_err(Error::usage)?;
    let published = site.publish(&Tree::new(dir, build)).await?;
    println!("{published}");
    Ok(())
}
