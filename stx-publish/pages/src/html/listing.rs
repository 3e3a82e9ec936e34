//! The listing of a directory, for a server without listings of its own.

use askama::Template;
use stx_layout::index::PageName;
use stx_layout::{BuildDate, encode_path};

use super::{breakable, in_url, printed, size};

/// A file or a directory in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size; `None` for a directory.
    pub size: Option<u64>,
}

#[derive(Template)]
#[template(path = "listing.html")]
struct Listing<'a> {
    path: &'a str,
    /// The build that contains the directory: the relative path to its page, and its date.
    build: Option<(String, BuildDate)>,
    entries: &'a [Listed],
}

/// The page of a directory at a `path` of the mirror, which begins and ends with a slash.
///
/// A directory of a build links back to the page of that build.
pub fn listing(path: &str, entries: &[Listed]) -> String {
    let segments: Vec<_> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let mut below = segments.iter().rev().enumerate();
    let build = below.find_map(|(depth, segment)| {
        let date: BuildDate = segment.parse().ok()?;
        let page = PageName::HtmlOf(date).file_name();
        Some((
            format!("{}{}", "../".repeat(depth + 1), encode_path(&page)),
            date,
        ))
    });
    let page = Listing {
        path,
        build,
        entries,
    };
    printed(page.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_links_to_its_build_and_escapes_names() {
        let entries = [
            Listed {
                name: "<b>&\u{1b}".to_owned(),
                size: Some(2048),
            },
            Listed {
                name: "a b#?".to_owned(),
                size: None,
            },
        ];
        let text = listing("/master/centos/20190101T060000Z/outputs/<i>/", &entries);
        for part in [
            "href=\"../../../20190101T060000Z.html\"",
            "/<wbr>&#60;i&#62;/<wbr>",
            "&#60;b&#62;&#38;",
            "2 KiB",
            "href=\"a%20b%23%3F/\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("<b>") && !text.contains("<i>"));
        assert!(!listing("/master/", &[]).contains("<nav"));
    }
}
