//! Pages for people in the place of files.

/// A page for people in the place of a file: of a proxy, a login, or a server that answers everything.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with a web page")]
pub struct WebPage;

/// Bytes of a body by which [`is_html`] knows.
#[cfg(feature = "fetch")]
pub(crate) const BEGINNING: usize = 1 << 10;

/// Whether a body begins as HTML does.
#[cfg(any(feature = "fetch", feature = "http"))]
pub(crate) fn is_html(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    let begins = |word: &str| {
        let begin = text.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}
