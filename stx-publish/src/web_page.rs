//! Web pages that a server sends in place of files.

/// A web page in place of a file: from a proxy, a login, or a server that answers every request with a page.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with a web page")]
pub struct WebPage;

/// The number of bytes of a body that [`is_html`] needs.
#[cfg(feature = "fetch")]
pub(crate) const BEGINNING: usize = 1 << 10;

/// True if a body begins like HTML.
#[cfg(any(feature = "fetch", feature = "http"))]
pub(crate) fn is_html(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    let begins = |word: &str| {
        let begin = text.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}
