//! Names of container images.
//!
//! ```text
//! docker.io/starlingx/stx-keystone:master-centos-stable-20190513T013000Z.0
//! ────┬──── ────┬──── ─────┬────── ──────────────────┬──────────────────
//!  registry    org       image                      tag
//! ```
//!
//! The registry, which may be missing, is the first part if it has a dot or a colon or is `localhost`. The last part before the
//! colon is the image; everything between is the organisation. An image `stx-NAME` has a component, `NAME`. [`Tag`] describes the
//! parts of the tag.

mod moving;
mod tag;

use std::fmt;
use std::str::FromStr;

pub use tag::{Os, Qualifier, Stream, Tag};

use crate::ParseError;
use crate::text::serde_as_text;

/// The longest image name without its tag, in bytes.
const MAX_NAME: usize = 255;

/// The name of a container image, borrowed; it can also be composed from parts.
///
/// ```
/// # use stx_layout::{ImageNameRef, Tag};
/// let image = ImageNameRef::parse("starlingx/stx-audit:stx.6.0-v1.0.2")?;
/// assert_eq!((image.registry, image.org, image.image), (None, "starlingx", "stx-audit"));
/// assert_eq!(image.component(), Some("audit"));
/// assert!(matches!(image.tag, Tag::Static { version: "v1.0.2", .. }));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageNameRef<'a> {
    /// `docker.io`, `localhost:5000`.
    pub registry: Option<&'a str>,
    /// `starlingx`; may have more than one part.
    pub org: &'a str,
    /// `stx-keystone`, `rvmc`.
    pub image: &'a str,
    /// The tag.
    pub tag: Tag<'a>,
}

/// The name of a container image, owned; see [`ImageNameRef`]. `Ord` is byte order.
///
/// ```
/// # use stx_layout::{ImageName, Tag};
/// let image: ImageName = "starlingx/stx-nova:dev-centos-pike-latest".parse()?;
/// assert_eq!(image.to_string(), "starlingx/stx-nova:dev-centos-pike-latest");
/// assert_eq!(image.parts().tag.form(), "spec");
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

const NAME: &str = "[REGISTRY/]ORG/IMAGE:TAG, such as `starlingx/stx-keystone:dev-centos-pike`";
const PART: &str = "small letters and digits, with `.`, `_`, `__` or dashes between them";

impl<'a> ImageNameRef<'a> {
    /// Parses a name. Allocates only for an error.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        read(text).map_err(|(offset, expected)| {
            let error = ParseError::new(text, offset, expected);
            match near(text) {
                Some(near) => error.suggest(near),
                None => error,
            }
        })
    }

    /// The component in an image named `stx-COMPONENT`: `keystone` of `stx-keystone`.
    pub fn component(self) -> Option<&'a str> {
        self.image
            .strip_prefix("stx-")
            .filter(|component| !component.is_empty())
    }

    /// Composes the name from its parts.
    ///
    /// # Errors
    /// Refuses parts whose text is not a name, or would be parsed as other parts.
    ///
    /// ```
    /// # use stx_layout::{ImageNameRef, Os, Tag};
    /// let tag = Tag::Spec { prefix: "dev", os: Os::Centos, openstack_release: "pike", qualifier: None };
    /// let parts = ImageNameRef { registry: None, org: "starlingx", image: "stx-heat", tag };
    /// assert_eq!(parts.compose()?.as_str(), "starlingx/stx-heat:dev-centos-pike");
    /// assert!(ImageNameRef { org: "", ..parts }.compose().is_err());
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    pub fn compose(self) -> Result<ImageName, ParseError> {
        let text = self.to_string();
        if ImageNameRef::parse(&text)? == self {
            Ok(ImageName(text))
        } else {
            Err(ParseError::new(
                &text,
                0,
                "a name that parses back to its parts",
            ))
        }
    }
}

impl ImageName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts.
    pub fn parts(&self) -> ImageNameRef<'_> {
        read(&self.0).expect("a text that was accepted")
    }
}

impl fmt::Display for ImageNameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            registry,
            org,
            image,
            tag,
        } = self;
        registry.map_or(Ok(()), |registry| write!(f, "{registry}/"))?;
        write!(f, "{org}/{image}:{tag}")
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        ImageNameRef::parse(text).map(|_| Self(text.to_owned()))
    }
}

serde_as_text!(ImageName);

impl serde::Serialize for ImageNameRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read(text: &str) -> Result<ImageNameRef<'_>, (usize, &'static str)> {
    let colon = match (text.rfind(':'), text.rfind('/')) {
        (Some(colon), Some(slash)) if colon > slash => Some(colon),
        (Some(colon), None) => Some(colon),
        (Some(_) | None, _) => None,
    };
    let (name, tag) = match colon {
        Some(colon) => (&text[..colon], text.get(colon + 1..)),
        None => (text, None),
    };
    let (registry, start) = match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
            registry_fault(first).map_or(Ok(()), Err)?;
            (Some(first), first.len() + 1)
        }
        Some(_) | None => (None, 0),
    };
    let mut offset = start;
    for part in name[start..].split('/') {
        if let Some(bad) = part_fault(part) {
            return Err((offset + bad, PART));
        }
        offset += part.len() + 1;
    }
    let Some((org, image)) = name[start..].rsplit_once('/') else {
        return Err((start, NAME));
    };
    if name.len() > MAX_NAME {
        return Err((
            MAX_NAME,
            "the end of the name: none is longer than 255 bytes",
        ));
    }
    let Some(tag) = tag else {
        return Err((text.len(), "`:` and a tag"));
    };
    if let Some((bad, expected)) = tag::fault(tag) {
        return Err((name.len() + 1 + bad, expected));
    }
    Ok(ImageNameRef {
        registry,
        org,
        image,
        tag: Tag::parse(tag).map_err(|error| (name.len() + 1 + error.offset, NAME))?,
    })
}

/// The first error of a text that is not a `HOST[:PORT]`.
fn registry_fault(text: &str) -> Option<(usize, &'static str)> {
    const EXPECTED: &str = "a registry, HOST[:PORT]";
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let bad_host = || {
        let mut bytes = host.bytes();
        bytes.position(|byte| !(byte.is_ascii_alphanumeric() || b".-".contains(&byte)))
    };
    let bad_port = |port: &str| {
        let bad = port.bytes().position(|byte| !byte.is_ascii_digit());
        bad.or(port.is_empty().then_some(0))
            .map(|offset| host.len() + 1 + offset)
    };
    let dots = host.is_empty() || host.split('.').any(str::is_empty);
    bad_host()
        .or(dots.then_some(0))
        .or(port.and_then(bad_port))
        .map(|offset| (offset, EXPECTED))
}

/// The first error of an invalid part of a repository's name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn part_fault(part: &str) -> Option<usize> {
    let bytes = part.as_bytes();
    let mut at = 0;
    loop {
        let word = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            .count();
        at += word;
        if word == 0 {
            return Some(at);
        }
        at += match &bytes[at..] {
            [] => return None,
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            [b'-', ..] => bytes[at..].iter().take_while(|byte| **byte == b'-').count(),
            [_, ..] => return Some(at),
        };
    }
}

/// The accepted name nearest to a refused one, if any is close.
#[cold]
fn near(text: &str) -> Option<String> {
    let mut near = text.trim().to_owned();
    if let Some(bare) = ["docker://", "https://", "http://"]
        .into_iter()
        .find_map(|scheme| near.strip_prefix(scheme))
    {
        near = String::from(bare);
    }
    if let Some((tagged, _)) = near.split_once('@') {
        near = String::from(tagged);
    }
    if let Some((name, tag)) = near.rsplit_once(':') {
        near = format!("{}:{tag}", name.to_ascii_lowercase());
    }
    let org = match near.rsplit_once('/') {
        None => format!("starlingx/{near}"),
        Some((registry, image)) => format!("{registry}/starlingx/{image}"),
    };
    [near, org]
        .into_iter()
        .find(|near| near != text && read(near).is_ok())
}
