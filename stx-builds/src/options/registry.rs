//! `[registry]`: the registry for container images.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use serde::Deserialize;
use stx_images::{ImageRules, OciOptions, OciRegistry};
use stx_layout::Qualifier;

use crate::error::Error;

/// The table `[registry]` of the configuration. It does not contain credentials: those are in Docker's `config.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTable {
    /// `HOST[:PORT]`, the beginning of the names of images.
    host: String,
    /// True to use `http`, which is accepted only for this machine.
    #[serde(default)]
    plain_http: bool,
    /// The organisation of all images; if absent, each image keeps its own, or gets `starlingx`.
    org: Option<String>,
    /// The number of blobs to send in parallel.
    parallel: Option<NonZeroUsize>,
    /// The moving tags.
    moving: Option<Vec<Moving>>,
}

/// A moving tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Moving {
    Latest,
    Stable,
}

impl RegistryTable {
    /// The rules for image names.
    pub fn rules(&self) -> Result<ImageRules, Error> {
        let registry = self.host.clone();
        // A trial name that begins with the organisation shows if it is valid.
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

    /// The registry; no request is sent yet.
    pub fn open(&self) -> Result<OciRegistry, Error> {
        if self.plain_http && !self.is_loopback() {
            return Err(Error::usage(format!(
                "{}: plain http is allowed to this machine only",
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

/// The file with Docker's credentials: `config.json` in `DOCKER_CONFIG`, else in `~/.docker`.
fn docker_config() -> Option<Utf8PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let dir = variable("DOCKER_CONFIG").map(Utf8PathBuf::from);
    let home = || Some(Utf8PathBuf::from(variable("HOME")?).join(".docker"));
    Some(dir.or_else(home)?.join("config.json"))
}
