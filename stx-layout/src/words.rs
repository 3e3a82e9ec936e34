//! The words that decide the meaning of segments, in one place.

use crate::date::{looks_like_date, read};
use crate::kinds::Section;

/// The prefix of every alias for a build.
pub(crate) const LATEST: &str = "latest_";

/// The first wrong byte of an alias for a build that is written with a dash or in another case.
///
/// Such a segment would otherwise be taken for a layer, and a path with a typo would name a channel that does not exist.
fn misspelt_alias(segment: &str) -> Option<usize> {
    let bytes = segment.as_bytes();
    let head = bytes.get(..LATEST.len())?;
    let meant = head.iter().zip(LATEST.bytes()).all(|(given, wanted)| {
        given.eq_ignore_ascii_case(&wanted) || (*given, wanted) == (b'-', b'_')
    });
    // A loose file such as `latest-notes.tar` is not one.
    if !meant || bytes.contains(&b'.') {
        return None;
    }
    head.iter()
        .zip(LATEST.bytes())
        .position(|(given, wanted)| *given != wanted)
}

/// The alias that was probably intended by a misspelt one: `latest_build` for `latest-build`.
pub(crate) fn repaired_alias(segment: &str) -> Option<String> {
    misspelt_alias(segment).map(|_| segment.to_ascii_lowercase().replace('-', "_"))
}

/// The alias below `release/`.
pub(crate) const LATEST_RELEASE: &str = "latest_release";

/// A segment that ends a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A build date.
    Build,
    /// An alias for a build.
    Alias,
    /// A section, without a build before it.
    Section(Section),
    /// Almost a build date or an alias, but neither: the byte offset of the error, and the text expected there.
    Malformed(usize, &'static str),
}

/// The kind of segment that ends a channel; `None` if the segment is part of the channel.
pub(crate) fn stop(segment: &str) -> Option<Stop> {
    match segment.as_bytes().first()? {
        b'0'..=b'9' if looks_like_date(segment) => Some(match read(segment) {
            Ok(_) => Stop::Build,
            Err((offset, expected)) => Stop::Malformed(offset, expected),
        }),
        b'l' if segment.starts_with(LATEST) => Some(Stop::Alias),
        b'l' | b'L' => match misspelt_alias(segment) {
            Some(offset) => Some(Stop::Malformed(
                offset,
                "an alias in small letters with `_`, such as `latest_build`",
            )),
            None => Section::from_word(segment).map(Stop::Section),
        },
        b'i' | b'o' => Section::from_word(segment).map(Stop::Section),
        _ => None,
    }
}

/// True if a segment is a known codename of a distro's release.
pub(crate) fn is_known_codename(segment: &str) -> bool {
    matches!(
        segment,
        "stretch" | "buster" | "bullseye" | "bookworm" | "trixie" | "forky" | "sid"
    ) || matches!(segment, "bionic" | "focal" | "jammy" | "noble")
}

/// True if a segment is a known layer, or a variant of one, such as `monolithic-dev1`.
pub(crate) fn is_known_layer(segment: &str) -> bool {
    const LAYERS: [&str; 6] = [
        "compiler",
        "containers",
        "distro",
        "flock",
        "monolithic",
        "openstack",
    ];
    let base = segment.split_once('-').map_or(segment, |(base, _)| base);
    LAYERS.contains(&base)
}

pub(crate) fn not_distro(segment: &str) -> Option<&'static str> {
    stop(segment).map(|_| "a distro, such as `centos`, before a build, an alias or a section")
}

pub(crate) fn not_arch(segment: &str) -> Option<&'static str> {
    stop(segment).map(|_| "an architecture, such as `amd64`, before a build, an alias or a section")
}

pub(crate) fn not_codename(segment: &str) -> Option<&'static str> {
    (stop(segment).is_some() || is_known_layer(segment))
        .then_some("a codename, such as `bullseye`: not a layer, a build, an alias or a section")
}

pub(crate) fn not_layer(segment: &str) -> Option<&'static str> {
    (stop(segment).is_some() || is_known_codename(segment))
        .then_some("a layer, such as `flock`: not a codename, a build, an alias or a section")
}

/// True if a segment at the end of a path, without a slash after it, is taken for a file: it has a dot inside.
pub(crate) fn is_file_name(segment: &str) -> bool {
    segment.bytes().skip(1).any(|byte| byte == b'.')
}

/// True if a segment is a git tag of one segment, `r2018.10` or `m2018.10.b3`: a letter, then a digit.
pub(crate) fn is_dated(segment: &str, letter: u8) -> bool {
    matches!(segment.as_bytes(), [first, digit, ..] if *first == letter && digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_end_a_channel_are_recognised() {
        assert_eq!(stop("20181105T060000Z"), Some(Stop::Build));
        assert!(matches!(
            stop("20181105T0600Z"),
            Some(Stop::Malformed(13, _))
        ));
        assert!(matches!(stop("20181105"), Some(Stop::Malformed(8, _))));
        assert_eq!(stop("20181105-notes.tar"), None);
        assert_eq!(stop("latest_green_build"), Some(Stop::Alias));
        for (misspelt, at) in [("latest-build", 6), ("Latest_build", 0), ("latest-", 6)] {
            assert!(
                matches!(stop(misspelt), Some(Stop::Malformed(offset, _)) if offset == at),
                "{misspelt}"
            );
        }
        assert_eq!(
            repaired_alias("LATEST-Green-build").as_deref(),
            Some("latest_green_build")
        );
        assert_eq!(stop("latest-notes.tar"), None);
        assert_eq!(stop("latest"), None);
        assert_eq!(stop("logs"), Some(Stop::Section(Section::Logs)));
        assert_eq!(stop("flock"), None);
    }
}
