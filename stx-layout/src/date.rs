//! The time stamp that names a build.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Timelike as _, Utc};

use crate::ParseError;
use crate::text::serde_as_text;

/// The time at which the source sync of a build started: `YYYYMMDDTHHMMSSZ`, UTC, whole seconds.
///
/// The specification: `<build-date> = $(date +%Y%m%dT%H%M%SZ)`. `Ord` is time order, which in this form is also byte order.
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
    /// Returns `None` outside of the years 0 to 9999, which the form cannot express.
    pub fn at(time: DateTime<Utc>) -> Option<Self> {
        // chrono represents a leap second as nanoseconds past 999 999 999, so this turns it into the second before, which the
        // form can express.
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
        // Names of builds are written and read in great numbers, for which chrono's general formats are slow.
        let time = self.0;
        let (year, month, day) = (time.year(), time.month(), time.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        f.pad(&format!(
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        ))
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

/// Parses a build date; on failure, returns the byte offset and the text expected there.
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
        let digits = bytes[from..to].iter();
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let year = i32::try_from(number(0, 4)).expect("four digits");
    let day = NaiveDate::from_ymd_opt(year, number(4, 6), number(6, 8))
        .ok_or((4, "a month and day of the calendar"))?;
    let time = NaiveTime::from_hms_opt(number(9, 11), number(11, 13), number(13, 15))
        .ok_or((9, "a time of day, 000000 to 235959"))?;
    Ok(BuildDate(day.and_time(time).and_utc()))
}

/// True if a segment is probably intended as a build date: eight digits, or a day with dashes, then only digits, `T`, `Z`, `:`,
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

/// The build date that was probably intended by a text that looks like one: adds seconds, corrects marks.
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
