//! Times as a person reads them.

use std::fmt;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

/// Writes an instant as `2018-11-05 06:00 UTC`.
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0.naive_utc();
        let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
            return write!(f, "{}", self.0);
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
        f.write_str(str::from_utf8(&text).unwrap_or_default())
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
        }
    }
}
