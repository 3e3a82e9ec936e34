//! The beginning of a channel's path.

use std::fmt;
use std::str::FromStr;

use crate::{Channel, ParseError, RootTarget};

/// The first segments of a channel's path, or all of them.
///
/// ```
/// # use stx_layout::ChannelPrefix;
/// let channel = "release/11.0.0/debian/bullseye/amd64/monolithic".parse()?;
/// for text in [
///     "release/11.0.0",
///     "release/11.0.0/debian",
///     "release/11.0.0/debian/bullseye",
///     "release/11.0.0/debian/bullseye/amd64",
///     "release/11.0.0/debian/bullseye/amd64/monolithic",
/// ] {
///     assert!(text.parse::<ChannelPrefix>()?.holds(&channel), "{text}");
/// }
/// assert!(!"release/11.0.0/debian/bull".parse::<ChannelPrefix>()?.holds(&channel));
/// assert!("release".parse::<ChannelPrefix>().is_err());
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
///
/// `Ord` is byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPrefix {
    text: String,
    channel: Option<Channel>,
}

impl ChannelPrefix {
    /// The channel of exactly this path; `None` if the path is too short for a channel. Longer channels may also begin with it.
    pub fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// True if the path of `channel` is this path or begins with its segments.
    pub fn holds(&self, channel: &Channel) -> bool {
        let channel = channel.to_string();
        let rest = channel.strip_prefix(&self.text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for ChannelPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ChannelPrefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let channel = match text.parse() {
            Ok(RootTarget::Release(_)) => None,
            Ok(RootTarget::Channel(channel)) => Some(channel),
            // A path may end with a codename, although a channel has an architecture after it.
            Err(error) => match format!("{text}/amd64").parse::<Channel>() {
                Ok(_) => None,
                Err(_) => return Err(error),
            },
        };
        let text = text.to_owned();
        Ok(Self { text, channel })
    }
}

impl From<Channel> for ChannelPrefix {
    fn from(channel: Channel) -> Self {
        Self {
            text: channel.to_string(),
            channel: Some(channel),
        }
    }
}
