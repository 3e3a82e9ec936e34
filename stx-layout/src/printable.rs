//! Untrusted texts, made harmless for terminals, logs and pages.
//!
//! Other people write commit subjects, file names and the fields of records. A control character can control a terminal or forge
//! a line of a log; a bidirectional or zero-width character makes one name look like another. All of them are shown as escapes,
//! so that nothing is lost and nothing takes effect.
//!
//! | function | for | newline, tab |
//! |---|---|---|
//! | [`printable`] | one line, or one value within a line | escaped |
//! | [`printable_bytes`] | the same for bytes that may not be UTF-8, such as a file name | escaped |
//! | [`printable_lines`] | a text of several lines | kept |
//! | [`printable_json`] | a JSON document, whose values do not change | kept |

use std::borrow::Cow;
use std::fmt::Write as _;

/// True if a character shows as itself: it is not a control character, does not change the direction of the text, and is not of
/// zero width.
///
/// Refused are Unicode's `Control` category, its line and paragraph separators, its default-ignorable characters, and the
/// marks of interlinear annotation.
///
/// ```
/// # use stx_layout::is_printable;
/// assert!("aé漢 ".chars().all(is_printable));
/// assert!(!"\n\u{1b}\u{9b}\u{202e}\u{2066}\u{200b}\u{feff}".chars().any(is_printable));
/// ```
pub fn is_printable(character: char) -> bool {
    // Nearly all characters are in this range.
    if matches!(character, ' '..='~') {
        return true;
    }
    let ignorable = matches!(
        character,
        // Soft hyphen, joiner, Arabic letter mark, fillers, Khmer and Mongolian marks.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Zero-width, separators, bidirectional controls, invisible operators.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        // Fillers, variation selectors, byte order mark, annotation, shorthand, musical marks, tags.
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    !ignorable && !character.is_control()
}

/// A text on one line that cannot control a terminal: every character that is not [printable](is_printable) is shown as a Rust
/// escape.
///
/// ```
/// # use stx_layout::printable;
/// assert_eq!(printable("plain"), "plain");
/// assert_eq!(printable("a\n\u{1b}[2J\u{202e}b"), "a\\n\\u{1b}[2J\\u{202e}b");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable, |shown, character| {
        shown.extend(character.escape_default());
    })
}

/// Like [`printable`], for bytes that may not be UTF-8: a byte that is not part of a character is shown as `\x` and two digits.
///
/// ```
/// # use stx_layout::printable_bytes;
/// assert_eq!(printable_bytes(b"caf\xe9\n"), "caf\\xe9\\n");
/// ```
pub fn printable_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return printable(text);
    }
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    Cow::Owned(shown)
}

/// Like [`printable`], for a text of several lines: newlines and tabs are kept.
///
/// ```
/// # use stx_layout::printable_lines;
/// assert_eq!(printable_lines("a\tb\n\u{7}"), "a\tb\n\\u{7}");
/// ```
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let plain = |character| is_printable(character) || matches!(character, '\n' | '\t');
    escaped(text, plain, |shown, character| {
        shown.extend(character.escape_default());
    })
}

/// A JSON document that cannot control a terminal; a parser gets the same values.
///
/// By itself, JSON escapes only the first 32 control characters. The others can occur only in strings, in which an escape means
/// the same.
///
/// ```
/// # use stx_layout::printable_json;
/// assert_eq!(printable_json("[\"\u{9b}\u{202e}\u{e0001}\"]\n"), "[\"\\u009b\\u202e\\udb40\\udc01\"]\n");
/// ```
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let plain = |character| is_printable(character) || matches!(character, '\n' | '\t' | '\r');
    escaped(json, plain, |shown, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

/// Replaces characters that are not plain. A text with only plain characters, as most have, is not copied.
fn escaped(
    text: &str,
    plain: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let Some(first) = text.find(|character| !plain(character)) else {
        return Cow::Borrowed(text);
    };
    let (before, rest) = text.split_at(first);
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(before);
    for character in rest.chars() {
        if plain(character) {
            shown.push(character);
        } else {
            escape(&mut shown, character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
        let unseen = [
            '\u{ad}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{fe0f}',
            '\u{e0041}',
        ];
        let controls = ('\0'..'\u{20}').chain('\u{7f}'..'\u{a0}');
        for character in bidi.chain(marks).chain(unseen).chain(controls) {
            let shown = printable(character.encode_utf8(&mut [0; 4])).into_owned();
            assert!(shown.starts_with('\\') && shown.is_ascii(), "{shown}");
        }
        for text in ["", "hello world", "Grüße, 你好", "a\u{301}", "👩"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    proptest! {
        #[test]
        fn every_text_is_one_harmless_line(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            prop_assert!(printable(&text).chars().all(is_printable));
            prop_assert!(printable_bytes(&bytes).chars().all(is_printable));
            prop_assert_eq!(printable_lines(&text).matches('\n').count(), text.matches('\n').count());
        }

        #[test]
        fn json_keeps_its_values(text in any::<String>()) {
            let json = serde_json::to_string_pretty(&[&text]).expect("JSON");
            let shown = printable_json(&json);
            prop_assert!(shown.chars().all(|character| is_printable(character) || character == '\n'));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&shown).expect("JSON"), [text]);
        }
    }
}
