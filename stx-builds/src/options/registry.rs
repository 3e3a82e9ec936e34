//! `[registry]`: where container images go.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use serde::Deserialize;
use stx_images::{ImageRules, OciOptions, OciRegistry};
use stx_layout::Qualifier;

use crate::error::Error;

/// The table `[registry]` of the configuration. Credentials are not in it: Docker's `config.json` has them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTable {
    /// `HOST[:PORT]`, as it begins the names of the images.
    host: String,
    /// Whether `http` is spoken; only to this machine.
    #[serde(default)]
    plain_http: bool,
    /// The organisation of all images; without it, the one that each has of its own, else `starlingx`.
    org: Option<String>,
    /// How many blobs are sent side by side.
    parallel: Option<NonZeroUsize>,
    /// The moving tags.
    moving: Option<Vec<Moving>>,
}

/// A tag that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Moving {
    Latest,
    Stable,
}

impl RegistryTable {
    /// How images are named.
    pub fn rules(&self) -> Result<ImageRules, Error> {
        let registry = self.host.clone();
        // A name that begins with it shows whether it is one.
        let org = self.org.as_deref().unwrap_or("starlingx");
        let sample = format!("{registry}/{org}/image:tag");
        let sample = sample.parse::<stx_layout::ImageName>();
        let sample = sample.map_err(|error| {
            Error::usage(error).hint("`host` and `org` of [registry] begin the names of images")
        })?;
        if sample.parts().registry != Some(registry.as_str()) {
            return Err(Error::usage(format!(
                "an image name cannot begin with the registry {registry:?}"
            ))
            .hint("`host` of [registry] is HOST:PORT, or a HOST with a dot"));
        }
        let moving = self.moving.clone().unwrap_or(vec![Moving::Latest]);
        let moving = moving.into_iter().map(|moving| match moving {
            Moving::Latest => Qualifier::Latest,
            Moving::Stable => Qualifier::Stable,
        });
        Ok(ImageRules {
            registry,
            org: self.org.clone(),
            moving: moving.collect(),
        })
    }

    /// The registry; nothing is asked of it yet.
    pub fn open(&self) -> Result<OciRegistry, Error> {
        if self.plain_http && !self.is_loopback() {
            return Err(Error::usage(format!(
                "{}: http is spoken to this machine only",
                self.host
            ))
            .hint("`plain_http` of [registry] sends images and passwords in the clear"));
        }
        let mut options = OciOptions::default();
        if let Some(parallel) = self.parallel {
            options.parallel = parallel.get();
        }
        options.plain_http = self.plain_http;
        options.docker_config = docker_config();
        OciRegistry::new(&self.host, options).map_err(Error::usage)
    }

    fn is_loopback(&self) -> bool {
        let host = self
            .host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(host, _)| host);
        let address = host.parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Where Docker keeps credentials: `config.json` in `DOCKER_CONFIG`, else in `~/.docker`.
fn docker_config() -> Option<Utf8PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let dir = variable("DOCKER_CONFIG").map(Utf8PathBuf::from);
    let home = || Some(Utf8PathBuf::from(variable("HOME")?).join(".docker"));
    Some(dir.or_else(home)?.join("config.json"))
}
