//! Text for people, with colours on terminals only.
//!
//! `--color` decides; `auto` depends on the stream and the environment: `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `TERM`. A colour
//! only repeats the meaning of a word, so that the text is complete without it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use stx_layout::{BuildOutcome, Verdict, printable, printable_lines};

use crate::args::Color;

/// The meaning of a word, which gives its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// The head of a table.
    Head,
    Good,
    Doubtful,
    Bad,
    /// A note or a hint.
    Aside,
}

impl Tone {
    fn style(self) -> Style {
        let bold = Style::new().bold();
        let color = |color: AnsiColor| color.on_default();
        match self {
            Self::Plain => Style::new(),
            Self::Head => bold,
            Self::Good => color(AnsiColor::Green),
            Self::Doubtful => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
            Self::Aside => color(AnsiColor::Cyan),
        }
    }

    /// The text in this tone.
    fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

impl From<BuildOutcome> for Tone {
    fn from(outcome: BuildOutcome) -> Self {
        match outcome {
            BuildOutcome::Success => Self::Good,
            BuildOutcome::Fail => Self::Bad,
        }
    }
}

impl From<Verdict> for Tone {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Green => Self::Good,
            Verdict::Yellow => Self::Doubtful,
            Verdict::Red => Self::Bad,
        }
    }
}

/// Sets the colours of all subsequent output, including the messages of the argument parser.
pub(crate) fn choose(color: Color) {
    match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
    .write_global();
}

/// True if text on this stream has colours.
pub(crate) fn is_painted(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// A piece of text with its tone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    tone: Tone,
    text: String,
}

impl Cell {
    pub(crate) fn new(tone: impl Into<Tone>, text: impl Into<String>) -> Self {
        Self {
            tone: tone.into(),
            text: text.into(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text, or `-` for an empty cell, so that each row has the same number of columns for scripts.
    #[must_use]
    pub(crate) fn or_dash(mut self) -> Self {
        if self.text.is_empty() {
            "-".clone_into(&mut self.text);
        }
        self
    }
}

/// The text without colours.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// Text that consists of pieces with tones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text(Vec<Cell>);

impl Text {
    pub(crate) fn push(&mut self, piece: impl Into<Cell>) {
        self.0.push(piece.into());
    }

    /// Appends another text.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The text on one line, even if it contains newlines.
    #[must_use]
    pub(crate) fn on_one_line(mut self) -> Self {
        for cell in &mut self.0 {
            cell.text = printable(&cell.text).into_owned();
        }
        self
    }

    /// The text made printable, with or without the colours of its tones. Colours are added last: making text printable escapes
    /// control characters, including those of colours.
    pub(crate) fn render(&self, painted: bool) -> String {
        let pieces = self.0.iter().map(|Cell { tone, text }| {
            let text = printable_lines(text);
            if painted && *tone != Tone::Plain {
                Cow::Owned(tone.paint(&text))
            } else {
                text
            }
        });
        pieces.collect()
    }
}

/// The text without colours.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|cell| cell.fmt(f))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(vec![text.into()])
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A longer cell, such as the reason of a failure, shifts the rest of its own line only.
const WIDEST: usize = 80;

/// Lines of columns, each as wide as its widest cell up to [`WIDEST`]; the last one is not padded. Each cell is printed on one line.
pub(crate) fn table(rows: &[Vec<Cell>]) -> Text {
    let rows: Vec<Vec<(Tone, Cow<'_, str>)>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|cell| (cell.tone, printable(&cell.text)))
                .collect()
        })
        .collect();
    let width = |text: &str| text.chars().count();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|(_, text)| width(text));
            widths.filter(|wide| *wide <= WIDEST).max().unwrap_or(0)
        })
        .collect();
    let mut text = Text::default();
    for row in &rows {
        // Only blanks would follow the last cell with a text.
        let filled = row
            .iter()
            .rposition(|(_, text)| !text.trim_end().is_empty());
        let last = filled.unwrap_or(0);
        for (column, ((tone, cell), wide)) in row.iter().zip(&widths).enumerate().take(last + 1) {
            let cell = if column == last {
                cell.trim_end()
            } else {
                cell
            };
            text.push(Cell::new(*tone, cell));
            if column < last {
                let mut gap = " ".repeat(wide.saturating_sub(width(cell)));
                // A first column that is empty in every row is left out.
                if column > 0 || *wide > 0 || !cell.is_empty() {
                    gap.push_str("  ");
                }
                text.push(gap);
            }
        }
        text.push("\n");
    }
    text
}

/// The words that begin a message, with their tones.
const LABELS: [(&str, Tone); 4] = [
    ("error:", Tone::Bad),
    ("warning:", Tone::Doubtful),
    ("hint:", Tone::Aside),
    ("note:", Tone::Aside),
];

/// A message whose first word is coloured if it names the kind of message.
pub(crate) fn labelled(message: &str) -> String {
    for (label, tone) in LABELS {
        if let Some(rest) = message.strip_prefix(label) {
            let style = tone.style().bold();
            let mut text = String::new();
            // Writing to a string cannot fail.
            write!(text, "{style}{label}{style:#}{rest}").ok();
            return text;
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_do_not_change_the_width_of_a_table() {
        let rows = [
            vec![
                Cell::new(Tone::Head, "BUILD"),
                Cell::new(Tone::Head, "RESULT"),
                "".into(),
            ],
            vec!["master".into(), Cell::new(Tone::Bad, "fail"), "x".into()],
        ];
        let text = table(&rows);
        assert_eq!(text.render(false), "BUILD   RESULT\nmaster  fail    x\n");
        let painted = text.render(true);
        assert!(
            painted.contains("\u{1b}[31mfail\u{1b}[0m    x\n"),
            "{painted:?}"
        );
        assert_eq!(
            anstream::adapter::strip_str(&painted).to_string(),
            text.render(false)
        );
    }

    #[test]
    fn a_long_cell_does_not_widen_its_column() {
        let long = "x".repeat(WIDEST + 1);
        let rows = [["a", &*long, "end"], ["bb", "short", "end"]];
        let rows = rows.map(|row| row.map(Cell::from).to_vec());
        let text = table(&rows).render(false);
        assert_eq!(text, format!("a   {long}  end\nbb  short  end\n"));
    }

    #[test]
    fn colours_within_a_text_are_escaped() {
        let mut text = Text::default();
        text.push(Cell::new(Tone::Good, "a\u{1b}[31mb"));
        let painted = text.render(true);
        assert!(!painted.contains("\u{1b}[31m"), "{painted:?}");
        assert!(painted.starts_with("\u{1b}[32m"), "{painted:?}");
    }

    #[test]
    fn the_kind_of_a_message_is_coloured() {
        assert_eq!(labelled("error: x"), "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x");
        assert_eq!(labelled("no error: x"), "no error: x");
    }
}
