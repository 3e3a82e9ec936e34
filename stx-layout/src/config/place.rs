//! The position of an entry in a text.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Position;

/// The position of the value at `path`, or of the innermost existing table or list above it. Items of lists are named by their
/// numbers, from `0`. `None` if no part of the path exists.
///
/// ```
/// use stx_layout::config::{Position, position};
///
/// let text = "state = \"s\"\n[service]\nhook = [\"x\"]\n[[branch]]\nname = \"a\"\n[[branch]]\nname = \"b\"\n";
/// let at = |path: &[&str]| position(text, path).map(|Position { line, column }| (line, column));
/// assert_eq!(at(&["service", "hook"]), Some((3, 8)));
/// assert_eq!(at(&["branch", "1", "name"]), Some((7, 8)));
/// assert_eq!(at(&["service", "metrics"]), Some((2, 1)));
/// assert_eq!(at(&["mirror"]), None);
/// ```
pub fn position(text: &str, path: &[&str]) -> Option<Position> {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut found = None;
    let (first, rest) = path.split_first()?;
    let mut value = document.get_ref().get(*first);
    let mut rest = rest.iter();
    while let Some(inner) = value {
        found = Some(Position::of(text, start(inner)));
        value = rest.next().and_then(|key| match inner.get_ref() {
            DeValue::Table(table) => table.get(*key),
            DeValue::Array(items) => items.get(key.parse::<usize>().ok()?),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        });
    }
    found
}

/// The offset of a value; for a list of tables, that of its first table.
fn start(value: &Spanned<DeValue<'_>>) -> usize {
    match value.get_ref() {
        DeValue::Array(items) if value.span().is_empty() => {
            items.iter().next().map_or(value.span().start, start)
        }
        _ => value.span().start,
    }
}
