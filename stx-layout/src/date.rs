//! The time stamp that names a build.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, Timelike as _, Utc};

use crate::ParseError;
use crate::text::serde_as_text;

/// When the source sync of a build started: `YYYYMMDDTHHMMSSZ`, UTC, whole seconds.
///
/// The specification: `<build-date> = $(date +%Y%m%dT%H%M%SZ)`. `Ord` is time order, which for this form is also byte order.
///
/// ```
/// # use stx_layout::BuildDate;
/// let date: BuildDate = "20181105T060000Z".parse()?;
/// assert_eq!(date.to_string(), "20181105T060000Z");
/// assert!("20181305T060000Z".parse::<BuildDate>().is_err());
/// let error = "20181105T0600Z".parse::<BuildDate>().unwrap_err();
/// assert_eq!(error.suggestion.as_deref(), Some("20181105T060000Z"));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildDate(DateTime<Utc>);

impl BuildDate {
    /// The build date of a build whose source sync starts at `time`; fractions of a second are dropped.
    ///
    /// Returns `None` outside of the years 0 to 9999, which the form cannot write.
    pub fn at(time: DateTime<Utc>) -> Option<Self> {
        // A leap second is nanoseconds past 999 999 999, so this makes it the second before, which the form can write.
        let time = time.with_nanosecond(0)?;
        (0..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// The instant.
    pub fn time(self) -> DateTime<Utc> {
        self.0
    }
}

impl fmt::Display for BuildDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y%m%dT%H%M%SZ").fmt(f)
    }
}

impl FromStr for BuildDate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        read(text).map_err(|(offset, expected)| {
            let error = ParseError::new(text, offset, expected);
            match repaired(text) {
                Some(near) => error.suggest(near),
                None => error,
            }
        })
    }
}

/// Reads a build date without allocating; on failure the byte offset and what was expected there.
pub(crate) fn read(text: &str) -> Result<BuildDate, (usize, &'static str)> {
    const FORM: &[u8; 16] = b"ddddddddTddddddZ";
    let bytes = text.as_bytes();
    for (offset, form) in FORM.iter().enumerate() {
        let right = match (form, bytes.get(offset)) {
            (b'd', Some(byte)) => byte.is_ascii_digit(),
            (form, Some(byte)) => form == byte,
            (_, None) => false,
        };
        if !right {
            return Err((offset, "a build date, YYYYMMDDTHHMMSSZ"));
        }
    }
    if bytes.len() > FORM.len() {
        return Err((FORM.len(), "the end of the build date, YYYYMMDDTHHMMSSZ"));
    }
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .fold(0_u32, |n, byte| n * 10 + u32::from(byte - b'0'))
    };
    let day = NaiveDate::from_ymd_opt(number(0, 4).cast_signed(), number(4, 6), number(6, 8))
        .ok_or((4, "a month and day of the calendar"))?;
    let time = day
        .and_hms_opt(number(9, 11), number(11, 13), number(13, 15))
        .ok_or((9, "a time of day, 000000 to 235959"))?;
    Ok(BuildDate(time.and_utc()))
}

/// Whether [`read`] accepts a text, found out faster.
pub(crate) fn is_build_date(text: &str) -> bool {
    let Ok(bytes) = <&[u8; 16]>::try_from(text.as_bytes()) else {
        return false;
    };
    // More than any of the bounds below for what is no digit.
    let two = |at: usize| match (
        bytes[at].wrapping_sub(b'0'),
        bytes[at + 1].wrapping_sub(b'0'),
    ) {
        (tens @ 0..=9, ones @ 0..=9) => tens * 10 + ones,
        _ => u8::MAX,
    };
    let (century, year, month, day) = (two(0), two(2), two(4), two(6));
    let leap = year % 4 == 0 && (year != 0 || century % 4 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => return false,
    };
    century < 100
        && year < 100
        && (1..=days).contains(&day)
        && bytes[8] == b'T'
        && two(9) < 24
        && two(11) < 60
        && two(13) < 60
        && bytes[15] == b'Z'
}

/// Whether a segment is meant as a build date: eight digits, or a day with dashes, then nothing but digits, `T`, `Z`, `:`,
/// `-` and `_`. Such a segment is a build date or an error, never a layer.
pub(crate) fn looks_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let day = |form: &[u8]| {
        bytes.len() >= form.len()
            && form.iter().zip(bytes).all(|(form, byte)| match form {
                b'd' => byte.is_ascii_digit(),
                _ => form == byte,
            })
            && bytes[form.len()..]
                .iter()
                .all(|byte| byte.is_ascii_digit() || b"TtZz:-_".contains(byte))
    };
    bytes.first().is_some_and(u8::is_ascii_digit) && (day(b"dddddddd") || day(b"dddd-dd-dd"))
}

/// The build date that a text which looks like one was probably meant as: seconds added, marks put right.
pub(crate) fn repaired(text: &str) -> Option<String> {
    if !looks_like_date(text) {
        return None;
    }
    let mut digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 12 {
        digits.push_str("00");
    }
    let (day, time) = digits.split_at_checked(8)?;
    let near = format!("{day}T{time}Z");
    read(&near).is_ok().then_some(near)
}

serde_as_text!(BuildDate);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_readers_agree(text in "([0-9]{4}|[12][09]00)(0[0-9]|1[0-3])([0-2][0-9]|3[0-2])T([01][0-9]|2[0-5])[0-6][0-9][0-6][0-9]Z") {
            prop_assert_eq!(is_build_date(&text), read(&text).is_ok(), "{}", text);
        }

        #[test]
        fn both_readers_agree_on_any_text(text in "[0-9]{0,9}[TtX/:]?[0-9]{0,7}[Zz+]?") {
            prop_assert_eq!(is_build_date(&text), read(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn both_readers_agree_on_every_day() {
        for year in [0, 4, 1900, 2000, 2018, 2020, 2100, 9999] {
            for month in 0..=13 {
                for day in 0..=32 {
                    let text = format!("{year:04}{month:02}{day:02}T235959Z");
                    assert_eq!(is_build_date(&text), read(&text).is_ok(), "{text}");
                }
            }
        }
    }
}
