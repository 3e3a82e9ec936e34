//! `image push`: push the images of a published build.

use stx_builds::images::Push;

use super::Context;
use crate::args::ImagePush;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn push(context: &Context, args: &ImagePush) -> Result<(), Failure> {
    let push = context.site.push_images(&args.build, args.dry_run).await?;
    output::print(context.format(), &push, || match &push {
        Push::Plan(plan) => plan.to_string(),
        Push::Done(done) => done.to_string(),
    })
}
