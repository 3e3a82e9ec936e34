//! Names of package files: `NAME_VERSION_ARCH.deb`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parts of a package file's name, as made by `dpkg-name`.
///
/// Most tools leave out the epoch of the version; apt writes its colon as `%3a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebFileName<'a> {
    /// `libc6`.
    pub name: Cow<'a, str>,
    /// `4:12.2.0-3`, or `12.2.0-3` without the epoch.
    pub version: Cow<'a, str>,
    /// `amd64`, `all`.
    pub arch: Cow<'a, str>,
    /// True for a package of the installer, `.udeb`.
    pub is_udeb: bool,
}

impl<'a> DebFileName<'a> {
    /// Parses the name of a file; `None` if it is not a binary package's.
    pub fn parse(file_name: &'a str) -> Option<Self> {
        let (stem, is_udeb) = match file_name.strip_suffix(".udeb") {
            Some(stem) => (stem, true),
            None => (file_name.strip_suffix(".deb")?, false),
        };
        let mut parts = stem.split('_');
        let mut part = || {
            let part = percent_decode_str(parts.next()?).decode_utf8().ok()?;
            (!part.is_empty()).then_some(part)
        };
        let (name, version, arch) = (part()?, part()?, part()?);
        parts.next().is_none().then_some(Self {
            name,
            version,
            arch,
            is_udeb,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_dpkg_makes_them() {
        let cases = [
            (
                "libc6_2.36-9+deb12u4_amd64.deb",
                Some(("libc6", "2.36-9+deb12u4", "amd64", false)),
            ),
            (
                "g%2b%2b_4%3a12.2.0-3_amd64.deb",
                Some(("g++", "4:12.2.0-3", "amd64", false)),
            ),
            (
                "nano-udeb_7.2~rc1-1_all.udeb",
                Some(("nano-udeb", "7.2~rc1-1", "all", true)),
            ),
            ("hello_1.0_amd64.rpm", None),
            ("hello_1.0.deb", None),
            ("hello__amd64.deb", None),
            ("a_b_c_d.deb", None),
            ("a%ff_1_all.deb", None),
        ];
        for (text, expected) in cases {
            let found = DebFileName::parse(text);
            let found = found
                .as_ref()
                .map(|it| (&*it.name, &*it.version, &*it.arch, it.is_udeb));
            assert_eq!(found, expected, "{text}");
        }
    }
}
