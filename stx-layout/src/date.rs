//! The time stamp that names a build.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, SubsecRound as _, Utc};

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
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildDate(DateTime<Utc>);

impl BuildDate {
    /// The build date of a build whose source sync starts at `time`; fractions of a second are dropped.
    ///
    /// Returns `None` outside of the years 0 to 9999, which the form cannot write.
    pub fn at(time: DateTime<Utc>) -> Option<Self> {
        (0..=9999)
            .contains(&time.year())
            .then(|| Self(time.trunc_subsecs(0)))
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
        const FORM: &[u8; 16] = b"ddddddddTddddddZ";
        let bytes = text.as_bytes();
        for (offset, form) in FORM.iter().enumerate() {
            let right = match (form, bytes.get(offset)) {
                (b'd', Some(byte)) => byte.is_ascii_digit(),
                (form, Some(byte)) => form == byte,
                (_, None) => false,
            };
            if !right {
                return Err(ParseError::new(
                    text,
                    offset,
                    "a build date, YYYYMMDDTHHMMSSZ",
                ));
            }
        }
        if bytes.len() > FORM.len() {
            return Err(ParseError::new(
                text,
                FORM.len(),
                "the end of the build date, YYYYMMDDTHHMMSSZ",
            ));
        }
        let number = |from: usize, to: usize| {
            bytes[from..to]
                .iter()
                .fold(0_u32, |n, byte| n * 10 + u32::from(byte - b'0'))
        };
        let day = NaiveDate::from_ymd_opt(number(0, 4).cast_signed(), number(4, 6), number(6, 8))
            .ok_or_else(|| ParseError::new(text, 4, "a month and day of the calendar"))?;
        let time = day
            .and_hms_opt(number(9, 11), number(11, 13), number(13, 15))
            .ok_or_else(|| ParseError::new(text, 9, "a time of day, 000000 to 235959"))?;
        Ok(Self(time.and_utc()))
    }
}

serde_as_text!(BuildDate);
