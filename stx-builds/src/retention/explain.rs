//! The reasons for keeping or retiring a build.

use stx_layout::BuildId;
use stx_publish::Scope;

use super::{facts, policy};
use crate::error::Error;
use crate::{Site, build_ref, refused};

impl Site {
    /// Explains in a text why retention keeps or retires a build.
    pub async fn explain(&self, build: &str) -> Result<(BuildId, String), Error> {
        let store = self.mirror()?;
        let build = build_ref::resolve(&*store, build).await?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let file = policy(self)?;
        let lines = self.options.policy().map(|_| &file.lines);
        let facts = facts(&store, &catalog).await?;
        let (policy, now) = (&file.policy, self.now);
        let text = stx_retention::explain(&catalog, &facts, policy, lines, now, &build);
        let text = text.ok_or_else(|| build_ref::missing_build(&catalog, &build))?;
        Ok((build, text))
    }
}
