//! Versions of packages, each ordered by the rule of its format.
//!
//! | format | order | a version without a release or revision is |
//! |---|---|---|
//! | `rpm` | of `rpmvercmp`: epoch, version, release | as old as every release of that version ([`Version::cmp_by_rule`]) |
//! | `deb`, `udeb`, `dsc` | of `dpkg --compare-versions`: epoch, upstream version, revision | older than every revision but `0` |

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use stx_layout::{Evr, ParseError, cmp_versions};

/// The format of a package file, by the extension of its name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An RPM package, binary or source.
    #[default]
    Rpm,
    /// A Debian package.
    Deb,
    /// A package of Debian's installer.
    Udeb,
    /// The description of a Debian source package.
    Dsc,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rpm, Self::Deb, Self::Udeb, Self::Dsc];

    /// The extension of its files: `rpm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Deb => "deb",
            Self::Udeb => "udeb",
            Self::Dsc => "dsc",
        }
    }

    /// The format of a file, by its name; `None` if it is not a package.
    ///
    /// ```
    /// # use stx_compare::version::Format;
    /// assert_eq!(Format::of("hello_1.0_all.udeb"), Some(Format::Udeb));
    /// assert_eq!(Format::of("hello.tar.gz"), None);
    /// assert_eq!(Format::of(".deb"), None);
    /// ```
    pub fn of(file_name: &str) -> Option<Self> {
        let (stem, extension) = file_name.rsplit_once('.')?;
        let mut all = Self::ALL.into_iter();
        let found = all.find(|format| format.as_str() == extension);
        found.filter(|_| !stem.is_empty())
    }

    /// True for the format of RPM.
    pub fn is_rpm(&self) -> bool {
        *self == Self::Rpm
    }

    /// Compares two versions, `[EPOCH:]VERSION[-RELEASE]`; the older one is less. Every text has a place in the order.
    ///
    /// ```
    /// # use stx_compare::version::Format;
    /// assert!(Format::Rpm.cmp_versions("1.0~rc1-1", "1.0-1").is_lt());
    /// assert!(Format::Deb.cmp_versions("1.0~rc1-1", "1.0-1").is_lt());
    /// // The rules differ: rpm passes over all that separates numbers.
    /// assert!(Format::Rpm.cmp_versions("1.0+1-1", "1.0.1-1").is_eq());
    /// assert!(Format::Deb.cmp_versions("1.0+1-1", "1.0.1-1").is_lt());
    /// assert!(Format::Deb.cmp_versions("2:1.0", "3.0").is_gt());
    /// ```
    pub fn cmp_versions(self, one: &str, two: &str) -> Ordering {
        match self {
            Self::Rpm => cmp_versions(one, two),
            Self::Deb | Self::Udeb | Self::Dsc => stx_deb::cmp_versions(one, two),
        }
    }

    /// Reads a version in the syntax of this format.
    ///
    /// # Errors
    /// The reason that the text is not a valid version, and the position in it.
    pub fn parse_version(self, text: &str) -> Result<Version, ParseError> {
        let Evr {
            epoch,
            version,
            release,
        } = match self {
            Self::Rpm => text.parse::<Evr>()?,
            Self::Deb | Self::Udeb | Self::Dsc => debian(text)?,
        };
        Ok(Version {
            format: self,
            epoch,
            version,
            release,
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Epoch, upstream version and revision: the first colon ends the epoch, the last dash begins the revision.
fn debian(text: &str) -> Result<Evr, ParseError> {
    const EXPECTED: &str = "a version, [EPOCH:]VERSION[-REVISION], such as `1:1.0-2+b1`";
    if let Ok(stx_deb::Version {
        epoch,
        upstream_version,
        debian_revision,
    }) = text.parse()
    {
        return Ok(Evr {
            epoch,
            version: upstream_version,
            release: debian_revision,
        });
    }
    let odd = |letter: char| !letter.is_ascii_alphanumeric() && !".+-:~".contains(letter);
    let offset = text.find(odd).unwrap_or(0);
    Err(ParseError::new(text, offset, EXPECTED))
}

/// A version of a package, `[EPOCH:]VERSION[-RELEASE]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// The format whose rule orders it.
    pub format: Format,
    /// The epoch; a package without one has epoch 0.
    pub epoch: Option<u32>,
    /// `1.0`: the version; for Debian packages the upstream version.
    pub version: String,
    /// `2.tis`: the release; for Debian packages the revision.
    pub release: Option<String>,
}

impl Version {
    /// Compares the versions by the rule of this one's format.
    pub fn cmp_by_rule(&self, other: &Self) -> Ordering {
        match self.format {
            Format::Rpm => self.evr().cmp_as_rpm(&other.evr()),
            Format::Deb | Format::Udeb | Format::Dsc => self
                .format
                .cmp_versions(&self.to_string(), &other.to_string()),
        }
    }

    fn evr(&self) -> Evr {
        Evr {
            epoch: self.epoch,
            version: self.version.clone(),
            release: self.release.clone(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.evr().fmt(f)
    }
}
