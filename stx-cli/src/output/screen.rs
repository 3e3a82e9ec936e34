//! A text that replaces the previous one on a terminal.

use std::io::{self, IsTerminal as _};

use console::{Term, truncate_str};

use super::{Text, painted};

/// True if standard output is a terminal whose cursor can be moved.
pub(crate) fn can_draw() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The text as bytes that show it on the terminal of standard output, replacing its content.
pub(crate) fn draw(text: &Text) -> String {
    drawn(&painted(text), Term::stdout().size_checked())
}

/// The text for a terminal of so many rows and columns.
///
/// A line that is too long, or too many lines, would scroll the first lines away. So lines are cut, and the last row counts those
/// that do not fit. Each row is cleared separately: some terminals keep a copy of a screen that is cleared at once in their
/// scrollback, which would grow by a copy each second.
fn drawn(text: &str, size: Option<(u16, u16)>) -> String {
    let (rows, columns) = size.map_or((usize::MAX, usize::MAX), |(rows, columns)| {
        (rows.into(), columns.into())
    });
    let lines: Vec<_> = text.lines().collect();
    // The cursor also takes a row, below the text, where the shell continues.
    let room = rows.saturating_sub(1).max(1);
    let (shown, left) = if lines.len() > room {
        lines.split_at(room - 1)
    } else {
        (&*lines, &[][..])
    };
    let more = format!("… {} more lines", left.len());
    let more = (!left.is_empty()).then_some(&*more);
    let mut drawn = "\u{1b}[H".to_owned();
    for line in shown.iter().copied().chain(more) {
        // The width of a tab depends on its column.
        let line = line.replace('\t', "    ");
        drawn.extend(["\u{1b}[K", &*truncate_str(&line, columns, "…"), "\n"]);
    }
    drawn.push_str("\u{1b}[J");
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_by_their_visible_width() {
        for (line, shown) in [
            ("12345678", "12345678"),
            ("123456789", "1234567…"),
            (
                "\u{1b}[31mfail\u{1b}[0m 6789",
                "\u{1b}[31mfail\u{1b}[0m 67…",
            ),
            (
                "\u{1b}[31mfail 6789\u{1b}[0m",
                "\u{1b}[31mfail 67…\u{1b}[0m",
            ),
            ("日本語日本", "日本語…"),
            ("a\tb", "a    b"),
        ] {
            let expected = format!("\u{1b}[H\u{1b}[K{shown}\n\u{1b}[J");
            assert_eq!(drawn(line, Some((4, 8))), expected, "{line}");
        }
        let long = "1234567890".repeat(100);
        assert!(drawn(&long, None).contains(&long));
    }

    #[test]
    fn hidden_lines_are_counted() {
        let rows = |lines: usize, rows| {
            let drawn = drawn(&"line\n".repeat(lines), Some((rows, 80)));
            let lines: Vec<_> = drawn.lines().map(str::to_owned).collect();
            assert!(lines.len() <= usize::from(rows) || rows < 2, "{lines:?}");
            let counted = lines.iter().find(|line| line.contains("more lines"));
            counted.map(|line| line.replace("\u{1b}[K", ""))
        };
        assert_eq!(rows(3, 4), None);
        assert_eq!(rows(4, 4).as_deref(), Some("… 2 more lines"));
        assert_eq!(rows(100, 4).as_deref(), Some("… 98 more lines"));
        assert_eq!(rows(4, 1).as_deref(), Some("\u{1b}[H… 4 more lines"));
    }
}
