//! The options of a site: the form of `stx-builds.toml`.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use stx_executors::Places;
use stx_layout::ReleaseKind;
use stx_layout::config::{ConfigErrors, Faults, from_toml};
use stx_pages::Site as PageSite;
use stx_publish_s3::{BucketOptions, Secret};

use crate::error::{Error, unusable};

mod aliases;
mod metadata;
mod mirrors;
mod policy;
mod preview;
mod privacy;
mod provenance;
mod registry;
mod signing;
mod size;
mod zsync;

pub use stx_executors::Executors;

pub use aliases::AliasesTable;
pub use metadata::{Metadata, MetadataTable};
pub use mirrors::MirrorsTable;
pub use policy::policy_file;
pub use preview::PreviewTable;
pub use privacy::PrivacyTable;
pub use provenance::{ProvenanceTable, SbomTable};
pub use registry::RegistryTable;
pub use signing::SigningTable;
pub use zsync::ZsyncTable;

/// The name that is looked for here and above.
const FILE_NAME: &str = "stx-builds.toml";

/// Where the form of the configuration is described.
pub const FORM: &str =
    "docs/operations.md, docs/places.md and stx-builds.toml(5) describe the form";

/// The options of a site: the form of `stx-builds.toml`, or filled in by a program.
///
/// `Options::default()` is an empty file. In a file, relative paths are relative to its directory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// The mirror's root directory, or its URL.
    pub mirror: Option<Utf8PathBuf>,
    /// How mirrors in buckets are reached.
    #[serde(rename = "object-store", default)]
    object_store: ObjectStoreTable,
    /// Where source trees, workspaces and logs of builds are kept.
    pub state: Option<Utf8PathBuf>,
    /// The recipe that `build` takes when none is given.
    pub recipe: Option<Utf8PathBuf>,
    /// Values of recipe variables; they replace the values that a recipe gives.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The retention policy.
    pub policy: Option<Utf8PathBuf>,
    /// Directories whose files `publish` takes where a symlink of the tree leads there.
    #[serde(default)]
    pub source_roots: Vec<Utf8PathBuf>,
    /// The names and secrets to search builds for, besides those of this machine.
    #[serde(default)]
    pub privacy: PrivacyTable,
    /// Where container images go.
    pub registry: Option<RegistryTable>,
    /// Whose signatures readers of a mirror believe.
    pub keyring: Option<Utf8PathBuf>,
    /// The key or the program that signs builds, packages and indexes.
    #[serde(default)]
    pub signing: SigningTable,
    /// Provenance: who builds, and the key that signs the statements.
    #[serde(default)]
    pub provenance: ProvenanceTable,
    /// Which images get a bill of materials.
    #[serde(default)]
    pub sbom: SbomTable,
    /// Which files get a zsync control file.
    #[serde(default)]
    pub zsync: ZsyncTable,
    /// The mirrors that metalink files name.
    #[serde(default)]
    pub mirrors: MirrorsTable,
    /// The program that makes the metadata of RPM repositories.
    #[serde(default)]
    pub metadata: MetadataTable,
    /// Where builds offer the files of their finished phases.
    #[serde(default)]
    pub preview: PreviewTable,
    /// The names above the channels, and paths without a date.
    #[serde(default)]
    pub aliases: AliasesTable,
    /// The texts of the catalog pages.
    #[serde(default)]
    site: SiteTable,
    /// How an interrupted build is handled: `resume` (the default) or `fail`.
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// The tables of the service; `stx_service::ServiceConfig` reads these three, with positions.
    #[serde(rename = "service", default)]
    _service: IgnoredAny,
    #[serde(rename = "branch", default)]
    _branch: IgnoredAny,
    #[serde(rename = "milestone", default)]
    _milestone: IgnoredAny,
    #[serde(rename = "lab", default)]
    _lab: IgnoredAny,
    /// Where phases run, and which phase runs where; [`Places`] reads these two, with positions.
    #[serde(rename = "place", default)]
    _place: IgnoredAny,
    #[serde(rename = "place-rule", default)]
    _place_rule: IgnoredAny,
    /// Where phases run.
    #[serde(skip)]
    pub places: Places,
    /// The file itself.
    #[serde(skip)]
    file: Option<Utf8PathBuf>,
}

/// The table `[object-store]`. Credentials have no place in it: they come from the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ObjectStoreTable {
    /// The server; AWS without one.
    endpoint: Option<String>,
    /// The region.
    region: Option<String>,
    /// Whether the bucket is part of the endpoint's host name.
    #[serde(default)]
    virtual_hosted: bool,
    /// The largest object that the server copies in one request, in bytes.
    largest_copy: Option<size::Size>,
}

/// The table `[site]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    /// Whether commands that change the mirror make the pages anew; `pages` does in any case.
    enabled: Option<bool>,
    /// The heading of the pages.
    #[serde(default)]
    title: String,
    /// The URL of the mirror's root.
    url: Option<String>,
    /// For each kind of release, the text about its channels on the page of the root.
    #[serde(default)]
    about: BTreeMap<ReleaseKind, String>,
}

impl Options {
    /// Reads `file`, else the nearest one here or above, else takes the defaults.
    pub fn load(file: Option<&Utf8Path>) -> Result<Self, Error> {
        Self::load_with(file, &Executors::default())
    }

    /// As [`load`](Self::load), with executors of other crates for the `kind` of a place.
    pub fn load_with(file: Option<&Utf8Path>, executors: &Executors) -> Result<Self, Error> {
        let (config, mistakes) = Self::read(file, executors)?;
        Error::unless(mistakes, FORM)?;
        Ok(config)
    }

    /// The same with every mistake in it. Where there are any, what is wrong has its default.
    pub fn read(
        file: Option<&Utf8Path>,
        executors: &Executors,
    ) -> Result<(Self, ConfigErrors), Error> {
        let found = match file {
            Some(file) => Some(file.to_owned()),
            None => nearest()?,
        };
        let Some(file) = found else {
            return Ok((Self::default(), ConfigErrors::default()));
        };
        let text = fs_err::read_to_string(&file).map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let failure = unusable(&file, error);
            if missing {
                failure.hint("--config, or STX_BUILDS_CONFIG, names the configuration file")
            } else {
                failure
            }
        })?;
        let mut mistakes = ConfigErrors::default();
        let mut faults = Faults::default();
        let config = from_toml::<Self>(&text, &mut faults);
        mistakes.extend(faults.locate(&text).in_file(&file));
        let mut config = config.unwrap_or_default();
        config.file = Some(file.clone());
        // What is run elsewhere, or later, has to find its files, too.
        let dir = &absolute(file.parent().unwrap_or(Utf8Path::new("")))?;
        match executors.places(&text, dir) {
            Ok(places) => config.places = places,
            Err(errors) => mistakes.extend(errors.in_file(&file)),
        }
        for path in [
            &mut config.mirror,
            &mut config.state,
            &mut config.recipe,
            &mut config.policy,
            &mut config.keyring,
        ]
        .into_iter()
        .flatten()
        .chain(&mut config.source_roots)
        {
            // Not only those that can be reached: the error about another one names it as it was written.
            if !path.as_str().contains("://") {
                *path = dir.join(&path);
            }
        }
        config.privacy.resolve(dir);
        config.signing.resolve(dir);
        config.provenance.resolve(dir);
        Ok((config, mistakes))
    }

    /// The mistakes in the policy that the configuration names.
    pub fn mistakes_elsewhere(&self) -> ConfigErrors {
        let mut mistakes = ConfigErrors::default();
        if let Some(file) = &self.policy {
            match policy_file(file) {
                Ok(Err(found)) => mistakes.extend(found),
                Ok(Ok(_)) => {}
                Err(failure) => mistakes.add(file, failure.chain()),
            }
        }
        mistakes
    }

    /// The failures of what a build needs when it is published: keys, secrets, names of images. Each comes with the table
    /// that names it.
    pub fn failures_of_builds(&self, now: DateTime<Utc>) -> Vec<(&'static str, Error)> {
        let registry = self.registry.as_ref();
        let failures = [
            ("signing", self.signing.check(now).err()),
            ("provenance", self.provenance.builder().err()),
            ("provenance", self.provenance.signer().err()),
            ("provenance", self.provenance.trusted(&[]).err()),
            ("privacy", self.privacy.compile().err()),
            (
                "registry",
                registry.and_then(|registry| registry.rules().err()),
            ),
            (
                "registry",
                registry.and_then(|registry| registry.open().err()),
            ),
        ];
        let failures = failures.into_iter();
        failures
            .filter_map(|(table, failure)| Some((table, failure?)))
            .collect()
    }

    /// The programs of `[signing]` and `[provenance]`, each with its table.
    pub fn signing_programs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let signing = self.signing.program().map(|program| ("signing", program));
        let provenance = self.provenance.program();
        signing
            .into_iter()
            .chain(provenance.map(|program| ("provenance", program)))
    }

    /// The mirror's root.
    pub fn mirror(&self) -> Result<Utf8PathBuf, Error> {
        self.mirror.clone().ok_or_else(|| {
            Error::usage("no mirror is named").hint(format!(
                "give --mirror DIR, or `mirror = \"DIR\"` in {FILE_NAME}"
            ))
        })
    }

    /// The URL of the mirror's root, if the configuration names it.
    pub(crate) fn site_url(&self) -> Option<&str> {
        self.site.url.as_deref()
    }

    /// Where builds work: the configuration's `state`, else a directory beside the mirror, which has to be one then.
    pub fn state(&self, mirror: &Utf8Path) -> Result<Utf8PathBuf, Error> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        if MirrorLocation::of(mirror) != MirrorLocation::Directory {
            return Err(
                Error::usage(format!("{mirror}: no directory is named to build in")).hint(format!(
                    "`state = \"DIR\"` in {FILE_NAME} names it; beside a URL there is none"
                )),
            );
        }
        let name = mirror.file_name().unwrap_or("mirror");
        Ok(mirror.with_file_name(format!("{name}.state")))
    }

    /// How mirrors in buckets are reached: the environment's `AWS_…`, else what the file says.
    pub fn bucket(&self) -> BucketOptions {
        let table = &self.object_store;
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            name.starts_with("AWS_").then(|| (name, Secret::new(value)))
        });
        let mut options = BucketOptions::default();
        options.endpoint.clone_from(&table.endpoint);
        options.region.clone_from(&table.region);
        options.virtual_hosted = table.virtual_hosted;
        options.largest_copy = table.largest_copy.map(|size| size.0);
        options.environment = environment.collect();
        options
    }

    /// The retention policy's file; without one the specification's rules hold.
    pub fn policy(&self) -> Option<&Utf8Path> {
        self.policy.as_deref()
    }

    /// The public keys whose signatures are believed; without them, no signature is looked at.
    pub fn keyring(&self) -> Option<&Utf8Path> {
        self.keyring.as_deref()
    }

    /// The texts of the catalog pages, without the times for which builds are kept.
    pub fn site(&self) -> PageSite {
        PageSite {
            title: self.site.title.clone(),
            url: self.site.url.clone(),
            about: self.site.about.clone(),
            ..PageSite::default()
        }
    }

    /// Whether the catalog pages are made after each change.
    pub fn makes_pages(&self) -> bool {
        self.site.enabled.unwrap_or(true)
    }

    /// Where symlinks of a finished tree may lead: `--source-root`, and the configuration's.
    pub fn source_roots(&self, given: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
        [given, &self.source_roots].concat()
    }

    /// The file that this was read from.
    pub fn file(&self) -> Option<&Utf8Path> {
        self.file.as_deref()
    }

    /// How an interrupted build is handled.
    pub fn on_interrupt(&self) -> OnInterrupt {
        self.on_interrupt
    }

    /// The recipe: `--recipe`, else the configuration's.
    pub fn recipe(&self, given: Option<&Utf8Path>) -> Result<Utf8PathBuf, Error> {
        given
            .map(Utf8Path::to_owned)
            .or_else(|| self.recipe.clone())
            .ok_or_else(|| {
                Error::usage("no recipe is named").hint(format!(
                    "give --recipe FILE, or `recipe = \"FILE\"` in {FILE_NAME}"
                ))
            })
    }
}

/// How an interrupted build continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInterrupt {
    /// It resumes at its first unfinished phase.
    #[default]
    Resume,
    /// It is published as failed, with the reason `interrupted`.
    Fail,
}

/// The nearest configuration file, here or in a directory above.
fn nearest() -> Result<Option<Utf8PathBuf>, Error> {
    let here = current_dir()?;
    Ok(here
        .ancestors()
        .map(|dir| dir.join(FILE_NAME))
        .find(|file| file.is_file()))
}

/// Where a mirror is, by how it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorLocation {
    /// In a directory: a path.
    Directory,
    /// In a bucket: `s3://…`.
    Bucket,
    /// Behind a web server: `http://…` or `https://…`.
    Web,
}

impl MirrorLocation {
    /// By the scheme of its name.
    pub fn of(mirror: &Utf8Path) -> Self {
        match mirror.as_str().split_once("://") {
            Some(("http" | "https", _)) => Self::Web,
            Some(("s3", _)) => Self::Bucket,
            Some(_) | None => Self::Directory,
        }
    }
}

/// A mirror's name as it is from anywhere: a path from the root, a URL as it stands.
pub fn anywhere(mirror: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    match MirrorLocation::of(mirror) {
        MirrorLocation::Directory => absolute(mirror),
        MirrorLocation::Bucket | MirrorLocation::Web => Ok(mirror.to_owned()),
    }
}

/// The current directory.
pub fn current_dir() -> Result<Utf8PathBuf, Error> {
    let here = std::env::current_dir().map_err(|error| {
        Error::usage(format!("the current directory cannot be found: {error}"))
            .hint("was it removed? change to another one, or name one by -C DIR")
    })?;
    Utf8PathBuf::from_path_buf(here).map_err(|path| {
        Error::usage(format!(
            "{}: the current directory is not UTF-8",
            path.display()
        ))
    })
}

/// `path` from the root, without asking the file system what it is.
pub fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Ok(current_dir()?.join(path))
}

/// The table of a configuration that `of` picks, for the tests of the tables.
#[cfg(test)]
fn read_table<T>(text: &str, of: fn(Options) -> T) -> Result<T, String> {
    let options: Result<Options, _> = toml::from_str(text);
    options.map(of).map_err(|error| error.to_string())
}
