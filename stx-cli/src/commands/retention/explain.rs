//! `explain`: why a build stays or goes.

use std::collections::BTreeMap;

use stx_publish::Scope;

use super::{facts, policy};
use crate::args::Explain;
use crate::commands::{Context, asked, refused};
use crate::exit::Failure;
use crate::output;

pub(crate) async fn explain(context: &Context, args: &Explain) -> Result<(), Failure> {
    let store = context.open()?;
    let build = asked::resolve(&*store, &args.build).await?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let file = policy(context)?;
    let lines = context.config.policy().map(|_| &file.lines);
    let facts = facts(&store, &catalog).await?;
    let (policy, now) = (&file.policy, context.now);
    let text = stx_retention::explain(&catalog, &facts, policy, lines, now, &build);
    let text = text.ok_or_else(|| asked::missing_build(&catalog, &build))?;
    let json = BTreeMap::from([("build", build.to_string()), ("text", text.clone())]);
    output::print(context.format(), &json, || text)
}
