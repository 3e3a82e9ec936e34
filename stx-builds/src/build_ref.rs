//! The names that users give builds: a date or its beginning, an alias, a channel or the beginning of its path.
//!
//! | module | content |
//! |---|---|
//! | this one | the build that one name refers to |
//! | [`place`] | builds named by a URL or a path |
//! | [`pairs`] | the builds of two releases that two names refer to, paired by channel |

use std::str::FromStr;

use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildRecord, Catalog, Channel, ChannelPrefix,
    RootAlias, nearest,
};
use stx_publish::{MirrorRead, Scope};

use crate::aliases::follow;
use crate::error::{Error, ErrorKind};
use crate::{Site, refused};

pub mod pairs;
pub mod place;

/// The accepted forms, as hints name them.
const FORMS: &str = "name a build by its date or the beginning of the date, CHANNEL/YYYYMMDDTHHMMSSZ, or by an alias, such as \
                     CHANNEL/latest_build; CHANNEL alone means its newest good build, and so does the beginning of its path, \
                     such as release/11.0.0, if only one channel begins with it";

/// The possible lengths of the beginning of a date without its day: a year at least.
const SHORTEST_DATE: std::ops::Range<usize> = 4..8;

/// A build as a user names it. Every command takes the same forms.
///
/// ```
/// use stx_builds::build_ref::BuildRef;
///
/// let of = |text: &str| text.parse::<BuildRef>().map_err(|error| error.chain());
/// assert!(matches!(of("master/centos/20181105T060000Z"), Ok(BuildRef::Build(_))));
/// assert!(matches!(of("master/centos/latest_build"), Ok(BuildRef::Alias(..))));
/// assert!(matches!(of("master/centos"), Ok(BuildRef::Newest(_))));
/// assert!(matches!(of("release/11.0.0"), Ok(BuildRef::Newest(_))));
/// assert!(matches!(of("master/centos/20181105T06"), Ok(BuildRef::Prefix(..))));
/// assert!(of("master/centos/latest-build").is_err());
/// assert!(of("centos").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildRef {
    /// `CHANNEL/DATE`: that build, whether or not it exists.
    Build(BuildId),
    /// `CHANNEL/ALIAS`: the build that the alias points at.
    Alias(Channel, AliasName),
    /// `CHANNEL/` and the beginning of a date, at least with the day: the only build with such a date.
    Prefix(Channel, String),
    /// `CHANNEL`, or the beginning of its path: the build that its `latest_build` points at. `CHANNEL/2018` and `CHANNEL/201811` also
    /// have this form; if the mirror has no such channel, they are beginnings of dates.
    Newest(ChannelPrefix),
}

impl FromStr for BuildRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Ok(prefix) = text.parse::<ChannelPrefix>()
            && prefix.channel().and_then(near_alias).is_none()
        {
            return Ok(Self::Newest(prefix));
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

/// True if a text is a prefix of a build date that includes the day, such as `20181105` or `20181105T06`.
fn begins_a_date(text: &str) -> bool {
    let whole = "00000000T000000Z";
    let fits = |(given, wanted): (u8, u8)| match wanted {
        b'0' => given.is_ascii_digit(),
        wanted => given == wanted,
    };
    (8..whole.len()).contains(&text.len()) && text.bytes().zip(whole.bytes()).all(fits)
}

/// `CHANNEL` and the beginning of a date that is shorter than a day, such as `master/centos/2018`. A layer may also have such a name,
/// so the mirror decides: it has the channel, and no layer of this name.
fn short_date(catalog: &Catalog, prefix: &ChannelPrefix) -> Option<(Channel, String)> {
    let text = prefix.to_string();
    let (channel, name) = text.rsplit_once('/')?;
    let channel: Channel = channel.parse().ok()?;
    (may_be_a_date(name) && catalog.channels.contains_key(&channel))
        .then(|| (channel, name.to_owned()))
}

/// True if the last segment of a path may be the beginning of a date without its day.
fn may_be_a_date(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    SHORTEST_DATE.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The alias that a misspelt word was probably meant to be.
fn alias_meant(word: &str) -> Option<AliasName> {
    let alias = AliasName::latest_build();
    let word = word.replace('-', "_");
    (word == "latest" || nearest(&word, [alias.as_str()]).is_some()).then_some(alias)
}

/// The alias that a channel was probably meant to be: a layer may have any name, even `latest`.
fn near_alias(channel: &Channel) -> Option<String> {
    let text = channel.to_string();
    let (before, name) = text.rsplit_once('/')?;
    before.parse::<Channel>().ok()?;
    Some(format!("{before}/{}", alias_meant(name)?))
}

impl Site {
    /// The part of the mirror that a name refers to: all of a channel for a channel or the beginning of one, else one build. A full
    /// name is not looked up.
    pub async fn scope(&self, text: &str) -> Result<Scope, Error> {
        match text.parse() {
            Ok(BuildRef::Build(id)) => return Ok(Scope::Build(id)),
            Ok(BuildRef::Newest(prefix)) if prefix.channel().is_some() && !may_be_a_date(text) => {
                return Ok(prefix.channel().cloned().map_or(Scope::All, Scope::Channel));
            }
            // It may begin with an alias, or end with the year of a date.
            Ok(_) | Err(_) => {}
        }
        let reader = self.reader()?;
        let store = reader.store();
        let path = named(store, text).await?;
        match path.parse()? {
            BuildRef::Newest(_) => match channel(store, &path).await {
                Err(failure) if failure.kind == ErrorKind::NotFound && may_be_a_date(&path) => {
                    resolve(store, &path).await.map(Scope::Build)
                }
                found => found.map(Scope::Channel),
            },
            BuildRef::Build(_) | BuildRef::Alias(..) | BuildRef::Prefix(..) => {
                resolve(store, &path).await.map(Scope::Build)
            }
        }
    }
}

/// The build that a name refers to. An alias is resolved once. A build that is named by its full date need not exist. Aliases of
/// releases and channels are followed: `r2018.10/centos`, `release/latest_release`.
pub async fn resolve(store: &dyn MirrorRead, text: &str) -> Result<BuildId, Error> {
    resolve_noting(store, text, &|_| {}).await
}

/// As [`resolve`]. Passes the build to `note`, in one line, if the name is not the build's own.
pub(crate) async fn resolve_noting(
    store: &dyn MirrorRead,
    text: &str,
    note: &(dyn Fn(&str) + Sync),
) -> Result<BuildId, Error> {
    let path = named(store, text).await?;
    match resolve_plain(store, &path, note).await {
        Ok(id) => Ok(id),
        Err(failure) => {
            let path = otherwise(store, &path, failure).await?;
            resolve_plain(store, &path, note).await
        }
    }
}

/// The channel that a name refers to: the channel of that name, or the only channel with builds whose path begins with it.
pub async fn channel(store: &dyn MirrorRead, text: &str) -> Result<Channel, Error> {
    let one = async |path: &str| {
        let path = path.strip_suffix('/').unwrap_or(path);
        let prefix: ChannelPrefix = path.parse().map_err(|error| {
            Error::usage(error)
                .hint("name a channel, such as master/centos, or the beginning of one")
        })?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        only(&prefix, channels(&catalog, &prefix)?).cloned()
    };
    let path = named(store, text).await?;
    match one(&path).await {
        Ok(channel) => Ok(channel),
        Err(failure) => one(&otherwise(store, &path, failure).await?).await,
    }
}

/// The name of a build with aliases of releases and channels followed. On a mirror behind a web server, where each look-up is a
/// request, only aliases that are recognised by their words are followed.
async fn named(store: &dyn MirrorRead, text: &str) -> Result<String, Error> {
    if RootAlias::split(text).is_some() || !store.capabilities().shows_files_only {
        return follow(store, text).await;
    }
    Ok(text.to_owned())
}

/// The name to try after `text` was not found: `text` with all aliases followed. Returns `failure` if `text` has no alias.
async fn otherwise(store: &dyn MirrorRead, text: &str, failure: Error) -> Result<String, Error> {
    if !store.capabilities().shows_files_only {
        return Err(failure);
    }
    match follow(store, text).await {
        Ok(path) if path != text => Ok(path),
        // The first error is about the name that the user gave.
        Ok(_) | Err(_) => Err(failure),
    }
}

/// The build that a name without an alias of a release refers to.
async fn resolve_plain(
    store: &dyn MirrorRead,
    text: &str,
    note: &(dyn Fn(&str) + Sync),
) -> Result<BuildId, Error> {
    match text.parse()? {
        BuildRef::Build(id) => Ok(id),
        BuildRef::Prefix(channel, prefix) => {
            let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
            let id = begun(&catalog, &channel, &prefix)?;
            note(&format!("{channel}/{prefix} is {}", id.date));
            Ok(id)
        }
        BuildRef::Alias(channel, alias) => match pointed_at(store, &channel, &alias).await? {
            Some(id) => {
                note(&format!("{channel}/{alias} is {}", id.date));
                Ok(id)
            }
            None => Err(missing_alias(store, &channel, &alias).await),
        },
        BuildRef::Newest(prefix) => {
            if let Some(id) = latest(store, &prefix, note).await? {
                return Ok(id);
            }
            let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
            let found = channels(&catalog, &prefix);
            if found.is_err()
                && let Some((channel, date)) = short_date(&catalog, &prefix)
            {
                let id = begun(&catalog, &channel, &date)?;
                note(&format!("{prefix} is {}", id.date));
                return Ok(id);
            }
            let channel = only(&prefix, found?)?;
            let id = newest(store, channel).await?;
            note(&format!("{prefix} is {id}"));
            Ok(id)
        }
    }
}

/// The build that `latest_build` points at, if `prefix` is a channel with this alias. Reading one alias is much cheaper than reading
/// the catalog of a large mirror.
async fn latest(
    store: &dyn MirrorRead,
    prefix: &ChannelPrefix,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Option<BuildId>, Error> {
    let Some(channel) = prefix.channel() else {
        return Ok(None);
    };
    let alias = AliasName::latest_build();
    let found = pointed_at(store, channel, &alias).await?;
    if let Some(id) = &found {
        note(&format!("{channel}/{alias} is {}", id.date));
    }
    Ok(found)
}

/// The build that an alias points at; `None` if there is no such alias.
async fn pointed_at(
    store: &dyn MirrorRead,
    channel: &Channel,
    alias: &AliasName,
) -> Result<Option<BuildId>, Error> {
    match store.alias(channel, alias).await.map_err(refused)? {
        Some(AliasEntry::Build(date)) => Ok(Some(BuildId::new(channel.clone(), date))),
        Some(AliasEntry::Other(target)) => {
            let message = format!("{channel}/{alias} points at {target:?}, which is not a build");
            Err(Error::new(ErrorKind::Mirror, message)
                .hint("`stx-builds verify --repair` points it at the newest success"))
        }
        None => Ok(None),
    }
}

/// The newest good build of a channel.
async fn newest(store: &dyn MirrorRead, channel: &Channel) -> Result<BuildId, Error> {
    let latest = AliasName::latest_build();
    match pointed_at(store, channel, &latest).await? {
        Some(id) => Ok(id),
        None => Err(missing_alias(store, channel, &latest).await),
    }
}

/// The channels with builds that a prefix refers to: the channel of that name, or else all channels that begin with it. Channels
/// without a good build are left out if another channel has one.
fn channels<'a>(catalog: &'a Catalog, prefix: &ChannelPrefix) -> Result<Vec<&'a Channel>, Error> {
    let built: Vec<_> = catalog
        .channels
        .iter()
        .filter(|(channel, entry)| prefix.holds(channel) && !entry.builds.is_empty())
        .collect();
    if let Some((channel, _)) = built
        .iter()
        .find(|(found, _)| Some(*found) == prefix.channel())
    {
        return Ok(vec![channel]);
    }
    let good = built
        .iter()
        .filter(|(_, entry)| entry.newest_success().is_some());
    let good: Vec<_> = good.map(|(channel, _)| *channel).collect();
    if !good.is_empty() {
        return Ok(good);
    }
    if built.is_empty() {
        return Err(missing(catalog, prefix));
    }
    Ok(built.into_iter().map(|(channel, _)| channel).collect())
}

/// The only channel that a prefix refers to; an error if there are several.
fn only<'a>(prefix: &ChannelPrefix, channels: Vec<&'a Channel>) -> Result<&'a Channel, Error> {
    if let [channel] = channels[..] {
        return Ok(channel);
    }
    let error = format!("{prefix}: {} channels have builds", channels.len());
    Err(Error::usage(error).hint(format!("name one of {}", listed(channels))))
}

/// Channels, in one line.
fn listed<'a>(channels: impl IntoIterator<Item = &'a Channel>) -> String {
    let names: Vec<_> = channels.into_iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The only build of a channel whose date begins with `prefix`.
fn begun(catalog: &Catalog, channel: &Channel, prefix: &str) -> Result<BuildId, Error> {
    let Some(entry) = catalog.channels.get(channel) else {
        return Err(missing_channel(catalog, channel));
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

/// The error about an alias that does not exist: its channel does not exist, or has no success yet.
pub async fn missing_alias(store: &dyn MirrorRead, channel: &Channel, alias: &AliasName) -> Error {
    let catalog = match store.catalog(&Scope::All).await {
        Ok(catalog) => catalog,
        // The user has to learn first that the place is not a mirror.
        Err(error) => return refused(error),
    };
    match catalog.channels.get(channel) {
        None => missing_channel(&catalog, channel),
        Some(entry) => {
            if let Some(target) = entry.aliases.get(alias) {
                return unreadable_alias(channel, alias, target);
            }
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

/// The error about an alias that the index of the mirror lists, but that cannot be read. Behind a web server, the index and the alias
/// are different files.
fn unreadable_alias(channel: &Channel, alias: &AliasName, target: &AliasEntry) -> Error {
    let file = BuildRecord::FILE_NAME;
    let error = format!(
        "{channel}/{alias}: the index of {channel} lists this alias, but the mirror has no {channel}/{alias}/{file}, or does not show it"
    );
    let failure = Error::new(ErrorKind::Mirror, error);
    match target {
        AliasEntry::Build(date) => failure.hint(format!(
            "{channel}/{date} names the same build; the operator of the mirror can check it with `stx-builds verify {channel}`"
        )),
        AliasEntry::Other(_) => failure,
    }
}

/// The error about a channel that the mirror does not have.
pub fn missing_channel(catalog: &Catalog, channel: &Channel) -> Error {
    missing(catalog, &ChannelPrefix::from(channel.clone()))
}

/// The error about a channel, or the beginning of one, that the mirror does not have.
fn missing(catalog: &Catalog, prefix: &ChannelPrefix) -> Error {
    let failure = Error::new(ErrorKind::NotFound, format!("{prefix}: no such channel"));
    let mut known: Vec<_> = catalog.channels.keys().map(ToString::to_string).collect();
    if let Some(near) = prefix.channel().and_then(near_alias) {
        return failure.hint(format!("did you mean {near}?"));
    }
    if known.is_empty() {
        return failure.hint("the mirror holds no build yet");
    }
    let text = prefix.to_string();
    if prefix.channel().is_none() {
        // The text names a release, so that only releases are candidates.
        let releases = catalog
            .channels
            .keys()
            .map(|channel| channel.release.to_string());
        known = releases.collect();
        known.dedup();
    }
    match nearest(&text, known.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("the mirror holds: {}", known.join(", "))),
    }
}

/// The error about a build that the mirror does not have.
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

#[cfg(test)]
mod tests {
    use stx_layout::{BuildEntry, BuildOutcome, BuildState};

    use super::*;

    fn catalog(builds: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for text in builds {
            let id: BuildId = text.parse().expect("a build");
            let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
            let entry = catalog.channels.entry(id.channel).or_default();
            let state = BuildState::Known(Box::new(record));
            let keep_file = false;
            let build = BuildEntry { state, keep_file };
            entry.builds.insert(id.date, build);
        }
        catalog
    }

    #[test]
    fn a_date_prefix_selects_one_build_or_fails() {
        let catalog = catalog(&[
            "master/centos/20200102T000000Z",
            "master/centos/20200103T000000Z",
            "master/centos/20200103T120000Z",
        ]);
        let channel: Channel = "master/centos".parse().expect("a channel");
        let begun = |prefix: &str| begun(&catalog, &channel, prefix);
        for (prefix, date) in [
            ("20200102", "20200102T000000Z"),
            ("20200103T12", "20200103T120000Z"),
        ] {
            assert_eq!(begun(prefix).expect("one").date.to_string(), date);
        }
        let error = begun("20200103").expect_err("two builds begin so");
        assert_eq!(error.kind, ErrorKind::Usage);
        let hint = error.hint.expect("a hint");
        assert!(
            hint.contains("20200103T000000Z") && hint.contains("20200103T120000Z"),
            "{hint}"
        );
        assert_eq!(
            begun("20200104").expect_err("none").kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn a_path_prefix_selects_one_channel_or_is_refused() {
        let catalog = catalog(&[
            "release/11.0.0/centos/20200102T000000Z",
            "release/12.0.0/centos/20200103T000000Z",
            "release/12.0.0/debian/20200103T000000Z",
        ]);
        let only = |text: &str| {
            let prefix: ChannelPrefix = text.parse().expect("a prefix");
            only(&prefix, channels(&catalog, &prefix)?).map(ToString::to_string)
        };
        assert_eq!(
            only("release/11.0.0").expect("one"),
            "release/11.0.0/centos"
        );
        let error = only("release/12.0.0").expect_err("two channels begin so");
        assert_eq!(error.kind, ErrorKind::Usage);
        let hint = error.hint.expect("a hint");
        for channel in ["release/12.0.0/centos", "release/12.0.0/debian"] {
            assert!(hint.contains(channel), "{hint}");
        }
        let missing = only("release/13.0.0").expect_err("there is none");
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
