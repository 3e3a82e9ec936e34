//! The configuration file `stx-builds.toml`.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use stx_pipeline::{Places, tolerant};
use stx_publish::site::Site;
use stx_publish::{BucketOptions, Secret};

use crate::args::Global;
use crate::commands::build::OnInterrupt;
use crate::commands::retention;
use crate::exit::{Exit, Failure};
use crate::users::unusable;

mod metadata;
mod mistakes;
mod privacy;
mod provenance;
mod registry;
mod signing;

pub(crate) use metadata::{Metadata, MetadataTable};
pub(crate) use mistakes::Mistakes;
pub(crate) use privacy::PrivacyTable;
pub(crate) use provenance::{ProvenanceTable, SbomTable};
pub(crate) use registry::RegistryTable;
pub(crate) use signing::SigningTable;

/// The name that is looked for here and above.
const FILE_NAME: &str = "stx-builds.toml";

/// Where the form of the configuration is described.
pub(crate) const FORM: &str =
    "docs/operations.md, docs/places.md and stx-builds.toml(5) describe the form";

/// What `stx-builds.toml` says; relative paths are relative to the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The mirror's root directory, or its URL.
    mirror: Option<Utf8PathBuf>,
    /// How mirrors in buckets are reached.
    #[serde(rename = "object-store", default)]
    object_store: ObjectStoreTable,
    /// Where source trees, workspaces and logs of builds are kept.
    state: Option<Utf8PathBuf>,
    /// The recipe that `build` takes when none is given.
    recipe: Option<Utf8PathBuf>,
    /// The retention policy.
    policy: Option<Utf8PathBuf>,
    /// Directories whose files `publish` takes where a symlink of the tree leads there.
    #[serde(default)]
    source_roots: Vec<Utf8PathBuf>,
    /// What no build may tell.
    #[serde(default)]
    pub(crate) privacy: PrivacyTable,
    /// Where container images go.
    pub(crate) registry: Option<RegistryTable>,
    /// Whose signatures readers of a mirror believe.
    keyring: Option<Utf8PathBuf>,
    /// What signs builds, packages and indexes.
    #[serde(default)]
    pub(crate) signing: SigningTable,
    /// What is stated of where builds come from, and with what that is signed.
    #[serde(default)]
    pub(crate) provenance: ProvenanceTable,
    /// Which images get a bill of materials.
    #[serde(default)]
    pub(crate) sbom: SbomTable,
    /// What makes the metadata of RPM repositories.
    #[serde(default)]
    pub(crate) metadata: MetadataTable,
    /// What the catalog pages say of the mirror.
    #[serde(default)]
    site: SiteTable,
    /// What is done with a build that was interrupted: `resume` (the default) or `fail`.
    #[serde(default)]
    on_interrupt: OnInterrupt,
    /// What the service does; `stx_pipeline::service::ServiceConfig` reads these three, with positions.
    #[serde(rename = "service", default)]
    _service: IgnoredAny,
    #[serde(rename = "branch", default)]
    _branch: IgnoredAny,
    #[serde(rename = "milestone", default)]
    _milestone: IgnoredAny,
    /// Where phases run, and which phase runs where; [`Places`] reads these two, with positions.
    #[serde(rename = "place", default)]
    _place: IgnoredAny,
    #[serde(rename = "place-rule", default)]
    _place_rule: IgnoredAny,
    #[serde(skip)]
    places: Places,
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
}

impl Config {
    /// Reads the file that `--config` names, else the nearest one here or above, else takes the defaults.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let (config, mistakes) = Self::read(global)?;
        mistakes.none(FORM)?;
        Ok(config)
    }

    /// The same with every mistake in it. Where there are any, what is wrong has its default.
    pub(crate) fn read(global: &Global) -> Result<(Self, Mistakes), Failure> {
        let found = match &global.config {
            Some(file) => Some(file.clone()),
            None => nearest()?,
        };
        let Some(file) = found else {
            return Ok((Self::default(), Mistakes::default()));
        };
        let text = fs_err::read_to_string(&file).map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let failure = unusable(&file, error);
            if missing {
                failure.hint("--config, or STX_BUILDS_CONFIG, names the configuration file")
            } else {
                failure
            }
        })?;
        let mut mistakes = Mistakes::default();
        let (config, findings) = tolerant::from_toml::<Self>(&text);
        mistakes.find(&file, findings);
        let mut config = config.unwrap_or_default();
        config.file = Some(file.clone());
        // What is run elsewhere, or later, has to find its files, too.
        let dir = &absolute(file.parent().unwrap_or(Utf8Path::new("")))?;
        match Places::from_toml(&text, dir) {
            Ok(places) => config.places = places,
            Err(error) => mistakes.find(&file, error.findings),
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
    pub(crate) fn mistakes_elsewhere(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        if let Some(file) = &self.policy {
            match retention::policy_file(file) {
                Ok(Err(found)) => mistakes.extend(found),
                Ok(Ok(_)) => {}
                Err(failure) => mistakes.add(file, None, failure.words()),
            }
        }
        mistakes
    }

    /// The mistakes in what a build needs when it is published: keys, secrets, names of images.
    pub(crate) fn mistakes_of_builds(&self, now: DateTime<Utc>) -> Mistakes {
        let mut mistakes = Mistakes::default();
        let Some(file) = &self.file else {
            return mistakes;
        };
        let registry = self.registry.as_ref();
        let failures = [
            self.signing.signer(now).err(),
            self.provenance.builder().err(),
            self.provenance.signer().err(),
            self.provenance.trusted(&[]).err(),
            self.privacy.compile().err(),
            registry.and_then(|registry| registry.rules().err()),
            registry.and_then(|registry| registry.open().err()),
        ];
        for failure in failures.into_iter().flatten() {
            mistakes.add(file, None, failure.words());
        }
        mistakes
    }

    /// The mirror's root: `--mirror`, else the configuration's.
    pub(crate) fn mirror(&self, global: &Global) -> Result<Utf8PathBuf, Failure> {
        global
            .mirror
            .clone()
            .or_else(|| self.mirror.clone())
            .ok_or_else(|| {
                Failure::usage("no mirror is named").hint(format!(
                    "give --mirror DIR, or `mirror = \"DIR\"` in {FILE_NAME}"
                ))
            })
    }

    /// Where builds work: the configuration's `state`, else a directory beside the mirror, which has to be one then.
    pub(crate) fn state(&self, mirror: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        if Place::of(mirror) != Place::Directory {
            return Err(
                Failure::usage(format!("{mirror}: no directory is named to build in")).hint(
                    format!(
                        "`state = \"DIR\"` in {FILE_NAME} names it; beside a URL there is none"
                    ),
                ),
            );
        }
        let name = mirror.file_name().unwrap_or("mirror");
        Ok(mirror.with_file_name(format!("{name}.state")))
    }

    /// How mirrors in buckets are reached: the environment's `AWS_…`, else what the file says.
    pub(crate) fn bucket(&self) -> BucketOptions {
        let table = &self.object_store;
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            name.starts_with("AWS_").then(|| (name, Secret::new(value)))
        });
        BucketOptions {
            endpoint: table.endpoint.clone(),
            region: table.region.clone(),
            virtual_hosted: table.virtual_hosted,
            environment: environment.collect(),
        }
    }

    /// The retention policy's file; without one the specification's rules hold.
    pub(crate) fn policy(&self) -> Option<&Utf8Path> {
        self.policy.as_deref()
    }

    /// The public keys whose signatures are believed; without them, no signature is looked at.
    pub(crate) fn keyring(&self) -> Option<&Utf8Path> {
        self.keyring.as_deref()
    }

    /// What the catalog pages say of the mirror; how long builds stay is not in it.
    pub(crate) fn site(&self) -> Site {
        Site {
            title: self.site.title.clone(),
            url: self.site.url.clone(),
            ..Site::default()
        }
    }

    /// Where phases run.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Whether the catalog pages are made after each change.
    pub(crate) fn makes_pages(&self) -> bool {
        self.site.enabled.unwrap_or(true)
    }

    /// Where symlinks of a finished tree may lead: `--source-root`, and the configuration's.
    pub(crate) fn source_roots(&self, given: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
        [given, &self.source_roots].concat()
    }

    /// The file that this was read from.
    pub(crate) fn file(&self) -> Option<&Utf8Path> {
        self.file.as_deref()
    }

    /// What is done with a build that was interrupted.
    pub(crate) fn on_interrupt(&self) -> OnInterrupt {
        self.on_interrupt
    }

    /// The recipe: `--recipe`, else the configuration's.
    pub(crate) fn recipe(&self, given: Option<&Utf8Path>) -> Result<Utf8PathBuf, Failure> {
        given
            .map(Utf8Path::to_owned)
            .or_else(|| self.recipe.clone())
            .ok_or_else(|| {
                Failure::usage("no recipe is named").hint(format!(
                    "give --recipe FILE, or `recipe = \"FILE\"` in {FILE_NAME}"
                ))
            })
    }
}

/// The nearest configuration file, here or in a directory above.
fn nearest() -> Result<Option<Utf8PathBuf>, Failure> {
    let here = current_dir()?;
    Ok(here
        .ancestors()
        .map(|dir| dir.join(FILE_NAME))
        .find(|file| file.is_file()))
}

/// Where a mirror is, by how it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a directory: a path.
    Directory,
    /// In a bucket: `s3://…`.
    Bucket,
    /// Behind a web server: `http://…` or `https://…`.
    Web,
}

impl Place {
    pub(crate) fn of(mirror: &Utf8Path) -> Self {
        match mirror.as_str().split_once("://") {
            Some(("http" | "https", _)) => Self::Web,
            Some(("s3", _)) => Self::Bucket,
            Some(_) | None => Self::Directory,
        }
    }
}

/// A mirror's name as it is from anywhere: a path from the root, a URL as it stands.
pub(crate) fn anywhere(mirror: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    match Place::of(mirror) {
        Place::Directory => absolute(mirror),
        Place::Bucket | Place::Web => Ok(mirror.to_owned()),
    }
}

/// The current directory.
pub(crate) fn current_dir() -> Result<Utf8PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|error| Failure::new(Exit::Usage, error))?;
    Utf8PathBuf::from_path_buf(here).map_err(|path| {
        Failure::usage(format!(
            "{}: the current directory is not UTF-8",
            path.display()
        ))
    })
}

/// `path` from the root, without asking the file system what it is.
pub(crate) fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    Ok(current_dir()?.join(path))
}
