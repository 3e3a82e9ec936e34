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

/// The name to search for in the current directory and above.
const FILE_NAME: &str = "stx-builds.toml";

/// The place that describes the form of the configuration.
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
    /// The access to mirrors in buckets.
    #[serde(rename = "object-store", default)]
    object_store: ObjectStoreTable,
    /// The directory of source trees, workspaces and logs of builds.
    pub state: Option<Utf8PathBuf>,
    /// The default recipe of `build`.
    pub recipe: Option<Utf8PathBuf>,
    /// Values of recipe variables; they replace the values that a recipe gives.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The retention policy.
    pub policy: Option<Utf8PathBuf>,
    /// Directories outside of a tree whose files `publish` accepts if a symlink of the tree leads there.
    #[serde(default)]
    pub source_roots: Vec<Utf8PathBuf>,
    /// The names and secrets to search builds for, besides those of this machine.
    #[serde(default)]
    pub privacy: PrivacyTable,
    /// The registry for container images.
    pub registry: Option<RegistryTable>,
    /// The public keys that readers of a mirror trust.
    pub keyring: Option<Utf8PathBuf>,
    /// The key or the program that signs builds, packages and indexes.
    #[serde(default)]
    pub signing: SigningTable,
    /// Provenance: the builder's identity, and the key that signs the statements.
    #[serde(default)]
    pub provenance: ProvenanceTable,
    /// The selection of images that get a bill of materials.
    #[serde(default)]
    pub sbom: SbomTable,
    /// The selection of files that get a zsync control file.
    #[serde(default)]
    pub zsync: ZsyncTable,
    /// The mirrors that metalink files name.
    #[serde(default)]
    pub mirrors: MirrorsTable,
    /// The program that makes the metadata of RPM repositories.
    #[serde(default)]
    pub metadata: MetadataTable,
    /// The address at which builds offer the files of their finished phases.
    #[serde(default)]
    pub preview: PreviewTable,
    /// The names above the channels, and paths without a date.
    #[serde(default)]
    pub aliases: AliasesTable,
    /// The texts of the catalog pages.
    #[serde(default)]
    site: SiteTable,
    /// The handling of an interrupted build: `resume` (the default) or `fail`.
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// The tables of the service; `stx_service::ServiceConfig` reads these three, with their positions.
    #[serde(rename = "service", default)]
    _service: IgnoredAny,
    #[serde(rename = "branch", default)]
    _branch: IgnoredAny,
    #[serde(rename = "milestone", default)]
    _milestone: IgnoredAny,
    #[serde(rename = "lab", default)]
    _lab: IgnoredAny,
    /// The places for phases, and the rules that assign phases to them; [`Places`] reads these two, with their positions.
    #[serde(rename = "place", default)]
    _place: IgnoredAny,
    #[serde(rename = "place-rule", default)]
    _place_rule: IgnoredAny,
    /// The places for phases.
    #[serde(skip)]
    pub places: Places,
    /// The path of the file itself.
    #[serde(skip)]
    file: Option<Utf8PathBuf>,
    /// The directory in which, and above which, no file was found.
    #[serde(skip)]
    searched: Option<Utf8PathBuf>,
}

/// The table `[object-store]`. It cannot contain credentials: they come from the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ObjectStoreTable {
    /// The server; AWS if absent.
    endpoint: Option<String>,
    /// The region.
    region: Option<String>,
    /// True if the bucket is part of the endpoint's host name.
    #[serde(default)]
    virtual_hosted: bool,
    /// The largest object that the server copies in one request, in bytes.
    largest_copy: Option<size::Size>,
}

/// The table `[site]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    /// True if commands that change the mirror make its pages; `pages` always does.
    enabled: Option<bool>,
    /// The heading of the pages.
    #[serde(default)]
    title: String,
    /// The URL of the mirror's root.
    url: Option<String>,
    /// The text about the channels of each kind of release on the root page.
    #[serde(default)]
    about: BTreeMap<ReleaseKind, String>,
}

impl Options {
    /// Reads `file`, else the nearest configuration file in the current directory or above, else uses the defaults.
    pub fn load(file: Option<&Utf8Path>) -> Result<Self, Error> {
        Self::load_with(file, &Executors::default())
    }

    /// As [`load`](Self::load), with executors of other crates for the `kind` of a place.
    pub fn load_with(file: Option<&Utf8Path>, executors: &Executors) -> Result<Self, Error> {
        let (config, mistakes) = Self::read(file, executors)?;
        Error::unless(mistakes, FORM)?;
        Ok(config)
    }

    /// As [`load`](Self::load), with all mistakes of the file. Options with a mistake keep their defaults.
    pub fn read(
        file: Option<&Utf8Path>,
        executors: &Executors,
    ) -> Result<(Self, ConfigErrors), Error> {
        let found = match file {
            Some(file) => Some(file.to_owned()),
            None => nearest()?,
        };
        let Some(file) = found else {
            let nothing = Self {
                searched: Some(current_dir()?),
                ..Self::default()
            };
            return Ok((nothing, ConfigErrors::default()));
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
        // Absolute, so that a process in another directory finds the files, too.
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
            // All URLs, not only supported ones: the error about an unsupported URL then contains the original text.
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

    /// The errors about the parts of the configuration that a publish needs: keys, secrets, names of images. Each comes with the
    /// table that names it.
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
        let mirror = self.mirror.clone();
        mirror.ok_or_else(|| self.unnamed("mirror", "--mirror DIR"))
    }

    /// The error about a value that neither an option of the command line nor the configuration names.
    fn unnamed(&self, key: &str, option: &str) -> Error {
        let value = option.rsplit(' ').next().unwrap_or_default();
        let line = format!("`{key} = \"{value}\"`");
        if let Some(dir) = &self.searched {
            let error = format!(
                "no {key} is named, and there is no {FILE_NAME} in {dir} or a directory above it"
            );
            return Error::usage(error).hint(format!(
                "give {option}, or --config FILE for a configuration in another place; `stx-builds init` writes a new one"
            ));
        }
        let (place, file) = match &self.file {
            Some(file) => (format!(" in {file}"), file.as_str()),
            None => (String::new(), FILE_NAME),
        };
        Error::usage(format!("no {key} is named{place}"))
            .hint(format!("give {option}, or add {line} to {file}"))
    }

    /// The error about a command that needs a configuration, if none was found.
    pub(crate) fn no_file(&self) -> Option<Error> {
        let dir = self.searched.as_ref()?;
        let error = format!("there is no {FILE_NAME} in {dir} or a directory above it");
        Some(Error::usage(error).hint(
            "give --config FILE for a configuration in another place; `stx-builds init` writes a new one",
        ))
    }

    /// The URL of the mirror's root, if the configuration names it.
    pub(crate) fn site_url(&self) -> Option<&str> {
        self.site.url.as_deref()
    }

    /// The directory in which builds work: the configuration's `state`, else a directory beside the mirror, which must then be a
    /// directory, too.
    pub fn state(&self, mirror: &Utf8Path) -> Result<Utf8PathBuf, Error> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        if MirrorLocation::of(mirror) != MirrorLocation::Directory {
            return Err(
                Error::usage(format!("{mirror}: no state directory is configured")).hint(format!(
                    "`state = \"DIR\"` in {FILE_NAME} sets it; a mirror with a URL has no default"
                )),
            );
        }
        let name = mirror.file_name().unwrap_or("mirror");
        Ok(mirror.with_file_name(format!("{name}.state")))
    }

    /// The access to mirrors in buckets: the environment's `AWS_…`, else the values of the file.
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

    /// The file of the retention policy; without one, the default policy of the specification applies.
    pub fn policy(&self) -> Option<&Utf8Path> {
        self.policy.as_deref()
    }

    /// The trusted public keys; without them, signatures are not checked.
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

    /// True if the catalog pages are made after each change.
    pub fn makes_pages(&self) -> bool {
        self.site.enabled.unwrap_or(true)
    }

    /// The directories to which symlinks of a finished tree may lead: those of `--source-root`, and those of the configuration.
    pub fn source_roots(&self, given: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
        [given, &self.source_roots].concat()
    }

    /// The file from which the options were read.
    pub fn file(&self) -> Option<&Utf8Path> {
        self.file.as_deref()
    }

    /// The handling of an interrupted build.
    pub fn on_interrupt(&self) -> OnInterrupt {
        self.on_interrupt
    }

    /// The recipe: `--recipe`, else the configuration's.
    pub fn recipe(&self, given: Option<&Utf8Path>) -> Result<Utf8PathBuf, Error> {
        given
            .map(Utf8Path::to_owned)
            .or_else(|| self.recipe.clone())
            .ok_or_else(|| self.unnamed("recipe", "--recipe FILE"))
    }
}

/// The handling of an interrupted build.
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

/// The kind of place of a mirror, by its name.
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
    /// The kind that the scheme of a name indicates.
    pub fn of(mirror: &Utf8Path) -> Self {
        match mirror.as_str().split_once("://") {
            Some(("http" | "https", _)) => Self::Web,
            Some(("s3", _)) => Self::Bucket,
            Some(_) | None => Self::Directory,
        }
    }
}

/// A mirror's name independent of the current directory: a path becomes absolute, a URL is unchanged.
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

/// The absolute form of `path`, without accessing the file system.
pub fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Ok(current_dir()?.join(path))
}

/// The table of a configuration that `of` selects, for the tests of the tables.
#[cfg(test)]
fn read_table<T>(text: &str, of: fn(Options) -> T) -> Result<T, String> {
    let options: Result<Options, _> = toml::from_str(text);
    options.map(of).map_err(|error| error.to_string())
}
