//! Builds named by where they are: the URL or the path of a build, of one of its files, or of its page.

use std::borrow::Cow;

use stx_layout::{AliasName, BuildDate, decode_url, public_url};

use super::BuildRef;
use crate::error::Error;
use crate::options::Options;

/// A build named by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mirror's root as far as the text tells it; absent if the options name this mirror.
    pub mirror: Option<String>,
    /// The build on that mirror, in a form of [`BuildRef`].
    pub build: String,
}

impl Options {
    /// The build at a URL or an absolute path; `None` for any other text. The options know the roots of their mirror: where it is, and
    /// the URLs that they give it. Without a mirror in the options, the text itself has to tell where its root ends.
    ///
    /// # Errors
    /// A place on another mirror than that of the options, or where no build can be.
    pub fn place(&self, text: &str) -> Result<Option<Place>, Error> {
        let is_url = text.contains("://");
        if !is_url && !text.starts_with('/') {
            return Ok(None);
        }
        let without = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
        let decoded = decode_url(text).map_err(Error::usage)?;
        let text = if is_url {
            Cow::Owned(without(&public_url(&decoded)))
        } else {
            decoded
        };
        for root in self.roots() {
            if let Some(below) = text.strip_prefix(root.trim_end_matches('/'))
                && let Some(path) = below.strip_prefix('/')
            {
                return Ok(Some(Place {
                    mirror: None,
                    build: within(path),
                }));
            }
        }
        let guessed = guess(&text);
        match (&self.mirror, guessed) {
            (None, Some(place)) => Ok(Some(place)),
            (Some(mirror), place) => {
                let error = Error::usage(format!("{text} is not on the mirror {mirror}"));
                Err(match place.and_then(|place| place.mirror) {
                    Some(other) => error.hint(format!(
                        "`--mirror {other}` reads that one; if it is the same mirror, set its URL, `url` in [site] of the configuration"
                    )),
                    None => error,
                })
            }
            (None, None) => Err(Error::usage(format!("{text} is not the place of a build"))
                .hint("the URL of a build ends in CHANNEL/BUILD-DATE")),
        }
    }

    /// The roots that the mirror is known by.
    fn roots(&self) -> Vec<String> {
        let urls = self
            .site_url()
            .into_iter()
            .chain(self.mirrors.urls().iter().map(String::as_str));
        let mirror = self
            .mirror
            .as_deref()
            .map(|mirror| public_url(mirror.as_str()));
        mirror
            .into_iter()
            .chain(urls.map(ToOwned::to_owned))
            .collect()
    }
}

/// The build that a path of the mirror belongs to: the path up to a date or an alias, or else all of it. The page of a build has its
/// date for a name, that of a channel is `index.html`.
fn within(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let name = segment.strip_suffix(".html").unwrap_or(segment);
        if segment == "index.html" {
            break;
        }
        let ends = name.parse::<BuildDate>().is_ok() || name.parse::<AliasName>().is_ok();
        kept.push(if ends { name } else { segment });
        if ends {
            break;
        }
    }
    kept.join("/")
}

/// The mirror and the build of a place: the first segment from which on it can be one ends the root.
fn guess(text: &str) -> Option<Place> {
    let start = match text.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/')?,
        None => 0,
    };
    let mut slashes = text[start..].match_indices('/').map(|(at, _)| start + at);
    slashes.find_map(|slash| {
        let build = within(&text[slash + 1..]);
        let root = &text[..slash];
        build.parse::<BuildRef>().is_ok().then(|| Place {
            mirror: Some(if root.is_empty() { "/" } else { root }.to_owned()),
            build,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mirror: Option<&str>, config: &str) -> Options {
        let mut options: Options = toml::from_str(config).expect("a configuration");
        options.mirror = mirror.map(Into::into);
        options
    }

    #[test]
    fn a_place_on_the_mirror_is_a_build() {
        let date = "master/centos/20181105T060000Z";
        let config = "[site]\nurl = \"https://m.example.org/stx/\"\n[mirrors]\nurls = [\"https://other.example.org\"]\n";
        let options = options(Some("/srv/mirror"), config);
        for (text, build) in [
            (format!("https://m.example.org/stx/{date}"), date),
            (
                format!("https://m.example.org/stx/{date}/outputs/iso/bootimage.iso"),
                date,
            ),
            (
                format!("https://m.example.org/stx/{date}.html?x#files"),
                date,
            ),
            (
                format!("https://jim:secret@other.example.org/{date}/"),
                date,
            ),
            (format!("/srv/mirror/{date}/build.json"), date),
            (
                "https://m.example.org/stx/master/centos/index.html".to_owned(),
                "master/centos",
            ),
            (
                "https://m.example.org/stx/master/centos/latest_build/inputs".to_owned(),
                "master/centos/latest_build",
            ),
            (
                "https://m.example.org/stx/r2018.10/centos/".to_owned(),
                "r2018.10/centos",
            ),
        ] {
            let place = options.place(&text).expect("a place").expect("a place");
            assert_eq!(
                (place.build.as_str(), place.mirror),
                (build, None),
                "{text}"
            );
        }
        for text in ["master/centos", date] {
            assert_eq!(options.place(text).expect("no place"), None);
        }
    }

    #[test]
    fn a_place_tells_its_mirror_only_where_none_is_named() {
        let date = "master/centos/20181105T060000Z";
        let none = options(None, "");
        for (root, text) in [
            (
                "http://127.0.0.1:8080",
                format!("http://127.0.0.1:8080/{date}/outputs"),
            ),
            (
                "https://h/mirror/starlingx",
                format!("https://h/mirror/starlingx/{date}"),
            ),
            ("/srv/mirror", format!("/srv/mirror/{date}")),
            ("s3://bucket/prefix", format!("s3://bucket/prefix/{date}/")),
        ] {
            let place = none.place(&text).expect("a place").expect("a place");
            assert_eq!(
                (place.mirror.as_deref(), place.build.as_str()),
                (Some(root), date)
            );
        }
        none.place("https://h/a/b")
            .expect_err("no build can be there");
        let other = options(Some("/srv/mirror"), "");
        let error = other
            .place(&format!("https://h/x/{date}"))
            .expect_err("another mirror");
        assert!(
            error.line().contains("--mirror https://h/x`"),
            "{}",
            error.line()
        );
    }
}
