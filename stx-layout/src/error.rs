//! The one error for texts that the grammar refuses.

use std::fmt;

/// A text that the grammar refuses: the offset of the error, the text expected there, and the text that was probably intended.
///
/// `Display` is one line for readers; the fields are for programs and for drawing the position under the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The whole text as it was given.
    pub input: String,
    /// The byte offset into [`input`](Self::input) of the first wrong byte; its length if the text ends early.
    pub offset: usize,
    /// A description of the text expected at [`offset`](Self::offset).
    pub expected: String,
    /// An accepted text that is close to the input.
    pub suggestion: Option<String>,
}

impl ParseError {
    /// Refuses `input` at `offset`, where `expected` should have been.
    pub fn new(input: &str, offset: usize, expected: impl Into<String>) -> Self {
        Self {
            input: input.to_owned(),
            offset,
            expected: expected.into(),
            suggestion: None,
        }
    }

    /// The same error with a text that was probably intended.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// The same error, without a suggestion that `T` would also refuse.
    pub(crate) fn plausible<T: std::str::FromStr>(mut self) -> Self {
        self.suggestion = self.suggestion.filter(|near| near.parse::<T>().is_ok());
        self
    }

    /// The same error within a longer text, in which this one begins at `offset`.
    #[must_use]
    pub fn within(mut self, whole: &str, offset: usize) -> Self {
        if let Some(suggestion) = &self.suggestion {
            let end = offset + self.input.len();
            self.suggestion = match (whole.get(..offset), whole.get(end..)) {
                (Some(before), Some(after)) => Some(format!("{before}{suggestion}{after}")),
                _ => None,
            };
        }
        self.offset += offset;
        whole.clone_into(&mut self.input);
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: byte {}: expected {}",
            self.input, self.offset, self.expected
        )?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion:?}?")?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseError {}
