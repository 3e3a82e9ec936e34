//! Compare packages with the reference build, build with build, or release with release.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_compare::inventory::{ChooseError, Entry, Inventory, Key, Named, Pair, contested, pair};
use stx_compare::nearest::{Ancestry, Nearest, context_sources, nearest};
use stx_compare::report::{Comparison, Outcome, Report, Reports};
use stx_compare::version::{Format, Version};
use stx_layout::{
    BuildId, Channel, ParseError, SourceRecord, counted, printable_bytes, redact_urls,
};
use stx_pipeline::process::git_reason;
use stx_publish::incoming::digest_of;
use stx_publish::{Scope, StoreError, read_all};

use crate::build_ref::{self, pairs};
use crate::error::{Error, ErrorKind, chain, unusable};
use crate::packages::{self, PackageError, Place, Seats, differences};
use crate::trust::TrustOptions;
use crate::users::denied;
use crate::{Reader, Site, fetch, refused};

/// The number of pairs of packages to read and compare in parallel.
const PARALLEL: u32 = 4;

/// The file that names the commits of a build, and the maximal number of bytes to read of it.
const CONTEXT: &str = "outputs/CONTEXT";
const LONGEST_CONTEXT: u64 = 4 << 20;

/// Two package files that belong together.
type Sides = (Option<Place>, Option<Place>);

/// The packages to compare, and their reference.
#[derive(Debug, Clone, Default)]
pub struct Compare {
    /// With a reference, package files or directories of them; otherwise two builds, or beginnings of channels such as
    /// `release/11.0.0`.
    pub what: Vec<String>,
    /// The reference: `CHANNEL`, `CHANNEL/ALIAS` or `CHANNEL/BUILD-DATE`.
    pub with: Option<String>,
    /// A git work tree: the reference is the build of the channel from which it descends with the fewest commits between.
    pub source: Option<Utf8PathBuf>,
    /// The phase of the reference package, if several hold it.
    pub phase: Option<String>,
    /// Download packages whose files differ, to find those that differ only in embedded times.
    pub contents: bool,
    /// The trusted signatures. With a keyring, each package to read is downloaded whole.
    pub trust: TrustOptions,
}

impl Site {
    /// Compares packages with the reference build, or two builds with each other, or two releases, channel by channel.
    pub async fn compare(&self, args: &Compare) -> Result<Reports, Error> {
        let reader = self.trusted_reader(&args.trust)?;
        let mut reports = match (&args.with, &args.what[..]) {
            (Some(with), files) => Reports {
                reports: vec![with_reference(self, args, &reader, with, files).await?],
                ..Reports::default()
            },
            (None, [from, to]) if ![from, to].iter().any(|name| Utf8Path::new(name).is_file()) => {
                releases(self, args, &reader, from, to).await?
            }
            (None, _) => {
                return Err(
                    Error::usage("two builds are compared, or packages --with a build")
                        .hint("compare *.rpm --with master/centos, or compare BUILD BUILD, or compare release/11.0.0 release/12.0.0; the same with *.deb"),
                );
            }
        };
        reader.remember()?;
        reports.transferred = reader.received();
        if let [report] = &mut reports.reports[..] {
            report.transferred = reports.transferred;
        }
        Ok(reports)
    }
}

/// Compares build with build, for each channel that both names refer to.
async fn releases(
    site: &Site,
    args: &Compare,
    reader: &Reader,
    from: &str,
    to: &str,
) -> Result<Reports, Error> {
    let found = pairs::pairs(reader.store(), from, to, &|line| site.note(line)).await?;
    let mut reports = Reports {
        only_from: found.only_from,
        only_to: found.only_to,
        ..Reports::default()
    };
    for (from, to) in found.pairs {
        reports.reports.push(builds(args, reader, from, to).await?);
    }
    Ok(reports)
}

/// Compares build with build.
async fn builds(
    args: &Compare,
    reader: &Reader,
    from: BuildId,
    to: BuildId,
) -> Result<Report, Error> {
    let mut before = Inventory::of(&fetch::sums(reader, &from).await?);
    let mut after = Inventory::of(&fetch::sums(reader, &to).await?);
    let (old, new) = contested(&before, &after);
    before.set_epochs(&packages::epochs(reader, &from, old).await);
    after.set_epochs(&packages::epochs(reader, &to, new).await);
    let (identical, mut pairs) = pair(&before, &after);
    once(&mut pairs);
    let place = |id: &BuildId, entry: Option<Entry>| Some(Place::Mirror(id.clone(), entry?));
    let pairs = pairs
        .into_iter()
        .map(|pair| (pair.key, (place(&from, pair.from), place(&to, pair.to))));
    let packages = all(reader, pairs.collect(), args.contents).await;
    Ok(Report {
        from: Some(from),
        to: Some(to),
        identical,
        packages,
        transferred: None,
    })
}

/// Removes the files of aptly's repositories that other directories also have: they are compared there.
pub(crate) fn once(pairs: &mut Vec<Pair>) {
    let is_aptly = |pair: &Pair| pair.key.place.starts_with("outputs/aptly/");
    let digest = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.digest);
    let others = || pairs.iter().filter(|pair| !is_aptly(pair));
    let from: HashSet<_> = others().map(|pair| digest(&pair.from)).collect();
    let to: HashSet<_> = others().map(|pair| digest(&pair.to)).collect();
    let is_elsewhere = |entry: &Option<Entry>, others: &HashSet<_>| {
        entry.is_none() || others.contains(&digest(entry))
    };
    pairs.retain(|pair| {
        !is_aptly(pair) || !is_elsewhere(&pair.from, &from) || !is_elsewhere(&pair.to, &to)
    });
}

/// Compares package files with a build.
async fn with_reference(
    site: &Site,
    args: &Compare,
    reader: &Reader,
    with: &str,
    files: &[String],
) -> Result<Report, Error> {
    let files = package_files(files)?;
    let id = match &args.source {
        Some(dir) => nearest_build(site, reader, with, dir).await?,
        None => fetch::build(site, reader, with).await?,
    };
    let mut inventory = Inventory::of(&fetch::sums(reader, &id).await?);
    let mut report = Report {
        from: Some(id.clone()),
        ..Report::default()
    };
    let mut pairs = Vec::new();
    let mut unread = Vec::new();
    for file in files {
        let place = Place::File(file.clone());
        let package = match packages::read(reader, &place).await {
            Ok(package) => package,
            Err(error) => {
                unread.push(unreadable(&file, args.phase.as_deref(), &error));
                continue;
            }
        };
        // File names have no epoch.
        let version = Version {
            epoch: None,
            ..package.evr()
        };
        let version = version.to_string();
        let named = |key: &Key| key.name == package.name && key.arch == package.arch;
        let several: Vec<_> = inventory
            .several()
            .filter(|(key, _)| named(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in several {
            packages::order(reader, &id, &mut inventory, &key).await;
        }
        let chosen = choose(
            &inventory,
            &package.name,
            &package.arch,
            &version,
            args,
            &file,
        );
        match chosen {
            Ok((key, entry)) => {
                let digest = match packages::digest(&file).await {
                    Ok(digest) => digest,
                    Err(error) => {
                        unread.push(unreadable(&file, args.phase.as_deref(), &error));
                        continue;
                    }
                };
                if digest == entry.digest {
                    report.identical += 1;
                } else {
                    let reference = Place::Mirror(id.clone(), entry.clone());
                    pairs.push((key.clone(), (Some(reference), Some(place))));
                }
            }
            Err(ChooseError::Absent { name, arch, phase }) => {
                let place_name = phase.unwrap_or_default();
                let key = Key {
                    place: place_name,
                    format: package.format,
                    name,
                    arch,
                };
                pairs.push((key, (None, Some(place))));
            }
            Err(error @ ChooseError::Ambiguous { .. }) => {
                return Err(Error::usage(format!("{file}: {error}"))
                    .hint("name one with --phase, such as --phase std"));
            }
        }
    }
    report.packages = all(reader, pairs, args.contents).await;
    report.packages.extend(unread);
    report
        .packages
        .sort_by(|one, other| one.key.cmp(&other.key));
    Ok(report)
}

/// A file that cannot be read as a package. Only its name tells which package it should be.
fn unreadable(file: &Utf8Path, phase: Option<&str>, error: &PackageError) -> Comparison {
    let file_name = file.file_name().unwrap_or_default();
    let (name, arch) = match Named::of(file_name) {
        Some(named) => (named.name, named.arch),
        None => (file_name.to_owned(), String::new()),
    };
    let reason = chain(error).to_string();
    Comparison {
        key: Key {
            place: phase.unwrap_or_default().to_owned(),
            format: Format::of(file_name).unwrap_or_default(),
            name,
            arch,
        },
        from: None,
        to: Some(file.to_string()),
        outcome: Outcome::Failed {
            reason: if reason.contains(file.as_str()) {
                reason
            } else {
                format!("{file}: {reason}")
            },
            hint: Some(local_hint(file, error)),
        },
    }
}

/// The next step for a package file outside of the mirror.
fn local_hint(file: &Utf8Path, error: &PackageError) -> String {
    if let PackageError::Io { source, .. } = error
        && source.kind() == io::ErrorKind::PermissionDenied
    {
        return denied(file);
    }
    let kind = match Format::of(file.file_name().unwrap_or_default()).unwrap_or_default() {
        Format::Rpm => "RPM",
        Format::Deb | Format::Udeb | Format::Dsc => "Debian",
    };
    format!("is it a whole {kind} package?")
}

/// The reference of a package: in the requested phase; else, if several phases have the package, in the phase that a directory of the
/// file's path names.
fn choose<'a>(
    inventory: &'a Inventory,
    name: &str,
    arch: &str,
    version: &str,
    args: &Compare,
    file: &Utf8Path,
) -> Result<(&'a Key, &'a Entry), ChooseError> {
    let phase = args.phase.as_deref();
    let chosen = inventory.choose(name, arch, phase, Some(version));
    if !matches!(chosen, Err(ChooseError::Ambiguous { .. })) || phase.is_some() {
        return chosen;
    }
    let absolute = file.canonicalize_utf8().unwrap_or_else(|_| file.to_owned());
    let phases = absolute.components().rev().map(|part| part.as_str());
    let mut found = phases.filter_map(|phase| {
        let chosen = inventory.choose(name, arch, Some(phase), Some(version));
        chosen.ok()
    });
    found.next().map_or(chosen, Ok)
}

/// The named package files, and those in the named directories.
fn package_files(named: &[String]) -> Result<Vec<Utf8PathBuf>, Error> {
    let mut files = Vec::new();
    for name in named.iter().map(Utf8Path::new) {
        match fs::metadata(name) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                files.push(name.to_owned());
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{name}: there is no such file or directory"),
                )
                .hint("with --with, give package files or directories that hold them"));
            }
            Err(error) => return Err(unusable(name, error)),
        }
        let before = files.len();
        for entry in walkdir::WalkDir::new(name).sort_by_file_name() {
            let entry = entry.map_err(Error::usage)?;
            let path = entry.path();
            let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            let is_package = Format::ALL
                .iter()
                .any(|format| format.as_str() == extension);
            if !entry.file_type().is_file() || !is_package {
                continue;
            }
            let path = Utf8Path::from_path(path).ok_or_else(|| {
                let shown = printable_bytes(path.as_os_str().as_bytes());
                Error::usage(format!("{shown}: the name is not UTF-8"))
                    .hint("rename the file, or name the packages one by one")
            })?;
            files.push(path.to_owned());
        }
        if files.len() == before {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{name}: no *.rpm, *.deb, *.udeb or *.dsc below it"),
            ));
        }
    }
    Ok(files)
}

/// The channel's build that is nearest to a work tree.
async fn nearest_build(
    site: &Site,
    reader: &Reader,
    with: &str,
    dir: &Utf8Path,
) -> Result<BuildId, Error> {
    let channel = build_ref::channel(reader.store(), with).await?;
    let ancestry = Ancestry::parse(&history(dir)?);
    let ids = successes(reader, &channel).await?;
    let found = stream::iter(&ids)
        .map(|id| sources(reader, id))
        .buffered(PARALLEL as usize);
    let found: Vec<_> = found.try_collect().await?;
    let builds = ids
        .iter()
        .zip(&found)
        .map(|(id, sources)| (id, &sources[..]));
    let Some(Nearest {
        build,
        path,
        commit,
        ahead,
    }) = nearest(builds, &ancestry)
    else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{dir} descends from no commit of a build of {channel}"),
        )
        .hint("is it a work tree of one of the builds' gits? `show` names them; or name a build with --with"));
    };
    site.note(&format!(
        "{build} is nearest: {path} is at {}, {} behind {dir}",
        commit.get(..12).unwrap_or(&commit),
        counted(ahead, "commit")
    ));
    Ok(build)
}

/// The successes of a channel, oldest first.
pub(crate) async fn successes(reader: &Reader, channel: &Channel) -> Result<Vec<BuildId>, Error> {
    let scope = Scope::Channel(channel.clone());
    let catalog = reader.store().catalog(&scope).await.map_err(refused)?;
    let successes = catalog.builds().filter(|(_, build)| build.is_success());
    Ok(successes.map(|(id, _)| id).collect())
}

/// The commits of a build: those of its record, or if that has none, those of its `CONTEXT`.
pub(crate) async fn sources(reader: &Reader, id: &BuildId) -> Result<Vec<SourceRecord>, Error> {
    let record = reader.store().record(id).await.map_err(refused)?;
    if !record.sources.is_empty() {
        return Ok(record.sources);
    }
    let path = CONTEXT
        .parse()
        .map_err(|error| Error::new(ErrorKind::Bug, error as ParseError))?;
    let sums = fetch::sums(reader, id).await?;
    match read_all(reader.store(), id, &path, LONGEST_CONTEXT).await {
        Ok(text) if sums.get(&path) != Some(digest_of(&text)) => {
            let found = format!("{id}/{CONTEXT}: it is not the file that SHA256SUMS names");
            Err(Error::new(ErrorKind::Mirror, found).hint("`verify` checks a mirror's files"))
        }
        // Repositories are distinguished by their paths, so two paths must not become the same text.
        Ok(text) => {
            let lines: Vec<_> = text
                .split(|byte| *byte == b'\n')
                .map(printable_bytes)
                .collect();
            Ok(context_sources(&lines.join("\n")))
        }
        Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(refused(error)),
    }
}

/// The commits of a work tree, each with its parents.
#[expect(
    clippy::disallowed_methods,
    reason = "one question to the user's own git; it is not a phase of a build"
)]
fn history(dir: &Utf8Path) -> Result<String, Error> {
    let output = std::process::Command::new("git")
        .args(["-C", dir.as_str(), "rev-list", "--parents", "HEAD"])
        .env("LC_ALL", "C.UTF-8")
        .output()
        .map_err(|error| Error::usage(format!("git: {error}")).hint("--source needs git"))?;
    if !output.status.success() {
        let reason = git_reason(&output.stderr);
        return Err(Error::usage(format!("{dir}: git rev-list: {reason}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compares pairs in parallel; the results keep the order.
async fn all(reader: &Reader, pairs: Vec<(Key, Sides)>, contents: bool) -> Vec<Comparison> {
    let mut by_key = BTreeMap::<Key, Vec<Sides>>::new();
    for (key, sides) in pairs {
        by_key.entry(key).or_default().push(sides);
    }
    let pairs = by_key
        .into_iter()
        .flat_map(|(key, sides)| sides.into_iter().map(move |sides| (key.clone(), sides)));
    let seats = &Seats::new(PARALLEL);
    // Reports are kept and passed on, so they must not contain the credentials of a mirror.
    let shown = |place: Place| redact_urls(&place.to_string()).into_owned();
    stream::iter(pairs)
        .map(|(key, (from, to))| async move {
            let outcome = outcome(reader, from.as_ref(), to.as_ref(), contents, seats).await;
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => failed(reader, [&from, &to], &error).await,
            };
            Comparison {
                key,
                from: from.map(shown),
                to: to.map(shown),
                outcome,
            }
        })
        .buffered(PARALLEL as usize)
        .collect()
        .await
}

/// Compares one pair.
async fn outcome(
    reader: &Reader,
    from: Option<&Place>,
    to: Option<&Place>,
    contents: bool,
    seats: &Seats,
) -> Result<Outcome, PackageError> {
    if let Some(to) = to {
        packages::check(to).await?;
    }
    match (from, to) {
        (Some(from), Some(to)) => differences(reader, from, to, contents, seats).await,
        (None, _) => Ok(Outcome::Added),
        (_, None) => Ok(Outcome::Removed),
    }
}

/// A package that could not be compared, with the next step.
async fn failed(reader: &Reader, places: [&Option<Place>; 2], error: &PackageError) -> Outcome {
    for place in places.into_iter().flatten() {
        if let Some(taken) = packages::taken_with(reader, place, error).await {
            return Outcome::Failed {
                reason: taken.to_string(),
                hint: Some(taken.hint()),
            };
        }
    }
    let hint = match (places, error) {
        // Packages on a mirror are checked against their sums before their payloads are read.
        (
            [_, Some(Place::File(file))],
            PackageError::Whole(_)
            | PackageError::Io { .. }
            | PackageError::Debian(_)
            | PackageError::Contents(_),
        ) => local_hint(file, error),
        _ => "`verify` checks a mirror's files".to_owned(),
    };
    Outcome::Failed {
        reason: chain(error).to_string(),
        hint: Some(hint),
    }
}
