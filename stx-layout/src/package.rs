//! RPM packages by name and version: the name of a package's file, and the order of versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{ParseError, is_printable};

/// The name of a package's file: `NAME-VERSION-RELEASE.ARCH.rpm`. It does not contain the epoch.
///
/// ```
/// # use stx_layout::PackageFileName;
/// let file = PackageFileName::parse("kernel-rt-devel-3.10.0-957.1.3.el7.tis.x86_64.rpm").unwrap();
/// assert_eq!((file.name, file.version, file.arch), ("kernel-rt-devel", "3.10.0-957.1.3.el7.tis", "x86_64"));
/// assert_eq!(PackageFileName::parse("README"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageFileName<'a> {
    /// `kernel-rt-devel`.
    pub name: &'a str,
    /// `3.10.0-957.1.3.el7.tis`: version and release.
    pub version: &'a str,
    /// `x86_64`.
    pub arch: &'a str,
}

impl<'a> PackageFileName<'a> {
    /// Parses a file name from its end; `None` if it is not a package's.
    pub fn parse(file_name: &'a str) -> Option<Self> {
        let (rest, arch) = file_name.strip_suffix(".rpm")?.rsplit_once('.')?;
        let (at, _) = rest.rmatch_indices('-').nth(1)?;
        Some(Self {
            name: rest.get(..at)?,
            version: rest.get(at + 1..)?,
            arch,
        })
    }
}

/// A version of a package: `[EPOCH:]VERSION[-RELEASE]`, as written in packages, file names and this program's reports.
///
/// [`cmp_as_rpm`](Self::cmp_as_rpm) is the order of rpm; equality is that of the text, so `1.0` and `0:1.0` differ although
/// neither is older.
///
/// ```
/// # use stx_layout::Evr;
/// let version: Evr = "1:1.0-2.tis".parse()?;
/// assert_eq!((version.epoch, version.version.as_str(), version.release.as_deref()), (Some(1), "1.0", Some("2.tis")));
/// assert!(version.cmp_as_rpm(&"2.0-1".parse()?).is_gt());
/// assert!("1.10".parse::<Evr>()?.cmp_as_rpm(&"1.9".parse()?).is_gt());
/// assert!("1.0~rc1".parse::<Evr>()?.cmp_as_rpm(&"1.0".parse()?).is_lt());
/// for (text, offset) in [("", 0), ("x:1", 0), ("1:", 2), ("1.0-", 4), ("1.0-1-1", 5), ("1 0", 1)] {
///     assert_eq!(text.parse::<Evr>().unwrap_err().offset, offset, "{text}");
/// }
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Evr {
    /// The epoch; a package without one has epoch 0.
    pub epoch: Option<u32>,
    /// `1.0`.
    pub version: String,
    /// `2.tis`; absent for any release of the version.
    pub release: Option<String>,
}

impl Evr {
    /// The order of rpm: by epoch, then version, then release. A version without a release is as old as every release of it.
    pub fn cmp_as_rpm(&self, other: &Self) -> Ordering {
        let epochs = self.epoch.unwrap_or(0).cmp(&other.epoch.unwrap_or(0));
        let versions = || cmp_parts(&self.version, &other.version);
        let releases = || match (&self.release, &other.release) {
            (Some(one), Some(two)) => cmp_parts(one, two),
            (None, _) | (_, None) => Ordering::Equal,
        };
        epochs.then_with(versions).then_with(releases)
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            version,
            release,
        } = self;
        epoch.map_or(Ok(()), |epoch| write!(f, "{epoch}:"))?;
        f.write_str(version)?;
        release
            .as_ref()
            .map_or(Ok(()), |release| write!(f, "-{release}"))
    }
}

impl FromStr for Evr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a version, [EPOCH:]VERSION[-RELEASE], such as `1:1.0-2.tis`";
        let refused = |offset| Err(ParseError::new(text, offset, EXPECTED));
        if let Some((offset, _)) = text
            .char_indices()
            .find(|(_, letter)| letter.is_whitespace() || *letter == '/' || !is_printable(*letter))
        {
            return refused(offset);
        }
        let (epoch, rest) = match text.split_once(':') {
            None => (None, text),
            // `u32` would accept a sign, which no epoch has.
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                match epoch.parse() {
                    Ok(epoch) => (Some(epoch), rest),
                    Err(_) => return refused(0),
                }
            }
            Some(_) => return refused(0),
        };
        let start = text.len() - rest.len();
        let (version, release) = match rest.split_once('-') {
            None => (rest, None),
            Some((version, release)) => (version, Some(release)),
        };
        if version.is_empty() || version.contains(':') {
            return refused(start);
        }
        if let Some(release) = release {
            let at = start + version.len() + 1;
            match release.find(['-', ':']) {
                Some(bad) => return refused(at + bad),
                None if release.is_empty() => return refused(at),
                None => {}
            }
        }
        Ok(Self {
            epoch,
            version: version.to_owned(),
            release: release.map(str::to_owned),
        })
    }
}

serde_as_text!(Evr);

/// Orders two versions, or two releases, the older one first.
fn cmp_parts(a: &str, b: &str) -> Ordering {
    let version = |text| rpm_version::Evr::new("", text, "");
    version(a).cmp(&version(b))
}

/// Orders two versions, `[EPOCH:]VERSION[-RELEASE]`, the older one first, like rpm. Every text has a place in the order.
///
/// A version without a release is older than every release of it, so this is a total order, fit for sorting.
///
/// ```
/// # use stx_layout::cmp_versions;
/// assert!(cmp_versions("1.9-1", "1.10-1").is_lt());
/// assert!(cmp_versions("1:1.0-1", "2.0-1").is_gt());
/// ```
pub fn cmp_versions(a: &str, b: &str) -> Ordering {
    rpm_version::rpm_evr_compare(a, b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        // Each is older than the next, by `rpm --eval '%{lua:print(rpm.vercmp(…))}'`.
        let ordered = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1.tis",
            "1.0-2",
            "1.0-10",
            "1.0^git1-1",
            "1.0.1-1",
            "1.9-1",
            "1.10-1",
            "2.0-1",
            "1:0.1-1",
            "1:0.2-1",
            "10:0.1-1",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(cmp_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(
                cmp_versions(pair[1], pair[0]),
                Ordering::Greater,
                "{pair:?}"
            );
        }
        for (one, two) in [("1.0-1", "0:1.0-1"), ("1.0-1", "1.00-1")] {
            assert_eq!(cmp_versions(one, two), Ordering::Equal, "{one} {two}");
        }
        let version = |text: &str| text.parse::<Evr>().expect("a version");
        for pair in ordered.windows(2) {
            assert!(
                version(pair[0]).cmp_as_rpm(&version(pair[1])).is_lt(),
                "{pair:?}"
            );
        }
        assert_eq!(
            version("1.0").cmp_as_rpm(&version("1.0-7")),
            Ordering::Equal
        );
    }

    proptest! {
        #[test]
        fn a_text_prints_back(text in "([1-9][0-9]{0,2}:)?[0-9a-z.~^+_]{1,6}(-[0-9a-z.~^+_]{1,6})?") {
            prop_assert_eq!(text.parse::<Evr>().expect("a version").to_string(), text);
        }

        #[test]
        fn parsing_and_comparing_any_text_causes_no_panic(text in any::<String>()) {
            if let Err(error) = text.parse::<Evr>() {
                prop_assert!(text.is_char_boundary(error.offset));
            }
            prop_assert_eq!(cmp_versions(&text, &text), Ordering::Equal);
        }
    }
}
