//! Builds named by a URL or a path: of the build, of one of its files, or of its page.

use std::borrow::Cow;

use stx_layout::{AliasName, BuildDate, ParseError, decode_url, public_url};

use super::BuildRef;
use crate::error::Error;
use crate::options::{MirrorLocation, Options, anywhere};

/// A build named by a URL or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The root of the mirror, as written in the text; `None` if it is the mirror of the options.
    pub mirror: Option<String>,
    /// The build on that mirror, in a form of [`BuildRef`].
    pub build: String,
}

impl Options {
    /// The build at a URL or an absolute path; `None` for any other text. The place must begin with the location of the mirror in the
    /// options or with a URL that the options give for the mirror. Without a mirror in the options, the part before the channel is
    /// the mirror.
    ///
    /// # Errors
    /// A place on a mirror other than that of the options, or a place that cannot be that of a build.
    pub fn place(&self, text: &str) -> Result<Option<Place>, Error> {
        if !text.contains("://") && !text.starts_with('/') {
            return Ok(None);
        }
        let text = plain(text).map_err(Error::usage)?;
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
            (None, None) => Err(
                Error::usage(format!("{text} is not the path or URL of a build"))
                    .hint("the URL of a build ends in CHANNEL/BUILD-DATE"),
            ),
        }
    }

    /// The known roots of the mirror, in the form of [`plain`]. A directory is also known by its path without symlinks.
    fn roots(&self) -> Vec<String> {
        let mut roots = Vec::new();
        if let Some(mirror) = &self.mirror {
            roots.extend(anywhere(mirror).ok());
            if MirrorLocation::of(mirror) == MirrorLocation::Directory {
                // A mirror that does not exist contains no build.
                roots.extend(mirror.canonicalize_utf8().ok());
            }
        }
        let urls = self.mirrors.urls().iter().map(String::as_str);
        let urls = self.site_url().into_iter().chain(urls);
        let roots = roots.iter().map(|root| root.as_str()).chain(urls);
        let plain = |root: &str| Some(plain(root).ok()?.into_owned());
        roots.filter_map(plain).collect()
    }
}

/// A URL without user, query and fragment, and decoded; a path unchanged.
fn plain(text: &str) -> Result<Cow<'_, str>, ParseError> {
    if !text.contains("://") {
        return Ok(Cow::Borrowed(text));
    }
    let public = public_url(text);
    let (public, _) = public.split_once('#').unwrap_or((&public, ""));
    decode_url(public).map(|decoded| Cow::Owned(decoded.into_owned()))
}

/// The build that a path of the mirror belongs to: the path up to a date or an alias, or else the whole path. The page of a build is
/// named by the date, the page of a channel is `index.html`.
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

/// The mirror and the build of a place. The root ends before the first segment from which the rest is the name of a build.
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
    fn a_path_or_url_on_the_mirror_selects_a_build() {
        let date = "master/centos/20181105T060000Z";
        let config = "[site]\nurl = \"https://m.example.org/stx/\"\n[mirrors]\nurls = [\"https://other.example.org\", \"https://h/my%20mirror/\"]\n";
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
                format!("https://h/my%20mirror/{date}/outputs/g%2B%2B.deb#a?b"),
                date,
            ),
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
    fn a_path_selects_its_mirror_only_if_none_is_configured() {
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
