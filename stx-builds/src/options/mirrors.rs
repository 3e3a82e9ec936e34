//! The table `[mirrors]`.

use serde::Deserialize;

/// The mirrors that have the same builds, for metalink files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, try_from = "Table")]
pub struct MirrorsTable(Vec<String>);

impl MirrorsTable {
    /// The URLs of their roots, the preferred one first.
    pub fn urls(&self) -> &[String] {
        &self.0
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    urls: Vec<String>,
}

/// True if a text is a URL that may be public.
fn is_public(url: &str) -> bool {
    let mut schemes = ["https://", "http://"].iter();
    let Some(rest) = schemes.find_map(|scheme| url.strip_prefix(scheme)) else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let is_odd =
        |letter: char| letter.is_whitespace() || letter.is_control() || "?#<>\"".contains(letter);
    // The part before an `@` contains credentials, which every reader would see.
    !host.is_empty() && !host.contains('@') && !rest.contains(is_odd)
}

impl TryFrom<Table> for MirrorsTable {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        match table.urls.iter().find(|url| !is_public(url)) {
            None => Ok(Self(table.urls)),
            Some(url) => Err(format!(
                "expected the URL of a mirror's root, `https://HOST/PATH` without credentials and query, found {:?}",
                stx_layout::redact_urls(url)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_without_credentials_are_public() {
        for url in ["https://mirror.example.org/stx/", "http://[::1]:8080/a%20b"] {
            assert!(is_public(url), "{url}");
        }
        for url in [
            "ftp://a/",
            "https://",
            "https:///a",
            "/srv/mirror",
            "https://u:secret@host/",
            "https://a/?x",
            "https://a/ b",
        ] {
            let urls = vec![url.to_owned()];
            let error = MirrorsTable::try_from(Table { urls }).expect_err(url);
            assert!(error.contains("the URL of a mirror's root"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
