//! `[privacy]`: the names and secrets that must not appear in builds.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use stx_publish::{Identity, PackageSearch, Privacy};

use crate::error::Error;
use crate::identity::of_this_machine;

/// The table `[privacy]` of the configuration. Its `Debug` form does not contain secrets: the file only names their places.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyTable {
    /// True if builds are searched.
    enabled: bool,
    /// Names that must not be published, besides those of this machine.
    hosts: Vec<String>,
    /// Secrets.
    secrets: Vec<SecretPlace>,
    /// A file with one secret per line; empty lines and lines that begin with `#` are ignored.
    secrets_file: Option<Utf8PathBuf>,
    /// Globs of the paths in a build that are not searched.
    allow: Vec<String>,
    /// The handling of findings inside of packages.
    packages: PackageSearch,
}

impl Default for PrivacyTable {
    fn default() -> Self {
        Self {
            enabled: true,
            hosts: Vec::new(),
            secrets: Vec::new(),
            secrets_file: None,
            allow: Vec::new(),
            packages: PackageSearch::default(),
        }
    }
}

/// The place of a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretPlace {
    /// The label of the secret in reports.
    name: String,
    /// The file that holds it.
    file: Option<Utf8PathBuf>,
    /// The environment variable that holds it.
    env: Option<String>,
}

impl PrivacyTable {
    /// Makes relative paths relative to `dir`.
    pub(super) fn resolve(&mut self, dir: &Utf8Path) {
        let files = self.secrets.iter_mut().map(|secret| &mut secret.file);
        for file in files.chain([&mut self.secrets_file]).flatten() {
            *file = dir.join(&file);
        }
    }

    /// The compiled patterns; `None` if the search is disabled.
    pub fn compile(&self) -> Result<Option<Privacy>, Error> {
        if !self.enabled {
            return Ok(None);
        }
        let mut identities = of_this_machine()?;
        identities.extend(self.hosts.iter().cloned().map(Identity::Host));
        for secret in &self.secrets {
            identities.push(secret.read()?);
        }
        if let Some(file) = &self.secrets_file {
            for (number, line) in read(file)?.split(|byte| *byte == b'\n').enumerate() {
                let value = line.trim_ascii();
                if !value.is_empty() && !value.starts_with(b"#") {
                    identities.push(Identity::Secret {
                        label: format!("{}:{}", file.file_name().unwrap_or_default(), number + 1),
                        value: value.to_vec(),
                    });
                }
            }
        }
        let privacy = Privacy::new(identities, self.allow.iter().cloned());
        let privacy = privacy.map(|privacy| privacy.with_packages(self.packages));
        privacy.map(Some).map_err(|error| {
            Error::usage(error).hint("[privacy] of the configuration says what is looked for")
        })
    }
}

impl SecretPlace {
    fn read(&self) -> Result<Identity, Error> {
        let label = self.name.clone();
        let value = match (&self.file, &self.env) {
            (Some(file), None) => read(file)?,
            (None, Some(name)) => std::env::var_os(name)
                .ok_or_else(|| {
                    Error::usage(format!("secret {label}: the environment has no {name}"))
                })?
                .into_encoded_bytes(),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::usage(format!(
                    "secret {label}: give either `file` or `env`"
                )));
            }
        };
        Ok(Identity::Secret { label, value })
    }
}

fn read(file: &Utf8Path) -> Result<Vec<u8>, Error> {
    fs_err::read(file).map_err(Error::usage)
}
