//! Reads messages from texts, which any member of the build group may have written.

use super::Ask;

/// A text that is not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is longer than any message.
    #[error("a message of more than {} bytes", Ask::LONGEST)]
    TooLong,
    /// It is not the JSON of a message.
    #[error("not a message: {source}")]
    Json {
        /// The JSON error, with its line and column.
        #[from]
        source: serde_json::Error,
    },
}

impl Ask {
    /// The longest message, in bytes.
    pub const LONGEST: usize = 64 * 1024;

    /// Reads the text of a message.
    ///
    /// ```
    /// use stx_service::Ask;
    ///
    /// let ask = Ask::from_json(br#"{"ask":"cancel","request":7}"#);
    /// assert_eq!(ask.unwrap(), Ask::Cancel { request: 7 });
    /// assert!(Ask::from_json(br#"{"ask":"cancel","request":7,"as":"root"}"#).is_err());
    /// ```
    pub fn from_json(text: &[u8]) -> Result<Self, MessageError> {
        if text.len() > Self::LONGEST {
            return Err(MessageError::TooLong);
        }
        Ok(serde_json::from_slice(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_is_read_and_a_longer_one_refused() {
        let cancel = r#"{"ask":"cancel","request":7}"#;
        let mut text = cancel.to_owned() + &" ".repeat(Ask::LONGEST - cancel.len());
        assert!(Ask::from_json(text.as_bytes()).is_ok());
        text.push(' ');
        let error = Ask::from_json(text.as_bytes()).expect_err("one byte too many");
        assert!(matches!(error, MessageError::TooLong));
    }

    #[test]
    fn the_error_of_an_invalid_message_names_the_place() {
        let text = b"{\"ask\":\"cancel\",\n\"request\"}";
        let error = Ask::from_json(text).expect_err("no value");
        assert!(error.to_string().contains("line 2 column 10"), "{error}");
        let text = br#"{"ask":"cancel","request":-1}"#;
        let error = Ask::from_json(text).expect_err("a negative number");
        assert!(error.to_string().contains("`-1`"), "{error}");
        assert!(Ask::from_json(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
