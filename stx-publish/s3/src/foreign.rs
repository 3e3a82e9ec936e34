//! Objects whose names are not valid paths. Other tools create them, and mistakes such as `aws s3 cp x s3://bucket/mirror//x`.
//!
//! The client refuses a whole listing because of one such name, so every command would fail. These names are therefore removed
//! from the server's answers before the client reads them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;

use super::parts::element;

/// The full names that were left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Foreign(Arc<Mutex<BTreeSet<String>>>);

impl Foreign {
    /// The names below a root, relative to it.
    pub(super) fn below(&self, root: &str) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let below = names.iter().filter_map(|name| match root {
            "" => Some(name.as_str()),
            root => name.strip_prefix(root)?.strip_prefix('/'),
        });
        below.map(ToOwned::to_owned).collect()
    }

    /// A listing without such names. Objects whose name ends in `/` are left out as well: they represent directories.
    pub(super) fn without(&self, listing: &str) -> String {
        let kept = self.kept(listing, "Contents", "Key");
        self.kept(&kept, "CommonPrefixes", "Prefix")
    }

    fn kept(&self, listing: &str, entry: &str, key: &str) -> String {
        let (open, close) = (format!("<{entry}>"), format!("</{entry}>"));
        let mut parts = listing.split(&open);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let written = element(part, key).unwrap_or_default();
            let unescaped = quick_xml::escape::unescape(written);
            // The client would refuse the whole listing because of a name that is not valid XML.
            let is_xml = unescaped.is_ok();
            let name = unescaped.unwrap_or_else(|_| written.into());
            let plain = name.strip_suffix('/').unwrap_or(&name);
            let is_path = is_xml && Path::parse(plain).is_ok_and(|path| path.as_ref() == plain);
            if is_path && (plain == name || key == "Prefix") {
                kept.push_str(&open);
                kept.push_str(part);
                continue;
            }
            let after = part.split_once(&close).map_or("", |(_, after)| after);
            kept.push_str(after);
            if !is_path {
                let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                names.insert(name.into_owned());
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_valid_paths_are_skipped_and_reported() {
        let object = |name: &&str| format!("<Contents><Key>{name}</Key><Size>1</Size></Contents>");
        let prefix =
            |name: &&str| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>");
        let listing = |names: &[&str], prefixes: &[&str]| {
            let objects: String = names.iter().map(object).collect();
            let prefixes: String = prefixes.iter().map(prefix).collect();
            format!(
                "<List><Prefix>m/</Prefix>{objects}<IsTruncated>false</IsTruncated>{prefixes}</List>"
            )
        };
        let names = ["m/a", "m/R&amp;D &lt;1&gt;.iso", "m/ü ~+%2F"];
        let all = [
            &names[..],
            &[
                "m/",
                "m/a/",
                "m//b",
                "m/./c",
                "m/../d",
                "m/e&#xA;",
                "m/f&#10;g",
                "m/g&bad;",
                "/h",
                "other//i",
            ],
        ]
        .concat();
        let foreign = Foreign::default();
        let kept = foreign.without(&listing(&all, &["m/a/", "m//", "m/../"]));
        assert_eq!(kept, listing(&names, &["m/a/"]));
        let told = ["../", "../d", "./c", "/", "/b", "e\n", "f\ng", "g&bad;"];
        assert_eq!(foreign.below("m"), told);
        assert!(foreign.below("").contains(&"/h".to_owned()));
        assert_eq!(foreign.below("mirror"), [""; 0]);
    }
}
