//! Builds as users name them: by date, by its beginning, by an alias, or by their channel.

use std::str::FromStr;

use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Catalog, Channel, RootAlias, nearest};
use stx_publish::{MirrorRead, Scope};

use crate::aliases::follow;
use crate::error::{Error, ErrorKind};
use crate::refused;

/// The forms, as hints name them.
const FORMS: &str = "name a build by its date, CHANNEL/YYYYMMDDTHHMMSSZ or the beginning of one, or by an alias, such as \
                     CHANNEL/latest_build; CHANNEL alone is its newest good build";

/// A build as a user names it. Every command takes the same forms.
///
/// ```
/// use stx_builds::build_ref::BuildRef;
///
/// let of = |text: &str| text.parse::<BuildRef>().map_err(|error| error.chain());
/// assert!(matches!(of("master/centos/20181105T060000Z"), Ok(BuildRef::Build(_))));
/// assert!(matches!(of("master/centos/latest_build"), Ok(BuildRef::Alias(..))));
/// assert!(matches!(of("master/centos"), Ok(BuildRef::Alias(..))));
/// assert!(matches!(of("master/centos/20181105T06"), Ok(BuildRef::Prefix(..))));
/// assert!(of("master/centos/latest-build").is_err());
/// assert!(of("centos").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildRef {
    /// `CHANNEL/DATE`: that build, whether or not it exists.
    Build(BuildId),
    /// `CHANNEL/ALIAS`: the build that the alias points at. `CHANNEL` alone means its `latest_build`.
    Alias(Channel, AliasName),
    /// `CHANNEL/` and the beginning of a date, a day at least: the one build whose date begins so.
    Prefix(Channel, String),
}

impl FromStr for BuildRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Ok(channel) = text.parse::<Channel>()
            && near_alias(&channel).is_none()
        {
            return Ok(Self::Alias(channel, AliasName::latest_build()));
        }
        let Some((channel, name)) = text.rsplit_once('/') else {
            return Err(Error::usage(format!("{text:?} is not a build")).hint(FORMS));
        };
        let wrong = |error: stx_layout::ParseError, offset: usize| {
            Error::usage(error.within(text, offset)).hint(FORMS)
        };
        let channel: Channel = channel.parse().map_err(|error| wrong(error, 0))?;
        let behind = text.len() - name.len();
        if name.starts_with("latest_") {
            let alias = name.parse().map_err(|error| wrong(error, behind))?;
            return Ok(Self::Alias(channel, alias));
        }
        if begins_a_date(name) {
            return Ok(Self::Prefix(channel, name.to_owned()));
        }
        let date: BuildDate = name.parse().map_err(|error: stx_layout::ParseError| {
            let error = match alias_meant(name) {
                Some(alias) => error.suggest(alias.to_string()),
                None => error,
            };
            wrong(error, behind)
        })?;
        Ok(Self::Build(BuildId::new(channel, date)))
    }
}

/// Tells whether a text is a prefix of a build date that includes the day, such as `20181105` or `20181105T06`.
fn begins_a_date(text: &str) -> bool {
    let whole = "00000000T000000Z";
    let fits = |(given, wanted): (u8, u8)| match wanted {
        b'0' => given.is_ascii_digit(),
        wanted => given == wanted,
    };
    (8..whole.len()).contains(&text.len()) && text.bytes().zip(whole.bytes()).all(fits)
}

/// The alias that a word was probably meant to be.
fn alias_meant(word: &str) -> Option<AliasName> {
    let alias = AliasName::latest_build();
    let word = word.replace('-', "_");
    (word == "latest" || nearest(&word, [alias.as_str()]).is_some()).then_some(alias)
}

/// The alias that a channel was probably meant to be: a layer may have any name, also `latest`.
fn near_alias(channel: &Channel) -> Option<String> {
    let text = channel.to_string();
    let (before, name) = text.rsplit_once('/')?;
    before.parse::<Channel>().ok()?;
    Some(format!("{before}/{}", alias_meant(name)?))
}

/// The build that is meant; an alias is resolved once, a date need not be there. Aliases of releases and channels are
/// followed: `r2018.10/centos`, `release/latest_release/centos`.
pub async fn resolve(store: &dyn MirrorRead, text: &str) -> Result<BuildId, Error> {
    let path = named(store, text).await?;
    match resolve_plain(store, &path).await {
        Ok(id) => Ok(id),
        Err(failure) => resolve_plain(store, &otherwise(store, &path, failure).await?).await,
    }
}

/// The name of a build with the aliases of releases and channels followed that can be told by their words, and on a mirror
/// that can be asked without a request, all of them.
pub(crate) async fn named(store: &dyn MirrorRead, text: &str) -> Result<String, Error> {
    if RootAlias::split(text).is_some() || !store.capabilities().shows_files_only {
        return follow(store, text).await;
    }
    Ok(text.to_owned())
}

/// The name to try where a build of the first one was not found: an alias may be in the way. `failure` where none is.
pub(crate) async fn otherwise(
    store: &dyn MirrorRead,
    text: &str,
    failure: Error,
) -> Result<String, Error> {
    if !store.capabilities().shows_files_only {
        return Err(failure);
    }
    match follow(store, text).await {
        Ok(path) if path != text => Ok(path),
        // The first error is the one about what was asked for.
        Ok(_) | Err(_) => Err(failure),
    }
}

/// The build that a name without an alias of a release means.
async fn resolve_plain(store: &dyn MirrorRead, text: &str) -> Result<BuildId, Error> {
    match text.parse()? {
        BuildRef::Build(id) => Ok(id),
        BuildRef::Prefix(channel, prefix) => begun(store, &channel, &prefix).await,
        BuildRef::Alias(channel, alias) => {
            match store.alias(&channel, &alias).await.map_err(refused)? {
                Some(AliasEntry::Build(date)) => Ok(BuildId::new(channel, date)),
                Some(AliasEntry::Other(target)) => {
                    let message =
                        format!("{channel}/{alias} points at {target:?}, which is not a build");
                    Err(Error::new(ErrorKind::Mirror, message)
                        .hint("`stx-builds verify --repair` points it at the newest success"))
                }
                None => Err(missing_alias(store, &channel, &alias).await),
            }
        }
    }
}

/// The one build of a channel whose date begins so.
pub(crate) async fn begun(
    store: &dyn MirrorRead,
    channel: &Channel,
    prefix: &str,
) -> Result<BuildId, Error> {
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let Some(entry) = catalog.channels.get(channel) else {
        return Err(missing_channel(&catalog, channel));
    };
    let dates = entry
        .builds
        .keys()
        .filter(|date| date.to_string().starts_with(prefix));
    match dates.collect::<Vec<_>>().as_slice() {
        [] => {
            let error = format!("{channel}: no build begins with {prefix}");
            Err(Error::new(ErrorKind::NotFound, error)
                .hint(format!("`stx-builds list {channel}` lists its builds")))
        }
        [date] => Ok(BuildId::new(channel.clone(), **date)),
        several => {
            let names: Vec<_> = several.iter().map(ToString::to_string).collect();
            let error = format!("{channel}: {} builds begin with {prefix}", names.len());
            Err(Error::usage(error).hint(format!("name one of {}", names.join(", "))))
        }
    }
}

/// An alias that is not there, because the channel is not, or has no success yet.
pub async fn missing_alias(store: &dyn MirrorRead, channel: &Channel, alias: &AliasName) -> Error {
    let catalog = match store.catalog(&Scope::All).await {
        Ok(catalog) => catalog,
        // A place that is no mirror is the better news.
        Err(error) => return refused(error),
    };
    match catalog.channels.get(channel) {
        None => missing_channel(&catalog, channel),
        Some(entry) => {
            let failure = Error::new(
                ErrorKind::NotFound,
                format!("{channel}/{alias}: there is no such alias"),
            );
            let aliases: Vec<_> = entry.aliases.keys().map(AliasName::as_str).collect();
            failure.hint(if aliases.is_empty() {
                format!(
                    "no build of {channel} succeeded yet; `stx-builds list {channel}` lists them"
                )
            } else {
                format!("{channel} has {}", aliases.join(", "))
            })
        }
    }
}

/// A channel that the mirror does not have.
pub fn missing_channel(catalog: &Catalog, channel: &Channel) -> Error {
    let failure = Error::new(ErrorKind::NotFound, format!("{channel}: no such channel"));
    let known: Vec<_> = catalog.channels.keys().map(ToString::to_string).collect();
    if let Some(near) = near_alias(channel) {
        return failure.hint(format!("did you mean {near}?"));
    }
    let text = channel.to_string();
    match nearest(&text, known.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None if known.is_empty() => failure.hint("the mirror holds no build yet"),
        None => failure.hint(format!("the mirror holds: {}", known.join(", "))),
    }
}

/// A build that the mirror does not have.
pub fn missing_build(catalog: &Catalog, id: &BuildId) -> Error {
    let Some(channel) = catalog.channels.get(&id.channel) else {
        return missing_channel(catalog, &id.channel);
    };
    let failure = Error::new(ErrorKind::NotFound, format!("{id}: no such build"));
    match channel.builds.keys().next_back() {
        Some(newest) => failure.hint(format!(
            "the newest build of {} is {newest}; `stx-builds list {}` lists them",
            id.channel, id.channel
        )),
        None => failure.hint(format!("{} has no build", id.channel)),
    }
}
