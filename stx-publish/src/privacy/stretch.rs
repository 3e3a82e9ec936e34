//! Finds the bytes beside a name or an address that belong to it: its account, its domain.

use std::ops::Range;

use super::rules::is_everybodys;

/// The longest name with its domains to which a finding is extended.
pub(super) const LONGEST_NAME: usize = 253;
/// The longest account before a name, including its `@`.
pub(super) const LONGEST_ACCOUNT: usize = 128;
/// The longest value of `BUILD_HOST`, including the characters before it.
pub(super) const LONGEST_VALUE: usize = 253;

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The number of bytes at the end of `before` that are an account and its `@`, including a password.
pub(super) fn account(before: &[u8]) -> usize {
    let Some((b'@', before)) = before.split_last() else {
        return 0;
    };
    let is_part = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b':')
    };
    let part = before
        .iter()
        .rev()
        .take(LONGEST_ACCOUNT - 1)
        .take_while(|byte| is_part(byte));
    part.count() + 1
}

/// The number of bytes at the start of `after` that are the domain of a name, at most `most`.
pub(super) fn domain(after: &[u8], most: usize) -> usize {
    let mut length = 0;
    while length < most
        && after.get(length) == Some(&b'.')
        && after.get(length + 1).is_some_and(u8::is_ascii_alphanumeric)
    {
        let label = after[length + 1..].iter();
        let label = label.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
        length += 1 + label.take(63).count();
    }
    length.min(most)
}

/// The range of an assignment's value in the text after its name; `None` if the value identifies nothing.
pub(super) fn value(after: &[u8]) -> Option<Range<usize>> {
    let blanks = |at: usize| {
        let rest = after[at..].iter();
        rest.take(16)
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count()
    };
    let mut at = usize::from(matches!(after.first(), Some(b'"' | b'\'')));
    at += blanks(at);
    let colon = match after.get(at)? {
        b'=' => false,
        b':' => true,
        _ => return None,
    };
    at += 1;
    at += blanks(at);
    let quote = after
        .get(at)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\''));
    at += usize::from(quote.is_some());
    let length = after[at..]
        .iter()
        .take(LONGEST_VALUE - at)
        .take_while(|byte| match quote {
            Some(quote) => **byte != quote && !matches!(byte, b'\n' | b'\r'),
            None => !byte.is_ascii_whitespace() && !matches!(byte, b',' | b';' | b'"' | b'\''),
        })
        .count();
    let value = &after[at..at + length];
    // `BUILD_HOST: …` in prose continues after its first word.
    let goes_on = colon
        && quote.is_none()
        && !matches!(after.get(at + length), None | Some(b'\n' | b'\r' | b','));
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let tells = !text.is_empty()
        && !text.starts_with(['$', '@', '%', '<', '{', '['])
        && !is_everybodys(&text)
        && !goes_on;
    tells.then_some(at..at + length)
}
