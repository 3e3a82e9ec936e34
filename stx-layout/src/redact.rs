//! Credentials in URLs: their positions in a text, and the text without them.
//!
//! Some readers of logs, records, errors, alarms and events may not have the access that a URL in them grants. The server decides
//! which parameter of a query is a token, and if a user name is one. Both are therefore always replaced completely, and the same
//! text always becomes the same text.
//!
//! | in | is replaced |
//! |---|---|
//! | `SCHEME://USERINFO@HOST…` | the userinfo, up to the last `@` before the path |
//! | `SCHEME://HOST/PATH?QUERY#FRAGMENT` | query and fragment |
//! | `USER:SECRET@HOST:PATH` | the text between the first `:` and the last `@` before `HOST:` |
//!
//! A fragment without a query, `git@host:path`, mail addresses and `image:tag@sha256:…` are kept. A URL ends at white space, a
//! control character, `"`, `<`, `>`, a backquote, and in its path or query at `'`, unless that is one within an argument that is
//! quoted for a shell (`'\''`). Removing too much is better than too little: a character that may belong to a URL counts as part
//! of it.

use std::borrow::Cow;
use std::ops::Range;

/// The text that replaces a credential in a URL.
pub const REDACTED: &str = "[redacted]";

/// A text without the credentials of the URLs in it; the text itself if there are none.
///
/// ```
/// use stx_layout::redact_urls;
///
/// for (text, redacted) in [
///     ("repo init -u https://jim:s3cret@git.example.org/manifest", "repo init -u https://[redacted]@git.example.org/manifest"),
///     ("GET https://files.example.org/a.iso?private_token=s3cret: 403", "GET https://files.example.org/a.iso?[redacted] 403"),
///     ("git clone 'git:s3cret@example.org:a/b'", "git clone 'git:[redacted]@example.org:a/b'"),
///     ("git@example.org:a/b, https://example.org/a#b", "git@example.org:a/b, https://example.org/a#b"),
/// ] {
///     assert_eq!(redact_urls(text), redacted);
///     assert_eq!(redact_urls(redacted), redacted);
/// }
/// ```
pub fn redact_urls(text: &str) -> Cow<'_, str> {
    let secrets = url_secrets(text.as_bytes());
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut done = 0;
    for secret in secrets {
        redacted.push_str(&text[done..secret.start]);
        redacted.push_str(REDACTED);
        done = secret.end;
    }
    redacted.push_str(&text[done..]);
    Cow::Owned(redacted)
}

/// Like [`redact_urls`], for bytes that may not be text.
pub fn redact_url_bytes(text: &[u8]) -> Cow<'_, [u8]> {
    let secrets = url_secrets(text);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut redacted = Vec::with_capacity(text.len());
    let mut done = 0;
    for secret in secrets {
        redacted.extend_from_slice(&text[done..secret.start]);
        redacted.extend_from_slice(REDACTED.as_bytes());
        done = secret.end;
    }
    redacted.extend_from_slice(&text[done..]);
    Cow::Owned(redacted)
}

/// The positions of the credentials of the URLs in a text, in order; each begins and ends beside an ASCII character. Text that
/// was already replaced does not count.
///
/// Only the text between two blanks decides if its bytes belong to a credential.
pub fn url_secrets(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let length = position(&text[start..], ends_word).unwrap_or(text.len() - start);
        let end = start + length;
        // Most words of a log contain neither character.
        let word = &text[start..end];
        if word.contains(&b'@') || word.contains(&b'?') {
            let escaped = text.get(end) == Some(&b'"') && word.ends_with(b"\\");
            in_word(word, escaped, &mut |secret| {
                if text[start..][secret.clone()] != *REDACTED.as_bytes() {
                    found.push(start + secret.start..start + secret.end);
                }
            });
        }
        start = end + 1;
    }
    found
}

/// A single URL, or another address that `git clone` accepts, without user, password, query and the fragment of a query: a name
/// for its target that may be shown and that other programs understand.
///
/// ```
/// use stx_layout::public_url;
///
/// for (url, public) in [
///     ("https://jim:s3cret@example.org/a/b.git", "https://example.org/a/b.git"),
///     ("https://example.org/a/b.git?private_token=s3cret", "https://example.org/a/b.git"),
///     ("git:s3cret@example.org:a/b.git", "git@example.org:a/b.git"),
///     ("git@example.org:a/b.git", "git@example.org:a/b.git"),
///     ("/srv/git/what?.git", "/srv/git/what?.git"),
/// ] {
///     assert_eq!(public_url(url), public);
/// }
/// ```
pub fn public_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return match scp_secret(url.as_bytes()) {
            // The `:` is removed as well.
            Some(secret) => format!("{}{}", &url[..secret.start - 1], &url[secret.end..]),
            None => url.to_owned(),
        };
    };
    let rest = &rest[userinfo(rest.as_bytes())..];
    let rest = rest.strip_prefix('@').unwrap_or(rest);
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    format!("{scheme}://{rest}")
}

/// The userinfo of a single URL, if it has one; the text before a host in the form of scp does not count.
///
/// ```
/// use stx_layout::url_userinfo;
///
/// assert_eq!(url_userinfo("https://jim:s3cret@example.org/a@b"), Some("jim:s3cret"));
/// assert_eq!(url_userinfo("https://example.org/a@b"), None);
/// assert_eq!(url_userinfo("git@example.org:a/b"), None);
/// ```
pub fn url_userinfo(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    match userinfo(rest.as_bytes()) {
        0 => None,
        length => rest.get(..length),
    }
}

fn position(text: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    text.iter().position(|byte| is(*byte))
}

/// True if a byte cannot occur in a URL, however sloppily it is written.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || byte.is_ascii_control()
        || matches!(byte, b'"' | b'<' | b'>' | b'`')
}

fn after_scheme(text: &[u8]) -> Option<usize> {
    let found = text.windows(3).position(|three| three == b"://");
    found.map(|at| at + 3)
}

/// Finds the secrets of a word. `escaped` is true if its last byte, a backslash, belongs to the quotation mark after it.
fn in_word(word: &[u8], escaped: bool, found: &mut impl FnMut(Range<usize>)) {
    let word = &word[..word.len() - usize::from(escaped)];
    let mut at = 0;
    while at < word.len() {
        let rest = &word[at..];
        let url = after_scheme(rest);
        let before = url.map_or(rest, |url| &rest[..url - 3]);
        if let Some(secret) = scp_secret(before) {
            found(at + secret.start..at + secret.end);
        }
        let Some(url) = url else { return };
        let authority = at + url;
        let userinfo = userinfo(&word[authority..]);
        if userinfo > 0 {
            found(authority..authority + userinfo);
        }
        let host = authority + userinfo;
        let is_over = |byte| matches!(byte, b'/' | b'?' | b'#');
        let path = host + position(&word[host..], is_over).unwrap_or(word.len() - host);
        let end = path + url_length(&word[path..]);
        // A URL in the path of another one is examined separately; one in a query is part of that query. It may begin at the end
        // of the host: `https://https://…`.
        let inner = after_scheme(&word[host..end]).map(|inner| host + inner - 3);
        let query = position(&word[path..end], |byte| byte == b'?').map(|query| path + query + 1);
        at = match (query, inner) {
            (Some(query), inner) if inner.is_none_or(|inner| query < inner) => {
                if query < end {
                    found(query..end);
                }
                end
            }
            (_, Some(inner)) => inner,
            (_, None) => end,
        };
    }
}

/// The length of the userinfo after `://`, without its `@`.
fn userinfo(text: &[u8]) -> usize {
    let is_over = |byte| matches!(byte, b'/' | b'?' | b'#');
    let authority = position(text, is_over).unwrap_or(text.len());
    let sign = text[..authority].iter().rposition(|byte| *byte == b'@');
    // A password that should have been percent-encoded, because the text in the position of the port is not a port.
    let no_port = || {
        let colon = text[..authority].iter().position(|byte| *byte == b':')?;
        let port = &text[colon + 1..authority];
        let is_none = !port.is_empty() && !port.iter().all(u8::is_ascii_digit);
        (is_none && text[0] != b'[').then(|| text.iter().rposition(|byte| *byte == b'@'))?
    };
    sign.or_else(no_port).unwrap_or(0)
}

/// The length of a path with its query; `'` ends it, unless it is within an argument that is quoted for a shell.
fn url_length(text: &[u8]) -> usize {
    const QUOTED: &[u8] = br"'\''";
    let mut at = 0;
    while let Some(quote) = position(&text[at..], |byte| byte == b'\'') {
        at += quote;
        if !text[at..].starts_with(QUOTED) {
            return at;
        }
        at += QUOTED.len();
    }
    text.len()
}

/// The secret in `USER:SECRET@HOST:PATH`.
fn scp_secret(word: &[u8]) -> Option<Range<usize>> {
    let is_user = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
    let mut pairs = word.windows(2);
    let secret = 2 + pairs.position(|pair| is_user(&pair[0]) && pair[1] == b':')?;
    // The last one: a secret may contain such a character too.
    let mut end = word.len();
    loop {
        let sign = word[..end].iter().rposition(|byte| *byte == b'@')?;
        if sign <= secret {
            return None;
        }
        if leads_to_host(&word[sign + 1..]) {
            return Some(secret..sign);
        }
        end = sign;
    }
}

/// True if a text begins with a host and `:`, followed by something else.
fn leads_to_host(text: &[u8]) -> bool {
    let length = if text.first() == Some(&b'[') {
        position(text, |byte| byte == b']').map_or(0, |end| end + 1)
    } else {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        position(text, |byte| !is_host(byte)).unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(length);
    let digest = matches!(host, b"sha256" | b"sha384" | b"sha512")
        && rest
            .get(1..33)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    !host.is_empty() && rest.len() > 1 && rest[0] == b':' && !digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_redacted_and_other_text_is_kept() {
        for (text, redacted) in [
            ("", ""),
            ("nothing here", "nothing here"),
            // Userinfo of any scheme, with and without a password.
            ("https://u:p@h/x", "https://[redacted]@h/x"),
            ("https://TOKEN@h", "https://[redacted]@h"),
            (
                "(git+https://u:p@h:8443/x)",
                "(git+https://[redacted]@h:8443/x)",
            ),
            ("ssh://git@h/x", "ssh://[redacted]@h/x"),
            ("https://u:p@q@h/x", "https://[redacted]@h/x"),
            ("https://u:%40%2F@h/x@y", "https://[redacted]@h/x@y"),
            ("https://u:it's@h/x", "https://[redacted]@h/x"),
            ("https://u:a/b?c@h/x", "https://[redacted]@h/x"),
            ("https://https://u:p@h/x", "https://https://[redacted]@h/x"),
            ("https://h:80/x@y", "https://h:80/x@y"),
            ("https://u:pässwörd@h/ü", "https://[redacted]@h/ü"),
            ("https://u:p@[::1]:80/x", "https://[redacted]@[::1]:80/x"),
            (
                "https://@h/x https://h/x@y https://h",
                "https://@h/x https://h/x@y https://h",
            ),
            // Queries, with any text around them.
            ("https://h/x?t=s3cret", "https://h/x?[redacted]"),
            ("https://h?t=s3cret&u=v#f", "https://h?[redacted]"),
            ("https://h/#/x?t=s3cret", "https://h/#/x?[redacted]"),
            ("https://h/x? y", "https://h/x? y"),
            ("https://h/x#f", "https://h/x#f"),
            (
                "<a href=\"https://h/x?t=s\">why?</a>",
                "<a href=\"https://h/x?[redacted]\">why?</a>",
            ),
            (
                r#"{"a":"{\"u\":\"https://h/x?t=s\"}"}"#,
                r#"{"a":"{\"u\":\"https://h/x?[redacted]\"}"}"#,
            ),
            (
                "['https://h/x?t=s', 'b']",
                "['https://h/x?[redacted]', 'b']",
            ),
            (
                r"curl 'https://h/x?t=a'\''b' -o c",
                r"curl 'https://h/x?[redacted]' -o c",
            ),
            (
                "https://a/x?t=s\nhttps://b/y?t=s\r\n",
                "https://a/x?[redacted]\nhttps://b/y?[redacted]\r\n",
            ),
            // One URL within or beside another.
            (
                "https://a/https://u:p@b/x?t=s",
                "https://a/https://[redacted]@b/x?[redacted]",
            ),
            ("https://a/x?to=https://u:p@b/x", "https://a/x?[redacted]"),
            (
                "'https://a/x?t=s','https://u:p@b'",
                "'https://a/x?[redacted]','https://[redacted]@b'",
            ),
            (
                "https://u:p@a/x,https://v:q@b/y",
                "https://[redacted]@a/x,https://[redacted]@b/y",
            ),
            // The form of scp.
            ("git:s3cret@h:a/b", "git:[redacted]@h:a/b"),
            (
                "--url=git:s/c+r=@h.example.org:a/b.git'",
                "--url=git:[redacted]@h.example.org:a/b.git'",
            ),
            ("git:a@b:c@h:p", "git:[redacted]@h:p"),
            ("git:s3cret@[::1]:p", "git:[redacted]@[::1]:p"),
            (
                "https_proxy=u:p@proxy:3128",
                "https_proxy=u:[redacted]@proxy:3128",
            ),
            (
                "git:s3cret@h:p,https://u:p@h/x",
                "git:[redacted]@h:p,https://[redacted]@h/x",
            ),
            // Texts that only look similar.
            (
                "git@h:a/b: jim@h: jim@example.org",
                "git@h:a/b: jim@h: jim@example.org",
            ),
            ("12:30:05 jim@h:~$ ls", "12:30:05 jim@h:~$ ls"),
            ("why? a@b?c", "why? a@b?c"),
            (
                "stx-nova:1.2@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "stx-nova:1.2@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
        ] {
            assert_eq!(redact_urls(text), redacted);
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_redacted_too() {
        let text = b"\xff https://u:\xe4@h/\xe4?\xe4 \xff";
        let found: Vec<_> = url_secrets(text)
            .into_iter()
            .map(|secret| &text[secret])
            .collect();
        assert_eq!(found, [&b"u:\xe4"[..], b"\xe4"]);
    }

    #[test]
    fn a_public_url_has_no_credentials_and_no_query() {
        for (url, public) in [
            ("https://u:p@h:8443/a@b/c?d#e", "https://h:8443/a@b/c"),
            ("https://h/a#e", "https://h/a#e"),
            ("https://h?t=s", "https://h"),
            ("https://u:a/b@h/x", "https://h/x"),
            ("ssh://git@h/a", "ssh://h/a"),
            ("file:///srv/git", "file:///srv/git"),
            ("git:s3cret@h:a", "git@h:a"),
            ("../config", "../config"),
            ("", ""),
        ] {
            assert_eq!(public_url(url), public);
        }
    }

    proptest! {
        #[test]
        fn redaction_removes_all_parts_of_a_secret_and_is_idempotent(
            user in "[a-z]{1,5}",
            secret in "[A-Z0-9!$&()*+,;=%._~^-]{8,20}",
            scheme in "https|ssh|git\\+https|s3",
            before in "(|see |'|\"|\\(|a=|x\\?y )",
            after in "(| end|'|\"|\n|\\))",
        ) {
            for url in [
                format!("{scheme}://{user}:{secret}@host/path"),
                format!("{scheme}://{secret}@host"),
                format!("{scheme}://host/path?{user}={secret}"),
                format!("{user}:{secret}@host:path"),
            ] {
                let text = format!("{before}{url}{after}");
                let redacted = redact_urls(&text);
                prop_assert!(!redacted.contains(&secret), "{} became {}", text, redacted);
                prop_assert_eq!(redact_urls(&redacted), redacted.clone());
                prop_assert!(!public_url(&url).contains(&secret));
                prop_assert!(redacted.starts_with(&before));
            }
        }

        #[test]
        fn any_text_can_be_redacted_once_and_for_all(text in "(\\PC|[:/@?'\"a \\\\\n\\[\\]]){0,40}") {
            let once = redact_urls(&text).into_owned();
            prop_assert_eq!(&*redact_urls(&once), &*once);
            let ranges = url_secrets(text.as_bytes());
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
            // White space around a word has no influence on it.
            let words: Vec<_> = text.split(' ').map(redact_urls).collect();
            prop_assert_eq!(words.join(" "), once);
            public_url(&text);
        }
    }
}
