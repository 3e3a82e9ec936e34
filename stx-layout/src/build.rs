//! The identity of a build.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{BuildDate, Channel, ParseError};

/// One build of a channel: `master/centos/20181105T060000Z`.
///
/// `Ord` is by channel, then by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId {
    /// The channel.
    pub channel: Channel,
    /// The build date, unique in the channel.
    pub date: BuildDate,
}

impl BuildId {
    /// The build of `channel` dated `date`.
    pub fn new(channel: Channel, date: BuildDate) -> Self {
        Self { channel, date }
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.date)
    }
}

impl FromStr for BuildId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((channel, date)) = text.rsplit_once('/') else {
            return Err(ParseError::new(
                text,
                text.len(),
                "CHANNEL/BUILD-DATE, such as `master/centos/20181105T060000Z`",
            ));
        };
        Ok(Self {
            channel: channel
                .parse()
                .map_err(|error: ParseError| error.within(text, 0).plausible::<Self>())?,
            date: date.parse().map_err(|error: ParseError| {
                error.within(text, channel.len() + 1).plausible::<Self>()
            })?,
        })
    }
}

serde_as_text!(BuildId);
