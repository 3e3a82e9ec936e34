//! Control files: paragraphs of fields, as described in deb822(5).
//!
//! The parser is written here because the index of a repository repeats a package's fields. Each value must keep the leading
//! blanks of its lines: `deb822-fast` drops them, and a verbatim line of a description would become ordinary text. An error must
//! name its line, which neither that crate nor the syntax trees of `deb822-lossless` provide without a second pass.

use std::fmt;

/// A control file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ControlError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The problem with it.
    pub problem: ControlProblem,
}

/// The problem with a line of a control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlProblem {
    /// It begins with a blank, but does not follow a field.
    #[error("a continuation line without a field before it")]
    NothingToContinue,
    /// It is neither a field, nor a continuation line, nor a comment.
    #[error("expected `NAME: VALUE`")]
    NotAField,
    /// The paragraph already has this field.
    #[error("the field occurs twice in the paragraph")]
    Twice,
    /// The control member of a package has more than one paragraph, or none.
    #[error("expected one paragraph")]
    NotOneParagraph,
}

/// A paragraph of a control file: its fields in their order.
///
/// A value has no blanks at its beginning and at the ends of its lines; each continuation line follows after `\n`, with its
/// leading blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// The value of a field; the case of its name does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The names and values, in their order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Paragraph {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, value)| (name.into(), value.into()));
        Self {
            fields: fields.collect(),
        }
    }
}

/// The form in a control file, with a line end after each field.
impl fmt::Display for Paragraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.fields() {
            let blank = if value.is_empty() || value.starts_with('\n') {
                ""
            } else {
                " "
            };
            writeln!(f, "{name}:{blank}{value}")?;
        }
        Ok(())
    }
}

/// Reads a control file: `control`, `.dsc`, `Packages`, `Sources`, `Release`.
///
/// Comment lines are left out. For a clear-signed text (`.dsc`, `InRelease`), only the signed part is read; the signature is not
/// checked.
pub fn paragraphs(text: &str) -> Result<Vec<Paragraph>, ControlError> {
    let (mut found, mut current) = (Vec::new(), Paragraph::default());
    for (line, text) in signed_lines(text) {
        let refused = |problem| ControlError { line, problem };
        let text = text.trim_end_matches([' ', '\t', '\r']);
        if text.starts_with('#') {
            continue;
        }
        if text.is_empty() {
            if !current.fields.is_empty() {
                found.push(std::mem::take(&mut current));
            }
        } else if text.starts_with([' ', '\t']) {
            let (_, value) = current
                .fields
                .last_mut()
                .ok_or_else(|| refused(ControlProblem::NothingToContinue))?;
            value.push('\n');
            value.push_str(text);
        } else {
            let (name, value) = text
                .split_once(':')
                .filter(|(name, _)| is_field_name(name))
                .ok_or_else(|| refused(ControlProblem::NotAField))?;
            if current.get(name).is_some() {
                return Err(refused(ControlProblem::Twice));
            }
            let value = value.trim_start_matches([' ', '\t']);
            current.fields.push((name.to_owned(), value.to_owned()));
        }
    }
    if !current.fields.is_empty() {
        found.push(current);
    }
    Ok(found)
}

/// Printable ASCII without blank and colon, and without a leading `-`, as defined by deb822(5).
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}

/// The numbered lines of a text; for a clear-signed one, the signed lines, with dashes unescaped.
fn signed_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_signed = text
        .trim_start()
        .starts_with("-----BEGIN PGP SIGNED MESSAGE-----");
    let lines = text.split('\n').enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line));
    let mut is_inside = !is_signed;
    let mut is_over = false;
    lines.filter_map(move |(number, line)| {
        if !is_signed {
            return Some((number, line));
        }
        if !is_inside {
            // The armour's own headers end with an empty line.
            is_inside = line.trim().is_empty() && !is_over && number > 1;
            return None;
        }
        if line.starts_with("-----BEGIN PGP SIGNATURE-----") {
            (is_inside, is_over) = (false, true);
            return None;
        }
        Some((number, line.strip_prefix("- ").unwrap_or(line)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_keep_their_lines_and_their_order() {
        let text = "Package: a\nX-Odd:\n  first\n\tsecond \nDescription: short\n long\n  verbatim\n .\n end\n\n\
                    # a comment\nPackage:b\n";
        let found = paragraphs(text).expect("two paragraphs");
        let fields: Vec<_> = found[0].fields().collect();
        let expected = [
            ("Package", "a"),
            ("X-Odd", "\n  first\n\tsecond"),
            ("Description", "short\n long\n  verbatim\n .\n end"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(found[1].get("PACKAGE"), Some("b"));
        let shown = found[0].to_string();
        assert_eq!(paragraphs(&shown).expect("the same"), found[..1]);
    }

    #[test]
    fn an_invalid_control_file_is_refused_with_its_line() {
        let cases = [
            (" a\n", 1, ControlProblem::NothingToContinue),
            ("A: 1\n\n b\n", 3, ControlProblem::NothingToContinue),
            ("A: 1\nnothing\n", 2, ControlProblem::NotAField),
            (": 1\n", 1, ControlProblem::NotAField),
            ("A B: 1\n", 1, ControlProblem::NotAField),
            ("A: 1\nB: 2\na: 3\n", 3, ControlProblem::Twice),
        ];
        for (text, line, problem) in cases {
            assert_eq!(
                paragraphs(text),
                Err(ControlError { line, problem }),
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_signed_part_of_a_signed_text_is_read() {
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSource: a\n- -odd\n\
                    -----BEGIN PGP SIGNATURE-----\n\nwsB=\n-----END PGP SIGNATURE-----\n";
        let error = paragraphs(text).expect_err("an odd line");
        assert_eq!((error.line, error.problem), (5, ControlProblem::NotAField));
        let found = paragraphs(&text.replace("- -odd", "Binary: b")).expect("a paragraph");
        assert_eq!(found[0].to_string(), "Source: a\nBinary: b\n");
    }

    proptest! {
        /// `deb822-fast` finds the same fields, except for blanks at the beginning of lines.
        #[test]
        fn the_parser_agrees_with_deb822_fast(text in r"([A-C]x?:( [a-z#:]{0,3}){0,2}\n( +[a-z.#]{1,3}\n){0,2}){0,5}") {
            let theirs: Result<deb822_fast::Deb822, _> = text.parse();
            let theirs = theirs.expect("it refuses nothing of this");
            let Ok(ours) = paragraphs(&text) else {
                return Ok(()); // A field that occurs twice: the other reader takes both.
            };
            let trimmed = |value: &str| value.split('\n').map(str::trim).collect::<Vec<_>>().join("\n");
            let ours: Vec<Vec<_>> = ours.iter()
                .map(|it| it.fields().map(|(name, value)| (name.to_owned(), trimmed(value))).collect())
                .collect();
            let theirs: Vec<Vec<_>> = theirs.iter()
                .map(|it| it.iter().map(|(name, value)| (name.to_owned(), trimmed(value))).collect())
                .collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
