//! Debian packages, from untrusted bytes.
//!
//! A binary package (`.deb`, `.udeb`) is an `ar` archive of `debian-binary`, a control member and a data member. Both members are
//! `tar` archives, which may be compressed; deb(5) describes the format. A source package is a `.dsc`, a control file with a list
//! of other files. The crate opens no file: it reads bytes from a [`Read`](std::io::Read), and checks every size that a package
//! states before it allocates memory for it.
//!
//! | item | reads |
//! |---|---|
//! | [`paragraph`] | control files: `control`, `.dsc`, `Packages`, `Sources`, `Release` |
//! | [`DebFileName`] | names of package files: `NAME_VERSION_ARCH.deb` |
//! | [`archive`] | the outer archive: the bounds and the compression of its members |
//! | [`read_control`], [`read_payload`] | the control member, and the files of the data member |
//! | [`cmp_versions`] | the order of versions |
//!
//! ```
//! use stx_deb::{DebFileName, Version, paragraphs};
//!
//! let name = DebFileName::parse("g++_4%3a12.2.0-3_amd64.deb").unwrap();
//! assert_eq!((&*name.name, &*name.version, &*name.arch), ("g++", "4:12.2.0-3", "amd64"));
//!
//! let found = paragraphs("Package: g++\nVersion: 4:12.2.0-3\nDescription: compiler\n GNU C++\n")?;
//! assert_eq!(found[0].get("description"), Some("compiler\n GNU C++"));
//!
//! let older: Version = "1.0~rc1-1".parse().unwrap();
//! assert!(older < "1.0-1".parse().unwrap());
//! # Ok::<(), stx_deb::ControlError>(())
//! ```

pub mod archive;
mod file_name;
mod package;
pub mod paragraph;
mod version;

pub use archive::{DebError, Extent, control_extent};
pub use debversion::Version;
pub use file_name::DebFileName;
pub use package::{Control, Entry, EntryKind, read_control, read_payload};
pub use paragraph::{ControlError, Paragraph, paragraphs};
pub use version::cmp_versions;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
