//! Control files: a header of lines, an empty line, and the sums of each block.
//!
//! ```text
//! zsync: 0.6.2
//! Filename: bootimage.iso
//! Blocksize: 4096
//! Length: 1073741824
//! Hash-Lengths: 2,2,5
//! URL: bootimage.iso
//! SHA-1: 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12
//!
//! <for each block the last bytes of its weak sum and the first bytes of its MD4>
//! ```
//!
//! The last block is summed with zeros up to the size of a block.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::strong::STRONG;

/// The suffix that the name of a control file adds to that of its file.
pub const SUFFIX: &str = ".zsync";

/// The largest control file, in bytes.
pub const LONGEST: u64 = 64 << 20;

/// The largest number of blocks in a control file.
pub(crate) const MOST_BLOCKS: u64 = 4 << 20;

/// The longest header, in bytes.
const LONGEST_HEADER: usize = 16 << 10;

/// The accepted sizes of blocks.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 64..=16 << 20;

/// The lengths of the sums of a block in a control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashLengths {
    /// The number of consecutive blocks that must match: 1 or 2.
    pub run: u8,
    /// The length of the weak sum in bytes: 1 to 4.
    pub weak: u8,
    /// The length of the strong sum in bytes: 3 to 16.
    pub strong: u8,
}

/// A control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The name of the file that it describes.
    pub file_name: String,
    /// Its URL, relative to the control file.
    pub url: String,
    /// The SHA-1 of the file, if it is stated.
    pub sha1: Option<[u8; 20]>,
    length: u64,
    block_size: u32,
    lengths: HashLengths,
    sums: Vec<u8>,
}

/// A control file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Longer than [`LONGEST`].
    #[error("it has {0} bytes, more than {max} MiB", max = LONGEST >> 20)]
    Long(u64),
    /// Its header is not text, or has no end.
    #[error("it has no header of lines that ends with an empty line")]
    Header,
    /// A required header is missing.
    #[error("it has no line `{0}:`")]
    Missing(&'static str),
    /// A header with an invalid value.
    #[error("`{name}: {value}`: {why}")]
    Value {
        /// The name of the header.
        name: String,
        /// Its value.
        value: String,
        /// The reason.
        why: &'static str,
    },
    /// An unknown header that readers must understand.
    #[error("`{0}:` is a line that this program does not know")]
    Unknown(String),
    /// The number of sums does not match the length.
    #[error(
        "it has {found} bytes of sums, and {length} bytes in blocks of {block_size} need {expected}"
    )]
    Sums {
        /// The bytes after the header.
        found: u64,
        /// The expected number of bytes.
        expected: u64,
        /// The stated length of the file.
        length: u64,
        /// The stated size of a block.
        block_size: u32,
    },
}

fn value_error(name: &str, value: &str, why: &'static str) -> ControlError {
    // A hostile value is shortened, and characters that control a terminal are escaped.
    let value = value.chars().take(60).flat_map(char::escape_default);
    ControlError::Value {
        name: name
            .chars()
            .take(60)
            .flat_map(char::escape_default)
            .collect(),
        value: value.collect(),
        why,
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, ControlError> {
    // `parse` also accepts a sign.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| value.parse().ok()).flatten();
    parsed.ok_or_else(|| value_error(name, value, "not a number, or too large"))
}

impl Control {
    /// Parses the bytes of a control file.
    ///
    /// # Errors
    /// [`ControlError`] for bytes that are not a control file, or one of a compressed file, or whose numbers contradict each
    /// other. Memory is allocated only for sums that are present.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        if bytes.len() as u64 > LONGEST {
            return Err(ControlError::Long(bytes.len() as u64));
        }
        let head = &bytes[..bytes.len().min(LONGEST_HEADER)];
        let end = head.windows(2).position(|pair| pair == b"\n\n");
        let end = end.ok_or(ControlError::Header)?;
        let text = str::from_utf8(&head[..end]).map_err(|_| ControlError::Header)?;
        let sums = &bytes[end + 2..];

        let mut safe = Vec::new();
        let mut unknown = Vec::new();
        let (mut version, mut file_name, mut url) = (None, None, None);
        let (mut length, mut block_size, mut lengths) = (None, None, None);
        let mut sha1 = None;
        for line in text.lines() {
            let (name, value) = line.split_once(": ").ok_or(ControlError::Header)?;
            match name {
                "zsync" => version = Some(value),
                "Filename" => file_name = Some(value.to_owned()),
                "URL" => drop(url.get_or_insert_with(|| value.to_owned())),
                "Length" => length = Some(number::<u64>(name, value)?),
                "Blocksize" => block_size = Some(parse_block_size(name, value)?),
                "Hash-Lengths" => lengths = Some(parse_lengths(name, value)?),
                "SHA-1" => sha1 = Some(parse_sha1(name, value)?),
                "Safe" => safe.extend(value.split_ascii_whitespace()),
                "MTime" | "Min-Version" => {}
                "Z-Map2" | "Z-URL" | "Z-Filename" | "Recompress" => {
                    return Err(value_error(
                        name,
                        value,
                        "compressed files are not supported",
                    ));
                }
                other => unknown.push(other),
            }
        }
        if let Some(name) = unknown.into_iter().find(|name| !safe.contains(name)) {
            let name = name.chars().take(60).flat_map(char::escape_default);
            return Err(ControlError::Unknown(name.collect()));
        }
        version.ok_or(ControlError::Missing("zsync"))?;
        let length = length.ok_or(ControlError::Missing("Length"))?;
        let block_size = block_size.ok_or(ControlError::Missing("Blocksize"))?;
        let lengths = lengths.ok_or(ControlError::Missing("Hash-Lengths"))?;
        let url = url.ok_or(ControlError::Missing("URL"))?;
        let blocks = length.div_ceil(u64::from(block_size));
        if blocks > MOST_BLOCKS {
            let why = "too many blocks";
            return Err(value_error("Length", &length.to_string(), why));
        }
        let expected = blocks * (u64::from(lengths.weak) + u64::from(lengths.strong));
        if sums.len() as u64 != expected {
            return Err(ControlError::Sums {
                found: sums.len() as u64,
                expected,
                length,
                block_size,
            });
        }
        Ok(Self {
            file_name: file_name.unwrap_or_default(),
            url,
            sha1,
            length,
            block_size,
            lengths,
            sums: sums.to_vec(),
        })
    }

    /// A control file with sums that were computed in this program.
    pub(crate) fn made(
        names: (String, String),
        sha1: [u8; 20],
        (length, block_size): (u64, u32),
        lengths: HashLengths,
        sums: Vec<u8>,
    ) -> Self {
        Self {
            file_name: names.0,
            url: names.1,
            sha1: Some(sha1),
            length,
            block_size,
            lengths,
            sums,
        }
    }

    /// The bytes of the control file. Equal values give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let HashLengths { run, weak, strong } = self.lengths;
        let mut text = format!(
            "zsync: 0.6.2\nFilename: {}\nBlocksize: {}\nLength: {}\nHash-Lengths: {run},{weak},{strong}\nURL: {}\n",
            self.file_name, self.block_size, self.length, self.url
        );
        if let Some(sha1) = &self.sha1 {
            text.push_str("SHA-1: ");
            for byte in sha1 {
                write!(text, "{byte:02x}").expect("a string takes everything");
            }
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.sums);
        bytes
    }

    /// The length of the file, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The size of each block but the last, in bytes.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The lengths of the sums.
    pub fn lengths(&self) -> HashLengths {
        self.lengths
    }

    /// The number of blocks of the file.
    pub fn blocks(&self) -> u32 {
        let blocks = self.length.div_ceil(u64::from(self.block_size));
        u32::try_from(blocks).expect("no more than `MOST_BLOCKS`")
    }

    /// The number of bytes of one block's sums.
    pub(crate) fn entry(&self) -> usize {
        usize::from(self.lengths.weak) + usize::from(self.lengths.strong)
    }

    /// The sums of all blocks, in the form of the file.
    pub(crate) fn sums(&self) -> &[u8] {
        &self.sums
    }
}

fn parse_block_size(name: &str, value: &str) -> Result<u32, ControlError> {
    let size: u32 = number(name, value)?;
    if !size.is_power_of_two() || !BLOCK_SIZES.contains(&size) {
        let why = "expected a power of two from 64 to 16777216";
        return Err(value_error(name, value, why));
    }
    Ok(size)
}

fn parse_lengths(name: &str, value: &str) -> Result<HashLengths, ControlError> {
    let wrong = || value_error(name, value, "expected three numbers: 1-2,1-4,3-16");
    let mut numbers = value.split(',').map(|text| number::<u8>(name, text.trim()));
    let mut next = || numbers.next().ok_or_else(wrong)?;
    let (run, weak, strong) = (next()?, next()?, next()?);
    let most = u8::try_from(STRONG).expect("16");
    let fits = (1..=2).contains(&run) && (1..=4).contains(&weak) && (3..=most).contains(&strong);
    if !fits || numbers.next().is_some() {
        return Err(wrong());
    }
    Ok(HashLengths { run, weak, strong })
}

fn parse_sha1(name: &str, value: &str) -> Result<[u8; 20], ControlError> {
    let wrong = || value_error(name, value, "expected 40 hexadecimal digits");
    if value.len() != 40 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 20];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&value[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
