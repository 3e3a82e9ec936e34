//! The rules that distinguish an identity from other text that looks like it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::stretch::{LONGEST_NAME, account, domain, is_word, value};
use super::{Private, SHORTEST_SECRET};

/// Names that every machine has.
const EVERYBODY: [&str; 8] = [
    "localhost",
    "localdomain",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "none",
    "unknown",
];

/// Systems, architectures and roles of hosts: words that occur in many texts, with or without digits after them.
const COMMON: [&str; 32] = [
    "aarch",
    "alma",
    "almalinux",
    "alpine",
    "amd",
    "arch",
    "arm",
    "armv",
    "bookworm",
    "bullseye",
    "centos",
    "compute",
    "controller",
    "debian",
    "el",
    "fc",
    "fedora",
    "host",
    "linux",
    "master",
    "node",
    "opensuse",
    "rhel",
    "rocky",
    "server",
    "starlingx",
    "storage",
    "stx",
    "suse",
    "ubuntu",
    "vm",
    "worker",
];

/// The contexts in which a pattern counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// A distinctive name: anywhere, unless a letter or digit touches it.
    Name,
    /// A name that may be part of other words: only as a whole word.
    Word,
    /// A name that is a plain word: only at a place where a host name must be.
    Position,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// Exact bytes, anywhere.
    Secret,
    /// `BUILD_HOST`.
    Assignment,
}

impl Rule {
    pub(super) fn is_name(self) -> bool {
        match self {
            Self::Name | Self::Word | Self::Position => true,
            Self::V4 | Self::V6 | Self::Secret | Self::Assignment => false,
        }
    }
}

/// A pattern to search for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) text: Vec<u8>,
    pub(super) rule: Rule,
    pub(super) what: Private,
}

impl Pattern {
    fn new(text: impl Into<Vec<u8>>, rule: Rule, what: Private) -> Self {
        Self {
            text: text.into(),
            rule,
            what,
        }
    }

    /// The text to show of a pattern; empty for secrets, which are never shown.
    pub(super) fn shown(&self) -> String {
        match self.rule {
            Rule::Secret => String::new(),
            _ => String::from_utf8_lossy(&self.text).into_owned(),
        }
    }

    pub(super) fn assignment() -> Self {
        Self::new("BUILD_HOST", Rule::Assignment, Private::BuildHost)
    }

    /// The patterns for a name of the machine, and for its part before the first dot.
    pub(super) fn of_machine(name: &str) -> Vec<Self> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let short = name.split('.').next().unwrap_or_default().to_owned();
        let mut names = vec![short];
        if name != names[0] {
            names.push(name);
        }
        let of_name = |name: String| {
            let rule = if is_distinctive(&name) {
                Rule::Name
            } else {
                Rule::Position
            };
            Self::new(name, rule, Private::Host)
        };
        names
            .into_iter()
            .filter(|name| is_host_name(name) && !is_everybodys(name))
            .map(of_name)
            .collect()
    }

    /// The pattern for a name that is found anywhere.
    pub(super) fn of_host(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name.len() < 2 || !is_host_name(&name) || is_everybodys(&name) {
            return None;
        }
        let rule = if is_distinctive(&name) {
            Rule::Name
        } else {
            Rule::Word
        };
        Some(Self::new(name, rule, Private::Host))
    }

    /// The patterns for an address in all its usual forms.
    pub(super) fn of_address(address: IpAddr) -> Vec<Self> {
        let texts = match address {
            IpAddr::V4(address) => {
                /// The default addresses of docker, libvirt and QEMU, the same on every machine.
                const VIRTUAL: [Ipv4Addr; 3] = [
                    Ipv4Addr::new(172, 17, 0, 1),
                    Ipv4Addr::new(192, 168, 122, 1),
                    Ipv4Addr::new(10, 0, 2, 15),
                ];
                let everybodys = address.is_loopback()
                    || address.is_unspecified()
                    || address.is_broadcast()
                    || address.is_multicast()
                    || VIRTUAL.contains(&address);
                if everybodys {
                    return Vec::new();
                }
                return vec![Self::new(address.to_string(), Rule::V4, Private::Address)];
            }
            IpAddr::V6(address) => {
                if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
                    return Vec::new();
                }
                forms(address)
            }
        };
        texts
            .into_iter()
            .map(|text| Self::new(text, Rule::V6, Private::Address))
            .collect()
    }

    /// The patterns for the lines of a secret, unchanged and percent-encoded as in a URL; none if all lines are too short.
    pub(super) fn of_secret(label: &str, value: &[u8]) -> Vec<Self> {
        let lines = value
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii)
            .filter(|line| line.len() >= SHORTEST_SECRET);
        // The `-----BEGIN` and `-----END` lines are the same for every key.
        let lines = lines.filter(|line| !line.starts_with(b"-----"));
        lines
            .flat_map(|line| [line.to_vec(), percent_encoded(line)])
            .map(|text| Self::new(text, Rule::Secret, Private::Secret(label.to_owned())))
            .collect()
    }

    /// The private range of `text` if this pattern was found `at`, and its kind. `whole` is true if `text` starts at the beginning
    /// of the file.
    pub(super) fn judge(
        &self,
        text: &[u8],
        at: Range<usize>,
        whole: bool,
    ) -> Option<(Range<usize>, Private)> {
        let before = &text[..at.start];
        let after = &text[at.end..];
        if before.is_empty() && !whole {
            return None;
        }
        let touched = |is: fn(u8) -> bool| {
            before.last().is_some_and(|byte| is(*byte))
                || after.first().is_some_and(|byte| is(*byte))
        };
        let found = match self.rule {
            Rule::Name => !touched(|byte| byte.is_ascii_alphanumeric()),
            Rule::Word => !touched(is_word),
            Rule::Position => {
                after.first().is_none_or(|byte| !is_word(*byte))
                    && (before.ends_with(b"://") || account(before) > 1)
            }
            Rule::V4 => {
                let dotted = |first: Option<&u8>, second: Option<&u8>| {
                    first == Some(&b'.') && second.is_some_and(u8::is_ascii_digit)
                };
                let mut back = before.iter().rev();
                !touched(|byte| byte.is_ascii_alphanumeric())
                    && !dotted(after.first(), after.get(1))
                    && !dotted(back.next(), back.next())
            }
            Rule::V6 => {
                let goes_on = |first: Option<&u8>, second: Option<&u8>| {
                    first == Some(&b':')
                        && second.is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':')
                };
                let mut back = before.iter().rev();
                !touched(|byte| byte.is_ascii_hexdigit())
                    && !goes_on(after.first(), after.get(1))
                    && !goes_on(back.next(), back.next())
            }
            // The automaton ignores case, secrets do not.
            Rule::Secret => text[at.clone()] == self.text,
            Rule::Assignment => {
                return (text[at.clone()] == self.text && !touched(is_word))
                    .then(|| value(after))
                    .flatten()
                    .map(|value| {
                        let range = at.end + value.start..at.end + value.end;
                        (range, self.what.clone())
                    });
            }
        };
        if !found {
            return None;
        }
        if self.rule == Rule::Secret {
            return Some((at, self.what.clone()));
        }
        let end = if self.rule.is_name() {
            at.end + domain(after, LONGEST_NAME - at.len().min(LONGEST_NAME))
        } else {
            at.end
        };
        Some(match account(before) {
            0 | 1 => (at.start..end, self.what.clone()),
            length => (at.start - length..end, Private::Account),
        })
    }
}

/// True for a name of the letters, digits, hyphens, dots and underscores that a host may have.
fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// True for a name that does not identify a machine.
pub(super) fn is_everybodys(name: &str) -> bool {
    let short = name.split('.').next().unwrap_or(name);
    EVERYBODY.contains(&short)
}

/// True if a name can hardly be anything other than the name of one machine.
fn is_distinctive(name: &str) -> bool {
    if name.contains('.') {
        return true;
    }
    let strange = name
        .split(|letter: char| !letter.is_ascii_alphabetic())
        .any(|word| word.len() > 1 && !COMMON.contains(&word));
    name.len() >= 4 && strange && name.bytes().any(|byte| !byte.is_ascii_alphabetic())
}

/// The short, the long and the padded form of an address.
fn forms(address: Ipv6Addr) -> Vec<String> {
    let groups = address.segments();
    let long = groups.map(|group| format!("{group:x}")).join(":");
    let padded = groups.map(|group| format!("{group:04x}")).join(":");
    vec![address.to_string(), long, padded]
}

/// A text in percent-encoding, as in a URL.
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(*byte);
        } else {
            encoded.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    encoded
}
