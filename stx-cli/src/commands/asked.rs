//! Builds as people name them: by date, or through an alias.

use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Channel};
use stx_publish::MirrorRead;

use super::refused;
use crate::exit::{Exit, Failure};

/// A build as it was asked for.
enum Asked {
    Build(BuildId),
    Alias(Channel, AliasName),
}

fn asked(text: &str) -> Result<Asked, Failure> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let Some((channel, name)) = text.rsplit_once('/') else {
        return Err(Failure::usage(format!(
            "{text:?}: expected CHANNEL/BUILD-DATE or CHANNEL/ALIAS"
        )));
    };
    let channel: Channel = channel.parse().map_err(Failure::usage)?;
    if name.starts_with("latest_") {
        return Ok(Asked::Alias(channel, name.parse().map_err(Failure::usage)?));
    }
    let date: BuildDate = name.parse().map_err(Failure::usage)?;
    Ok(Asked::Build(BuildId::new(channel, date)))
}

/// The build that is meant; an alias is resolved once, a date need not be there.
pub(crate) async fn resolve(store: &dyn MirrorRead, text: &str) -> Result<BuildId, Failure> {
    match asked(text)? {
        Asked::Build(id) => Ok(id),
        Asked::Alias(channel, alias) => {
            match store.alias(&channel, &alias).await.map_err(refused)? {
                Some(AliasEntry::Build(date)) => Ok(BuildId::new(channel, date)),
                Some(AliasEntry::Other(target)) => {
                    let message =
                        format!("{channel}/{alias} points at {target:?}, which is no build");
                    Err(Failure::new(Exit::Mirror, message)
                        .hint("`stx-builds verify --repair` points it at the newest success"))
                }
                None => {
                    let message = format!("{channel}/{alias}: no such alias");
                    Err(Failure::new(Exit::NotFound, message))
                }
            }
        }
    }
}
