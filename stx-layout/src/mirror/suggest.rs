//! Suggestions for a refused path. A suggestion is only made if the grammar accepts it.

use super::MirrorPathRef;
use crate::words::{self, Stop};
use crate::{ReleaseKind, date, is_printable};

/// The accepted path nearest to a refused one, if any is close.
///
/// `..` and `.` are never resolved: only their author knows their target.
pub(crate) fn path(text: &str) -> Option<String> {
    const LONGEST: usize = 4096;
    if text.len() > LONGEST {
        return None;
    }
    let repairs: [fn(&str) -> Option<String>; 9] = [
        outer_marks,
        unseen,
        root,
        query,
        slashes,
        encoding,
        release,
        distro,
        point,
    ];
    let mut near = text.to_owned();
    for repair in repairs {
        if let Some(repaired) = repair(&near) {
            near = repaired;
            if accepted(&near) {
                return (near != text).then_some(near);
            }
        }
    }
    None
}

fn accepted(text: &str) -> bool {
    MirrorPathRef::is_accepted(text)
}

/// Blanks, quotes and brackets around a pasted text.
fn outer_marks(text: &str) -> Option<String> {
    let inner = text.trim_matches(|character: char| {
        character.is_whitespace() || "<>\"'`()".contains(character)
    });
    (inner != text && !inner.is_empty()).then(|| inner.to_owned())
}

/// Invisible characters, such as those in a pasted text.
fn unseen(text: &str) -> Option<String> {
    let plain = text.replace(
        |character: char| !character.is_control() && !is_printable(character),
        "",
    );
    (plain != text).then_some(plain)
}

/// A URL without its scheme, or a path from the server's root.
fn root(text: &str) -> Option<String> {
    if is_url(text) {
        return None;
    }
    let (_, path) = text.split_once("/mirror/starlingx/")?;
    Some(path.to_owned())
}

/// A URL without the query or fragment that a server's listing appends.
fn query(text: &str) -> Option<String> {
    let (path, _) = text.split_once(['?', '#'])?;
    is_url(text).then(|| path.to_owned())
}

/// Backslashes, doubled slashes, a slash or `./` at the beginning.
fn slashes(text: &str) -> Option<String> {
    let (prefix, path) = text.split_at(prefix_end(text));
    let mut clean = path.replace('\\', "/");
    while clean.contains("//") {
        clean = clean.replace("//", "/");
    }
    let clean = clean.trim_start_matches("./").trim_start_matches('/');
    (clean != path).then(|| format!("{prefix}{clean}"))
}

/// Percent-encoded characters that are harmless: `%2B` for `+`.
fn encoding(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|byte| {
                byte.is_ascii_alphanumeric() || b"+^~@,=:;!$&'()*[]{}|_- ".contains(byte)
            });
        if let (Some(byte), Some(behind)) = (byte, after.get(2..)) {
            plain.push(char::from(byte));
            rest = behind;
        } else {
            plain.push('%');
            rest = after;
        }
    }
    plain.push_str(rest);
    (plain != text).then_some(plain)
}

/// A release identifier in another case, or a letter or two off.
fn release(text: &str) -> Option<String> {
    let (prefix, path) = text.split_at(prefix_end(text));
    let word = path.split('/').next()?;
    let behind = path.get(word.len()..)?;
    let lower = word.to_ascii_lowercase();
    let near = crate::release::near_kind(word).map_or(lower, str::to_owned);
    let alone = near == ReleaseKind::Master.as_str() || words::is_dated(&near, b'r');
    (near != word && (alone || accepted(&near))).then(|| format!("{prefix}{near}{behind}"))
}

/// A path without its distro; the specification has only one.
fn distro(text: &str) -> Option<String> {
    let start = prefix_end(text);
    let length = if text.get(start..)?.starts_with("master/") {
        1
    } else {
        2
    };
    let (offset, _) = text.get(start..)?.match_indices('/').nth(length - 1)?;
    let (before, behind) = text.split_at_checked(start + offset)?;
    let next = behind.get(1..)?.split('/').next()?;
    words::stop(next).map(|_| format!("{before}/centos{behind}"))
}

/// A build date without its seconds, with dashes and colons, or in small letters; an alias with dashes or capitals.
fn point(text: &str) -> Option<String> {
    let mut start = prefix_end(text);
    for segment in text.get(start..)?.split('/') {
        if matches!(words::stop(segment), Some(Stop::Malformed(..))) {
            let near = date::repaired(segment).or_else(|| words::repaired_alias(segment))?;
            let (before, behind) = (text.get(..start)?, text.get(start + segment.len()..)?);
            return Some(format!("{before}{near}{behind}"));
        }
        start += segment.len() + 1;
    }
    None
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].into_iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|given| given.eq_ignore_ascii_case(scheme))
    })
}

/// The offset of the path in a URL of a mirror; 0 in any other text.
fn prefix_end(text: &str) -> usize {
    const ROOT: &str = "/mirror/starlingx/";
    match text.find(ROOT) {
        Some(offset) if is_url(text) => offset + ROOT.len(),
        Some(_) | None => 0,
    }
}
