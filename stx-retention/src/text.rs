//! Times as a person reads them.

use std::fmt;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

/// Writes an instant as `2018-11-05 06:00 UTC`.
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    /// The text of an instant in the years 0 to 9999.
    fn digits(&self) -> Option<[u8; 20]> {
        let time = self.0.naive_utc();
        let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
            return None;
        };
        let mut text = *b"0000-00-00 00:00 UTC";
        let fields = [
            (0, year / 100),
            (2, year % 100),
            (5, time.month()),
            (8, time.day()),
            (11, time.hour()),
            (14, time.minute()),
        ];
        for (at, number) in fields {
            for (digit, number) in text[at..at + 2].iter_mut().zip([number / 10, number % 10]) {
                *digit += u8::try_from(number).unwrap_or_default();
            }
        }
        Some(text)
    }

    /// Writes it behind a text: what a plan does a hundred thousand times.
    pub(crate) fn append_to(&self, text: &mut String) {
        match self.digits() {
            Some(digits) => text.push_str(str::from_utf8(&digits).unwrap_or_default()),
            None => text.push_str(&self.0.to_string()),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits() {
            Some(digits) => f.write_str(str::from_utf8(&digits).unwrap_or_default()),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_like_chrono_writes_them() {
        for second in (-62_000_000_000_i64..250_000_000_000).step_by(987_654_321) {
            let time = DateTime::from_timestamp(second, 0).expect("a time");
            let expected = time.format("%Y-%m-%d %H:%M UTC").to_string();
            assert_eq!(Moment(time).to_string(), expected);
            let mut behind = "at ".to_owned();
            Moment(time).append_to(&mut behind);
            assert_eq!(behind, format!("at {expected}"));
        }
    }
}
