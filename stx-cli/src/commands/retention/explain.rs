//! `explain`: show the reasons for keeping or retiring a build.

use std::collections::BTreeMap;

use crate::args::Explain;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn explain(context: &Context, args: &Explain) -> Result<(), Failure> {
    let (build, text) = context.site.explain(&args.build).await?;
    let json = BTreeMap::from([("build", build.to_string()), ("text", text.clone())]);
    output::print(context.format(), &json, || text)
}
